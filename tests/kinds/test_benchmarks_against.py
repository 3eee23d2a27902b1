"""The kind `benchmarks` against a base: what the plan decides in real repositories, and real comparisons."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from one_gate import planned, values

from gates import codec
from gates.kinds.benchmarks import BenchmarksKind
from gates.kinds.slowdowns import accepted_findings, options, tolerances
from gates.model import (
    Allowance,
    Comparator,
    Comparison,
    Criterion,
    GateReport,
    GateResult,
    Level,
    Outcome,
    PlannedGate,
    Request,
    Rule,
    Unit,
)
from gates.pipeline.folder import GateFolder
from gates.pipeline.judge import judge_gate
from gates.pipeline.machine import fingerprint, read_commit
from gates.pipeline.results import undeclared, with_evidence
from gates.regression import comparison as paired
from gates.regression.baselines import Baseline, BaselineRun, place, text
from gates.regression.values import Design, Tolerance
from gates.spec import SpecErrors

SUITE = """
import pytest
from measured import work

@pytest.mark.parametrize("place", [1, 2])
def test_calibration(benchmark, place):
    benchmark(sum, range(200))

def test_work(benchmark):
    benchmark(work)

def test_other(benchmark):
    benchmark(sorted, list(range(500)))
"""
WORK = "def work():\n    return sum(list(range({times})))\n"
COMPARED = {"slowdown/*": {"below": "5 %", "fail_above": "2 %"}, "removed": {"at_most": 0}}
COUNTED = {"growth.allocations/*": {"at_most": "20 %"}, "growth.bytes/*": {"at_most": "20 %"}}


class Repository:
    """A small repository with a suite, at *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("suite/test_suite.py", SUITE)
        self.write("src/measured.py", WORK.format(times=1000))
        self.write("src/kept/__init__.py", "")
        self.write(".gitignore", "readiness.yaml\nrun/\n__pycache__/\n.readiness/\n")
        self.commit("first")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=e@localhost", "-c", "commit.gpgSign=false"]
        done = subprocess.run(["git", "-C", str(self.root), *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, path: str, content: str) -> None:
        place_ = self.root / path
        place_.parent.mkdir(parents=True, exist_ok=True)
        place_.write_text(content)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def plan(self, criteria: Mapping[str, Any], **settings: Any) -> PlannedGate:
        given = {"suite": "suite", "against": "merge-base", "time": "20 ms", "rounds": 20, **settings}
        return planned(BenchmarksKind(), self.root, given, criteria)

    def run(self, gate: PlannedGate, **more: Any) -> tuple[GateResult, GateReport]:
        folder = self.root / "run" / "it"
        folder.mkdir(parents=True, exist_ok=True)
        commit = read_commit(self.root)
        request = Request("run", str(self.root), str(folder), "quick", 7, gate, commit, fingerprint(self.root), **more)
        result = with_evidence(GateFolder(folder), BenchmarksKind().run(request))
        codec.write(folder / "result.json", result)
        read = codec.read(folder / "result.json", GateResult)
        assert not undeclared(read, BenchmarksKind.metrics, gate)
        return read, judge_gate(gate, read)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_first_commit_has_nothing_to_be_compared_with_and_its_own_limits_count(repository: Repository) -> None:
    """What compares is not applicable, with the reason; nothing of the comparison is built in."""
    gate = repository.plan({**COMPARED, **COUNTED, "ratio/work": {"below": "50x"}})
    assert set(gate.excused) == {*COMPARED, *COUNTED}
    assert all("first commit" in reason for reason in gate.excused.values())
    assert {each.id for each in gate.criteria if each.built_in} == {"valid.collected", "valid.calibration"}


def test_a_second_commit_is_compared_with_its_first_parent(repository: Repository) -> None:
    """On the default branch itself there is no other merge base."""
    first = repository.git("rev-parse", "HEAD")
    repository.commit("second")
    gate = repository.plan(COMPARED)
    assert gate.settings["base"]["sha"] == first
    assert "first parent" in gate.settings["base"]["why"]
    built_in = {each.id: each for each in gate.criteria if each.built_in}
    assert set(built_in) == {"valid.base", "valid.control", "valid.pairs", "valid.clock"}
    assert built_in["valid.control"].machine


def test_a_dirty_tree_is_inconclusive_and_says_so(repository: Repository) -> None:
    """What would be measured is no commit's."""
    repository.commit("second")
    repository.write("src/measured.py", WORK.format(times=2000))
    result, report = repository.run(repository.plan(COMPARED))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "src/measured.py" in result.absent["slowdown"]
    assert {each.outcome for each in report.criteria} == {Outcome.INCONCLUSIVE}


@pytest.mark.end_to_end
def test_a_shallow_clone_names_the_line_to_paste(repository: Repository, tmp_path: Path) -> None:
    """Its base may be cut off."""
    repository.commit("second")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{repository.root}", str(clone)], check=True)
    repository.root = clone
    _, report = repository.run(repository.plan(COMPARED))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "git fetch --unshallow" in report.criteria[0].reason


def test_a_criterion_of_a_comparison_needs_something_to_compare_with(repository: Repository) -> None:
    """It would never be measured."""
    with pytest.raises(SpecErrors, match="add `against: merge-base`"):
        repository.plan(COMPARED, against="none")


def test_fewer_pairs_than_twelve_are_refused(repository: Repository) -> None:
    """They could decide nothing."""
    with pytest.raises(SpecErrors, match="at least 12 pairs"):
        repository.plan(COMPARED, pairs="10+30")


def accepted(repository: Repository, commit: str, **more: str) -> None:
    entry = {"metric": "slowdown/work", "commit": commit, "size": "60 %", "reason": "it does more now", "expires": "2999-01-01"}
    repository.write("baselines/accepted.yaml", json.dumps({"version": 1, "accepted": [entry | more]}))


def test_an_accepted_regression_between_base_and_candidate_raises_the_limits(repository: Repository) -> None:
    """Once its commit lies in the base, it raises nothing any more."""
    slow = repository.commit("second")
    accepted(repository, slow[:9])
    repository.commit("third")
    first = repository.git("rev-parse", "HEAD~2")
    (criterion,) = [each for each in repository.plan(COMPARED, against=first).criteria if each.id == "slowdown/*"]
    assert [(each.selector, each.by) for each in criterion.allowances] == [("work", 0.6)]
    (criterion,) = [each for each in repository.plan(COMPARED).criteria if each.id == "slowdown/*"]
    assert criterion.allowances == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [({"expires": "2026-01-01"}, "expired on 2026-01-01"), ({"commit": "0123456789"}, "which is not here")],
    ids=["expired", "unknown"],
)
def test_an_accepted_regression_that_can_not_hold_is_an_error(repository: Repository, change: dict[str, str], why: str) -> None:
    """The list does not grow old unseen."""
    accepted(
        repository, change.get("commit") or repository.commit("second"), **{k: v for k, v in change.items() if k != "commit"}
    )
    repository.commit("third")
    with pytest.raises(SpecErrors, match=why):
        repository.plan(COMPARED)


def test_the_tightest_tolerance_holds_and_an_accepted_one_is_added() -> None:
    """The pairs are planned for the limits that the judge will apply."""

    def criterion(name: str, below: float, above: float | None, *allowed: Allowance) -> Criterion:
        limits = (Comparison(Comparator.BELOW, below, above),)
        return Criterion(name, Unit.RATIO, Rule.SLOWDOWN, limits, 12, allowances=allowed)

    found = tolerances([criterion("slowdown/*", 0.05, 0.02, Allowance("b", 0.08, "why")), criterion("slowdown/a", 0.03, None)])
    assert found["anything"] == Tolerance(0.05, 0.02)
    assert found["a"] == Tolerance(0.03, 0.02)
    assert found["b"].below == pytest.approx(0.13)
    assert found["b"].fail_above == pytest.approx(0.10)


def test_an_accepted_regression_that_fits_no_benchmark_is_told() -> None:
    """A misspelt entry raises no limit; the report says so, with what was meant, and calls growth growth."""
    allowed = (Allowance("wrods", 0.8, "why"), Allowance("words", 0.08, "traced"))
    limits = (Comparison(Comparator.BELOW, 0.05, 0.02),)
    slow = Criterion("slowdown/*", Unit.RATIO, Rule.SLOWDOWN, limits, 12, allowances=allowed)
    grown = Criterion("growth.bytes/*", Unit.RATIO, Rule.SINGLE, limits, 1, allowances=(Allowance("words", 2.0, "spares"),))
    found = paired.Comparison(Design(), 1, known=("words", "slug"), removed=("gone",))
    said = [(each.level, each.message, each.hint) for each in accepted_findings([slow, grown], ["gone", "goen"], found)]
    assert said == [
        (Level.WARNING, "slowdown/wrods is accepted, and fits no benchmark", "did you mean 'words'?"),
        (Level.NOTE, "words may be 8.0% slower: traced", ""),
        (Level.NOTE, "growth.bytes/words is accepted up to 200.0% more: spares", ""),
        (Level.WARNING, "removed/goen is accepted, and no such benchmark was removed", "did you mean 'gone'?"),
    ]


def test_the_line_that_measures_again_measures_as_the_gate_does() -> None:
    """With its package, plug-ins, pairs and margins; what is as usual is not repeated."""
    plain = {"suite": "benchmarks", "package": "", "plugins": [], "parallel": [], "pairs": "12+30"}
    assert options(plain, Tolerance()) == ["--suite", "benchmarks"]
    own = plain | {"package": "lib/a", "plugins": ["b"], "parallel": ["c.*"], "pairs": "16+40"}
    wanted = "--suite|benchmarks|--package|lib/a|--plugin|b|--parallel|c.*|--pairs|16+40|--below|7 %|--fail-above|0 %"
    assert options(own, Tolerance(0.07, 0.0)) == wanted.split("|")


# --- stored baselines -------------------------------------------------------------------------------------------------


def stored(repository: Repository, machine: Mapping[str, str], allocations: float) -> None:
    run = BaselineRun("r", "0" * 40, "2026-11-23T15:00:00.000Z", "green", {"count.allocations/work": allocations})
    path = place(repository.root, machine, "it")
    repository.write(str(path.relative_to(repository.root)), text(Baseline(dict(machine), "it", ()).with_run(run)))


@pytest.mark.end_to_end
def test_counts_are_held_against_this_machines_baseline_alone(repository: Repository) -> None:
    """The same number passes, half of it fails, and another machine's is as good as none."""
    criteria = {"baseline.count.allocations/*": {"at_most": "20 %"}}
    machine = fingerprint(repository.root)
    gate = repository.plan(criteria, against="none")
    result, report = repository.run(gate)
    own = values(result)["count.allocations/work"]
    assert own > 1
    assert report.criteria[0].reason.endswith("no baseline of it is stored")
    stored(repository, {**machine, "cpu": "another"}, own)
    assert "the closest differs in cpu" in repository.run(gate)[1].criteria[0].reason
    stored(repository, machine, own)
    assert repository.run(gate)[1].outcome is Outcome.PASS
    stored(repository, machine, own / 2)
    assert repository.run(gate)[1].outcome is Outcome.FAIL


# --- comparisons ------------------------------------------------------------------------------------------------------


@pytest.mark.end_to_end
def test_what_grew_and_what_is_gone_is_measured_against_the_base(repository: Repository) -> None:
    """Twice the work fails as a slowdown and by its bytes; a removed benchmark counts; a new one is named and not judged."""
    repository.write("src/measured.py", WORK.format(times=3000))
    changed = SUITE.replace("def test_other", "def test_new").replace("range(500)", "range(300)")
    repository.write("suite/test_suite.py", changed)
    repository.commit("slower")
    result, report = repository.run(repository.plan({**COMPARED, **COUNTED}, pairs="12+12"))
    outcomes = {each.criterion.id: each.outcome for each in report.criteria}
    found = values(result)
    assert found["slowdown/work"] > 1
    assert "slowdown/new" not in found
    assert outcomes["slowdown/*"] is Outcome.FAIL
    assert (found["removed"], outcomes["removed"]) == (1, Outcome.FAIL)
    assert found["growth.bytes/work"] > 1
    assert outcomes["growth.bytes/*"] is Outcome.FAIL
    assert "calibration" not in " ".join(key for key in found if key.startswith("growth"))
    said = [finding.message for finding in result.findings]
    assert any("new is new" in message for message in said)
    assert any("other is gone" in message for message in said)
    assert "--only work" in " ".join(result.steps)


@pytest.mark.end_to_end
def test_an_accepted_removal_is_no_failure(repository: Repository) -> None:
    """It is still named."""
    repository.write("suite/test_suite.py", SUITE.partition("def test_other")[0])
    gone = repository.commit("fewer")
    accepted(repository, gone, metric="removed/other")
    repository.commit("accepted")
    result, report = repository.run(repository.plan({"removed": {"at_most": 0}}, against=f"{gone}~1"))
    assert {each.criterion.id: each.outcome for each in report.criteria}["removed"] is Outcome.PASS
    assert any("other is gone, as was accepted" in finding.message for finding in result.findings)


@pytest.mark.end_to_end
def test_a_benchmark_that_breaks_on_one_side_is_named(repository: Repository) -> None:
    """It was not compared, so the gate does not pass."""
    repository.write("src/measured.py", "def work():\n    raise RuntimeError('broken now')\n")
    repository.commit("broken")
    result, report = repository.run(repository.plan({"slowdown/*": {"below": "50 %", "fail_above": "40 %"}}))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert any("work was not compared" in finding.message for finding in result.findings)


def test_a_baseline_that_was_edited_is_an_error_of_the_spec(repository: Repository) -> None:
    """It is not passed over, and not only found out after the run."""
    machine = fingerprint(repository.root)
    stored(repository, machine, 3.0)
    path = place(repository.root, machine, "it")
    path.write_text(path.read_text().replace("3.0", "4.0"))
    with pytest.raises(SpecErrors, match="edited by hand"):
        repository.plan({"baseline.count.allocations/*": {"at_most": 0}}, against="none")


@pytest.mark.end_to_end
def test_counts_that_can_not_be_had_are_missed_and_the_comparison_stands(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two criteria, two reasons."""
    from gates.kinds import growth

    monkeypatch.setattr(growth, "count", _broken)
    repository.commit("second")
    result, report = repository.run(repository.plan({"removed": {"at_most": 0}, **COUNTED}, pairs="12+12"))
    outcomes = {each.criterion.id: each.outcome for each in report.criteria}
    assert outcomes["removed"] is Outcome.PASS
    assert outcomes["growth.bytes/*"] is Outcome.INCONCLUSIVE
    assert result.absent["growth.bytes"] == "out of order"


def _broken(*_: object, **__: object) -> None:
    from gates.errors import GatesError

    raise GatesError("out of order")
