"""The kind `benchmarks` on base and candidate that are not alike: what is new, what can't be known."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_benchmarks_against import SUITE, WORK, Repository

from gates.kinds.slowdowns import Compared
from gates.model import Commit, Outcome, PlannedGate, Request
from gates.regression.comparison import Comparison
from gates.regression.processes import Suite
from gates.regression.values import Design


def test_what_was_removed_is_not_measured_where_it_can_not_be_known(tmp_path: Path) -> None:
    """None would be a pass."""
    settings = {"accepted_removals": [], "calibration": "c", "suite": "s", "package": "", "plugins": [], "parallel": []}
    gate = PlannedGate("it", "benchmarks", {**settings, "pairs": "12+30"}, (), limit=60, budget=20)
    (tmp_path / "evidence").mkdir()
    request = Request("r", str(tmp_path), str(tmp_path), "quick", 1, gate, Commit(), {})
    unknown = Comparison(Design(), 1, problems=("the base's own suite can't be collected",))
    part = Compared(request, "0" * 40, "why", Suite(("s",)), unknown).part()
    assert "removed" not in {each.metric for each in part.measurements}
    assert part.absent["removed"] == "the base's own suite can't be collected"


@pytest.mark.end_to_end
def test_a_new_benchmark_of_something_new_has_nothing_to_grow_from(tmp_path: Path) -> None:
    """The base can't run it, and its own suite shows that it never had it."""
    repository = Repository(tmp_path / "repository")
    repository.write("src/measured.py", WORK.format(times=1000) + "better = work\n")
    new = "def test_new(benchmark):\n    import measured\n    benchmark(measured.better)\n"
    repository.write("suite/test_suite.py", f"{SUITE}\n{new}")
    repository.commit("a new function with its benchmark")
    result, report = repository.run(repository.plan({"growth.bytes/*": {"at_most": "20 %"}}))
    assert report.outcome is Outcome.PASS
    assert result.expected["growth.bytes"] == ("work", "other")
