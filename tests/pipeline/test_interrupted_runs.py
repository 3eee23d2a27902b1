"""Runs that are ended from outside: nothing is left behind, and the report is inconclusive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gates import codec
from gates.cli.run import Options, perform
from gates.errors import Exit, GatesError
from gates.pipeline.alive import EngineNote, refuse_going_on, working
from gates.pipeline.engine import Engine
from gates.pipeline.folder import RunFolder
from gates.registry import plugins

from .conftest import ODD, Repository, until

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_run_as_inconclusive(repository: Repository, number: signal.Signals) -> None:
    """Exit 130, a closed ledger, a cancelled gate and one that never began, and no process."""
    repository.spec(slow={"do": "hang"}, later={"needs": ["slow"]})
    engine = repository.start("run")
    until(lambda: repository.hangs("slow"))
    engine.send_signal(number)
    assert engine.wait(10) == 130
    assert not repository.left()
    assert [line["event"] for line in repository.ledger()] == ["start", "end"]
    assert repository.report()["verdict"] == "inconclusive"
    assert repository.gate("slow")["execution"] == repository.gate("later")["execution"] == "cancelled"


def test_a_killed_engine_leaves_nothing_and_its_run_is_closed(repository: Repository) -> None:
    """kill -9 of the engine: its guardian ends the tree, heals the fault and closes the run within 10 seconds."""
    repository.spec(slow={"do": "heal"}, later={"needs": ["slow"]})
    engine = repository.start("run")
    until(lambda: repository.hangs("slow"))
    engine.kill()
    engine.wait()
    killed = time.monotonic()
    until(lambda: not repository.left(), within=10)
    assert time.monotonic() - killed < 10
    assert [line["event"] for line in repository.ledger()] == ["start", "end"]
    assert repository.report()["verdict"] == "inconclusive"
    assert repository.gate("slow")["execution"] == "cancelled"
    assert repository.gate("slow")["reason"] == "the run was killed before this gate had ended"
    assert (repository.latest / "slow" / "healed").exists()


def test_the_next_run_tidies_up_when_the_guardian_was_killed_too(repository: Repository) -> None:
    """With engine and guardian killed, the next run ends what is left, closes the run and says so."""
    repository.spec(slow={"do": "hang"})
    engine = repository.start("run")
    until(lambda: repository.hangs("slow"))
    first = repository.latest
    guardian = next(process for process in repository.left() if "_guardian" in command_line(process.pid))
    os.kill(guardian.pid, signal.SIGKILL)
    engine.kill()
    engine.wait()
    assert repository.left()
    repository.spec(good={})
    assert repository.run() == 0
    assert f"the run {first.name} had been killed" in repository.said
    assert not repository.left()
    assert repository.report(first)["verdict"] == "inconclusive"
    assert [line["event"] for line in repository.ledger()] == ["start", "end", "start", "end"]


def test_an_engine_whose_parent_is_killed_ends_its_run(repository: Repository) -> None:
    """The engine asks the kernel to be told when its parent dies, and closes the run as inconclusive."""
    repository.spec(slow={"do": "hang"})
    code = f"import subprocess, sys; subprocess.run([{sys.executable!r}, '-m', 'gates', 'run'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository.path, env=repository.environ, stderr=subprocess.DEVNULL
    )
    until(lambda: repository.hangs("slow"))
    parent.kill()
    parent.wait()
    until(lambda: not repository.left(), within=10)
    assert repository.report()["verdict"] == "inconclusive"


def test_a_result_that_the_killed_engine_had_not_checked_counts_for_nothing(repository: Repository) -> None:
    """The gate wrote a passing result and went on; the engine died before the gate's end: it was not measured to the end."""
    repository.spec(good={"do": "early"})
    engine = repository.start("run")
    until(lambda: repository.hangs("good"))
    assert (repository.latest / "good" / "result.json").exists()
    engine.kill()
    engine.wait()
    until(lambda: not repository.left(), within=10)
    assert repository.report()["verdict"] == "inconclusive"
    assert repository.gate("good")["execution"] == "cancelled"
    assert (repository.latest / "good" / "result.invalid.json").exists()


def test_the_guardian_waits_for_the_lock_of_the_dead_engine(repository: Repository) -> None:
    """The kernel may close the engine's pipe before it lets go of its lock; the guardian must not take that for an engine."""
    repository.spec(slow={})
    assert repository.run("run", "--run", "one", "--only", "slow") == 0
    folder = RunFolder(repository.runs / "one")
    (folder.path / "slow" / "result.json").unlink()
    codec.write(folder.engine, EngineNote(os.getpid(), "no-such-tree", ("slow",)))
    with working(folder):
        guardian = repository.start("_guardian", str(folder.path), stdin=subprocess.DEVNULL)
        until(lambda: guardian.poll() is not None or waits_for_a_lock(guardian.pid))
        assert guardian.poll() is None
    assert guardian.wait(10) == 0
    assert repository.report(folder.path)["verdict"] == "inconclusive"
    assert [line["event"] for line in repository.ledger()] == ["start", "end"]


def test_an_engine_does_not_go_on_with_a_run_that_was_killed(repository: Repository) -> None:
    """As under Nox: the first engine and its guardian are killed, the second closes the run instead of hiding that."""
    repository.spec(slow={"do": "hang"}, later={})
    engine = repository.start("run", "--run", "one", "--only", "slow")
    until(lambda: (log := repository.runs / "one/slow/output.log").exists() and "hangs" in log.read_text())
    for process in repository.left():
        if process.pid != engine.pid and "_guardian" in command_line(process.pid):
            os.kill(process.pid, signal.SIGKILL)
    engine.kill()
    engine.wait()
    assert repository.run("run", "--run", "one", "--only", "later") == 3
    assert "had been killed" in repository.said
    assert not repository.left()
    assert repository.report(repository.runs / "one")["verdict"] == "inconclusive"


def test_a_report_does_not_close_a_run_that_is_going_on(repository: Repository) -> None:
    """Somebody who looks at it from another terminal is told to wait; the run is judged when it has ended."""
    repository.spec(slow={"do": "hang"})
    engine = repository.start("run")
    until(lambda: repository.hangs("slow"))
    assert repository.run("report") == 3
    assert "still going on" in repository.said
    assert [line["event"] for line in repository.ledger()] == ["start"]
    engine.terminate()
    assert engine.wait(10) == 130
    assert repository.run("report") == 3
    assert repository.report()["findings"] == []


def test_a_report_waits_for_the_guardian_of_a_dead_engine(tmp_path: Path) -> None:
    """As under Nox, whose session `report` follows at once on a killed engine; a living engine is not waited for."""
    folder = RunFolder(tmp_path)
    with contextlib.ExitStack() as guardian:
        guardian.enter_context(working(folder))
        codec.write(folder.engine, EngineNote(os.getpid(), "no-such-tree", ("slow",)))
        with pytest.raises(GatesError, match="still going on"):
            refuse_going_on(folder, sleep=lambda seconds: pytest.fail("it waited for a living engine"))
        with subprocess.Popen(["true"]) as ended:
            codec.write(folder.engine, EngineNote(ended.pid, "no-such-tree", ("slow",)))
        refuse_going_on(folder, sleep=lambda seconds: guardian.close())


def test_a_report_by_a_stranger_does_not_close_a_run_between_two_engines(repository: Repository) -> None:
    """The process that hands the run from engine to engine lives, so only what it starts may close the run."""
    repository.spec(one={}, two={})
    script = "import os, subprocess, sys; g = [sys.executable, '-m', 'gates']; e = os.environ | {'GATES_RUN': 'shared'}\n"
    script += "subprocess.run([*g, 'run', '--only', 'one'], env=e); print('ready', flush=True); sys.stdin.read()\n"
    script += "subprocess.run([*g, 'run', '--only', 'two'], env=e); sys.exit(subprocess.run([*g, 'report'], env=e).returncode)"
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", script], cwd=repository.path, env=repository.environ, **streams) as session:
        assert session.stdout is not None
        assert session.stdin is not None
        session.stdout.readline()
        assert repository.run("report", "shared") == 3
        assert "still going on" in repository.said
        session.stdin.close()
        assert session.wait(20) == 0


def test_a_run_that_is_interrupted_outside_of_its_engine_has_a_report(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the moment between the plan and the first gate: the run has begun, so it ends with a report."""
    repository.spec(good={})
    monkeypatch.chdir(repository.path)
    monkeypatch.syspath_prepend(str(ODD))
    monkeypatch.setattr(Engine, "execute", interrupted)
    options = Options("workflows/readiness.yaml", None, (), (), None, None, None, False)
    plugins.cache_clear()
    assert perform(options) is Exit.INTERRUPTED
    plugins.cache_clear()
    assert repository.report()["verdict"] == "inconclusive"
    assert [line["event"] for line in repository.ledger()] == ["start", "end"]


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def waits_for_a_lock(pid: int) -> bool:
    with open("/proc/locks") as file:
        return any("->" in line and str(pid) in line.split() for line in file)


def test_an_abandoned_run_counts_as_inconclusive_in_the_history(repository: Repository) -> None:
    """A start without an end whose process is gone is shown as abandoned by the next run of the commit."""
    repository.spec(good={})
    assert repository.run("run", "--run", "first") == 0
    assert repository.run("run") == 0
    assert repository.report()["plan"]["history"]["runs"] == []
    # the session that shared `first` was this test's process, which still lives; without it the run is abandoned
    (repository.runs / "first" / ".session.json").unlink()
    assert repository.run("run") == 0
    found = repository.report()["plan"]["history"]["runs"]
    assert ("first", "abandoned") in [(run["run"], run["verdict"]) for run in found]
    assert sorted(run["verdict"] for run in found) == ["abandoned", "ready"]


def command_line(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()
