"""A whole comparison of two trees: what it says of every benchmark, also of those that it could not compare."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from small_project import PACKAGE, QUICK, SUITE, Project, project

from gates.regression.comparison import Comparison, Course, Limits, Wishes, compare, measurement, pair_seed
from gates.regression.parallel import detectable, matches
from gates.regression.processes import Side
from gates.regression.values import Design, Estimate, Tolerance

FEW = Design(first=12, second=12, most=12)
ALL = Wishes()


def compared(made: Project, design: Design = FEW, wishes: Wishes = ALL, evidence: Path | None = None) -> Comparison:
    return compare(made.suite, made.base, made.candidate, design, seed=1, wishes=wishes, rounds=QUICK, evidence=evidence)


@pytest.mark.end_to_end
def test_new_removed_and_unrunnable_benchmarks_are_named(tmp_path: Path) -> None:
    """What only one side's own suite has is new or removed; what the base can't run is broken, with its reason."""
    old_suite = SUITE + "\ndef test_gone(benchmark):\n    benchmark(work)\n"
    moved = "from pkg import better\n\ndef test_moved(benchmark):\n    benchmark(better)\n"
    made = project(
        tmp_path,
        base={"benchmarks/test_it.py": old_suite, "benchmarks/test_moved.py": moved.replace("better", "work")},
        candidate={
            "pkg/__init__.py": PACKAGE + "\nbetter = work\n",
            "benchmarks/test_moved.py": moved,
            "benchmarks/test_new.py": SUITE.replace("test_work", "test_new"),
        },
    )
    found = compared(made, evidence=tmp_path / "evidence")
    assert [each.name for each in found.estimates] == ["work"]
    assert found.added == ("new",)
    assert found.removed == ("gone",)
    assert list(found.broken) == ["moved"]
    assert "cannot import name 'better'" in found.broken["moved"]
    assert found.problems == ()
    stored = [json.loads(line) for line in (tmp_path / "evidence/pairs.jsonl").read_text().splitlines()]
    assert [each["index"] for each in stored] == list(range(len(found.pairs)))
    assert stored[0]["logs"]["work"] == list(found.pairs[0].logs["work"])


@pytest.mark.end_to_end
def test_nothing_is_called_new_where_the_base_s_suite_could_not_be_read(tmp_path: Path) -> None:
    """The benchmark may have been there for years; that its file could not be collected is the problem."""
    made = project(tmp_path, base={"benchmarks/test_it.py": "import nowhere\n" + SUITE})
    found = compared(made, wishes=Wishes(new=True))
    assert found.added == ()
    assert any("what was removed is not known" in each for each in found.problems)


@pytest.mark.end_to_end
def test_a_new_benchmark_is_compared_where_that_is_wished(tmp_path: Path) -> None:
    """The candidate's file runs on the base as well, so by hand a benchmark can be written after the fact."""
    made = project(tmp_path, candidate={"benchmarks/test_new.py": SUITE.replace("test_work", "test_new")})
    found = compared(made, wishes=Wishes(new=True, leave_out=("wo*",)))
    assert [each.name for each in found.estimates] == ["new"]


NEWER = """
def test_fresh(benchmark):
    from pkg import fresh
    benchmark(fresh)

def test_wrong(benchmark):
    from pkg import missing
    benchmark(missing)
"""


@pytest.mark.end_to_end
def test_a_benchmark_that_is_as_new_as_its_code_is_told_from_a_broken_one(tmp_path: Path) -> None:
    """What only the base can't run is new; what fails on both is broken, by the candidate's failure, whoever was first."""
    made = project(
        tmp_path,
        candidate={
            "pkg/__init__.py": PACKAGE + "\nfresh = work\n",
            "benchmarks/test_new.py": NEWER,
            "benchmarks/test_top.py": "from pkg import fresh\n\ndef test_top(benchmark):\n    benchmark(fresh)\n",
        },
    )
    found = compared(made, wishes=Wishes(new=True))
    assert [each.name for each in found.estimates] == ["work"]
    assert set(found.added) == {"fresh", "wrong", "top"}
    assert set(found.newer) == {"fresh", "top"}
    assert found.newer["fresh"].startswith("failed on the base: ")
    assert list(found.broken) == ["wrong"]
    assert found.broken["wrong"].startswith("failed on the candidate: ")
    assert found.problems == ()


def test_a_base_without_the_package_is_a_problem_and_no_estimate(tmp_path: Path) -> None:
    """Nothing was measured, and the reason is the base's own."""
    made = project(tmp_path)
    for path in (made.base / "pkg/__init__.py", made.base / "benchmarks/test_it.py"):
        path.unlink()
    (made.base / "pkg").rmdir()
    found = compared(made)
    assert found.estimates == ()
    assert "No module named 'pkg'" in " ".join(found.problems)


@pytest.mark.end_to_end
def test_an_interpreter_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """An environment that somebody removed is said by its name, and leaves no socket behind."""
    made = project(tmp_path)
    found = compare(made.suite, made.base, made.candidate, FEW, seed=1, rounds=QUICK, pythons=("/no/python", sys.executable))
    assert "the process of the base can't be started with '/no/python'" in " ".join(found.problems)


@pytest.mark.end_to_end
def test_nothing_to_compare_is_a_problem(tmp_path: Path) -> None:
    """A selection that fits no benchmark must not look like a comparison without a slowdown."""
    assert compared(project(tmp_path), wishes=Wishes(only=("nothing",))).problems == ("no benchmark was compared",)


@pytest.mark.end_to_end
def test_a_suite_of_which_nothing_was_run_is_not_said_to_import_nothing(tmp_path: Path) -> None:
    """Where benchmarks import what they measure themselves, a wrong name or a missing package would look like a wrong tree."""
    late = "def test_late(benchmark):\n    from pkg import work\n    benchmark(work)\n"
    made = project(tmp_path, late)
    assert compared(made, wishes=Wishes(only=("nothing",))).problems == ("no benchmark was compared",)
    shutil.rmtree(made.base / "pkg")
    without = compared(made)
    assert without.problems == ("no benchmark was compared",)
    assert "No module named 'pkg'" in without.broken["late"]


@pytest.mark.end_to_end
def test_a_pair_over_which_the_clock_was_set_is_measured_again(tmp_path: Path) -> None:
    """It stays in the evidence and counts for nothing; when the clock is set over and over, that is the reason to stop."""
    made = project(tmp_path)
    sides = Side("base", made.base, sys.executable), Side("candidate", made.candidate, sys.executable)
    for steps, pairs, problems in (([0.0, 1.0, -1.0, 0.0], 4, 0), ([1.0] * 4, 4, 1)):
        course = Course(made.suite, sides, FEW, Limits({}, Tolerance()), 1, Wishes(), QUICK, tmp_path, lambda text: None)
        course.runner = made.runner()
        looks = iter([value for step in steps for value in ((0.0, 0.0), (1.0, 1.0 + step))])
        course.runner.clocks = lambda looks=looks: next(looks)
        found = course.run() if problems else course._measure(2, "stage 1", course._wanted)
        assert len(course.pairs) == pairs
        assert problems == (len(found.problems) if isinstance(found, Comparison) else 0)


def test_seeds_of_pairs_are_positive_and_their_own() -> None:
    """Python takes the hash seed 0 for no randomness at all, and two pairs must not share one."""
    seeds = {pair_seed(seed, index) for seed in range(20) for index in range(50)}
    assert len(seeds) == 1000
    assert all(0 < seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("g.a", "g.a", True),
        ("g.a[1]", "g.a[1]", True),
        ("g.a[1]", "g.a*", True),
        ("g.a[1]", "g.a[*", True),
        ("g.ab", "g.a", False),
    ],
)
def test_brackets_of_parameters_are_plain_characters(name: str, pattern: str, fits: bool) -> None:
    """`a[1]` names one benchmark and is no character class."""
    assert matches(name, (pattern,)) is fits


def test_what_spreads_more_detects_less() -> None:
    """The slowdown that a parallel benchmark would have shown grows with its spread, from the fail margin on."""
    design = Design(metrics=12)
    assert detectable(0.0, design, Tolerance()) == pytest.approx(0.02)
    assert 0.03 < detectable(0.02, design, Tolerance()) < 0.06 < detectable(0.1, design, Tolerance())


def test_an_estimate_becomes_a_measurement_that_judge_takes() -> None:
    """Metric, selector, interval and level are the estimate's, and the pairs are the samples."""
    found = measurement(Estimate("g.a", 2, 30, 0.05, 0.03, 0.07, 0.99, "m", True, True, 0.01))
    assert (found.key, found.value, found.n) == ("slowdown/g.a", 0.05, 30)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high, found.interval.level) == (0.03, 0.07, 0.99)
