"""The project's own readiness.yaml, with the kinds and targets that the project registers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gates.model import Severity
from gates.spec import profiles, resolve

ROOT = Path(__file__).parents[2]
OWN = ROOT / "workflows/readiness.yaml"


@pytest.mark.parametrize("profile", profiles(OWN, root=ROOT))
def test_the_projects_own_spec_resolves_with_nothing_missing(profile: str) -> None:
    """In every profile: every control is there, every gate fits its limit, every claim is bound, something blocks."""
    resolved = resolve(OWN, root=ROOT, profile=profile)
    assert [gate.missing for gate in resolved.gates if gate.missing] == []
    assert all(
        any(each.severity is Severity.BLOCKING and not each.built_in for each in gate.criteria) for gate in resolved.gates
    )
    assert all(claim.by for claim in resolved.claims)


def test_the_quick_profile_fits_its_budget() -> None:
    """The gates of the main job together take no longer than it allows."""
    resolved = resolve(OWN, root=ROOT, profile="quick")
    assert 0 < sum(gate.budget for gate in resolved.gates) <= resolved.budget


def test_one_partition_and_one_crash_in_quick_and_the_whole_matrix_in_standard_fit_their_times() -> None:
    """40 s and 15 minutes."""
    quick = {gate.name: gate for gate in resolve(OWN, root=ROOT, profile="quick").gates}
    assert {name for name, gate in quick.items() if gate.kind == "validation"} == {"crash", "recovery-partition"}
    assert quick["crash"].budget + quick["recovery-partition"].budget <= 40.0
    standard = [gate for gate in resolve(OWN, root=ROOT, profile="standard").gates if gate.name.startswith("recovery-")]
    assert len(standard) >= 29
    assert sum(gate.budget for gate in standard) <= 900.0


def test_the_session_of_scenarios_runs_every_gate_of_load_there_is() -> None:
    """A scenario that is added is run there, too; and what a session names is a gate of the profile that it runs."""
    statements = ast.parse((ROOT / "noxfile.py").read_text()).body
    named = next(
        ast.literal_eval(each.value)
        for each in statements
        if isinstance(each, ast.Assign) and any(isinstance(name, ast.Name) and name.id == "SCENARIOS" for name in each.targets)
    )
    gates = {gate.name: gate for gate in resolve(OWN, root=ROOT, profile="standard").gates}
    assert set(named) <= set(gates)
    assert {name for name, gate in gates.items() if gate.kind == "load"} <= set(named)
    assert sum(gates[name].budget for name in named) <= 600.0


def test_the_standard_profile_fits_its_budget() -> None:
    """With all scenarios and the sample of drills."""
    resolved = resolve(OWN, root=ROOT, profile="standard")
    assert 0 < sum(gate.budget for gate in resolved.gates) <= resolved.budget
