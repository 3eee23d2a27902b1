"""The proof on real processes: what it counts, and that it does not take a wrong alarm for a right one."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gates.model import Outcome
from gates.regression.comparison import Comparison
from gates.regression.control import ControlVerdict
from gates.regression.values import Design, Estimate

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = ("work[loop]", "work[text]", "work[table]")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("regression_real")


def estimate(name: str, low: float, high: float, pairs: int = 30) -> Estimate:
    return Estimate(name, 2, pairs, (low + high) / 2, low, high, 0.99, "", True, True, 0.01)


def found(*slow: str, missing: str = "", reason: str = "", pairs: int = 30) -> Comparison:
    """A comparison in which *slow* are surely slower, and one is missing."""
    estimates = [estimate(name, 0.04 if name in slow else -0.01, 0.06 if name in slow else 0.01, pairs) for name in NAMES]
    control = ControlVerdict(None, 0.0, 42, reason)
    return Comparison(Design(), 1, tuple(each for each in estimates if each.name != missing), control)


def line(kind: str, number: int, comparison: Comparison, real: ModuleType, changed: str = "") -> dict[str, Any]:
    """What a finished gate leaves in the state file."""
    outcome, reason = real.verdict(comparison)
    facts = {"condition": "idle", "kind": kind, "gate": number, "changed": changed, "verdict": str(outcome), "reason": reason}
    side = {name: {"b": (1.0, 1.0, 1.0), "c": (1.06, 1.0, 1.06), "asv": False} for name in NAMES}
    estimates = [asdict(each) for each in comparison.estimates]
    return {**facts, "pairs": 42, "seconds": 9.0, "estimates": estimates, "control": None, "sides": side}


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (found(), Outcome.PASS),
        (found("work[text]"), Outcome.FAIL),
        (found("work[text]", reason="the control moved"), Outcome.INCONCLUSIVE),
        (found("work[text]", missing="work[loop]"), Outcome.INCONCLUSIVE),
        (found(pairs=11), Outcome.INCONCLUSIVE),
        (Comparison(Design(), 1), Outcome.INCONCLUSIVE),
    ],
)
def test_a_gate_says_what_its_three_benchmarks_say_together(comparison: Comparison, said: Outcome, real: ModuleType) -> None:
    """And nothing when the control moved, one is missing or there were too few pairs: those must not look like a quiet gate."""
    assert real.verdict(comparison)[0] is said


def test_a_false_failure_is_a_missed_target(real: ModuleType) -> None:
    """None of any number may fail without a change."""
    quiet = [line("same", number, found(), real) for number in range(3)]
    assert list(real.targets(quiet)) == []
    assert "1 of 4 gates without a change" in next(iter(real.targets([*quiet, line("same", 3, found("work[loop]"), real)])))


def test_a_failure_for_the_wrong_benchmark_finds_nothing(real: ModuleType) -> None:
    """Of 40 gates with 5 % more work in `loop`, 39 must fail for `loop`: one that fails for `text` counts as missed."""
    right = [line("slower", number, found("work[loop]"), real, "work[loop]") for number in range(38)]
    wrong = line("slower", 38, found("work[text]"), real, "work[loop]")
    more = line("slower", 39, found("work[loop]"), real, "work[loop]")
    assert list(real.targets([*right, wrong, more])) == []
    assert "38 of 40" in next(iter(real.targets([*right, wrong, {**wrong, "gate": 39}])))


def test_no_gate_is_no_proof(real: ModuleType) -> None:
    """An empty run meets no target."""
    assert list(real.targets([])) == ["no gate was run"]


def test_other_rules_are_held_against_the_gate_before(real: ModuleType) -> None:
    """The same timings, one run later: 6 % more than the run before is an alarm for those who store a number."""
    lines = [line("same", number, found(), real) for number in range(3)]
    assert real.beside(lines).splitlines()[-1] == "| idle, unchanged | 0 % | 100 % | 100 % | 0 % |"


def test_only_the_changed_benchmark_does_more_work(real: ModuleType, tmp_path: Path) -> None:
    """5 % more steps, in one of three; both trees are the same length and hold the same benchmarks."""
    old, new = real.tree(tmp_path / "old", ""), real.tree(tmp_path / "new", "text")
    before, after = ((each / "work/__init__.py").read_text() for each in (old, new))
    assert after == before.replace("'text': 40", "'text': 42")
    assert (old / "benchmarks/test_work.py").read_text() == (new / "benchmarks/test_work.py").read_text()
