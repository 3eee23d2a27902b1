"""Recovery objectives: each with a course in which it is held, and one in which it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gates.faults.observation import Observation
from gates.faults.timeline import PlannedFault
from gates.kinds.objectives import objectives
from gates.kinds.signals import Look, Sample, breakers, noticed, parsed
from gates.kinds.trial import Course, TrialPlan
from gates.load.outcome import Health, LoadOutcome
from gates.load.plan import LoadPlan
from gates.model import Measurement, Operation, Signals
from gates.node.flows import FLOWS
from gates.node.signals import SIGNALS

NODES = ("node-a", "node-b", "node-c")
FAULT = Observation("crash", ("node-b",), 10.0, 16.0, 10.1, 16.0, 10.2, 16.5, "seen")
RATE, SECONDS = 30, 24.0


def plan(*flows: str) -> TrialPlan:
    """Ten requests a second for every node."""
    definitions = {flow: FLOWS[flow] for flow in flows or ("read_mana",)}
    mix = dict.fromkeys(definitions, 1)
    load = LoadPlan("scenario.yaml", "", RATE, SECONDS, 2.0, 10, 5.0, mix, definitions)
    return TrialPlan(load, (PlannedFault("crash", {}, 10.0, 16.0, ("node-b",)),), (), 0.1)


def operations(
    *, down: tuple[float, float] = (10.1, 16.5), odd: Mapping[int, Mapping[str, Any]] | None = None, struck: str = "node-b"
) -> list[Operation]:
    """All is answered within 10 ms, but not by the *struck* node while it is *down*; *odd* changes single operations."""
    found = []
    for number in range(int(RATE * SECONDS)):
        when, endpoint = number / RATE, NODES[number % 3]
        gone = endpoint == struck and down[0] <= when < down[1]
        status, code = ("fail", 0) if gone else ("ok", 200)
        operation = Operation(number, "read_mana", endpoint, str(number), status, when, when + 0.01, code, None, {})
        found.append(replace(operation, **(odd or {}).get(number, {})))
    return found


def course(history: Sequence[Operation], *faults: Observation, fault: Observation = FAULT, **more: Any) -> Course:
    """The course of a trial in which clients saw *history*."""
    started = np.array([each.invoked for each in history])
    ended = np.array([each.completed for each in history])
    zeros = np.zeros(len(history), dtype=np.int16)
    failure = np.array([0 if each.status == "ok" else 2 for each in history], dtype=np.int8)
    load = LoadOutcome(
        started, started, started, ended, zeros, zeros, zeros, failure, ("read_mana",), NODES, len(history), SECONDS,
        Health(0.1, None, 0.0, "timer"), "", operations=tuple(history),
    )  # fmt: skip
    return Course(load, faults or (fault,), (), {}, (), {}, (), **more)


def measured(found: Course, *, of: TrialPlan | None = None, signals: Signals | None = SIGNALS) -> dict[str, Measurement]:
    """What there is to say, by its key."""
    return {each.key: each for each in objectives(of or plan(), found, signals)}


# --- what clients see -------------------------------------------------------------------------------------------------


def test_a_service_that_is_as_before_at_once_has_no_time_to_be_restored() -> None:
    """The node serves half a second after the healing; a second with three failures of thirty is within a tenth of before."""
    found = measured(course(operations()))["restored.time"]
    assert found.value == pytest.approx(0.25, abs=0.1)
    assert found.interval is None


def test_a_slow_tail_after_the_healing_delays_it() -> None:
    """Right answers are not enough: p99 must be within a tenth of before, too."""
    slow = {number: {"completed": number / RATE + 0.3} for number in range(int(16 * RATE), int(20 * RATE), 10)}
    assert measured(course(operations(odd=slow)))["restored.time"].value == pytest.approx(3.5, abs=0.5)


def test_fewer_right_answers_delay_it_though_none_is_slow() -> None:
    """Half of what came before is not as before."""
    history = [each for number, each in enumerate(operations()) if not (16 * RATE <= number < 20 * RATE and number % 2)]
    assert measured(course(history))["restored.time"].value == pytest.approx(3.8, abs=0.3)


def test_a_fault_that_begins_with_the_load_leaves_nothing_to_compare_with() -> None:
    """Half a second is too short to know how it was before."""
    early = replace(FAULT, asked_start=2.5, caused=2.6, seen_start=2.7)
    assert "restored.time" not in measured(course(operations(down=(2.6, 16.5)), fault=early))


def test_a_fault_that_nobody_saw_gives_no_figure() -> None:
    """It was caused and healed, but what came of it nobody knows."""
    unseen = replace(FAULT, seen_start=None, seen_end=None)
    assert not measured(course(operations(), fault=unseen, settled=(26.5, True))).keys() - {"refused.answers", "stale.answers"}


def test_what_is_never_restored_takes_at_least_as_long_as_was_watched() -> None:
    """The interval has no end, so a limit that was watched long enough fails and a longer one is inconclusive."""
    found = measured(course(operations(down=(10.1, 99.0))))["restored.time"]
    assert found.value == pytest.approx(8.0)
    assert found.interval is not None
    assert found.interval.high > 1000


def test_the_last_old_answer_or_refusal_says_when_all_was_back() -> None:
    """A second after the healing a client was still refused, and one still got an old balance a little later."""
    odd = {int(17 * RATE): {"status": "fail", "code": 503}, int(17.5 * RATE): {"answer": {"age": "1.5"}}}
    assert measured(course(operations(odd=odd)))["back.time"].value == pytest.approx(1.51, abs=0.01)
    assert measured(course(operations()))["back.time"].value == 0.0


def test_who_is_refused_until_the_end_is_never_back() -> None:
    """What would have come after the load nobody knows."""
    odd = {number: {"status": "fail", "code": 503} for number in range(int(17 * RATE), int(SECONDS * RATE), 3)}
    assert measured(course(operations(odd=odd)))["back.time"].interval is not None


def test_a_fault_that_follows_soon_leaves_no_time_to_see_what_is_as_before() -> None:
    """Between two faults there was a second: that is all that can be said of it, however long the last one was watched."""
    first = replace(FAULT, asked_end=13.0, healing=13.0, seen_end=13.1)
    second = replace(FAULT, asked_start=14.0, caused=14.1, asked_end=16.0, seen_start=14.2)
    found = measured(course(operations(down=(99.0, 99.0)), first, second))["restored.time"]
    assert found.interval is not None
    assert found.interval.low == pytest.approx(1.1)


def test_availability_is_told_apart_for_healthy_and_struck_nodes() -> None:
    """One failure on a healthy node; none of the struck node's requests was served, but those before it was really gone."""
    odd = {int(12 * RATE): {"status": "fail"}}
    found = measured(course(operations(odd=odd)))
    healthy, faulted = found["availability@fault/healthy"], found["availability@fault/faulted"]
    assert healthy.n == pytest.approx(126, abs=2)
    assert healthy.value == 1 - 1 / healthy.n
    assert healthy.interval is not None
    assert healthy.interval.low < healthy.value < healthy.interval.high
    assert faulted.value == pytest.approx(0.0, abs=0.03)


def test_the_error_budget_counts_paths_that_no_fault_struck() -> None:
    """One of a hundred may go wrong; the struck node's failures are not charged."""
    assert measured(course(operations()))["budget.burnt"].value == 0
    odd = {number: {"status": "unknown"} for number in range(int(12 * RATE), int(14 * RATE), 3)}
    found = measured(course(operations(odd=odd)))["budget.burnt"]
    assert found.value == pytest.approx(20 / 440 / 0.01, rel=0.01)
    assert found.interval is not None
    assert 1 < found.interval.low < found.value < found.interval.high


def test_flows_are_judged_apart() -> None:
    """A flow that nobody served on healthy nodes is named, and so is one that the struck node serves late."""
    found = measured(course(operations(odd={int(12 * RATE): {"status": "fail"}})))
    assert found["flow.unavailable@fault/read_mana"].value == 1
    assert found["flow.recovery/read_mana"].value == pytest.approx(0.54, abs=0.05)


def test_refusals_must_say_when_to_come_again() -> None:
    """Of three refusals one has Retry-After; an error is no refusal."""
    odd = {
        300: {"status": "fail", "code": 503, "answer": {"retry_after": "1"}},
        303: {"status": "fail", "code": 503, "answer": None},
        309: {"status": "fail", "code": 503, "answer": None},
        312: {"status": "unknown", "code": 500, "answer": None},
        306: {"answer": {"age": "0.4"}},
    }
    found = measured(course(operations(odd=odd)))
    assert (found["refused.answers"].value, found["refused.unadvised"].value, found["refused.unadvised"].n) == (3, 2, 3)
    assert (found["stale.answers"].value, found["stale.answers"].n) == (1, int(RATE * SECONDS))


def test_a_flow_that_would_not_tell_gives_no_figure() -> None:
    """No data is not none: a flow without the captures says nothing of ages and refusals."""
    found = measured(course(operations()), of=plan("read_status"))
    assert "stale.answers" not in found
    assert "refused.answers" not in found


def test_convergence_counts_from_the_healing() -> None:
    """What still moved when the time was up took at least as long; without a healing there is nothing to count from."""
    assert measured(course(operations(), settled=(26.5, True)))["converge.time"].value == 10.5
    found = measured(course(operations(), settled=(45.0, False)))["converge.time"]
    assert found.value == 29.0
    assert found.interval is not None
    earlier = replace(FAULT, asked_start=3.0, caused=3.1, healing=5.0, seen_start=3.2, seen_end=5.2)
    assert measured(course(operations(), earlier, FAULT, settled=(26.5, True)))["converge.time"].value == 10.5
    assert "converge.time" not in measured(course(operations()))
    assert "converge.time" not in measured(course(operations(), fault=replace(FAULT, healing=None), settled=(26.5, True)))


# --- what metrics tell ------------------------------------------------------------------------------------------------


def look(node: str, when: float, *lines: str) -> Look:
    """What *node* told at *when*."""
    return Look(node, when, tuple(sample for line in lines if (sample := parsed(line)) is not None))


def suspects(value: int) -> str:
    """Whether a node suspects node-b."""
    return f'icn_peer_state{{peer="node-b",state="suspect"}} {value}'


def test_a_line_of_the_text_format_is_read() -> None:
    """Name, labels with escapes, value; and a bare name."""
    assert parsed('a_total{x="1",y="a \\" b"} 2.5') == Sample("a_total", {"x": "1", "y": 'a \\" b'}, 2.5)
    assert parsed("up 1") == Sample("up", {}, 1.0)
    assert parsed("# HELP up is it") is None
    assert parsed("up down") is None


def test_a_fault_is_noticed_when_another_node_tells_of_it() -> None:
    """What a node said of somebody else, or before the fault, is no notice; the struck node's word counts for itself only."""
    looks = [
        look("node-a", 9.0, suspects(1)),
        look("node-a", 10.3, suspects(0), 'icn_peer_state{peer="node-c",state="suspect"} 1'),
        look("node-b", 10.5, suspects(1).replace("node-b", "node-a").replace("suspect", "alive")),
        look("node-c", 11.1, suspects(1)),
    ]
    assert noticed(looks, SIGNALS, FAULT) == pytest.approx(1.0)
    assert noticed(looks[:3], SIGNALS, FAULT) is None
    assert noticed([look("node-a", 10.7, 'icn_degraded{mode="read_only"} 1')], SIGNALS, FAULT) is None
    itself = [look("node-b", 10.7, 'icn_degraded{mode="read_only"} 1')]
    assert noticed(itself, SIGNALS, FAULT) == pytest.approx(0.6)


def test_a_fault_that_nobody_noticed_took_longer_than_it_lasted() -> None:
    """The nodes told, but not of that."""
    found = measured(course(operations(), looks=(look("node-a", 12.0, suspects(0)),)))["detect.time"]
    assert found.value == pytest.approx(6.4)
    assert found.interval is not None


def test_a_short_fault_that_nobody_noticed_is_no_long_one() -> None:
    """Of two faults the long one was noticed at once: of the short one it is only known that it took as long as it lasted."""
    long = replace(FAULT, nodes=("node-c",), asked_start=4.0, caused=4.0, healing=9.0, seen_start=4.1, seen_end=9.5)
    short = replace(FAULT, healing=10.5, seen_end=10.9)
    noticing = look("node-a", 4.5, suspects(1).replace("node-b", "node-c"))
    found = measured(course(operations(), long, short, looks=(noticing,)))["detect.time"]
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.8)


def test_what_is_told_after_the_fault_is_no_notice_of_it() -> None:
    """It was over by then."""
    assert noticed([look("node-a", 16.6, suspects(1))], SIGNALS, FAULT) is None


def test_who_told_of_it_before_the_fault_has_not_noticed_it() -> None:
    """A node that suspects everybody, or still suspects since the last fault, tells nothing new until it has stopped."""
    always = [look("node-a", when, suspects(1)) for when in (9.5, 10.3, 11.0)]
    assert noticed(always, SIGNALS, FAULT) is None
    again = [look("node-a", 9.5, suspects(1)), look("node-a", 10.3, suspects(0)), look("node-a", 11.0, suspects(1))]
    assert noticed(again, SIGNALS, FAULT) == pytest.approx(0.9)
    assert noticed([*always, look("node-c", 12.1, suspects(1))], SIGNALS, FAULT) == pytest.approx(2.0)


def breaker(when: float, state: str, opened: int, probed: int, node: str = "node-a") -> Look:
    """The breaker `mana` of *node*."""
    moved = 'recovery_breaker_transitions_total{breaker="mana",before="any",after="%s"} %d'
    present = f'recovery_breaker_state{{breaker="mana",state="{state}"}} 1'
    return look(node, when, present, moved % ("open", opened), moved % ("half_open", probed))


OPENED = [breaker(9.0, "closed", 0, 0), breaker(10.6, "open", 1, 0), breaker(15.0, "open", 2, 1)]


def test_a_breaker_that_opened_probed_and_closed_is_told_with_its_times() -> None:
    """Half open may be too short to be seen: the counter has it."""
    found = measured(course(operations(), looks=(*OPENED, breaker(16.8, "closed", 2, 2))))
    assert found["breaker.open.time"].value == pytest.approx(0.5)
    assert found["breaker.closed.time"].value == pytest.approx(0.8)
    assert (found["breaker.stuck"].value, found["breaker.stuck"].n) == (0, 1)


def test_a_breaker_is_closed_since_it_was_first_seen_so_and_half_open_is_not_closed() -> None:
    """It may open again meanwhile, and stays closed at last."""
    closing = [breaker(16.4, "closed", 2, 2), breaker(17.0, "half_open", 3, 3), breaker(17.2, "closed", 3, 3)]
    found = measured(course(operations(), looks=(*OPENED, *closing, breaker(22.0, "closed", 3, 3))))
    assert found["breaker.closed.time"].value == pytest.approx(1.2)
    halfway = measured(course(operations(), looks=(*OPENED, breaker(22.0, "half_open", 3, 3))))
    assert halfway["breaker.stuck"].value == 1


def test_a_breaker_that_stays_open_is_stuck() -> None:
    """And its time to close is at least as long as was watched."""
    found = measured(course(operations(), looks=(*OPENED, breaker(23.0, "open", 3, 3))))
    assert found["breaker.stuck"].value == 1
    assert found["breaker.closed.time"].value == pytest.approx(7.0)
    assert found["breaker.closed.time"].interval is not None


def test_a_breaker_that_closed_without_being_half_open_is_stuck_too() -> None:
    """Nobody asked whether the dependency is back."""
    unprobed = [breaker(9.0, "closed", 0, 0), breaker(10.6, "open", 1, 0), breaker(16.8, "closed", 1, 0)]
    assert measured(course(operations(), looks=tuple(unprobed)))["breaker.stuck"].value == 1


def test_breakers_that_never_opened_give_no_figures() -> None:
    """Then there is nothing to judge, and a criterion over them is inconclusive."""
    found = measured(course(operations(), looks=(breaker(9.0, "closed", 3, 3), breaker(20.0, "closed", 3, 3))))
    assert not [key for key in found if key.startswith("breaker.")]


def test_a_breaker_that_opened_before_the_fault_has_another_cause() -> None:
    """It says nothing of this one."""
    earlier = (breaker(8.0, "closed", 0, 0), breaker(9.0, "open", 1, 0), breaker(20.0, "closed", 1, 1))
    assert not [key for key in measured(course(operations(), looks=earlier)) if key.startswith("breaker.")]


def test_a_node_that_was_started_anew_has_new_breakers() -> None:
    """Its counters fall back, and what they count then is not what they counted before."""
    lives = [breaker(9.0, "closed", 5, 5), breaker(17.0, "closed", 0, 0), breaker(18.0, "closed", 0, 0)]
    assert breakers(lives, SIGNALS) == ()


def test_a_breaker_that_ended_with_its_process_is_not_stuck() -> None:
    """The node was killed while it was open; whoever comes after it begins anew."""
    lives = [*OPENED, breaker(16.8, "closed", 0, 0), breaker(20.0, "closed", 0, 0)]
    assert breakers(lives, SIGNALS) == ()


def test_a_breaker_that_opens_before_a_new_node_is_first_asked_has_opened() -> None:
    """A node that was started anew counts from nothing."""
    lives = [breaker(9.0, "closed", 5, 5), breaker(17.0, "open", 1, 0), breaker(18.0, "closed", 1, 1)]
    (found,) = breakers(lives, SIGNALS)
    assert (found.opened, found.probed, found.closed) == (17.0, True, 18.0)


def called(node: str, when: float, count: int) -> Look:
    """How often *node* has called node-b."""
    return look(node, when, f'icn_peer_attempts_total{{peer="node-b"}} {count}')


def test_load_on_the_dead_is_the_rate_of_calls_against_that_of_before() -> None:
    """Ten a second before, one a second while it was dead; what the struck node itself counts is not asked."""
    looks = (
        *(called("node-a", 2.0 + second, 10 * second) for second in range(9)),
        *(called("node-a", 10.5 + second, 100 + second) for second in range(6)),
        *(called("node-b", 10.5 + second, 900 * second) for second in range(6)),
    )
    found = measured(course(operations(), looks=looks))["dependency.load"]
    assert found.value == pytest.approx(0.1)
    assert found.interval is not None
    assert found.interval.low < 0.1 < found.interval.high < 1.1


def test_what_was_before_ends_with_the_first_fault() -> None:
    """Calls that were kept from the first struck node are not what was usual before the second was struck."""
    second = replace(FAULT, asked_start=18.0, caused=18.1, asked_end=21.0, healing=21.0, seen_start=18.2, seen_end=21.5)
    looks = (
        *(called("node-a", 2.0 + second, 10 * second) for second in range(9)),
        *(called("node-a", 10.5 + second, 80) for second in range(8)),
        *(called("node-a", 18.2 + tenth / 10, 80 + tenth) for tenth in range(29)),
    )
    found = measured(course(operations(), FAULT, second, looks=looks))["dependency.load"]
    assert found.value == pytest.approx(28 / (5.0 + 2.8) / 10, rel=0.05)


def test_a_retry_storm_on_the_dead_is_above_its_limit() -> None:
    """Twice as many calls as before; the whole interval is beyond 1.1."""
    looks = (
        *(called("node-a", 2.0 + second, 50 * second) for second in range(9)),
        *(called("node-a", 10.5 + second, 400 + 100 * second) for second in range(6)),
    )
    found = measured(course(operations(), looks=looks))["dependency.load"]
    assert found.interval is not None
    assert found.interval.low > 1.1


def test_without_anybody_to_say_what_metrics_mean_nothing_is_told_of_them() -> None:
    """A target of which no plug-in knows has no such figures."""
    found = measured(course(operations(), looks=(look("node-a", 11.0, suspects(1)),)), signals=None)
    assert "detect.time" not in found
