"""The timeline when something goes wrong: a fault that failed to heal, came too late or never reached the node is not seen."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from waiting import await_that

from gates import registry
from gates.errors import GatesError
from gates.faults.capability import works
from gates.faults.node_fault import state
from gates.faults.timeline import PlannedFault, play
from gates.faults.watch import Watch
from gates.faults.workshop import Workshop, workshop
from gates.fields import WITH_UNITS
from gates.leftovers import PLACE
from gates.model import TargetPlan
from gates.target import RunningTarget, TargetError, running
from gates.target.family import family

SERVER = """
import http.server, sys
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


class Odd:
    """A fault that its probe sees start and end, and that raises *problem* where it is told to."""

    name = "odd"

    def __init__(self, cause: Exception | None = None, heal: Exception | None = None, now: Callable[[], object] = int) -> None:
        self._cause, self._heal, self._now = cause, heal, now

    @contextmanager
    def apply(self, target: Any, settings: Mapping[str, Any], *, clock: Callable[[], float]) -> Iterator[Watch]:
        if self._cause:
            raise self._cause
        watch = Watch(caused=1.0, seen_start=1.0, detail="looked")
        yield watch
        self._now()
        watch.healing, watch.seen_end = 2.0, 2.0
        if self._heal:
            raise self._heal


def odd(start: float, end: float) -> PlannedFault:
    return PlannedFault("odd", {}, start, end, ("b",))


@pytest.mark.parametrize("problem", [OSError(5, "Input/output error"), TargetError("it does not get ready")])
def test_a_heal_that_fails_was_not_seen_to_end(problem: Exception) -> None:
    """Whatever the probe saw: the machine is not as it was; the reason is told, and no later fault is caused."""
    faults = [odd(0, 0), odd(0, 0)]
    first, second = play(faults, None, {"odd": Odd(heal=problem)}, clock=lambda: 0.0, stop=Event())  # type: ignore[arg-type]
    assert (first.seen_start, first.seen_end) == (1.0, None)
    assert str(problem).rpartition("] ")[2] in first.detail
    assert second.detail == "not caused: an earlier fault was not healed"


@pytest.mark.parametrize("problem", [PermissionError(13, "Permission denied"), ProcessLookupError(3, "No such process")])
def test_a_cause_that_the_machine_refuses_is_told(problem: Exception) -> None:
    """It is no internal error: the fault was not seen, and this is why."""
    (seen,) = play([odd(0, 0)], None, {"odd": Odd(cause=problem)}, clock=lambda: 0.0, stop=Event())  # type: ignore[arg-type]
    assert not seen.seen
    assert problem.args[1] in seen.detail


def test_a_fault_whose_time_was_over_is_not_caused() -> None:
    """The one before it took too long to heal; one that lasts no time at all would prove nothing."""
    now = [0.0]
    known = {"odd": Odd(now=lambda: now.__setitem__(0, 5.0))}
    faults = [odd(0, 0), odd(3, 4), odd(4, 6)]
    first, late, last = play(faults, None, known, clock=lambda: now[0], stop=_Never(now))  # type: ignore[arg-type]
    assert first.seen
    assert late.caused is None
    assert late.detail == "not caused: its time was over when an earlier fault had been healed"
    assert last.seen


class _Never(Event):
    """A stop that is never asked for; whoever waits for it finds that the time has passed."""

    def __init__(self, now: list[float]) -> None:
        super().__init__()
        self._now = now

    def wait(self, timeout: float | None = None) -> bool:
        self._now[0] += timeout or 0.0
        return False


@pytest.mark.skipif(bool(works("preload")), reason=works("preload"))
@pytest.mark.end_to_end
@pytest.mark.parametrize(("key", "more"), [("clock", {"by": "1 h"}), ("sync-fails", {})])
def test_a_library_that_is_not_in_the_node_strikes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, more: dict[str, str]
) -> None:
    """A static program, or one that drops the variable, knows nothing of the fault, whatever a witness is told."""
    monkeypatch.setenv(PLACE, str(tmp_path / "state"))
    command = ["env", "-u", "LD_PRELOAD", sys.executable, "-c", SERVER, "{port}"]
    plan = TargetPlan("command", {"run": command, "ready": {"tcp": True}}, ("main",), ("data", "start"))
    kind = registry.plugins(registry.FAULTS)[key]
    settings = kind.settings.model_validate({"node": "main", **more}).model_dump(mode="json", context=WITH_UNITS)
    fault, known = PlannedFault(kind.name, settings, 0.0, 0.5, ("main",), "preload"), {kind.name: kind}
    with workshop([fault], known, tmp_path) as shop, running(plan, folder=tmp_path, fit=shop.fitted) as target:
        zero = time.monotonic()
        (seen,) = play([fault], target, known, clock=lambda: time.monotonic() - zero, stop=Event())
    assert not seen.seen
    assert "has not loaded the library" in seen.detail


def test_disks_of_two_sizes_for_one_node_are_refused(tmp_path: Path) -> None:
    """The second fault would be of a disk that is not there; nothing is made twice either."""
    known = registry.plugins(registry.FAULTS)["disk-full"]
    shop = Workshop(tmp_path, None)  # type: ignore[arg-type]
    shop.disks["b"] = 16 << 20
    known.fit(shop, {"node": "b", "size": "16 MiB"}, "tmpfs")
    with pytest.raises(GatesError, match="disks of different sizes"):
        known.fit(shop, {"node": "b", "size": "64 MiB"}, "user-namespace")


WRAPPED = '"$1" -c "$2" "$0" & wait'


@contextmanager
def wrapped(folder: Path, *controls: str) -> Iterator[RunningTarget]:
    """A server that a shell has started and waits for, as start scripts do."""
    run = ["sh", "-c", WRAPPED, "{port}", sys.executable, SERVER]
    plan = TargetPlan("command", {"run": run, "ready": {"tcp": True}}, ("main",), controls)
    with running(plan, folder=folder) as target:
        yield target


def answers(target: RunningTarget) -> bool:
    try:
        with urllib.request.urlopen(target.endpoints["main"], timeout=0.3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_what_a_start_script_leaves_behind_is_gone_with_the_target(tmp_path: Path) -> None:
    """The shell ends at SIGTERM and tells nobody; its server would serve for ever."""
    with wrapped(tmp_path) as target:
        shell = target.processes()["main"]
        server = next(pid for pid in family(shell) if pid != shell)
        assert answers(target)
    await_that(lambda: state(server) in ("", "Z", "X"), "the server is gone")


@pytest.mark.end_to_end
def test_a_pause_freezes_what_the_process_has_started(tmp_path: Path) -> None:
    """A start script that stands still is no fault as long as the server behind it answers."""
    with wrapped(tmp_path, "pause") as target:
        kind = registry.plugins(registry.FAULTS)["pause"]
        with kind.apply(target, {"node": "main"}) as watch:
            assert not answers(target)
        assert watch.seen_start is not None
        assert watch.seen_end is not None
        assert answers(target)


@pytest.mark.end_to_end
def test_a_process_whose_child_goes_on_is_not_seen_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe looks at all of them."""
    with wrapped(tmp_path, "pause") as target:
        monkeypatch.setattr(target, "pause", lambda name: os.kill(target.processes()[name], signal.SIGSTOP))
        kind = registry.plugins(registry.FAULTS)["pause"]
        with kind.apply(target, {"node": "main"}) as watch:
            assert answers(target)
        assert watch.seen_start is None


@pytest.mark.end_to_end
def test_a_crash_takes_what_the_process_has_started_with_it(tmp_path: Path) -> None:
    """Nothing listens while it lasts, and the port is free for its successor."""
    with wrapped(tmp_path, "kill", "start") as target:
        with registry.plugins(registry.FAULTS)["crash"].apply(target, {"node": "main"}) as watch:
            assert not answers(target)
        assert watch.seen_start is not None
        assert watch.seen_end is not None
        assert answers(target)
