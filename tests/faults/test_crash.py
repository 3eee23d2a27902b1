"""The crash fault against a real process."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from pydantic import ValidationError

from gates.errors import GatesError
from gates.faults import FAULTS, Crash
from gates.faults.spec import FaultSpec, overlaps, planned
from gates.faults.timeline import PlannedFault, play
from gates.model import TargetPlan
from gates.target import RunningTarget, running

pytestmark = pytest.mark.end_to_end

SERVER = """
import http.server, sys
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
ONCE = """
import pathlib, sys
if pathlib.Path(sys.argv[2], "started").exists(): sys.exit("once is enough")
pathlib.Path(sys.argv[2], "started").touch()
"""


def server(folder: Path, prelude: str = "") -> TargetPlan:
    """A small HTTP server as a target with the endpoint `main`."""
    command = [sys.executable, "-c", prelude + SERVER, "{port}", "{data}"]
    return TargetPlan("command", {"run": command, "ready": {"tcp": True}}, ("main",), ("kill", "start"))


@pytest.fixture
def target(tmp_path: Path) -> Iterator[RunningTarget]:
    """A running server."""
    with running(server(tmp_path), folder=tmp_path) as started:
        yield started


def crash(start: float, end: float, node: str = "main") -> PlannedFault:
    return PlannedFault("crash", {"node": node}, start, end, (node,))


def test_a_crash_is_seen_by_the_probe_and_healed(target: RunningTarget) -> None:
    """The probe saw it gone after it was killed and back after it was restarted, and it serves again."""
    with Crash().apply(target, {"node": "main"}) as watch:
        assert not target.is_running("main")
    assert target.is_running("main")
    assert watch.caused is not None
    assert watch.healing is not None
    assert watch.seen_start is not None
    assert watch.seen_end is not None
    assert watch.caused <= watch.seen_start < watch.seen_end
    assert watch.healing <= watch.seen_end


def test_a_crash_is_healed_after_an_error(target: RunningTarget) -> None:
    """Whatever happens inside, the node is started again."""
    with pytest.raises(ZeroDivisionError), Crash().apply(target, {"node": "main"}):
        raise ZeroDivisionError
    assert target.is_running("main")


def test_a_kill_that_has_no_effect_is_not_seen(target: RunningTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe does not take the cause's word for it."""
    monkeypatch.setattr(target, "kill", lambda name: None)
    zero = time.monotonic()
    (observation,) = play([crash(0, 0.05)], target, FAULTS, clock=lambda: time.monotonic() - zero, stop=Event())
    assert observation.caused is not None
    assert (observation.seen_start, observation.seen_end, observation.seen) == (None, None, False)


def test_a_timeline_keeps_its_times(target: RunningTarget) -> None:
    """Each fault is caused at its start and healed at its end, within what starting a process takes."""
    zero = time.monotonic()
    faults = [crash(1.0, 1.1), crash(0.1, 0.2)]
    first, second = play(faults, target, FAULTS, clock=lambda: time.monotonic() - zero, stop=Event())
    for observation, start, end in ((first, 0.1, 0.2), (second, 1.0, 1.1)):
        assert (observation.asked_start, observation.asked_end) == (start, end)
        assert observation.seen
        assert start <= (observation.caused or 0) <= (observation.seen_start or 0)
        assert end <= (observation.healing or 0) <= (observation.seen_end or 0)


def test_a_stopped_load_heals_at_once_and_causes_nothing_more(target: RunningTarget) -> None:
    """The fault under way is healed long before its end; the next one says why it was not caused."""
    stop, zero = Event(), time.monotonic()

    class Stopping:
        def kill(self, name: str) -> None:
            target.kill(name)
            stop.set()

        def __getattr__(self, name: str) -> object:
            return getattr(target, name)

    faults = [crash(0, 600), crash(700, 800)]
    first, second = play(faults, Stopping(), FAULTS, clock=lambda: time.monotonic() - zero, stop=stop)  # type: ignore[arg-type]
    assert first.seen
    assert (second.caused, second.detail) == (None, "not caused: the load was stopped")
    assert target.is_running("main")


def test_a_node_that_does_not_come_back_ends_the_timeline(tmp_path: Path) -> None:
    """Its end was not seen, the reason is there, and no later fault is caused."""
    with running(server(tmp_path, ONCE), folder=tmp_path) as target:
        zero = time.monotonic()
        faults = [crash(0, 0.01), crash(0.02, 0.03)]
        first, second = play(faults, target, FAULTS, clock=lambda: time.monotonic() - zero, stop=Event())
    assert first.seen_start is not None
    assert (first.seen_end, first.seen) == (None, False)
    assert "ended" in first.detail or "exit" in first.detail
    assert second.detail == "not caused: an earlier fault was not healed"


def test_a_target_without_the_control_is_an_error(tmp_path: Path) -> None:
    """A target that somebody else started can't be killed."""
    with running(server(tmp_path), folder=tmp_path) as other:
        plan = TargetPlan("url", {"url": other.endpoints["main"]}, ("main",))
        with (
            running(plan, folder=tmp_path / "url") as target,
            pytest.raises(GatesError, match="no control"),
            Crash().apply(target, {"node": "main"}),
        ):
            pytest.fail("the fault was caused")
        assert other.is_running("main")


# --- how a scenario writes faults -------------------------------------------------------------------------------------


def test_a_fault_is_planned_in_seconds_of_the_load() -> None:
    """Shares of the duration become seconds."""
    spec = FaultSpec.model_validate({"at": "33 %", "for": "25 %", "crash": {"node": "node-b"}})
    fault = planned(spec, 20.0)
    assert (fault.name, fault.settings, fault.nodes) == ("crash", {"node": "node-b"}, ("node-b",))
    assert (fault.start, fault.end) == (pytest.approx(6.6), pytest.approx(11.6))


@pytest.mark.parametrize(
    "bad",
    [
        {"at": "80 %", "for": "30 %", "crash": {"node": "b"}},
        {"at": "100 %", "for": "1 %", "crash": {"node": "b"}},
        {"at": "10 %", "for": 0, "crash": {"node": "b"}},
        {"at": "-1 %", "for": "10 %", "crash": {"node": "b"}},
        {"at": "10 s", "for": "10 %", "crash": {"node": "b"}},
        {"at": "10 %", "for": "10 %"},
        {"at": "10 %", "for": "10 %", "crash": {}},
        {"at": "10 %", "for": "10 %", "crash": {"node": "b", "hard": True}},
        {"at": "10 %", "for": "10 %", "partition": {"cut": ["b"]}},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(bad: dict[str, object]) -> None:
    """It must lie inside the load, last, be known and name its node."""
    with pytest.raises(ValidationError):
        FaultSpec.model_validate(bad)


def test_overlapping_faults_are_found() -> None:
    """All of them by their numbers, each with the one that is still under way, whatever their order; touching is no overlap."""
    one, two, three, long = crash(1, 3), crash(2, 4), crash(4, 5), crash(0, 9)
    assert overlaps([three, two, one]) == ((2, 1),)
    assert overlaps([three, two]) == ()
    assert overlaps([one, one]) == ((0, 1),)
    assert overlaps([long, one, three]) == ((0, 1), (0, 2))


def test_faults_that_touch_in_per_cent_do_not_overlap() -> None:
    """10 % and 20 % are a hair more than 30 % where numbers are binary."""
    written = [{"at": f"{at} %", "for": "20 %", "crash": {"node": "b"}} for at in (10, 30, 50, 70)]
    assert overlaps([planned(FaultSpec.model_validate(each), 1.0) for each in written]) == ()
