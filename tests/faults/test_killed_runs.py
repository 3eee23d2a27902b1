"""Runs that are ended in the middle of a fault: 10 s later no process, mount, cgroup or file of theirs is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gates.faults.capability import works
from gates.leftovers import Leftover, entries, held, mounted, unique
from gates.pipeline import tree

pytestmark = pytest.mark.end_to_end

SOON = 10.0
START = 60.0
"""So long a busy machine may take until a fault is in force; what is promised begins when the run is ended."""
SCENARIO = """\
version: 1
arrivals: {rate: 20/s, for: 12 s}
mix: {submit_job: 1}
faults:
"""
ROOTS = """\
  - {at: 1 %, for: 90 %, disk-full: {node: node-b}}
  - {at: 92 %, for: 1 %, memory-pressure: {node: node-b}}
"""
ANYBODYS = """\
  - {at: 1 %, for: 90 %, disk-full: {node: node-b}}
"""


class Run:
    """A repository with one gate of the kind `validation`, run as a process with a registry and a lock of its own."""

    def __init__(self, path: Path, runs: Path, faults: str) -> None:
        self.path, self.runs, self.token = path, runs, f"test.{os.getpid()}.{path.parent.name}"
        self.state = path.parent / "state"
        self.started: list[subprocess.Popen[bytes]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATES_", "READINESS_"))}
        self.environ = kept | {
            "READINESS_TREE": self.token,
            "READINESS_LOCK_FOLDER": str(path.parent / "lock"),
            "READINESS_STATE_FOLDER": str(self.state),
            "GATES_ROOT": str(runs),
        }
        (path / "workflows").mkdir(parents=True)
        (path / "scenario.yaml").write_text(SCENARIO + faults)
        gate = {"kind": "validation", "scenario": "scenario.yaml", "criteria": {"errors.ratio": {"below": "99 %"}}}
        spec = {"version": 1, "target": {"federation": {"nodes": 2}}, "gates": {"fault": gate}}
        (path / "workflows" / "readiness.yaml").write_text(json.dumps(spec))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gates", *arguments]
        with (self.path.parent / "said").open("ab") as said:
            self.started.append(subprocess.Popen(command, cwd=self.path, env=self.environ, stdout=said, stderr=said))
        return self.started[-1]

    @property
    def said(self) -> str:
        return (self.path.parent / "said").read_text()

    def written_down(self) -> tuple[Leftover, ...]:
        return entries(self.state / "leftovers")

    def in_force(self) -> bool:
        """Whether the fault has been caused: something is in the registry that only a fault under way needs."""
        return any(entry.kind == "file" for entry in self.written_down())

    def processes(self) -> list[tree.Process]:
        return tree.find(self.token)

    def clear(self) -> None:
        """End and undo whatever a failed test leaves."""
        tree.end(self.token, grace=0)
        for each in self.started:
            each.kill()
            each.wait()
        subprocess.run([sys.executable, "-m", "gates", "faults", "clean"], env=self.environ, cwd=self.path, check=False)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run whose faults use everything that this user may use; whatever a failed test leaves is ended."""
    root = not works("tmpfs") and not works("cgroup-memory")
    if not root and works("user-namespace") and works("preload"):
        pytest.skip("neither root nor user namespaces nor a C compiler")
    made = Run(tmp_path / "repo", tmp_path / "runs", ROOTS if root else ANYBODYS)
    yield made
    made.clear()


def until(condition: Callable[[], Any], run: Run, within: float) -> None:
    """Wait until *condition* is true."""
    patience = time.monotonic() + within
    while not condition():
        assert time.monotonic() < patience, (run.said, run.written_down(), run.processes())
        time.sleep(0.02)


def nothing_of(things: tuple[Leftover, ...]) -> bool:
    """Whether none of *things* is there any more."""
    return not any(mounted(each.name) if each.kind == "mount" else Path(each.name).exists() for each in things)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_runner_that_is_ended_in_the_middle_of_a_fault_leaves_nothing(run: Run, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM let it heal, after SIGKILL its guardian does."""
    engine = run.start("run")
    until(run.in_force, run, START)
    things = run.written_down()
    engine.send_signal(number)
    ended = time.monotonic()
    engine.wait(SOON)
    until(lambda: not run.processes() and not run.written_down(), run, SOON - (time.monotonic() - ended))
    assert nothing_of(things)
    report = json.loads((run.runs / "latest" / "readiness.json").read_text())
    assert report["verdict"] == "inconclusive"


@pytest.mark.skipif(bool(works("cgroup-memory")), reason=works("cgroup-memory"))
def test_a_group_that_is_short_of_memory_is_gone_after_a_kill_of_the_runner(tmp_path: Path) -> None:
    """The node and its neighbour fight for memory at the limit, and neither they nor their group outlive the run."""
    run = Run(tmp_path / "repo", tmp_path / "runs", "  - {at: 1 %, for: 90 %, memory-pressure: {node: node-b}}\n")
    engine = run.start("run")
    try:
        until(run.in_force, run, START)
        things = run.written_down()
        (path,) = (Path(each.name) for each in things if each.kind == "cgroup")
        until(lambda: len((path / "cgroup.procs").read_text().split()) > 1, run, START)  # the neighbour is in it, too
        engine.kill()
        engine.wait(SOON)
        until(lambda: not run.processes() and not run.written_down(), run, SOON)
        assert nothing_of(things)
    finally:
        engine.kill()
        engine.wait()
        run.clear()


def test_a_gate_that_is_killed_leaves_nothing(run: Run) -> None:
    """The engine lives on, undoes what the gate made and says so."""
    engine = run.start("run")
    until(run.in_force, run, START)
    things = run.written_down()
    os.kill(things[0].owner.pid, signal.SIGKILL)
    engine.wait(SOON)
    assert not run.written_down()
    assert nothing_of(things)
    assert not run.processes()
    report = json.loads((run.runs / "latest" / "readiness.json").read_text())
    (gate,) = report["gates"]
    assert any("what it left outside of its processes" in finding["message"] for finding in gate["result"]["findings"])


def kill_guardian(run: Run) -> None:
    """Kill the guardian of *run*, which has no time to do anything."""
    for process in run.processes():
        if b"_guardian" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            os.kill(process.pid, signal.SIGKILL)


def test_a_gate_heals_its_fault_when_engine_and_guardian_are_killed(run: Run) -> None:
    """The kernel tells it that the engine is gone; what is left is a run to be closed."""
    engine = run.start("run")
    until(run.in_force, run, START)
    things = run.written_down()
    kill_guardian(run)
    engine.kill()
    engine.wait()
    until(lambda: not run.processes() and not run.written_down(), run, SOON)
    assert nothing_of(things)
    assert run.start("faults", "clean").wait(SOON) == 0
    report = json.loads((run.runs / "latest" / "readiness.json").read_text())
    assert report["verdict"] == "inconclusive"


def test_clean_undoes_what_is_left_when_guardian_and_gate_are_killed_too(run: Run) -> None:
    """`gates faults clean` ends the processes, undoes the rest and closes the run."""
    engine = run.start("run")
    until(run.in_force, run, START)
    things = run.written_down()
    kill_guardian(run)
    os.kill(engine.pid, signal.SIGSTOP)  # it would notice the end of its gate
    os.kill(things[0].owner.pid, signal.SIGKILL)
    engine.kill()
    engine.wait()
    assert run.written_down() == things
    assert run.start("faults", "clean").wait(SOON) == 0
    assert not run.processes()
    assert not run.written_down()
    assert nothing_of(things)


@pytest.mark.skipif(bool(works("tmpfs")), reason=works("tmpfs"))
def test_a_disk_that_fills_up_in_the_middle_of_a_fault_leaves_nothing(tmp_path: Path) -> None:
    """The run folder has no space left while the fault is in force: it is healed all the same."""
    runs = tmp_path / "runs"
    runs.mkdir()
    with held("mount", str(runs), folder=tmp_path / "own"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", unique("runs"), str(runs)], check=True)
        run = Run(tmp_path / "repo", runs, ROOTS.replace("90 %", "20 %").replace("92 %", "30 %"))
        engine = run.start("run")
        try:
            until(run.in_force, run, START)
            things = run.written_down()
            with pytest.raises(OSError, match="No space left"):
                (runs / "filler").write_bytes(bytes(32 << 20))
            assert engine.wait(40) != 0
            until(lambda: not run.processes() and not run.written_down(), run, SOON)
            assert nothing_of(things)
        finally:
            engine.kill()
            engine.wait()
            run.clear()
