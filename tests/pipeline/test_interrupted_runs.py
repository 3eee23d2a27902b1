"""Runs that are ended from outside: nothing is left behind, and the report is inconclusive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from .conftest import Repository, until

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
