"""How large the tests are: small in every run, in full when a million steps are asked for, as the session `properties` does."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def in_full() -> bool:
    """Whether RECOVERY_STEPS asks for a million steps or more."""
    return int(os.environ.get("RECOVERY_STEPS", "0")) >= 1_000_000
