"""A generator that is too slow, really: it says so by name, and how to cure it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from odd_server import odd_server

from gates.load.bottleneck import LIGHTER, MORE_CONNECTIONS, OF_ITS_OWN, QUIETER, bottlenecks
from gates.load.engine import run_load
from gates.load.measure import measurements
from gates.load.outcome import Health, LoadOutcome
from gates.load.plan import LoadPlan
from gates.load.validity import CPU, LATENESS, UNSENT, valid_criteria
from gates.model import Comparator, Comparison, Criterion, Execution, GateResult, Outcome, PlannedGate, Rule, Unit
from gates.pipeline.judge import judge_gate

PLAN = LoadPlan("s", "", 200.0, 1.0, 0.0, 20, 1.0, {"right": 1}, {"right": {"steps": [{"path": "/right"}]}})
TIGHT = Criterion("latency.p50", Unit.SECONDS, Rule.PERCENTILE, (Comparison(Comparator.BELOW, 0.01, text="10 ms"),), 1)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


@contextmanager
def crowded(hogs: int) -> Iterator[None]:
    """This thread shares one processor with *hogs* that never stop."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(hogs)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()
        os.sched_setaffinity(0, allowed)


def outcomes(outcome: LoadOutcome) -> dict[str, Outcome]:
    """What the judge says of each criterion that is built in."""
    gate = PlannedGate("g", "load", {}, valid_criteria([TIGHT]), 0.0, 0.0)
    found = measurements(outcome, phases={}, seed=1)
    return {
        each.criterion.id: each.outcome
        for each in judge_gate(gate, GateResult("g", Execution.COMPLETED, "", 1.0, found)).criteria
    }


@pytest.mark.end_to_end
def test_a_generator_that_wastes_its_time_on_every_arrival_is_the_bottleneck(url: str) -> None:
    """200 arrivals of 10 ms each don't fit into a second: the seeded defect is late and says so, and nothing of it passes."""
    outcome = run_load(PLAN, {"main": url}, seed=1, drag=0.01)
    assert outcomes(outcome)[LATENESS] is Outcome.INCONCLUSIVE
    (found,) = bottlenecks(outcome, valid_criteria([TIGHT]))
    assert found.message.startswith("the generator was the bottleneck: its thread used ")
    assert "1 ms is the limit" in found.message
    assert found.hint in (LIGHTER, OF_ITS_OWN)


@pytest.mark.end_to_end
def test_a_generator_without_a_processor_of_its_own_says_how_long_it_waited_for_one(url: str) -> None:
    """Four others on its core: it is late though it hardly works."""
    with crowded(4):
        outcome = run_load(replace(PLAN, seconds=2.0), {"main": url}, seed=1)
    assert outcome.health.held is not None
    assert outcome.health.held > 0.01
    assert outcomes(outcome)[LATENESS] is Outcome.INCONCLUSIVE
    (found,) = bottlenecks(outcome, valid_criteria([TIGHT]))
    assert "and waited for one for" in found.message
    assert found.hint == OF_ITS_OWN


@pytest.mark.end_to_end
def test_arrivals_that_the_generator_never_came_to_are_unsent_and_not_forgotten(url: str) -> None:
    """Of 400 arrivals of 10 ms each, half are taken up before the last one's time is over; every one is accounted for."""
    outcome = run_load(replace(PLAN, rate=400.0, timeout=0.5), {"main": url}, seed=1, drag=0.01)
    assert len(outcome.intended) == outcome.planned == 400
    assert not outcome.stopped
    verdicts = outcomes(outcome)
    assert verdicts[UNSENT] is Outcome.INCONCLUSIVE
    measured = {each.key: each.value for each in measurements(outcome, phases={}, seed=1)}
    assert measured["generator.planned"] == 400
    assert measured["generator.sent"] + measured["generator.unsent"] == 400
    assert measured["generator.unsent"] > 0
    assert measured["generator.done"] <= measured["generator.sent"]


def late(health: Health, *, by: float = 0.5) -> LoadOutcome:
    """An outcome of a generator that was late, on a machine like that."""
    import numpy as np

    n = np.arange(100) / 100.0
    zeros = np.zeros(100, dtype=np.int16)
    return LoadOutcome(
        n, n + by, n + by, n + by + 0.01, zeros, zeros, zeros, zeros.astype(np.int8), ("a",), ("main",), 100, 2.0, health, ""
    )


@pytest.mark.parametrize(
    ("health", "said", "hint"),
    [
        (Health(0.97, 0.0, 0.0, "timerfd", 0.01), "used 97% of a core, as much as there is", LIGHTER),
        (Health(0.30, 0.0, 0.0, "timerfd", 0.55), "used 30% of a core and waited for one for 55% of the time", OF_ITS_OWN),
        (Health(0.30, 0.4, 0.0, "timerfd", 0.55), "the hypervisor took 40 % of the machine's time", QUIETER),
        (Health(0.99, None, 0.0, "spin", 0.20), "used 99% of a core and waited for one for 20% of the time", OF_ITS_OWN),
        (Health(0.30, None, 0.0, "timer"), "used 30% of a core", OF_ITS_OWN),
    ],
)
def test_the_reason_and_the_cure_follow_from_where_the_time_went(health: Health, said: str, hint: str) -> None:
    """Its own work, other work on its core, or the machine's neighbours."""
    (found,) = bottlenecks(late(health), ())
    assert said in found.message
    assert found.hint == hint


def test_a_generator_that_used_all_of_its_core_is_a_bottleneck_though_it_was_on_time() -> None:
    """A little more and it would not have been; one that spins uses it on purpose."""
    busy = late(Health(0.95, 0.0, 0.0, "timerfd", 0.0), by=0.0)
    assert outcomes(busy)[CPU] is Outcome.INCONCLUSIVE
    assert [found.hint for found in bottlenecks(busy, ())] == [LIGHTER]
    assert list(bottlenecks(late(Health(1.0, 0.0, 0.0, "spin", 0.0), by=0.0), ())) == []
    assert CPU not in {each.id for each in valid_criteria((), spins=True)}


def test_connections_that_were_too_few_are_named_when_the_generator_was_on_time() -> None:
    """Arrivals were taken up at their time and found no connection."""
    from gates.load.failure import Failure

    outcome = late(Health(0.1, 0.0, 0.0, "timerfd", 0.0), by=0.0)
    outcome.failure[:5] = Failure.UNSENT
    (found,) = bottlenecks(outcome, ())
    assert found.message == "the connections were the bottleneck: 5 arrivals of 100 found none that was free"
    assert found.hint == MORE_CONNECTIONS


def test_a_generator_that_waited_for_a_processor_is_named_though_it_found_no_connection() -> None:
    """It read the answers late, so the connections were its own to give back: more of them would not help."""
    from gates.load.failure import Failure

    outcome = late(Health(0.2, 0.0, 0.0, "timerfd", 0.75), by=0.0)
    assert list(bottlenecks(outcome, ())) == []
    outcome.failure[:5] = Failure.UNSENT
    (found,) = bottlenecks(outcome, ())
    assert "used 20% of a core and waited for one for 75% of the time" in found.message
    assert found.hint == OF_ITS_OWN


def test_how_late_the_generator_was_is_part_of_every_latency() -> None:
    """A clock that starts when an arrival is taken up, or sent, hides it: in the rows kept or in what is measured."""
    outcome = late(Health(0.1, 0.0, 0.0, "timerfd", 0.0), by=0.5)
    assert outcome.latency == pytest.approx(0.51)
    assert outcome.service == pytest.approx(0.01)
    assert outcome.select().latency.quantile(0.5) == pytest.approx(0.51)
    assert outcome.select().service.quantile(0.5) == pytest.approx(0.01)
