"""The kind `validation`: what it refuses, what it makes of a course, and whole runs against a real federation."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
from waiting import Bound, await_that

from gates import codec, registry
from gates.errors import GatesError
from gates.faults.observation import Observation
from gates.faults.timeline import PlannedFault
from gates.history import record
from gates.history.access import Declared
from gates.history.declared import Linearizable
from gates.kinds.course import absent, fault_measurements, phases_of
from gates.kinds.honesty import Poll, Poller, lies, shown
from gates.kinds.invariants import _decoded, fetcher, observe, observe_settled, worse, worst
from gates.kinds.replay import Retrier, changes, chosen
from gates.kinds.trial import Course, TrialPlan, _shared
from gates.kinds.validation import Validation
from gates.load.plan import LoadPlan
from gates.model import (
    Commit,
    Execution,
    GateResult,
    InvariantOutcome,
    Level,
    Measurement,
    Operation,
    Outcome,
    PlannedGate,
    Request,
    Series,
    Unit,
)
from gates.node.flows import FLOWS
from gates.pipeline.judge import judge_gate
from gates.spec import resolve

SCENARIO = """\
version: 1
arrivals: {rate: 200/s, for: 8 s}
mix: {submit_job: 8, read_mana: 2}
faults:
  - {at: 20 %, for: 25 %, crash: {node: node-b}}
invariants: [no-acknowledged-job-lost, one-job-per-key, mana-conserved]
"""
CRITERIA = """\
      acknowledged.lost: {at_most: 0}
      acknowledged.duplicated: {at_most: 0}
      mana.imbalance: {at_most: 0}
      recovery.time: {below: 5 s}
      unavailable@fault/healthy: {at_most: 1}
"""


def planned(
    root: Path, scenario: str = SCENARIO, *, criteria: str = CRITERIA, target: str = "{nodes: 3}", replay: str = "10 %"
) -> PlannedGate:
    """The gate `crash` as it is planned from files in *root*. Raises GatesError with every problem of the files."""
    (root / "scenario.yaml").write_text(scenario)
    text = f"version: 1\ntarget: {{federation: {target}}}\nprofiles: {{quick: {{}}}}\ngates:\n"
    text += f"  crash:\n    kind: validation\n    scenario: scenario.yaml\n    replay: {replay}\n    criteria:\n{criteria}"
    (root / "readiness.yaml").write_text(text)
    (gate,) = resolve(root / "readiness.yaml", root=root, profile="quick").gates
    return gate


# --- planning ---------------------------------------------------------------------------------------------------------


def test_a_plan_holds_everything_that_the_run_needs(tmp_path: Path) -> None:
    """Load, timeline in seconds and invariants come back from the plan's JSON; controls and built-in criteria are known."""
    gate = planned(tmp_path)
    plan = codec.from_json(TrialPlan, json.loads(codec.dumps(gate.settings)))
    assert (plan.load.rate, plan.load.seconds, plan.replay) == (200, 8, 0.1)
    assert plan.faults == (PlannedFault("crash", {"node": "node-b"}, 1.6, 3.6, ("node-b",)),)
    assert plan.invariants == ("no-acknowledged-job-lost", "one-job-per-key", "mana-conserved")
    assert {c.id for c in gate.criteria if c.built_in} >= {"valid.fault", "valid.unsent", "valid.lateness"}
    assert gate.missing == ()


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("node: node-b", "node: node-x"), 5, "no node 'node-x'"),
        (("for: 25 %", "for: 90 %"), 5, "ends after the load"),
        (("at: 20 %", "at: 30 s"), 5, "unit of another kind"),
        (("crash: {node: node-b}", "crush: {node: node-b}"), 5, "crush"),
        (("one-job-per-key", "one-job-a-key"), 6, "unknown invariant 'one-job-a-key'"),
        (
            ("  - {at", "  - {at: 40 %, for: 20 %, crash: {node: node-a}}\n  - {at"),
            5,
            "before the crash that starts at 20 % has ended: let it start at 45 % or later (got 40 %)",
        ),
        (
            ("  - {at", "  - {at: 20 %, for: 25 %, crash: {node: node-b}}\n  - {at"),
            6,
            "let it start at 45 % or later (got 20 %)",
        ),
        (("crash: {node: node-b}", "partition: {nodes: [node-b], with: []}"), 5, "at least 1 item"),
        (("crash: {node: node-b}", "partition: {nodes: [node-a, node-b, node-c]}"), 5, "no other end is left"),
        (
            (
                "  - {at: 20 %",
                "  - {at: 5 %, for: 9 %, way: namespace, partition: {nodes: [node-b]}}\n"
                "  - {at: 50 %, for: 9 %, reset: {nodes: [node-b]}}\n  - {at: 20 %",
            ),
            6,
            "needs links that are made by proxy, and the partition at 5 % links by namespace",
        ),
        (("faults:\n  - {at: 20 %, for: 25 %, crash: {node: node-b}}\n", "faults: []\n"), 4, "faults"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_an_error_at_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    """Unknown nodes, faults and invariants, faults that overlap or outlast the load, and no fault at all."""
    with pytest.raises(GatesError) as raised:
        planned(tmp_path, SCENARIO.replace(*change))
    assert f"scenario.yaml:{line}:" in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("unavailable@fault/node-b: {at_most: 1}", "write unavailable@fault/healthy"),
        ("unavailable: {at_most: 1}", "write unavailable@fault/healthy"),
        ("latency.p99@fault/read_status: {below: 1 s}", "no flow 'read_status'"),
        ("latency.p999@fault: {below: 1 s}", "samples"),
        ("acknowledged.found: {at_most: 0}", "unknown metric"),
        ("rss.max@fault/node-d: {below: 1 GiB}", "no process 'node-d'"),
        ("rss.growth@fault: {below: 1 GiB}", "needs 12 samples, and the profile quick gives it 8"),
    ],
)
def test_a_criterion_that_can_not_be_measured_is_an_error(tmp_path: Path, criterion: str, message: str) -> None:
    """What the scenario does not measure, or not often enough, is refused before anything is started."""
    with pytest.raises(GatesError, match="readiness.yaml:10") as raised:
        planned(tmp_path, criteria=f"      {criterion}\n")
    assert message in str(raised.value)


def test_a_criterion_over_an_invariant_that_is_not_checked_is_an_error(tmp_path: Path) -> None:
    """The message names the invariant that measures it."""
    with pytest.raises(GatesError, match="add mana-conserved to its invariants"):
        planned(tmp_path, SCENARIO.replace(", mana-conserved", ""))


def test_too_few_operations_for_a_census_are_refused(tmp_path: Path) -> None:
    """With 50 a second, two seconds and two of three nodes, 200 operations beside the fault can't be had."""
    with pytest.raises(GatesError, match="unavailable@fault/healthy") as raised:
        planned(tmp_path, SCENARIO.replace("200/s", "50/s"))
    assert "would do" in str(raised.value)


def test_a_plan_that_lacks_a_control_names_the_ways_that_do_without(tmp_path: Path) -> None:
    """A server of one's own has no namespaces: a partition by proxy must be asked for, and the plan says how."""
    scenario = SCENARIO.partition("faults:")[0].replace("submit_job: 8, read_mana: 2", "front: 1")
    scenario += "flows: {front: {steps: [{path: /}]}}\n"
    scenario += "faults:\n  - {at: 20 %, for: 25 %, WAYpartition: {nodes: [main], with: clients}}\n"
    lacking = []
    for way in ("", "way: proxy, "):
        (tmp_path / "scenario.yaml").write_text(scenario.replace("WAY", way))
        text = (
            'version: 1\ntarget: {command: [x, "{port}"]}\ngates:\n  cut:\n    kind: validation\n    scenario: scenario.yaml\n'
        )
        (tmp_path / "readiness.yaml").write_text(f"{text}    criteria: {{errors.ratio: {{below: 50 %}}}}\n")
        lacking.append(resolve(tmp_path / "readiness.yaml", root=tmp_path, profile="quick").gates[0].missing)
    told = "a way of partition that this target allows, if the scenario names it: way: proxy"
    assert lacking == [("control 'namespaces' of the target", told), ()]


def test_what_is_done_before_a_fault_is_seen_does_not_count_towards_its_census(tmp_path: Path) -> None:
    """Two seconds of 150 a second on two of three nodes are 200 operations; a probe sees less than two seconds of the fault."""
    with pytest.raises(GatesError, match="unavailable@fault/healthy"):
        planned(tmp_path, SCENARIO.replace("200/s", "150/s"))
    planned(tmp_path, SCENARIO.replace("200/s", "170/s"))


# --- what a course means ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """As much of a load's outcome as the measurements around a fault look at."""

    operations: tuple[Operation, ...]
    endpoints: tuple[str, ...] = ("a", "b")
    end: float = 10.0


def did(at: float, status: str = "ok", endpoint: str = "b") -> Operation:
    return Operation(0, "f", endpoint, "", status, at, at + 0.01)


SEEN = Observation("crash", ("b",), 2, 4, 2.0, 4.0, 2.01, 4.5, "")
OPERATIONS = (
    *(did(at / 2, "fail" if 4 <= at < 9 else "ok") for at in range(20)),
    *(did(at / 2, "unknown" if at == 6 else "ok", "a") for at in range(20)),
)


def measured(load: Load, *observations: Observation) -> dict[str, Measurement]:
    course = Course(load, observations, (), {}, (), {}, ())  # type: ignore[arg-type]
    return {measurement.key: measurement for measurement in fault_measurements(course)}


def test_a_seen_fault_gives_recovery_and_availability() -> None:
    """From the restart at 4 s to the answer at 4.51 s; one of five is missing on the healthy node, four on the struck one."""
    found = measured(Load(OPERATIONS), SEEN)
    assert found["recovery.time"].value == pytest.approx(0.51)
    assert found["recovery.time"].interval is None
    assert (found["unavailable@fault/healthy"].value, found["unavailable@fault/healthy"].n) == (1, 5)
    assert (found["unavailable@fault/faulted"].value, found["unavailable@fault/faulted"].n) == (4, 5)
    assert (found["valid.fault"].value, found["valid.fault"].n) == (0, 1)


def test_a_fault_that_nobody_saw_gives_no_number() -> None:
    """A healthy system that was never struck has not recovered from anything."""
    unseen = replace(SEEN, seen_start=None, seen_end=None)
    found = measured(Load(OPERATIONS), unseen)
    assert set(found) == {"valid.fault"}
    assert found["valid.fault"].value == 1


def test_what_was_not_measured_says_why() -> None:
    """A criterion without a figure is read before the finding below it: the fault was not seen, or no breaker opened."""
    unseen = replace(SEEN, seen_start=None, seen_end=None)
    course = Course(Load(OPERATIONS), (unseen,), (), {}, (), {}, ())  # type: ignore[arg-type]
    why = "the crash of b was not seen to start and end"
    assert {absent(course)[metric] for metric in ("detect.time", "recovery.time", "unavailable", "breaker.stuck")} == {why}
    watched = replace(course, observations=(SEEN,), settled=(12.0, True))
    assert "stand still" in absent(replace(watched, settled=None))["converge.time"]
    assert absent(watched) == {
        **dict.fromkeys(("breaker.open.time", "breaker.closed.time", "breaker.stuck"), "no breaker was seen to open"),
        "refused.unadvised": "no flow that keeps Retry-After was refused with 503",
    }


def test_a_fault_that_was_never_seen_to_end_was_not_seen() -> None:
    """Half a fault proves nothing."""
    assert measured(Load(OPERATIONS), SEEN)["valid.fault"].value == 0
    assert measured(Load(OPERATIONS), replace(SEEN, seen_end=None))["valid.fault"].value == 1


def test_of_two_faults_the_longer_recovery_counts_also_beside_one_that_was_not_seen() -> None:
    """The first took five seconds; the second had not come after half a second: the longest is five seconds at least."""
    slow = tuple(did(at / 2, "fail" if 4 <= at < 18 else "ok") for at in range(24))
    late = replace(SEEN, healing=11.25, seen_end=11.3)
    found = measured(Load(slow), SEEN)["recovery.time"]
    both = measured(Load(slow), SEEN, late)["recovery.time"]
    assert found.interval is None
    assert measured(Load(slow), SEEN, replace(SEEN, healing=9.5))["recovery.time"] == found
    assert both.interval is not None
    assert both.interval.low == found.value == pytest.approx(5.01)


def test_a_node_that_never_recovers_fails_a_limit_that_was_watched_long_enough() -> None:
    """Six seconds were watched: below 5 s has failed for sure, below 20 s nobody knows."""
    dead = tuple(did(at / 2, "fail" if at >= 4 else "ok") for at in range(20))
    found = measured(Load(dead), replace(SEEN, seen_end=None))["recovery.time"]
    assert found.value == pytest.approx(6.0)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(6.0)
    assert found.interval.high > 20


def test_phases_follow_the_faults() -> None:
    """before, fault and recovery lie around the first and the last fault, beside the load's own phases."""
    load = LoadPlan("s", "", 10, 20, 2, 1, 1, {"f": 1}, {})
    faults = [PlannedFault("crash", {}, 5, 7, ("a",)), PlannedFault("crash", {}, 9, 11, ("b",))]
    assert phases_of(load, faults) == {
        "warmup": (0, 2),
        "steady": (2, 20),
        "before": (2, 5),
        "fault": (5, 11),
        "recovery": (11, 20),
    }


# --- invariants at work -----------------------------------------------------------------------------------------------


class Counting:
    """An invariant that observes a number."""

    metrics = ()
    summary = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def observe(self, fetch: Any, endpoints: Sequence[str]) -> Any:
        return fetch(endpoints[0], "/n")

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        return InvariantOutcome(())


def ticking(values: list[int]) -> tuple[list[str], Callable[[str, str], int]]:
    """A fetch that gives *values* one after the other, the last one for ever, and what it was asked."""
    asked: list[str] = []

    def fetch(name: str, path: str) -> int:
        asked.append(path)
        return values[min(len(asked), len(values)) - 1]

    return asked, fetch


def test_invariants_that_ask_the_same_share_an_answer() -> None:
    """The target is asked once, and every invariant gets the answer under its name."""
    asked, fetch = ticking([7])
    assert observe([Counting("x"), Counting("y")], fetch, ["a"]) == {"x": 7, "y": 7}
    assert len(asked) == 1


def test_settled_is_two_equal_answers_in_a_row() -> None:
    """It waits while the target moves, and says so when it never stops."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    invariants = [Counting("x")]
    _, moving = ticking([1, 2, 3, 3])
    assert observe_settled(invariants, moving, ["a"], clock=lambda: now[0], sleep=sleep) == ({"x": 3}, True)
    _, restless = ticking(list(range(1000)))
    assert not observe_settled(invariants, restless, ["a"], clock=lambda: now[0], sleep=sleep)[1]
    assert now[0] == pytest.approx(0.3 + 5.0, abs=0.15)


class Resting(Counting):
    """An invariant with a cheap look, at rest once that is 3."""

    within = 0.5

    def at_rest(self, fetch: Any, endpoints: Sequence[str]) -> tuple[Any, bool]:
        looked = fetch(endpoints[0], "/look")
        return looked, looked == 3


def test_a_target_at_rest_is_observed_once() -> None:
    """Cheap looks until it stands still and has come to its end; only then is everything asked for."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    asked, fetch = ticking([1, 1, 1, 3, 3, 9])
    invariants = [Resting("x"), Resting("y")]
    assert observe_settled(invariants, fetch, ["a"], clock=lambda: now[0], sleep=sleep) == ({"x": 9, "y": 9}, True)
    assert asked == ["/look"] * 5 + ["/n"]


def test_a_target_that_never_comes_to_its_end_is_observed_at_the_bound() -> None:
    """It stands still, so its state can be judged, and it is given the invariant's own time before."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    asked, fetch = ticking([1])
    assert observe_settled([Resting("x")], fetch, ["a"], clock=lambda: now[0], sleep=sleep) == ({"x": 1}, True)
    assert 0.5 <= now[0] < 0.7
    assert asked[-1] == "/n"


def test_a_target_that_is_asked_nothing_is_not_seen_at_rest() -> None:
    """Invariants that look at the history alone, or none at all, are no watch of the target."""
    rested: list[bool] = []
    history_alone = Linearizable("x", "x.broken", Declared(("key",)))

    def settle(*invariants: Any) -> list[bool]:
        rested.clear()
        now = iter(range(99)).__next__
        observe_settled(invariants, ticking([1])[1], ["a"], clock=now, sleep=lambda _: None, on_rest=rested.append)
        return rested

    assert settle() == settle(history_alone) == []
    assert settle(history_alone, Counting("y")) == [True]


def test_an_answer_that_invariants_share_is_kept_once() -> None:
    """The others say whose it is; equal answers of different questions stay apart."""
    shared, other = {"n": 1}, {"n": 1}
    assert _shared({"x": shared, "y": other, "z": shared}) == {"x": {"n": 1}, "y": {"n": 1}, "z": {"as": "x"}}


# --- whether a node says that it is not ready -------------------------------------------------------------------------

LOCK = PlannedFault("database-locked", {"node": "b", "file": "ledger.db", "vital": True}, 5, 12, ("b",))
LOCKED = Observation("database-locked", ("b",), 5, 12, 5.0, 12.0, 5.0, 12.1)


def asked(at: float, code: int, node: str = "b", took: float = 0.1) -> Poll:
    return Poll(node, at, at + took, code)


@pytest.mark.parametrize(
    ("polls", "lied", "n"),
    [
        ([asked(8, 503), asked(9, 503)], 0, 2),
        ([asked(8, 503), asked(9, 200), asked(10, 204)], 2, 3),
        ([asked(4, 200), asked(6, 200), asked(11.95, 200), asked(13, 200), asked(8, 503)], 0, 1),
        ([asked(8, 200, "a"), asked(8, 503)], 0, 1),
        ([asked(8, 0), asked(9, 503)], 0, 1),
    ],
    ids=["honest", "lies", "before, not noticed yet, healed meanwhile, after", "another node", "no answer"],
)
def test_yes_is_a_lie_while_the_fault_is_seen(polls: list[Poll], lied: int, n: int) -> None:
    """Once the node had time to notice; only what was asked and answered inside of the window is counted."""
    (found,) = lies(polls, [LOCK], [LOCKED])
    assert (found.metric, found.value, found.n) == ("ready.lied", lied, n)
    (table,) = shown(polls, [LOCK], [LOCKED])
    assert sum(int(row[-1]) for row in table.rows) == len(polls)


@pytest.mark.parametrize(
    ("polls", "fault", "observation"),
    [
        ([asked(8, 200)], LOCK, replace(LOCKED, seen_end=None)),
        ([asked(8, 200)], replace(LOCK, settings={**LOCK.settings, "vital": False}), LOCKED),
        ([asked(8, 200)], PlannedFault("crash", {"node": "b"}, 5, 12, ("b",)), replace(LOCKED, fault="crash")),
        ([], LOCK, LOCKED),
    ],
    ids=["a fault that was not seen to end", "a file that it can do without", "a crash", "no polls"],
)
def test_without_a_window_nothing_is_measured(polls: list[Poll], fault: PlannedFault, observation: Observation) -> None:
    """No data is no zero."""
    assert lies(polls, [fault], [observation]) == ()


def test_readiness_is_polled_with_the_targets_headers(server: Any) -> None:
    """Ten times a second, until told to stop; a server that hangs up has given no answer."""
    poller = Poller("b", f"http://127.0.0.1:{server.server_port}/ready", {"X-API-Key": "k"}, time.monotonic)
    poller.start()
    await_that(lambda: len(poller.polls) >= 3, "three polls are answered")
    poller.finish()
    assert {poll.code for poll in poller.polls} == {501}
    asked_at = sorted(poll.asked for poll in poller.polls)
    assert asked_at[-1] - asked_at[0] > 0.09 * (len(asked_at) - 1)
    gone = Poller("b", "http://127.0.0.1:1/ready", {}, time.monotonic)
    assert gone._ask() == 0


def test_slow_answers_do_not_slow_the_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that takes long to say that it is not ready is asked as often as any other."""
    answer = threading.Event()

    def wait(self: Poller) -> int:
        answer.wait(5)
        return 503

    asked_for: list[float] = []
    monkeypatch.setattr(Poller, "_ask", wait)
    poller = Poller("b", "http://127.0.0.1:1/ready", {}, lambda: asked_for.append(time.monotonic()) or asked_for[-1])
    poller.start()
    await_that(lambda: len(asked_for) >= 10, "ten polls are sent")
    answer.set()
    poller.finish()
    assert len(poller.polls) >= 3
    assert {poll.code for poll in poller.polls} == {503}


READY = "      ready.lied: {at_most: 0}\n"


def test_a_scenario_without_a_vital_fault_can_not_say_whether_ready_lies(tmp_path: Path) -> None:
    """Neither a crash nor a file that the node can do without keeps it from being ready."""
    for fault in ("crash: {node: node-b}", "lock: {node: node-b, file: dag.db, vital: false}"):
        with pytest.raises(GatesError, match="no fault of the scenario keeps a node from being ready"):
            planned(tmp_path, SCENARIO.replace("crash: {node: node-b}", fault), criteria=READY)


def test_a_lock_must_last_long_enough_to_poll(tmp_path: Path) -> None:
    """Two seconds to notice, and two more for twenty polls."""
    locked = SCENARIO.replace("crash: {node: node-b}", "lock: {node: node-b, file: ledger.db}")
    with pytest.raises(GatesError, match="ready.lied"):
        planned(tmp_path, locked, criteria=READY)
    gate = planned(tmp_path, locked.replace("for: 8 s", "for: 18 s"), criteria=READY)
    assert gate.missing == ()
    assert codec.from_json(TrialPlan, gate.settings).faults[0].name == "database-locked"


def test_the_worse_of_two_answers_counts() -> None:
    """A job that came back when a client sent it again was lost all the same."""

    def outcome(value: float, n: int) -> InvariantOutcome:
        return InvariantOutcome((Measurement("acknowledged.lost", value, Unit.COUNT, n),))

    assert worse(outcome(3, 10), outcome(0, 12)) == outcome(3, 10)
    assert worse(outcome(0, 10), outcome(1, 12)) == outcome(1, 12)
    assert worse(outcome(0, 10), outcome(0, 12)) == outcome(0, 12)


def test_an_answer_that_says_nothing_is_worse_than_a_good_one() -> None:
    """What could not be told before the retries is not made up for by them; what is wrong for certain counts more."""
    silent = InvariantOutcome(())
    good, bad = (InvariantOutcome((Measurement("receipts.unverified", value, Unit.COUNT, 9),)) for value in (0, 1))
    assert worse(silent, good) == worse(good, silent) == silent
    assert worse(silent, bad) == worse(bad, silent) == bad


def test_what_one_answer_alone_proves_wrong_is_wrong() -> None:
    """The target was asked twice and answered once: what it lacked then is lost, and of what was right nothing is known."""
    found = {
        name: InvariantOutcome((Measurement(f"{name}.lost", number, Unit.COUNT, 9),)) for name, number in (("a", 2), ("b", 0))
    }
    assert worst([found]) == {"a": found["a"]}
    assert worst([found, found]) == found
    assert worst([]) == {}


def test_the_invariant_of_the_guide_works() -> None:
    """The code that the guide prints finds the order that is gone."""
    guide = (Path(__file__).parents[2] / "docs/guide/validation.md").read_text()
    names: dict[str, Any] = {}
    exec(guide.split("```python\n")[1].split("```")[0], names)
    invariant = names["EveryOrderStored"]()
    history = [replace(did(number), kind="order", key=str(number)) for number in range(3)]
    after = invariant.observe(lambda name, path: [{"key": "0"}, {"key": "2"}], ["main"])
    (measurement,) = invariant.check(history, [], after).measurements
    assert (measurement.metric, measurement.value, measurement.n) == (invariant.metrics[0].name, 1, 3)


# --- clients that retry -----------------------------------------------------------------------------------------------

LOAD = LoadPlan(
    "s", "", 100, 1, 0, 10, 5, {"submit_job": 1, "read_mana": 1}, {n: FLOWS[n] for n in ("submit_job", "read_mana")}
)


class Handler(BaseHTTPRequestHandler):
    """Answers every submission rightly, except for keys in `server.broken`, with 503, and paths in `server.codes`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802 -- http.server's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        self.server.seen.append((key, body))  # type: ignore[attr-defined]
        code = 503 if key in self.server.broken else self.server.codes.get(self.path, 200)  # type: ignore[attr-defined]
        answer = b'{"job_id": "bafkrei%s"}' % (b"a" * 52)
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[Any]:
    """A server that remembers what it was sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as started:
        started.daemon_threads = True
        started.seen, started.broken, started.codes = [], set(), {}  # type: ignore[attr-defined]
        threading.Thread(target=started.serve_forever, args=(0.01,), daemon=True).start()
        yield started
        started.shutdown()


def sent(number: int, status: str, kind: str = "submit_job", endpoint: str = "main") -> Operation:
    """Arrival *number* as the load with seed 1 sent it."""
    from gates.load.program import Program

    key = Program(kind, FLOWS[kind], endpoint, "http://127.0.0.1:1", seed=1).key(number)
    return Operation(number, kind, endpoint, key, status, 0.0, 0.1, value={"cost_mana": 10})


def test_all_unknown_and_a_share_of_the_acknowledged_are_sent_again() -> None:
    """Refused ones had no effect, and a flow without a key can't be repeated safely."""
    history = [sent(number, "ok") for number in range(1000)]
    others = [sent(1000, "unknown"), sent(1001, "fail"), sent(1002, "unknown", "read_mana"), sent(1003, "ok", "read_mana")]
    again = chosen(LOAD, [*history, *others], 0.1, Random(1))
    assert [operation.process for operation in again if operation.status != "ok"] == [1000]
    assert 60 < len(again) - 1 < 140
    assert again == chosen(LOAD, [*history, *others], 0.1, Random(1))
    assert chosen(LOAD, history, 0, Random(1)) == ()
    assert [changes(LOAD, flow) for flow in LOAD.flows] == [True, False]


def test_a_retry_has_the_key_and_the_body_of_the_first_time(server: Any) -> None:
    """What arrives is, byte for byte, what the load engine sends for this arrival."""
    from gates.load.engine import run_load

    endpoints = {"main": f"http://127.0.0.1:{server.server_port}"}
    load = replace(LOAD, seconds=0.05, mix={"submit_job": 1}, flows={"submit_job": FLOWS["submit_job"]})
    outcome = run_load(load, endpoints, seed=1, record=True)
    first, server.seen[:] = dict(server.seen), []
    server.broken.add(outcome.operations[1].key)
    retries = Retrier(load, endpoints, seed=1, clock=lambda: 9.0).again(outcome.operations)
    assert dict(server.seen) == first
    assert len(first) == 5
    assert [retry.key for retry in retries] == [operation.key for operation in outcome.operations]
    assert [retry.status for retry in retries] == ["ok", "fail", "ok", "ok", "ok"]
    assert retries[0].answer == {"job_id": "bafkrei" + "a" * 52}
    assert {(retry.process, retry.invoked) for retry in retries} == {(-1, 9.0)}


def test_a_retry_that_nobody_answers_is_refused_or_unknown(server: Any) -> None:
    """A refused connection had no effect; a connection that breaks may have had one."""
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoints = {"main": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        assert [each.status for each in Retrier(LOAD, endpoints, seed=1, clock=lambda: 0.0).again([sent(1, "ok")])] == ["fail"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoints = {"main": f"http://127.0.0.1:{silent.getsockname()[1]}"}

        def hang_up() -> None:
            silent.accept()[0].close()

        breaking = threading.Thread(target=hang_up)
        breaking.start()
        assert [each.status for each in Retrier(LOAD, endpoints, seed=1, clock=lambda: 0.0).again([sent(1, "ok")])] == [
            "unknown"
        ]
        breaking.join()


def test_what_is_no_json_is_no_answer(server: Any) -> None:
    """An invariant never takes an error page for data."""
    fetch = fetcher({"main": f"http://127.0.0.1:{server.server_port}"})
    with pytest.raises(OSError, match="main: GET /mesh/jobs was answered with 501"):
        fetch("main", "/mesh/jobs")


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ({}, "ok"),
        ({"/second": 503}, "unknown"),
        ({"/second": 500}, "unknown"),
        ({"/first": 503}, "fail"),
        ({"/first": 500}, "unknown"),
    ],
    ids=["right", "refused half way", "broken half way", "refused at once", "broken at once"],
)
def test_a_retry_that_may_have_had_an_effect_is_unknown(server: Any, codes: dict[str, int], status: str) -> None:
    """An error may come after the effect, and a refusal after the effect of an earlier step."""
    (step,) = FLOWS["submit_job"]["steps"]
    flow = {**FLOWS["submit_job"], "steps": [{**step, "path": path} for path in ("/first", "/second")]}
    load = replace(LOAD, mix={"submit_job": 1}, flows={"submit_job": flow})
    server.codes.update(codes)
    endpoints = {"main": f"http://127.0.0.1:{server.server_port}"}
    (retry,) = Retrier(load, endpoints, seed=1, clock=lambda: 0.0).again([sent(1, "unknown")])
    assert retry.status == status


@pytest.mark.parametrize(("body", "status", "why"), [(b"{}", 404, "answered with 404"), (b"<html>", 200, "is no JSON")])
def test_only_json_that_was_found_is_an_answer(body: bytes, status: int, why: str) -> None:
    """A document that says that there is none is none."""
    with pytest.raises(OSError, match=why):
        _decoded(body, status, "main: GET /mesh/jobs")
    assert _decoded(b'{"jobs": []}', 200, "main: GET /mesh/jobs") == {"jobs": []}


# --- whole runs -------------------------------------------------------------------------------------------------------


def request_for(root: Path, gate: PlannedGate) -> Request:
    folder = root / "crash"
    folder.mkdir()
    return Request("run", str(root), str(folder), "quick", 11, gate, Commit(), {})


def run(root: Path, gate: PlannedGate) -> tuple[GateResult, dict[str, Outcome]]:
    """The result of a whole run, through JSON, and what the judge makes of each criterion."""
    result = Validation().run(request_for(root, gate))
    result = codec.from_json(GateResult, json.loads(codec.dumps(result)))
    return result, {report.criterion.id: report.outcome for report in judge_gate(gate, result).criteria}


@pytest.mark.end_to_end
def test_a_killed_node_of_a_sound_federation_recovers(tmp_path: Path) -> None:
    """Every criterion holds, over evidence that can be read again, and the windows are drawn as asked for and as seen.

    So it does over the target's own processes: a node that a fault killed is measured again when it is back.
    """
    of_processes = "      rss.max@recovery/*: {below: 500 MiB}\n      rss.growth@steady/node-a: {below: 200 MiB}\n"
    result, outcomes = run(tmp_path, planned(tmp_path, criteria=CRITERIA + of_processes))
    assert result.execution is Execution.COMPLETED
    assert not [each for each in result.findings if "bottleneck" not in each.message]  # that is the machine's doing
    own = {name: outcome for name, outcome in outcomes.items() if not name.startswith("valid.") or name == "valid.fault"}
    assert set(own.values()) == {Outcome.PASS}
    history = record.read(tmp_path / "crash/evidence/history.jsonl.gz")
    assert history.complete
    assert len(history.operations) > 1000
    (observation,) = json.loads((tmp_path / "crash/evidence/observations.json").read_text())
    assert 1.6 <= observation["caused"] <= observation["seen_start"] <= 3.6 <= observation["seen_end"]
    latencies = next(exhibit for exhibit in result.exhibits if isinstance(exhibit, Series))
    assert [window.seen for window in latencies.windows] == [False, True, False]
    memory = next(exhibit for exhibit in result.exhibits if exhibit.title == "Memory of the target")
    assert isinstance(memory, Series)
    assert [line.name for line in memory.lines] == ["node-a", "node-b", "node-c"]
    assert memory.windows == latencies.windows
    assert (tmp_path / "crash/evidence/resources.csv").is_file()
    evidence = tmp_path / "crash/evidence"
    for name in ("latency.hlog", "service.hlog"):
        lines = [line for line in (evidence / name).read_text().splitlines() if not line.startswith("#")]
        assert any("Tag=submit_job" in line for line in lines), name
    assert (evidence / "metrics.prom").read_text().endswith("# EOF\n")
    assert "rss.growth@steady/node-b" not in {each.key for each in result.measurements}


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("defect", "criterion"),
    [
        ("ack-before-durable", "acknowledged.lost"),
        ("double-charge", "mana.imbalance"),
        ("forget-keys", "acknowledged.duplicated"),
    ],
)
def test_each_defect_fails_the_criterion_that_is_meant_for_it(tmp_path: Path, defect: str, criterion: str) -> None:
    """The defect turns its criterion red, and only that one, even when clients send every operation again."""
    _, outcomes = run(tmp_path, planned(tmp_path, target=f"{{nodes: 3, defect: {defect}}}", replay="100 %"))
    assert {name for name, outcome in outcomes.items() if outcome is Outcome.FAIL} == {criterion}


LOCKED_LEDGER = """\
version: 1
arrivals: {rate: 60/s, for: 8 s}
mix: {submit_job: 8, read_mana: 2}
faults:
  - {at: 10 %, for: 65 %, lock: {node: node-b, file: ledger.db}}
invariants: [no-acknowledged-job-lost]
"""


@pytest.mark.end_to_end
@pytest.mark.parametrize(("defect", "expected"), [('""', Outcome.PASS), ("ready-always-yes", Outcome.FAIL)])
def test_a_node_without_its_ledger_must_say_that_it_is_not_ready(tmp_path: Path, defect: str, expected: Outcome) -> None:
    """A sound node says so for as long as the lock is seen, and loses nothing; one that always says yes is found out."""
    criteria = f"{READY}      acknowledged.lost: {{at_most: 0}}\n"
    gate = planned(tmp_path, LOCKED_LEDGER, criteria=criteria, target=f"{{nodes: 3, defect: {defect}}}")
    result, outcomes = run(tmp_path, gate)
    assert outcomes["ready.lied"] is expected
    assert outcomes["acknowledged.lost"] is outcomes["valid.fault"] is Outcome.PASS
    assert [finding for finding in result.findings if finding.level is Level.ERROR] == []
    (observation,) = json.loads((tmp_path / "crash/evidence/observations.json").read_text())
    assert observation["fault"] == "database-locked"
    assert observation["caused"] <= observation["seen_start"] < observation["healing"] <= observation["seen_end"]


@pytest.mark.end_to_end
def test_a_kill_without_effect_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was lost, but nothing was struck either: the gate knows nothing of recovery."""
    from gates.target import RunningTarget

    monkeypatch.setattr(RunningTarget, "kill", lambda self, name: None)
    gate = planned(tmp_path)
    result, outcomes = run(tmp_path, gate)
    assert outcomes["valid.fault"] is outcomes["recovery.time"] is outcomes["unavailable@fault/healthy"] is Outcome.INCONCLUSIVE
    assert judge_gate(gate, result).outcome is Outcome.INCONCLUSIVE


@pytest.mark.end_to_end
def test_a_node_that_never_comes_back_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery that was watched for longer than its limit has failed; what could not be asked is said."""
    from gates.target import RunningTarget, TargetError

    def start(self: RunningTarget, name: str) -> None:
        raise TargetError("can't be started", location=name)

    monkeypatch.setattr(RunningTarget, "start", start)
    gate = planned(tmp_path, criteria=CRITERIA.replace("below: 5 s", "below: 1 s"))
    result, outcomes = run(tmp_path, gate)
    assert outcomes["recovery.time"] is Outcome.FAIL
    assert outcomes["acknowledged.lost"] is outcomes["valid.fault"] is Outcome.INCONCLUSIVE
    assert outcomes["unavailable@fault/healthy"] is Outcome.PASS
    assert any("did not answer what the invariants ask" in finding.message for finding in result.findings)


INTERRUPTED = """
import sys
from gates import codec, registry
from gates.model import Request
from pathlib import Path
registry.plugins("gates.kinds")["validation"].run(codec.read(Path(sys.argv[1]), Request))
"""


def stored_jobs(database: Path) -> int:
    """How many jobs a node has, read from beside it."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0


def running_with(word: str) -> list[str]:
    """The command lines of all processes that name *word*."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it may end while we look
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if word in line]


@pytest.mark.end_to_end
def test_an_interrupted_run_leaves_its_history_and_no_process(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the fault: what clients saw until then is on disk, closed, and the nodes are gone."""
    gate = planned(tmp_path, SCENARIO.replace("8 s", "60 s").replace("at: 20 %", "at: 1 %"))
    request = request_for(tmp_path, gate)
    codec.write(tmp_path / "request.json", request)
    history = tmp_path / "crash/evidence/history.jsonl.gz"
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(tmp_path / "request.json")], stderr=subprocess.PIPE) as child:
        # the fault begins at 0.6 s, when node-a has about 30 jobs
        database, in_time = tmp_path / "crash/target/data/node-a/ledger.db", Bound("node-a stores 60 jobs")
        while in_time() and stored_jobs(database) < 60:
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in errors
    recorded = record.read(history)
    assert recorded.complete
    assert len(recorded.operations) > 100
    assert running_with(str(tmp_path)) == []


def test_the_kind_is_registered() -> None:
    """Found by its entry point, as a user's would be."""
    assert isinstance(registry.plugins(registry.KINDS)["validation"], Validation)
