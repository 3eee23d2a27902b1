"""A pair: two processes in lock-step, what they measure, and what becomes of a benchmark that goes wrong."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_project import PACKAGE, SUITE, project

from gates.regression.naming import longer
from gates.regression.pairs import PairError, read_collected
from gates.regression.processes import Suite, start
from gates.regression.session import CONTROL, Plan, Rounds, halves

pytestmark = pytest.mark.end_to_end

SLOWER = PACKAGE.replace("range(100)", "range(400)").replace("sum(range(400))", "sum(range(400)) - 74850")


def everything(name: str) -> bool:
    return True


def test_a_pair_measures_every_benchmark_and_the_control(tmp_path: Path) -> None:
    """Both sides run each benchmark and the control in as many rounds as asked for."""
    pair = project(tmp_path).runner().measure(3, 7, everything)
    assert (pair.index, pair.seed, pair.failed) == (3, 7, {})
    assert {name: len(logs) for name, logs in pair.logs.items()} == {"work": 2, CONTROL: 2}
    assert all(old > 0 and new > 0 for old, new in pair.seconds["work"])


def test_a_slower_candidate_has_positive_logarithms(tmp_path: Path) -> None:
    """Three times the work is a ratio well above 1, of candidate over base and not the other way; the control stays."""
    pair = project(tmp_path, candidate={"pkg/__init__.py": SLOWER}).runner().measure(0, 1, everything)
    assert statistics.median(pair.logs["work"]) > 0.4
    assert abs(statistics.median(pair.logs[CONTROL])) < 0.4


@pytest.mark.end_to_end
def test_the_order_follows_from_the_seed_and_differs_between_pairs(tmp_path: Path) -> None:
    """Who starts first is drawn by the pair's seed: the same again for the same seed, and not always the same side."""
    runner = project(tmp_path).runner()
    first = [runner.measure(index, seed, lambda name: False).first_started for index, seed in enumerate((1, 1, 2, 3, 4, 5))]
    assert first[0] == first[1]
    assert set(first) == {"base", "candidate"}


@pytest.mark.end_to_end
def test_both_sides_share_a_hash_seed_that_the_pair_decides(tmp_path: Path) -> None:
    """The hash of a string is the same on both sides of a pair, and another in the next pair."""
    suite = (
        SUITE
        + "\nfrom pathlib import Path\nprint_to = Path(__file__).with_name('hash.txt')\nprint_to.write_text(str(hash('a')))\n"
    )
    made = project(tmp_path, suite)
    runner = made.runner()
    found = []
    for seed in (1, 2):
        runner.measure(0, seed, everything)
        found.append({(tree / "benchmarks/hash.txt").read_text() for tree in (made.base, made.candidate)})
    assert len(found[0]) == len(found[1]) == 1
    assert found[0] != found[1]


def test_both_sides_are_pinned_to_the_same_single_cpu(tmp_path: Path) -> None:
    """While it is measured, a process may run on one CPU only, the same on both sides."""
    suite = """
import os
from pathlib import Path
from pkg import work

def look():
    work()
    Path(__file__).with_name("cpus.txt").write_text(str(os.sched_getaffinity(0)))

def test_look(benchmark):
    benchmark(look)
"""
    made = project(tmp_path, suite)
    made.runner().measure(0, 1, everything)
    base, candidate = ((tree / "benchmarks/cpus.txt").read_text() for tree in (made.base, made.candidate))
    assert base == candidate
    assert base.count(",") == 0


@pytest.mark.end_to_end
def test_parallel_sides_have_cpus_of_their_own(tmp_path: Path) -> None:
    """A benchmark marked `unpinned` runs on both sides at once, on CPUs that the sides do not share."""
    assert halves((3, 1, 0, 2)) == ([0, 1], [2, 3])
    assert halves((5,)) == ([5], [5])
    suite = SUITE.replace("def test_work", "import pytest\n\n@pytest.mark.unpinned\ndef test_work")
    runner = project(tmp_path, suite).runner()
    pair = runner.measure(0, 1, everything)
    assert runner.is_parallel("work")
    assert len(pair.logs["work"]) == 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise ValueError('on purpose')", "failed on the candidate: "),
        pytest.param("import pytest; pytest.skip('not today')", "skipped on the candidate", marks=pytest.mark.end_to_end),
        pytest.param("return None", "never used the fixture `benchmark` on the candidate", marks=pytest.mark.end_to_end),
        ("import os; os._exit(3)", "the process of the candidate ended with exit code 3"),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "the process of the candidate was ended by SIGKILL",
            marks=pytest.mark.end_to_end,
        ),
        ("benchmark(work); assert False", "failed on the candidate: "),
        pytest.param("benchmark(work); benchmark(work)", "failed on the candidate: ", marks=pytest.mark.end_to_end),
    ],
)
def test_a_benchmark_that_goes_wrong_on_one_side_is_named_and_the_others_are_measured(
    tmp_path: Path, body: str, why: str
) -> None:
    """A failure, a skip or a death on one side breaks that benchmark alone, says so, and leaves no half-measured numbers."""
    suite = (
        SUITE + f"\ndef test_bad(benchmark):\n    from pkg import WELL\n    if not WELL:\n        {body}\n    benchmark(work)\n"
    )
    suite += "\ndef test_after(benchmark):\n    benchmark(work)\n"
    made = project(
        tmp_path,
        suite,
        base={"pkg/__init__.py": PACKAGE + "WELL = True\n"},
        candidate={"pkg/__init__.py": PACKAGE + "WELL = False\n"},
    )
    runner = made.runner()
    pair = runner.measure(0, 1, everything)
    assert set(pair.logs) == {"work", "after", CONTROL}
    assert pair.failed["bad"].startswith(why)
    assert runner.broken == pair.failed
    assert "bad" not in runner.measure(1, 2, everything).failed


@pytest.mark.end_to_end
def test_a_benchmark_that_hangs_is_named_with_the_time_it_was_given(tmp_path: Path) -> None:
    """A call that does not return ends the pair's processes after the patience; the pair is measured again without it."""
    suite = SUITE + "\ndef test_endless(benchmark):\n    import threading\n    benchmark(threading.Event().wait)\n"
    pair = project(tmp_path, suite).runner(Rounds(2, 0.001, 2, patience=5.0)).measure(0, 1, everything)
    assert "did not answer within 5 s" in pair.failed["endless"]
    assert set(pair.logs) == {"work", CONTROL}


def test_a_package_from_elsewhere_is_no_measurement(tmp_path: Path) -> None:
    """A base whose package was imported from the candidate's tree is refused: it would compare a tree with itself."""
    hijack = f"import sys\nsys.path.insert(0, {str(tmp_path / 'new')!r})\n"
    made = project(tmp_path, base={"benchmarks/conftest.py": hijack})
    with pytest.raises(PairError, match="base did not measure its own tree: pkg from"):
        made.runner().measure(0, 1, everything)


@pytest.mark.end_to_end
def test_a_suite_that_imports_nothing_of_the_tree_is_no_measurement(tmp_path: Path) -> None:
    """Benchmarks of the standard library alone say nothing about either tree."""
    made = project(tmp_path, "def test_work(benchmark):\n    benchmark(sorted, [3, 2, 1])\n")
    with pytest.raises(PairError, match="import nothing of the base's tree"):
        made.runner().measure(0, 1, everything)


def test_a_side_without_benchmarks_says_why(tmp_path: Path) -> None:
    """A base that lacks the package collects nothing; the reason is its own import error."""
    made = project(tmp_path)
    (made.base / "pkg/__init__.py").unlink()
    (made.base / "pkg").rmdir()
    with pytest.raises(PairError, match="the base has no benchmark .*ModuleNotFoundError: No module named 'pkg'"):
        made.runner().measure(0, 1, everything)


@pytest.mark.end_to_end
def test_what_pytest_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    """A conftest.py that can't be imported ends the comparison with the process's last lines."""
    made = project(tmp_path, candidate={"conftest.py": "raise RuntimeError('no entry')\n"})
    with pytest.raises(PairError, match="(?s)the process of the candidate .*no entry"):
        made.runner().measure(0, 1, everything)


def test_the_fixture_does_what_suites_use(tmp_path: Path) -> None:
    """Groups, parameters, pedantic with setup and teardown, statistics and extra_info work as with pytest-benchmark."""
    suite = """
import pytest
from pkg import work

@pytest.mark.benchmark(group="g")
@pytest.mark.parametrize("size", [1, 2])
def test_sized(benchmark, size):
    assert benchmark(work) == 4950
    assert benchmark.stats["mean"] > 0
    assert benchmark.stats.stats.rounds == len(benchmark.stats.data)
    benchmark.extra_info["size"] = size
    assert benchmark.group == "g" and benchmark.param == str(size) and benchmark.params == {"size": size}

def test_pedantic(benchmark):
    made, gone = [], []
    def setup():
        made.append(1)
        return ([3, 1, 2],), {"reverse": True}
    assert benchmark.pedantic(sorted, setup=setup, teardown=lambda *a, **k: gone.append(1), rounds=5) == [3, 2, 1]
    assert made == gone and len(made) > 2

def test_plain_pedantic(benchmark):
    assert benchmark.pedantic(max, args=(1, 2), kwargs={"key": abs}, iterations=10) == 2
"""
    pair = project(tmp_path, suite).runner().measure(0, 1, everything)
    assert pair.failed == {}
    assert set(pair.logs) == {"g.sized[1]", "g.sized[2]", "pedantic", "plain_pedantic", CONTROL}


@pytest.mark.end_to_end
def test_the_repository_s_own_options_of_pytest_do_not_matter(tmp_path: Path) -> None:
    """Options that need plug-ins, warnings as errors and hooks in conftest.py don't keep a suite from being measured."""
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--cov --strict-markers -n 4'\nfilterwarnings = ['error']\n",
        "conftest.py": "def pytest_benchmark_update_json(config, benchmarks, output_json):\n    pass\n",
    }
    pair = project(tmp_path, base=files, candidate=files).runner().measure(0, 1, everything)
    assert "work" in pair.logs


def test_names_are_unique_and_never_the_control_s() -> None:
    """Two benchmarks of one name are told apart by file and class; one called `control` leaves that name to ours."""
    entries = [
        {"name": "all", "id": "b/test_read.py::TestBig::test_all", "unpinned": False},
        {"name": "all", "id": "b/test_write.py::test_all", "unpinned": True},
        {"name": "control", "id": "b/test_write.py::test_control", "unpinned": False},
    ]
    found = read_collected({"benchmarks": entries, "unreadable": {}})
    assert list(found.items) == ["test_read.TestBig.all", "test_write.all", "test_write.control"]
    assert found.unpinned == {"test_write.all"}
    assert longer("a/test_b.py::test_c[x::y]").endswith("y]")


@pytest.mark.parametrize(
    ("call", "plan"),
    [
        (0.0001, Plan(8, 10, 4, warm=True)),
        (0.003, Plan(8, 2, 1, warm=True)),
        (0.05, Plan(4, 1, 1, warm=False)),
        (2.0, Plan(2, 1, 1, warm=False)),
    ],
)
def test_a_round_is_as_long_as_asked_for_whatever_a_call_takes(call: float, plan: Plan) -> None:
    """Short calls are repeated; long ones are a round by themselves, in fewer rounds."""
    assert Rounds().of(call) == plan


def test_a_moved_clock_is_seen(tmp_path: Path) -> None:
    """The pair says by how much the wall clock moved against the monotonic one."""
    runner = project(tmp_path).runner()
    looks = iter([(0.0, 100.0), (1.0, 101.5)])
    runner.clocks = lambda: next(looks)
    assert runner.measure(0, 1, lambda name: False).clock_step == pytest.approx(0.5)


def test_a_killed_coordinator_leaves_no_worker(tmp_path: Path) -> None:
    """kill -9 of the process that started them ends both workers, also in the middle of a call that never returns."""
    suite = (
        SUITE
        + """
def test_endless(benchmark):
    import os, threading
    from pathlib import Path
    place = Path(__file__).with_name("pid.txt")
    place.with_suffix(".new").write_text(str(os.getpid()))
    place.with_suffix(".new").rename(place)
    benchmark(threading.Event().wait)
"""
    )
    made = project(tmp_path, suite)
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from small_project import Project
made = Project(Path({str(made.base)!r}), Path({str(made.candidate)!r}), Path({str(made.scratch)!r}))
made.runner().measure(0, 1, lambda name: True)
"""
    coordinator = subprocess.Popen([sys.executable, "-c", program])
    files = [tree / "benchmarks/pid.txt" for tree in (made.base, made.candidate)]
    until = time.monotonic() + 20
    while not all(file.exists() for file in files):
        assert time.monotonic() < until
        time.sleep(0.01)
    coordinator.kill()
    coordinator.wait()
    pids = [int(file.read_text()) for file in files]
    while any(map(alive, pids)):
        assert time.monotonic() < until
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.end_to_end
def test_what_a_benchmark_started_ends_with_its_worker(tmp_path: Path) -> None:
    """A process that a benchmark leaves behind is gone after the pair."""
    suite = (
        SUITE
        + """
def test_leaving(benchmark):
    import subprocess, sys
    from pathlib import Path
    left = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    Path(__file__).with_name("pid.txt").write_text(str(left.pid))
    benchmark(work)
    left.returncode = 0
"""
    )
    made = project(tmp_path, suite)
    made.runner().measure(0, 1, everything)
    until = time.monotonic() + 10
    for tree in (made.base, made.candidate):
        while alive(int((tree / "benchmarks/pid.txt").read_text())):
            assert time.monotonic() < until
            time.sleep(0.01)


def test_the_worker_needs_no_package_of_ours(tmp_path: Path) -> None:
    """The worker's file imports the standard library and pytest alone, as the tree may be this project at another commit."""
    made = project(tmp_path)
    worker = start(made.runner().base, made.runner().candidate, Suite(("benchmarks",)), tmp_path / "log", hash_seed=1)
    try:
        worker.receive(20)
        worker.send(do="end")
        told = worker.receive(20)
    finally:
        worker.close()
    assert not [name for name in told["own"] + told["foreign"] if name.startswith("gates")]
    text = (Path(__file__).parents[2] / "gates/regression/worker.py").read_text()
    assert "from gates" not in text
    assert "import gates" not in text
