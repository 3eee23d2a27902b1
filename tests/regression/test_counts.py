"""Exact counts: allocations, bytes, statements and system calls; of two trees."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from gates.errors import GatesError
from gates.regression import allocations, counts, system_calls
from gates.regression.counts import Growth, Tree, count, grown, strays

SUITE = """
import os, random, sqlite3
import pytest
from measured import work

@pytest.mark.benchmark(group="it")
def test_work(benchmark):
    benchmark(work)

def test_pedantic(benchmark):
    benchmark.pedantic(len, setup=lambda: ((list(range(50)),), {}), rounds=3)

def test_reads(benchmark):
    benchmark(os.stat, "/")

def test_statements(benchmark):
    connection = sqlite3.connect(":memory:")
    try:
        benchmark(lambda: [connection.execute("select 1").fetchall() for _ in range(3)])
    finally:
        connection.close()

def test_random(benchmark):
    benchmark(lambda: bytearray(random.randrange(600, 90000)))

def test_broken(benchmark):
    raise RuntimeError("out of order")

def test_idle(benchmark):
    pass

@pytest.mark.skip(reason="not today")
def test_later(benchmark):
    benchmark(work)

def test_no_benchmark():
    raise AssertionError("it is no benchmark")
"""


def counted(work: Callable[[], object], times: int = 6) -> list[int]:
    """Blocks of each call of *work*."""
    book = array("q", bytes(8 * 4 * times))
    with allocations.Counter() as counter:
        for row in range(0, 4 * times, 4):
            counter.note(book, row)
            work()
            counter.note(book, row + 2)
    return [book[row + 2] - book[row] for row in range(0, 4 * times, 4)]


@pytest.mark.skipif(bool(allocations.unsupported()), reason=allocations.unsupported())
def test_blocks_that_are_given_back_at_once_are_counted() -> None:
    """What is alive says nothing of them: a hundred large objects that die in the call are a hundred blocks."""
    few = counted(lambda: [bytes(600) for _ in range(1)])
    many = counted(lambda: [bytes(600) for _ in range(101)])
    assert 100 <= many[-1] - few[-1] <= 120
    assert counted(lambda: None)[-1] < 5


def test_system_calls_of_the_operation_alone_are_counted() -> None:
    """Three looks at a file are three calls, nothing is none, whatever the loop around them does."""
    if threading.active_count() > 1:
        pytest.skip("threads of other tests are running")
    assert system_calls.count(lambda: [os.stat("/") for _ in range(3)], 5) == (3, 3, 3, 3, 3)
    assert system_calls.count(lambda: None, 3) == (0, 0, 0)


def test_an_operation_that_ends_its_process_is_not_counted() -> None:
    """It is said, rather than waited for."""
    if threading.active_count() > 1:
        pytest.skip("threads of other tests are running")
    with pytest.raises(system_calls.Uncountable, match="ended its process"):
        system_calls.count(lambda: os._exit(0), 3)


def test_threads_make_system_calls_uncountable() -> None:
    """A fork has one thread: what the others would have done is not known."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(system_calls.Uncountable, match="other threads"):
            system_calls.count(lambda: None, 3)
    finally:
        done.set()
        thread.join()


def test_growth_is_taken_where_both_sides_have_the_number() -> None:
    """A new benchmark grew from nothing known; from 0 to 2 is 200 %, since it must not be infinite."""
    base = {"a": {"allocations": 4, "bytes": 100}, "gone": {"allocations": 1}}
    candidate = {"a": {"allocations": 8, "statements": 1}, "new": {"allocations": 9}}
    assert grown(base, candidate) == (Growth("allocations", "a", 4, 8),)
    assert Growth("allocations", "a", 4, 8).ratio == 1.0
    assert Growth("allocations", "a", 0, 2).ratio == 2.0
    assert Growth("bytes", "a", 100, 50).ratio == -0.5


def trees(tmp_path: Path, *works: str) -> list[Tree]:
    """Trees with the same suite over packages of their own, in `src`."""
    found = []
    for number, work in enumerate(works):
        tree = tmp_path / f"tree-{number}"
        for folder in ("suite", "src"):
            (tree / folder).mkdir(parents=True)
        (tree / "suite" / "test_it.py").write_text(SUITE)
        (tree / "src" / "measured.py").write_text(f"def work():\n    return {work}\n")
        found.append(Tree(tree, ("src",)))
    return found


@pytest.mark.end_to_end
def test_a_suite_is_counted_on_two_trees(tmp_path: Path) -> None:
    """Each side imports its own package; twice the objects are seen, and what is left out is named with its reason."""
    both = trees(tmp_path, "[bytes(600) for _ in range(10)]", "[bytes(600) for _ in range(20)]")
    base, candidate = count("suite", both, tmp_path / "scratch")
    growth = {(each.metric, each.name): each for each in grown(base.numbers, candidate.numbers)}
    assert growth["allocations", "it.work"].after - growth["allocations", "it.work"].before >= 10
    assert growth["bytes", "it.work"].ratio > 0.8
    assert growth["statements", "statements"].after == 3
    assert growth["system_calls", "reads"].after == 1
    assert candidate.numbers["pedantic"]["allocations"] <= 1, "what is set up is not counted"
    assert "not deterministic" in candidate.dropped["random"]["bytes"]
    assert set(candidate.failed) == {"broken", "idle", "later"}
    assert "out of order" in candidate.failed["broken"]
    assert "no_benchmark" not in candidate.failed
    assert strays(base, both[0].path, [both[1].path], ("measured",)) == ()


@pytest.mark.end_to_end
def test_a_package_of_the_other_tree_is_noticed(tmp_path: Path) -> None:
    """A tree without the package that is measured would silently measure another's."""
    own, other = trees(tmp_path, "1", "2")
    (own.path / "src" / "measured.py").unlink()
    (mixed,) = count("suite", [Tree(own.path, ("src", str(other.path / "src")))], tmp_path / "scratch")
    assert strays(mixed, own.path, [other.path], ()) == (str(other.path / "src" / "measured.py"),)


@pytest.mark.end_to_end
def test_a_suite_that_can_not_be_imported_is_not_counted(tmp_path: Path) -> None:
    """The last lines of pytest say why."""
    (tree,) = trees(tmp_path, "1")
    (tree.path / "src" / "measured.py").unlink()
    with pytest.raises(GatesError, match=r"could not be counted.*measured"):
        count("suite", [tree], tmp_path / "scratch")


def test_the_alias_of_the_plug_in_is_its_own_name() -> None:
    """The plug-in reads its file's name by the same variable that the coordinator sets."""
    from gates.regression import counting

    assert counting.COUNTS_FILE == counts._FILE
