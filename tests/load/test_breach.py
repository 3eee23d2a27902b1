"""When a breach is proven, when it is sustained, and that a run that ends at it says what it knew."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.load.breach import Guard
from gates.load.engine import run_load
from gates.load.failure import Failure
from gates.load.measure import measurements
from gates.load.outcome import Health, LoadOutcome
from gates.load.plan import LoadPlan
from gates.load.schedule import Schedule
from gates.model import Comparator, Comparison, Criterion, Measurement, Rule, Severity, Unit
from gates.pipeline.judge import compare

RATE = 100
PHASES = {"warmup": (0.0, 2.0), "steady": (2.0, 20.0)}


def criterion(name: str, limit: float, *, severity: Severity = Severity.BLOCKING, beyond: float | None = None) -> Criterion:
    """A criterion with an upper limit."""
    ratio = name.startswith("errors.ratio")
    unit = Unit.RATIO if ratio else Unit.SECONDS
    return Criterion(
        name, unit, Rule.RATIO if ratio else Rule.PERCENTILE, (Comparison(Comparator.BELOW, limit, beyond),), 1, severity
    )


class Course:
    """A run of 20 s at 100/s of two flows in turns, looked at four times a second."""

    def __init__(self, *criteria: Criterion, after: float = 3.0) -> None:
        self.intended = np.arange(20 * RATE) / RATE
        self.flow = (np.arange(20 * RATE) % 2).astype(np.int16)
        self.guard = Guard(self.intended, self.flow, ("look", "ask"), PHASES, criteria, after, 7)
        self.open: list[tuple[float, int, float, Failure]] = []
        self.ended: dict[int, tuple[float, Failure]] = {}
        self.n = 0
        self.at = 0.0

    def until(self, end: float, latency: float = 0.01, failure: Failure = Failure.NONE, *, flow: int | None = None) -> bool:
        """Let arrivals until *end* end so; those of other flows than *flow* are right and fast. Whether the run is ended."""
        for step in range(int(self.at * 4) + 1, int(end * 4) + 1):
            now = step / 4
            while self.n < len(self.intended) and self.intended[self.n] < now:
                struck = flow is None or self.flow[self.n] == flow
                took, kind = (latency, failure) if struck else (0.01, Failure.NONE)
                self.open.append((self.intended[self.n] + took, self.n, took, kind))
                self.n += 1
            for each in [each for each in self.open if each[0] <= now]:
                self.open.remove(each)
                _, row, took, kind = each
                self.guard.over(row, took, kind)
                self.ended[row] = (took, kind)
            self.at = now
            if self.guard.look(self.n, now) is not None:
                return True
        return False


P99 = criterion("latency.p99@steady", 0.25)
ERRORS = criterion("errors.ratio", 0.01)


def test_a_server_that_breaks_for_good_ends_the_run_after_the_time_that_the_breach_must_last() -> None:
    """Errors are proven with the first seconds of them; three seconds later it is enough."""
    course = Course(ERRORS)
    assert not course.until(8.0)
    assert course.until(20.0, failure=Failure.STATUS)
    found = course.guard.found
    assert found is not None
    assert found.criterion == "errors.ratio"
    assert 8.0 < found.proven < 8.5
    assert found.sustained == pytest.approx(found.proven + 3.0)


def test_late_answers_prove_a_breach_of_a_percentile_once_the_seconds_do() -> None:
    """After 8 s of 10 ms, three slow seconds of nine could be chance for a bootstrap over seconds; a few more could not."""
    course = Course(P99)
    assert not course.until(8.0)
    assert course.until(20.0, latency=0.4)
    found = course.guard.found
    assert found is not None
    assert 9.0 < found.proven < 13.0
    assert found.sustained <= found.proven + 3.25


def test_a_server_that_answers_nothing_breaks_the_latency_before_its_first_timeout() -> None:
    """What has waited longer than the limit is beyond it, whatever becomes of it; nothing is an error yet."""
    course = Course(criterion("latency.p90@steady", 0.25), ERRORS)
    assert not course.until(6.0)
    assert course.until(20.0, latency=30.0)
    assert course.guard.found is not None
    assert course.guard.found.criterion == "latency.p90@steady"


def test_a_server_that_recovers_is_not_stopped_for_what_it_did_before() -> None:
    """The phase so far still proves the breach, what comes now does not."""
    course = Course(ERRORS)
    course.until(4.0)
    assert not course.until(6.5, failure=Failure.RESET)
    assert not course.until(20.0)


def test_a_breach_that_is_not_proven_does_not_stop() -> None:
    """2 % of errors are beyond a limit of 1.5 % as a point, and not as an interval."""
    course = Course(criterion("errors.ratio", 0.015))
    for second in range(4, 20, 1):
        course.until(second + 0.75)
        assert not course.until(second + 1.0, failure=Failure.STATUS if second % 12 == 0 else Failure.NONE)


def test_the_warm_up_does_not_count_for_the_steady_phase_nor_one_flow_for_another() -> None:
    """Each criterion has its own arrivals; a star has each flow's."""
    course = Course(P99)
    assert not course.until(2.0, latency=0.9)
    assert not course.until(20.0)
    other = Course(criterion("errors.ratio/ask", 0.2))
    assert not other.until(20.0, failure=Failure.STATUS, flow=0)
    star = Course(criterion("errors.ratio/*", 0.2))
    assert star.until(20.0, failure=Failure.STATUS, flow=0)


@pytest.mark.parametrize(
    "watched",
    [
        criterion("errors.ratio", 0.01, severity=Severity.ADVISORY),
        criterion("throughput", 5.0),
        criterion("rss.max", 1.0),
        Criterion("errors.ratio", Unit.RATIO, Rule.RATIO, (Comparison(Comparator.ABOVE, 0.01),), 1),
        criterion("errors.ratio@fault", 0.01),
    ],
)
def test_what_blocks_nothing_and_what_has_no_upper_limit_over_latency_or_errors_stops_nothing(watched: Criterion) -> None:
    """A run is ended for what makes it fail."""
    course = Course(watched)
    assert not course.guard.watches
    assert not course.until(20.0, failure=Failure.STATUS)


def test_a_count_that_can_not_be_cured_stops_though_it_went_well_again() -> None:
    """One error too many stays one too many; one more request can't take a longest latency away."""
    errors = Criterion("errors.count", Unit.COUNT, Rule.CENSUS, (Comparison(Comparator.AT_MOST, 3),), 1)
    course = Course(errors)
    course.until(3.96)
    course.until(4.0, failure=Failure.BODY)
    assert course.until(20.0)
    assert course.at <= 7.5


def test_the_inner_of_two_margins_is_the_limit() -> None:
    """`{below: 50 %, fail_above: 1 %}` fails beyond one per cent."""
    assert Course(criterion("errors.ratio", 0.5, beyond=0.01)).until(20.0, failure=Failure.STATUS)
    assert not Course(criterion("errors.ratio", 1.0)).until(20.0, failure=Failure.STATUS)


@pytest.mark.end_to_end
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0.01, 0.2, 0.3, 0.6]), st.booleans()), min_size=3, max_size=9),
    st.sampled_from([P99, criterion("latency.p90", 0.25), criterion("latency.p50@steady", 0.25), ERRORS]),
)
def test_what_ended_a_run_is_proven_by_what_the_run_measured(parts: list[tuple[int, float, bool]], watched: Criterion) -> None:
    """Whatever the course: when the guard ends it, the measurement of the same arrivals fails its criterion by its interval."""
    course, end = Course(watched, after=1.0), 0.0
    ended = False
    for seconds, latency, wrong in parts:
        end = min(20.0, end + seconds)
        ended = ended or course.until(end, latency, Failure.STATUS if wrong else Failure.NONE)
    if ended:
        (measured,) = [each for each in measurements(left(course), phases=PHASES, seed=3) if each.key == watched.id]
        assert measured.interval is not None
        assert compare(watched.comparisons[0], measured.interval.low, measured.interval.high) == "fail"


def left(course: Course) -> LoadOutcome:
    """What the run of *course* measured: what was still open is abandoned."""
    n = course.n
    completed = np.full(n, course.at)
    failure = np.full(n, Failure.ABANDONED, dtype=np.int8)
    for row, (latency, kind) in course.ended.items():
        completed[row], failure[row] = course.intended[row] + latency, kind
    intended, zeros = course.intended[:n], np.zeros(n, dtype=np.int16)
    health = Health(0.0, 0.0, 0.0, "timerfd")
    return LoadOutcome(
        intended, intended, intended, completed, course.flow[:n], zeros, zeros, failure, ("look", "ask"), ("main",),
        len(course.intended), course.at, health, "", stopped=True,
    )  # fmt: skip


# --- whole runs -------------------------------------------------------------------------------------------------------


@contextmanager
def breaking_server(right: int, then: bytes) -> Iterator[str]:
    """The URL of a server that gives *right* answers and then, for good, *then*; nothing at all when that is empty."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
    numbers = itertools.count(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" if next(numbers) <= right else then)
        writer.close()

    async def run() -> None:
        over = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        started.set_result((asyncio.get_running_loop(), over, server.sockets[0].getsockname()[1]))
        await over.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    loop, over, port = started.result(10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


LOAD = LoadPlan("s", "", 100.0, 60.0, 0.5, 20, 60.0, {"look": 1}, {"look": {"steps": [{"path": "/"}]}})
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("then", "broken", "sound", "limit"),
    # what answers at once is late for a busy machine's sake alone, which must not be what ends the run
    [(BROKEN, "errors.ratio", "latency.p90@steady", 5.0), (b"", "latency.p90@steady", "errors.ratio", 0.5)],
)
def test_a_server_that_breaks_for_good_ends_the_run_within_a_second_of_the_sustained_breach(
    then: bytes, broken: str, sound: str, limit: float
) -> None:
    """By the clock of the run: the guard's moment and the run's end. What was measured proves it, and only that.

    A server that hangs has made no error yet: what is in flight at the end is abandoned, not called a timeout.
    """
    guards: list[Guard] = []
    criteria = (criterion("errors.ratio", 0.1), criterion("latency.p90@steady", limit))

    def guarded(arrivals: Schedule) -> Guard:
        guards.append(Guard(arrivals.intended, arrivals.flow, arrivals.flows, LOAD.phases, criteria, 1.0, 7))
        return guards[0]

    with breaking_server(100, then) as url:
        outcome = run_load(LOAD, {"main": url}, seed=7, guarded=guarded)
    found = guards[0].found
    assert found is not None
    assert found.criterion == broken
    assert outcome.stopped
    assert outcome.intended[-1] <= found.sustained <= outcome.end
    # on a machine that is busy with other things; where the kernel does not count it, by what it did to the arrivals
    held = outcome.health.held
    held_up = float(outcome.lateness.max()) if held is None else held * outcome.end
    assert outcome.end < found.sustained + 1.0 + held_up
    assert outcome.planned == 6000
    measured = {each.key: each for each in measurements(outcome, phases=LOAD.phases, seed=7)}
    verdicts = {each.id: judged(each, measured[each.id]) for each in criteria}
    assert verdicts[broken] == "fail"
    assert verdicts[sound] != "fail"


def judged(each: Criterion, measured: Measurement) -> str:
    """What its interval says."""
    assert measured.interval is not None
    return compare(each.comparisons[0], measured.interval.low, measured.interval.high)
