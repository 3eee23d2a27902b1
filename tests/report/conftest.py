"""The reports that the tests of this room render."""

from __future__ import annotations

import pytest
import realistic_report as realistic

from gates.model import Report


@pytest.fixture(scope="session")
def report() -> Report:
    """Nine gates: one fails, one is inconclusive; every type of exhibit."""
    return realistic.report()


@pytest.fixture(scope="session")
def ready() -> Report:
    """Only gates that pass."""
    return realistic.ready_report()
