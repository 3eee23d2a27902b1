"""Names and places of benchmarks that are easily mixed up."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_project import QUICK, SUITE, project

from gates.regression.comparison import compare
from gates.regression.naming import alike
from gates.regression.pairs import read_collected
from gates.regression.values import Design

FEW = Design(first=12, second=12, most=12)


def test_benchmarks_of_two_files_of_one_name_stay_two() -> None:
    """File and class are not always enough: of the same file name in two folders, one would be dropped silently."""
    entries = [
        {"name": "all", "id": "b/one/test_read.py::test_all", "unpinned": False},
        {"name": "all", "id": "b/two/test_read.py::test_all", "unpinned": True},
        {"name": "test_read.all", "id": "b/three/test_other.py::test_test_read.all", "unpinned": False},
        {"name": "", "id": "b/one/test_read.py::test_", "unpinned": False},
        {"name": "alone", "id": "b/one/test_read.py::test_alone", "unpinned": False},
    ]
    found = read_collected({"benchmarks": entries, "unreadable": {}})
    assert len(found.items) == 5
    assert list(found.items.values()) == [0, 1, 2, 3, 4]
    assert "alone" in found.items
    assert "" not in found.items
    assert len(found.unpinned) == 1


@pytest.mark.end_to_end
def test_after_a_parallel_benchmark_that_broke_both_sides_share_a_cpu_again(tmp_path: Path) -> None:
    """Else all that follow in the pair would be measured on CPUs of their own."""
    suite = (
        SUITE.replace("from pkg", "import os\nfrom pathlib import Path\nimport pytest\nfrom pkg")
        + """
@pytest.mark.unpinned
def test_broken(benchmark):
    benchmark(work)
    assert False

def look():
    work()
    Path(__file__).with_name("cpus.txt").write_text(str(os.sched_getaffinity(0)))

def test_look(benchmark):
    benchmark(look)
"""
    )
    made = project(tmp_path, suite)
    pair = made.runner().measure(0, 1, lambda name: True)
    assert "look" in pair.logs
    assert "broken" in pair.failed
    base, candidate = ((tree / "benchmarks/cpus.txt").read_text() for tree in (made.base, made.candidate))
    assert base == candidate


@pytest.mark.end_to_end
def test_a_second_benchmark_of_a_name_removes_nothing(tmp_path: Path) -> None:
    """The first one is called longer from then on; it is the same benchmark, and neither gone nor new."""
    made = project(tmp_path, candidate={"benchmarks/test_more.py": SUITE})
    found = compare(made.suite, made.base, made.candidate, FEW, seed=1, rounds=QUICK)
    assert found.removed == ()
    assert found.added == ("test_more.work",)
    assert [each.name for each in found.estimates] == ["test_it.work"]


@pytest.mark.end_to_end
def test_a_second_benchmark_that_the_base_can_not_import_leaves_the_first_its_name(tmp_path: Path) -> None:
    """On the base there is one of the name, on the candidate two."""
    new = SUITE.replace("from pkg", "from pkg.new")
    made = project(tmp_path, candidate={"benchmarks/test_more.py": new, "pkg/new.py": "from pkg import work\n"})
    found = compare(made.suite, made.base, made.candidate, FEW, seed=1, rounds=QUICK)
    assert (found.removed, dict(found.broken)) == ((), {})
    assert [each.name for each in found.estimates] == ["test_it.work"]


def test_names_of_two_suites_meet_by_what_pytest_calls_them() -> None:
    """One that moved keeps its name; one that would get another's is called as pytest calls it."""
    assert alike({"work": "a::w"}, {"a.work": "a::w", "b.work": "b::w"}) == {"work": "a.work"}
    assert alike({"work": "a::w"}, {"work": "b::w"}) == {"work": "work"}
    assert alike({"work": "a::w", "b.work": "b::w"}, {"work": "b::w"}) == {"work": "a::w", "b.work": "work"}
