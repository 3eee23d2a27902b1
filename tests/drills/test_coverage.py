"""Every criterion of the project's own spec has a drill that it must catch."""

from __future__ import annotations

from pathlib import Path

from gates import registry
from gates.drills.catalogue import flattened
from gates.drills.slowness import PRIMITIVES
from gates.drills.tree import read_spec
from gates.model import Outcome

ROOT = Path(__file__).parents[2]
CELLS = ("recovery-", "federation-")


def test_whoever_adds_a_criterion_adds_its_drill() -> None:
    """Each criterion of readiness.yaml is the one that some drill must turn red; only the drills' own gate has none.

    One that holds against a stored baseline, and only advises, must not be fooled by another machine's. The cells of the matrix
    are alike but for their faults, and federations but for their sizes, so theirs must be red with the same limit in any gate.
    """
    drills = flattened(registry.plugins(registry.DRILLS))
    red = {(each.base.gate, each.criterion) for each in drills if each.expects is Outcome.FAIL}
    open_ = {(each.base.gate, each.criterion) for each in drills if each.expects is Outcome.INCONCLUSIVE}
    gates = {name: gate for name, gate in read_spec(ROOT)["gates"].items() if gate["kind"] != "drills"}
    every = {(name, criterion) for name, gate in gates.items() for criterion in gate["criteria"]}
    stored = {each for each in every if each[1].startswith("baseline.")}
    cells = {each for each in every if each[0].startswith(CELLS)}
    assert red <= every - stored
    assert every - stored - cells <= red
    assert stored <= open_
    limits = {(criterion, str(gates[name]["criteria"][criterion])) for name, criterion in red}
    assert {(criterion, str(gates[name]["criteria"][criterion])) for name, criterion in cells} <= limits


def test_every_benchmark_has_its_own_limit() -> None:
    """A benchmark that is added to the suite without a limit would be measured and never judged by itself."""
    suite = (ROOT / "benchmarks" / "recovery" / "test_retry_and_breaker.py").read_text()
    limited = {name.rpartition(".")[2] for name in PRIMITIVES.criteria}
    measured = {line.split("(")[0].removeprefix("def test_") for line in suite.splitlines() if line.startswith("def test_")}
    assert measured == limited | {"calibration"}
