"""Every fault of resources, by every way that works here, on a real node: seen, felt, healed, and nothing left."""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gates import registry
from gates.faults.capability import works
from gates.faults.observation import Observation
from gates.faults.timeline import PlannedFault, play
from gates.faults.workshop import workshop
from gates.fields import WITH_UNITS
from gates.leftovers import PLACE, entries
from gates.model import TargetPlan
from gates.target import RunningTarget, running

pytestmark = pytest.mark.end_to_end

NODE = "node-a"
START, LASTS, BACK = 0.4, 1.2, 3.0


@dataclass(slots=True)
class Client:
    """Asks the node for its health and its readiness without a pause: (when asked, how long it took, status or 0, clock)."""

    url: str
    headers: dict[str, str]
    clock: Callable[[], float]
    answers: list[tuple[float, float, int, float]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            asked = self.clock()
            health, ready = self._get("/health"), self._get("/ready")
            lie = health[1].get("timestamp", time.time()) - time.time()
            self.answers.append((asked, self.clock() - asked, ready[0] if health[0] == 200 else health[0], lie))
            self.stop.wait(0.02)

    def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=0.5)
        try:
            connection.request("GET", path, headers=self.headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0, {}
        finally:
            connection.close()

    def during(self, seen: Observation) -> list[tuple[float, float, int, float]]:
        """What was asked while the fault was seen and not yet being healed."""
        begins, ends = seen.seen_start or 0.0, seen.healing or 0.0
        return [answer for answer in self.answers if begins + 0.1 <= answer[0] <= ends - 0.05]


def refused(client: Client, seen: Observation) -> bool:
    """Not one answer while it lasted."""
    return {code for _, _, code, _ in client.during(seen)} == {0}


def broken_sometimes(client: Client, seen: Observation) -> bool:
    """Answers were missing while it lasted."""
    return 0 in {code for _, _, code, _ in client.during(seen)}


def silent(client: Client, seen: Observation) -> bool:
    """Whoever asked waited until he lost patience, or until the heal."""
    waits = [took for asked, took, _, _ in client.answers if (seen.caused or 0) - 0.1 <= asked <= (seen.healing or 0)]
    return max(waits) >= 0.4


def not_ready(client: Client, seen: Observation) -> bool:
    """It answers, and says that it is not ready."""
    return 503 in {code for _, _, code, _ in client.during(seen)}


def slower(client: Client, seen: Observation) -> bool:
    """Answers took twice as long as before."""

    def mean(answers: list[tuple[float, float, int, float]]) -> float:
        return sum(took for _, took, _, _ in answers) / len(answers)

    return mean(client.during(seen)) > 2 * mean([each for each in client.answers if each[0] < (seen.caused or 0)])


def lied_to(client: Client, seen: Observation) -> bool:
    """Its own clock was an hour behind while it lasted, and right before and afterwards."""
    during = client.during(seen)
    others = [each for each in client.answers if each[0] < START - 0.1 or each[0] > (seen.seen_end or 0)]
    return all(abs(lie + 3600) < 5 for *_, lie in during) and bool(during) and all(abs(lie) < 5 for *_, lie in others)


def whatever(client: Client, seen: Observation) -> bool:
    """Clients of an idle node need not notice."""
    return True


CASES: list[tuple[str, str, dict[str, Any], Callable[[Client, Observation], bool]]] = [
    ("pause", "signals", {}, silent),
    ("slow-start", "signals", {}, refused),
    ("crash-loop", "signals", {"lives": "300 ms"}, broken_sometimes),
    ("dependency-down", "stop", {}, refused),
    ("dependency-down", "pause", {}, silent),
    ("dependency-down", "proxy", {}, silent),
    ("power-cut", "held-writes", {}, refused),
    ("oom-kill", "cgroup", {}, refused),
    ("oom-kill", "address-space", {}, whatever),
    ("memory-pressure", "cgroup", {}, whatever),
    ("memory-pressure", "address-space", {}, whatever),
    ("cpu-starvation", "cgroup", {"share": "3 %"}, slower),
    ("cpu-starvation", "signals", {"share": "5 %"}, slower),
    ("pid-limit", "cgroup", {}, whatever),
    ("pid-limit", "rlimit", {}, whatever),
    ("disk-full", "tmpfs", {}, not_ready),
    ("disk-full", "user-namespace", {}, not_ready),
    ("disk-full", "preload", {}, not_ready),
    ("read-only", "preload", {}, not_ready),
    ("sync-fails", "preload", {}, not_ready),
    ("slow-sync", "preload", {"by": "150 ms"}, whatever),
    ("clock", "preload", {"by": "-1 h"}, lied_to),
]


@contextmanager
def struck(tmp_path: Path, fault: PlannedFault, known: dict[str, Any]) -> Iterator[tuple[RunningTarget, Callable[[], float]]]:
    """A federation of one node, started the way that *fault* needs, and a clock."""
    plan = TargetPlan("federation", {"nodes": 1}, (NODE,))
    links = "proxy" if fault.way == "proxy" else ""
    with workshop([fault], known, tmp_path) as shop, running(plan, folder=tmp_path, links=links, fit=shop.fitted) as target:
        zero = time.monotonic()
        yield target, lambda: time.monotonic() - zero


@pytest.mark.parametrize(("key", "way", "settings", "felt"), CASES, ids=[f"{key} by {way}" for key, way, _, _ in CASES])
def test_a_fault_is_seen_felt_and_healed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    way: str,
    settings: dict[str, Any],
    felt: Callable[[Client, Observation], bool],
) -> None:
    """The probe sees its start after the cause and its end; clients feel it; the node is ready soon after; nothing is left."""
    kind = registry.plugins(registry.FAULTS)[key]
    (chosen,) = (each for each in kind.ways if each.name == way)
    if reasons := list(filter(None, map(works, chosen.capabilities))):
        pytest.skip("; ".join(reasons))
    monkeypatch.setenv(PLACE, str(tmp_path / "state"))
    settings = kind.settings.model_validate({"node": NODE, **settings}).model_dump(mode="json", context=WITH_UNITS)
    fault = PlannedFault(kind.name, settings, START, START + LASTS, kind.nodes(settings), way)
    with struck(tmp_path, fault, {kind.name: kind}) as (target, clock):
        client = Client(target.endpoints[NODE], dict(target.headers), clock)
        thread = threading.Thread(target=client.run)
        thread.start()
        try:
            (seen,) = play([fault], target, {kind.name: kind}, clock=clock, stop=threading.Event())
            until = time.monotonic() + BACK
            while not any(asked > (seen.seen_end or 0) and code == 200 for asked, _, code, _ in client.answers):
                assert time.monotonic() < until, client.answers[-5:]
                time.sleep(0.02)
        finally:
            client.stop.set()
            thread.join()
        assert seen.seen, seen
        assert START <= (seen.caused or 0) <= (seen.seen_start or 0) < (seen.seen_end or 0), seen
        assert abs((seen.healing or 0) - fault.end) < 0.5, seen
        assert (seen.seen_end or 0) >= (seen.healing or 0) - 0.15, seen
        assert felt(client, seen), (seen, client.during(seen))
        assert target.died() == {}
    assert entries() == ()


WHERE = """
import http.server, os, sys
print("at", os.getcwd(), flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.mark.parametrize(("key", "way"), sorted({(key, way) for key, way, *_ in CASES if key != "dependency-down"}))
def test_a_server_is_started_where_it_would_be_without_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, way: str
) -> None:
    """Its command may be relative to the repository, whatever namespace or group it is started in."""
    kind = registry.plugins(registry.FAULTS)[key]
    (chosen,) = (each for each in kind.ways if each.name == way)
    if reasons := list(filter(None, map(works, chosen.capabilities))) or "power" in chosen.controls:
        pytest.skip(str(reasons))
    monkeypatch.setenv(PLACE, str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    settings = {"node": "main", **next(settings for name, by, settings, _ in CASES if (name, by) == (key, way))}
    settings = kind.settings.model_validate(settings).model_dump(mode="json", context=WITH_UNITS)
    fault = PlannedFault(kind.name, settings, START, START + LASTS, ("main",), way)
    where = {"log": f"at {re.escape(str(tmp_path))}$", "within": "5 s"}
    plan = TargetPlan("command", {"run": [sys.executable, "-c", WHERE, "{port}"], "ready": where}, ("main",))
    with workshop([fault], {kind.name: kind}, tmp_path) as shop, running(plan, folder=tmp_path, fit=shop.fitted) as target:
        assert target.is_running("main")
