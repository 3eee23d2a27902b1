"""The machine lock: alone or shared, who waits queues, and what runs inside a holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gates.pipeline.lock import Holder, LockCancelledError, LockRefusedError, LockTimeoutError, MachineLock

from .conftest import until


@pytest.fixture
def lock(tmp_path: Path) -> MachineLock:
    return MachineLock(tmp_path / "lock")


def hold(lock: MachineLock, alone: bool, name: str, log: list[str], over: threading.Event) -> threading.Thread:
    """A thread that holds the lock until *over*, and logs when it waits and when it has it."""

    def body() -> None:
        waiting = lambda holders: log.append(f"{name} waits for {', '.join(h.gate for h in holders)}")  # noqa: E731
        with lock.hold(alone, "run", name, waiting=waiting):
            log.append(name)
            over.wait(10)

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_sharers_run_beside_each_other(lock: MachineLock) -> None:
    """Two shared requests are both granted at once."""
    with lock.hold(False, "run", "one"), lock.hold(False, "run", "two"):
        assert sorted(holder.gate for holder in lock.holders()) == ["one", "two"]
    assert lock.holders() == ()


def test_a_new_sharer_queues_behind_one_who_waits_to_be_alone(lock: MachineLock) -> None:
    """The turnstile keeps a stream of sharers from starving a measurement."""
    log: list[str] = []
    over = {name: threading.Event() for name in ("first", "alone", "late")}
    threads = [hold(lock, False, "first", log, over["first"])]
    until(lambda: "first" in log)
    threads.append(hold(lock, True, "alone", log, over["alone"]))
    until(lambda: "alone waits for first" in log)
    threads.append(hold(lock, False, "late", log, over["late"]))
    until(lambda: "late waits for first" in log)
    over["first"].set()
    until(lambda: "alone" in log)
    assert "late" not in log
    over["alone"].set()
    until(lambda: "late" in log)
    over["late"].set()
    for thread in threads:
        thread.join()


def test_a_request_to_be_alone_inside_a_sharer_is_refused_by_name(lock: MachineLock) -> None:
    """It could never be granted; a shared request inside a sharer needs nothing."""
    inside = MachineLock(lock.folder, "shared outer-run unit")
    with (
        pytest.raises(LockRefusedError, match="gate inner measures .* inside the gate unit of run outer-run"),
        inside.hold(True, "r", "inner"),
    ):
        pass
    with inside.hold(False, "r", "inner") as held:
        assert (held.inherit, held.descriptors) == ("shared outer-run unit", ())


def test_inside_one_who_is_alone_nothing_is_taken(lock: MachineLock) -> None:
    """The holder's own descendants would wait for themselves; what they start inherits the same holder."""
    with (
        lock.hold(True, "run", "outer") as outer,
        MachineLock(lock.folder, outer.inherit).hold(True, "inner-run", "inner") as held,
    ):
        assert held.inherit == "alone run outer"
        assert [holder.gate for holder in lock.holders()] == ["outer"]


def test_waiting_ends_after_its_time_and_names_the_holder(lock: MachineLock) -> None:
    """Nobody waits for ever: the error says for how long and for whom."""
    seconds = iter(range(0, 100_000, 60))
    impatient = MachineLock(lock.folder, clock=lambda: next(seconds), sleep=lambda pause: None)
    message = rf"waited 30 minutes .* run first, gate long \(pid {os.getpid()}\)"
    with (
        lock.hold(True, "first", "long"),
        pytest.raises(LockTimeoutError, match=message),
        impatient.hold(True, "second", "short"),
    ):
        pass


def test_a_run_that_is_ended_stops_waiting(lock: MachineLock) -> None:
    """Ctrl-C reaches a gate that waits for the machine."""
    with (
        lock.hold(True, "first", "long"),
        pytest.raises(LockCancelledError),
        lock.hold(False, "b", "c", cancelled=lambda: True),
    ):
        pass


def test_a_killed_holder_lets_go(lock: MachineLock) -> None:
    """The lock is held by descriptor, so the kernel gives it back; the note of the dead tells nothing."""
    code = (
        "import sys, time; from pathlib import Path; from gates.pipeline.lock import MachineLock\n"
        "with MachineLock(Path(sys.argv[1])).hold(True, 'gone', 'dead'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock.folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert lock.holders() == (Holder("gone", "dead", process.pid, "alone"),)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with lock.hold(True, "run", "next"):
        assert [holder.gate for holder in lock.holders()] == ["next"]
