"""The kind `benchmarks`: order, ratios and intervals; and real suites, sound and not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from one_gate import planned, run, values

from gates.kinds.benchmarks import BenchmarksKind
from gates.kinds.calibration import is_calibration, spread
from gates.kinds.ratios import Rounds, drift, nearest, ratio
from gates.model import Execution, GateResult, Intervals, Outcome, Rule
from gates.regression.naming import benchmark_name
from gates.spec import SpecErrors

SUITE = """
import pytest

def work(times):
    for _ in range(times):
        pass

@pytest.mark.parametrize("place", [1, 2])
def test_calibration(benchmark, place):
    benchmark(work, 200)

@pytest.mark.benchmark(group="work")
def test_twenty_times(benchmark):
    benchmark(work, 4000)
"""
QUICK = {"suite": "suite", "time": "20 ms", "rounds": 20}


def rounds(name: str, seconds: float, count: int = 200, noise: float = 0.02) -> Rounds:
    """Rounds around *seconds* with seeded noise."""
    generator = random.Random(name)
    return Rounds(name, tuple(seconds * (1 + noise * generator.random()) for _ in range(count)))


def test_calibrations_are_spread_evenly_with_one_at_each_end() -> None:
    """Whatever the numbers, everything runs once, and the calibration brackets the rest."""
    assert spread(["C", "D", "E"], list("abcd")) == list("CabDcdE")
    assert spread(["C"], list("ab")) == list("Cab")
    assert spread([], list("ab")) == list("ab")
    assert spread(["C", "D", "E", "F"], ["a"]) == ["C", "D", "E", "a", "F"]


def test_names_are_groups_and_short_names() -> None:
    """`test_success` of the group retry is retry.success; the calibration may have parameters."""
    assert benchmark_name("retry", "test_success[3]") == "retry.success[3]"
    assert benchmark_name(None, "test_alone") == "alone"
    assert is_calibration("calibration[2]", "calibration")
    assert not is_calibration("calibration_of_scales", "calibration")


def test_a_benchmark_is_held_against_the_calibrations_around_it() -> None:
    """The last before and the first after; at an end, the one there is."""
    assert nearest(3, [0, 2, 5, 9]) == (2, 5)
    assert nearest(10, [0, 2, 5, 9]) == (9,)


def test_the_interval_holds_the_ratio_and_is_the_same_for_a_seed() -> None:
    """A ratio of 5 is found, tightly, and again with the same seed."""
    first, again = (ratio(rounds("a", 5e-6), [rounds("c", 1e-6), rounds("d", 1e-6)], seed=3) for _ in range(2))
    assert first == again
    assert first.interval is not None
    assert first.value == pytest.approx(5, rel=0.02)
    assert first.interval.low <= first.value <= first.interval.high
    assert first.interval.high - first.interval.low < 0.1


def test_a_machine_that_changes_its_pace_widens_the_interval() -> None:
    """When the calibrations before and after disagree by a third, the interval says so."""
    steady = ratio(rounds("a", 5e-6), [rounds("c", 1e-6), rounds("d", 1e-6)], seed=3).interval
    moved = ratio(rounds("a", 5e-6), [rounds("c", 1e-6), rounds("d", 1.33e-6)], seed=3).interval
    assert steady is not None
    assert moved is not None
    assert moved.high - moved.low > 10 * (steady.high - steady.low)
    assert drift([rounds("c", 1e-6), rounds("d", 1.33e-6)]) == pytest.approx(1.33, rel=0.02)


@pytest.mark.end_to_end
def test_an_interval_covers_a_known_ratio_about_as_often_as_it_says() -> None:
    """Over 100 seeded data sets with lognormal noise the 95 % interval misses the true ratio rarely."""
    missed = 0
    for trial in range(100):
        generator = random.Random(trial)

        def noisy(scale: float, generator: random.Random = generator) -> tuple[float, ...]:
            return tuple(scale * generator.lognormvariate(0, 0.1) for _ in range(60))

        interval = ratio(Rounds("a", noisy(3.0)), [Rounds("c", noisy(1.0))], seed=trial).interval
        assert interval is not None
        missed += not interval.low <= 3.0 <= interval.high
    assert missed <= 15


def suite(root: Path, content: str) -> dict[str, Any]:
    (root / "suite").mkdir(exist_ok=True)
    (root / "suite" / "test_suite.py").write_text(content)
    return QUICK


def measured(root: Path, content: str, limit: str = "50x") -> tuple[GateResult, Outcome]:
    result, report = run(BenchmarksKind(), root, suite(root, content), {"ratio/*": {"below": limit}})
    return result, report.outcome


@pytest.mark.end_to_end
def test_a_suite_is_measured_as_ratios_and_summarised(tmp_path: Path) -> None:
    """Twenty times the work is about twenty times the calibration; what is kept holds no raw samples."""
    result, report = run(BenchmarksKind(), tmp_path, suite(tmp_path, SUITE), {"ratio/*": {"below": "1000x"}})
    assert report.criteria[0].outcome is Outcome.PASS
    found = values(result)
    assert 8 < found["ratio/work.twenty_times"] < 50
    assert found["valid.collected"] == 0
    assert result.expected == {"ratio": ("work.twenty_times",)}
    assert isinstance(result.exhibits[0], Intervals)
    kept = tmp_path / "run" / "it" / "evidence" / "benchmarks.json"
    assert json.loads(kept.read_text())["order"] == ["calibration[1]", "work.twenty_times", "calibration[2]"]
    assert kept.stat().st_size < 5000
    assert [piece.path for piece in result.evidence] == ["evidence/benchmarks.json", "evidence/output.log"]


@pytest.mark.end_to_end
def test_a_benchmark_beyond_its_limit_fails(tmp_path: Path) -> None:
    """Twenty times the calibration is not below 1.1 times."""
    assert measured(tmp_path, SUITE, "1.1x")[1] is Outcome.FAIL


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (SUITE + "\ndef test_broken(benchmark):\n    benchmark(work, 1)\n    raise RuntimeError\n", "exit code 1"),
        (SUITE + "\nimport no_such_module\n", "exit code 2"),
        (SUITE.replace("calibration", "other"), "no benchmark is called calibration"),
        (SUITE.partition("@pytest.mark.benchmark")[0], "no benchmark besides the calibration"),
        (SUITE + "\nclass TestAgain:\n    test_twenty_times = staticmethod(test_twenty_times)\n", "several benchmarks are"),
        ("", "exit code 5"),
    ],
    ids=["fails", "no-import", "no-calibration", "only-calibration", "twice", "empty"],
)
def test_a_suite_that_did_not_run_as_a_whole_is_inconclusive(tmp_path: Path, content: str, why: str) -> None:
    """A benchmark that breaks, a suite that can't be imported, and one without what it needs never pass."""
    result, outcome = measured(tmp_path, content)
    assert (result.execution, outcome) == (Execution.FAILED_TO_RUN, Outcome.INCONCLUSIVE)
    assert why in result.reason


@pytest.mark.end_to_end
def test_a_skipped_benchmark_is_missed(tmp_path: Path) -> None:
    """A benchmark that was collected and did not run is no data, though pytest ends with 0."""
    skipped = '\n@pytest.mark.skip(reason="later")\ndef test_later(benchmark):\n    benchmark(work, 1)\n'
    result, outcome = measured(tmp_path, SUITE + skipped)
    assert outcome is Outcome.INCONCLUSIVE
    assert values(result)["valid.collected"] == 1
    assert any("later did not run" in finding.message for finding in result.findings)


@pytest.mark.end_to_end
def test_the_mark_of_what_one_cpu_is_not_enough_for_is_known(tmp_path: Path) -> None:
    """Also to a pytest that takes an unknown mark for an error: the comparison knows the mark, and so must the ratios."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n", encoding="utf-8")
    marked = SUITE.replace("def test_twenty_times", "@pytest.mark.unpinned\ndef test_twenty_times")
    result, _ = measured(tmp_path, marked)
    assert result.execution is Execution.COMPLETED, result.reason
    assert "ratio/work.twenty_times" in values(result)


def test_a_suite_that_is_not_there_is_an_error_of_the_spec(tmp_path: Path) -> None:
    """The path is checked before the run."""
    with pytest.raises(SpecErrors, match="there is no nowhere"):
        planned(BenchmarksKind(), tmp_path, {"suite": "nowhere"}, {"ratio/*": {"below": "2x"}})


def test_the_built_in_criteria_are_planned(tmp_path: Path) -> None:
    """Every gate of this kind checks that all ran, and that the calibration held; the latter may be the machine's fault."""
    gate = planned(BenchmarksKind(), tmp_path, suite(tmp_path, SUITE), {"ratio/*": {"below": "2x"}})
    built_in = {each.id: each for each in gate.criteria if each.built_in}
    assert set(built_in) == {"valid.collected", "valid.calibration"}
    assert built_in["valid.calibration"].machine
    assert gate.criteria[0].rule is Rule.FACTOR
    assert gate.criteria[0].minimum == 12
