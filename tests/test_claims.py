"""docs/claims.md says what the spec and the original's list say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_claims", ROOT / "docs" / "generate_claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_claim_of_the_original_is_answered_or_open() -> None:
    """None is dropped, and an answer names a claim that the spec has."""
    module = generator()
    claims = module.ours()
    for each in module.originals():
        assert bool(each.claim) != bool(each.open), each.original
        assert not each.claim or each.claim in claims, each.claim


def test_the_page_holds_every_claim_and_every_criterion() -> None:
    """A claim added to the spec without generating the page again is seen."""
    module = generator()
    page = (ROOT / "docs" / "claims.md").read_text()
    for claim, criteria in module.ours().items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {claim} |"))
        assert all(f"`{criterion}`" in row for criterion in criteria), claim
    for each in module.originals():
        assert each.did in page, each.original
    assert page.count("\n| ") == len(module.ours()) + sum(bool(each.open) for each in module.originals()) + 2
