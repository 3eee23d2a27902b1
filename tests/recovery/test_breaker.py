"""The breaker: when it opens, whom it lets in, what it makes of results that come late."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gates.recovery import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    CircuitState,
    ConfigurationError,
    ErrorClassifier,
    Outcome,
)
from gates.recovery.testing import VirtualClock, seeded

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when it is told."""
    return VirtualClock()


def make(clock, failures=3, seconds=10.0, successes=1, classifier=None, **more) -> CircuitBreaker:
    """A breaker on *clock*."""
    config = CircuitBreakerConfig(failures, seconds, successes, **more)
    return CircuitBreaker("prices", config, clock=clock, random=seeded(1), classifier=classifier)


def fail(breaker, error=None) -> None:
    """One call that fails."""

    def operation():
        raise error or ConnectionError("no answer")

    with pytest.raises(type(error or ConnectionError())):
        breaker.call(operation)


def tripped(clock, **more) -> CircuitBreaker:
    """A breaker that has just opened."""
    breaker = make(clock, **more)
    for _ in range(breaker.config.failure_threshold):
        fail(breaker)
    assert breaker.state is OPEN
    return breaker


def test_failures_in_a_row_open_it_and_then_nothing_is_called(clock):
    """At the threshold it opens; a rejected call does not reach the operation, and the error says how long."""
    breaker = make(clock)
    fail(breaker)
    fail(breaker)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN
    clock.advance(4)
    with pytest.raises(
        CircuitBreakerOpen, match="open for prices, after ConnectionError: no answer; retry after 6 s"
    ) as caught:
        breaker.call(pytest.fail)
    assert (caught.value.service, caught.value.retry_after) == ("prices", 6.0)


def test_successes_between_failures_keep_it_closed(clock):
    """Defect of the original: its count was cumulative, so 5 failures among 4,000 successes opened the breaker."""
    breaker = make(clock, failures=5)
    for _ in range(10):
        fail(breaker)
        for _ in range(400):
            assert breaker.call(lambda: 1) == 1
    assert breaker.state is CLOSED


def test_half_open_admits_no_more_than_its_permits(clock):
    """Defect of the original: it admitted 1,000 of 1,000 callers half-open. Ours admits exactly the permits."""
    breaker = tripped(clock, half_open_permits=2, successes=3)
    clock.advance(10)
    permits = [breaker.try_acquire() for _ in range(1000)]
    assert sum(permit is not None for permit in permits) == 2
    assert breaker.state is HALF_OPEN
    assert breaker.snapshot().in_flight == 2


def test_many_threads_reading_the_state_at_recovery_time_do_not_deadlock(clock):
    """Defect of the original: 8 threads asking an open breaker past its timeout hung for ever. Ours answers all of them."""
    breaker = tripped(clock, half_open_permits=1)
    clock.advance(10)
    start = threading.Barrier(8)
    admitted = []

    def ask() -> None:
        start.wait()
        for _ in range(200):
            breaker.snapshot()
            if permit := breaker.try_acquire():
                admitted.append(permit)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert len(admitted) == 1


def test_looking_changes_nothing(clock):
    """A snapshot of an open breaker past its time is the same as the one before, and the state stays open."""
    breaker = tripped(clock)
    clock.advance(100)
    before = breaker.snapshot()
    assert before.state is OPEN
    assert breaker.snapshot() == before
    assert breaker.state is OPEN


def test_enough_good_probes_close_it(clock):
    """So many successes as the threshold says, and not one fewer."""
    breaker = tripped(clock, successes=2)
    clock.advance(10)
    breaker.call(lambda: 1)
    assert breaker.state is HALF_OPEN
    breaker.call(lambda: 1)
    assert breaker.state is CLOSED
    assert breaker.snapshot().failures == 0


def test_a_failed_probe_opens_it_again_for_the_whole_time(clock):
    """One failure half-open is enough."""
    breaker = tripped(clock)
    clock.advance(10)
    fail(breaker)
    assert breaker.state is OPEN
    clock.advance(9.999)
    assert breaker.try_acquire() is None
    clock.advance(0.001)
    assert breaker.try_acquire() is not None


def test_a_late_success_does_not_close_the_breaker(clock):
    """A call that started before the trip says nothing about now."""
    breaker = make(clock, failures=1)
    late = breaker.acquire()
    fail(breaker)
    late.succeeded()
    assert breaker.state is OPEN
    clock.advance(10)
    probe = breaker.acquire()
    late.succeeded()
    assert breaker.state is HALF_OPEN
    probe.succeeded()
    assert breaker.state is CLOSED


def test_a_late_failure_does_not_open_it_again(clock):
    """A failure of a generation that is gone neither re-opens a half-open breaker nor counts in a closed one."""
    breaker = make(clock, failures=1)
    late = [breaker.acquire() for _ in range(3)]
    fail(breaker)
    clock.advance(10)
    probe = breaker.acquire()
    late[0].failed(ConnectionError())
    assert breaker.state is HALF_OPEN
    probe.succeeded()
    late[1].failed(ConnectionError())
    assert breaker.state is CLOSED
    assert breaker.snapshot().failures == 0


def test_a_cancelled_probe_gives_its_permit_back(clock):
    """A probe that is cancelled counts as nothing: half-open, nobody out, and the next call is admitted."""
    breaker = tripped(clock)
    clock.advance(10)

    async def scene() -> None:
        task = asyncio.ensure_future(breaker.call(asyncio.sleep, 3600))
        await asyncio.sleep(0)
        assert breaker.snapshot().in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.in_flight, snapshot.successes) == (HALF_OPEN, 0, 0)
    assert breaker.call(lambda: 1) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_counts_as_nothing(kind, clock):
    """It passes as the same object and leaves the count of failures where it was."""
    breaker = make(clock)
    fail(breaker)
    before = breaker.snapshot()
    error = kind()

    @breaker
    def operation() -> None:
        raise error

    with pytest.raises(kind) as caught:
        operation()
    assert caught.value is error
    assert breaker.snapshot() == before


def test_business_errors_do_not_trip_it(clock):
    """A hundred callers with bad input do not open the breaker for everybody else."""
    breaker = make(clock, classifier=ErrorClassifier(permanent=ValueError, ignored=KeyError))
    for _ in range(100):
        fail(breaker, ValueError("bad input"))
        fail(breaker, KeyError("ignored"))
    assert breaker.state is CLOSED


def test_a_business_error_of_a_probe_is_an_answer(clock):
    """Half-open, callers with bad input show that the dependency is there; they do not starve the probes."""
    breaker = tripped(clock, classifier=ErrorClassifier(permanent=ValueError))
    clock.advance(10)
    fail(breaker, ValueError("bad input"))
    assert breaker.state is CLOSED


def test_an_isolated_breaker_admits_nobody_until_it_is_reset(clock):
    """By hand beats time; reset closes it with nothing remembered."""
    breaker = make(clock)
    fail(breaker)
    breaker.isolate()
    clock.advance(1e9)
    with pytest.raises(CircuitBreakerOpen, match="isolated by hand; it stays so until it is reset"):
        breaker(pytest.fail)()
    assert breaker.try_acquire() is None
    assert breaker.state is CircuitState.ISOLATED
    breaker.reset()
    assert (breaker.state, breaker.snapshot().failures, breaker.snapshot().trips) == (CLOSED, 0, 0)
    assert breaker.call(lambda: 1) == 1


def test_a_disabled_breaker_admits_everybody_and_goes_on_measuring(clock):
    """However many fail, it neither rejects nor opens; the count is there to see."""
    breaker = make(clock)
    breaker.disable()
    for _ in range(10):
        fail(breaker)
    assert (breaker.state, breaker.snapshot().failures) == (CircuitState.DISABLED, 10)


def test_a_metrics_only_breaker_tells_when_it_would_have_opened(clock):
    """It admits everybody, and listeners hear `would_open`."""
    breaker = make(clock)
    breaker.metrics_only()
    events = []
    breaker.listen(events.append)
    for _ in range(3):
        fail(breaker)
    assert breaker.state is CircuitState.METRICS_ONLY
    assert [event.kind for event in events] == ["outcome", "outcome", "outcome", "would_open"]


def test_probes_ramp_up(clock):
    """1, 2, 4 and then the limit of 5 at the same time, as probes come back well."""
    breaker = tripped(clock, half_open_permits=5, successes=99, ramp=True)
    clock.advance(10)
    admitted = []
    for _ in range(4):
        permits = [permit for _ in range(50) if (permit := breaker.try_acquire())]
        admitted.append(len(permits))
        permits[0].succeeded()
        for permit in permits[1:]:
            permit.ignored()
    assert admitted == [1, 2, 4, 5]


def test_flapping_makes_two_transitions_a_cycle_and_the_time_open_never_shrinks(clock):
    """A hundred cycles of a dependency that answers once and fails again: the breaker backs off to its maximum."""
    breaker = tripped(clock, successes=2, failures=1, break_multiplier=2, max_recovery_timeout=80)
    transitions, durations = [], []
    breaker.listen(lambda event: transitions.append(event) if event.kind == "transition" else None)
    for _ in range(100):
        durations.append(breaker.snapshot().retry_after)
        clock.advance(durations[-1])
        breaker.call(lambda: 1)
        fail(breaker)
    assert durations == sorted(durations)
    assert durations[-1] == 80
    assert len(transitions) == 200


def test_jitter_shortens_the_time_open_and_never_lengthens_it(clock):
    """With 20 % the breaks of a fleet lie between 8 and 10 s, and not all in one place."""
    seen = set()
    for seed in range(50):
        config = CircuitBreakerConfig(1, 10.0, break_jitter=0.2)
        breaker = CircuitBreaker("fleet", config, clock=clock, random=seeded(seed))
        fail(breaker)
        seen.add(breaker.snapshot().retry_after)
    assert 8 <= min(seen) < max(seen) <= 10
    assert len(seen) > 40


def test_an_ignored_error_gives_the_permit_back_and_records_nothing(clock):
    """Half-open, an ignored error neither closes nor opens, and the next probe is admitted at once."""
    breaker = tripped(clock, classifier=ErrorClassifier(ignored=KeyError))
    clock.advance(10)
    fail(breaker, KeyError("ignored"))
    assert (breaker.state, breaker.snapshot().in_flight) == (HALF_OPEN, 0)
    assert breaker.try_acquire() is not None


def test_a_lost_probe_does_not_keep_it_half_open_for_ever(clock):
    """A permit that never comes back expires; the breaker opens again, and after that time admits a new probe."""
    breaker = tripped(clock, half_open_timeout=5)
    clock.advance(10)
    lost = breaker.acquire()
    clock.advance(4.999)
    assert breaker.try_acquire() is None
    assert breaker.state is HALF_OPEN
    clock.advance(0.001)
    assert breaker.try_acquire() is None
    assert breaker.state is OPEN
    lost.succeeded()
    assert breaker.state is OPEN
    clock.advance(10)
    assert breaker.try_acquire() is not None


def test_a_permit_counts_once(clock):
    """The second release changes nothing, whatever it says."""
    breaker = tripped(clock, successes=2)
    clock.advance(10)
    permit = breaker.acquire()
    permit.succeeded()
    permit.succeeded()
    permit.failed(ConnectionError())
    assert (breaker.state, breaker.snapshot().successes) == (HALF_OPEN, 1)


def test_the_time_open_grows_to_its_maximum_and_starts_over_after_a_healthy_time(clock):
    """10, 20, 40, 40 s; after a closed time as long as the last break it is 10 s again."""
    breaker = tripped(clock, break_multiplier=2, max_recovery_timeout=40)
    durations = []
    for _ in range(4):
        durations.append(breaker.snapshot().retry_after)
        clock.advance(durations[-1])
        fail(breaker)
    assert durations == [10, 20, 40, 40]
    clock.advance(40)
    breaker.call(lambda: 1)
    clock.advance(40)
    for _ in range(3):
        fail(breaker)
    assert breaker.snapshot().retry_after == 10


def test_a_reset_starts_the_growth_of_the_time_open_over(clock):
    """After a reset by hand the next break is as short as the first."""
    breaker = tripped(clock, break_multiplier=2)
    clock.advance(10)
    fail(breaker)
    assert breaker.snapshot().retry_after == 20
    breaker.reset()
    assert breaker.snapshot().trips == 0
    for _ in range(3):
        fail(breaker)
    assert breaker.snapshot().retry_after == 10


def test_the_time_open_is_never_less_than_the_dependency_asked_for(clock):
    """An error with `retry_after` makes the break at least that long."""

    class Busy(Exception):
        retry_after = 55.0

    breaker = make(clock, failures=1)
    fail(breaker, Busy())
    assert breaker.snapshot().retry_after == 55.0


def test_threads_at_the_moment_of_expiry_make_one_transition(clock):
    """However many ask at once, one goes in and one transition is told."""
    breaker = tripped(clock)
    events = []
    breaker.listen(events.append)
    clock.advance(10)
    start = threading.Barrier(8)
    admitted = []

    def ask() -> None:
        start.wait()
        admitted.append(breaker.try_acquire())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(permit is not None for permit in admitted) == 1
    assert [(event.detail["before"], event.detail["after"]) for event in events if event.kind == "transition"] == [
        (OPEN, HALF_OPEN)
    ]


def test_a_listener_that_raises_is_logged_once_and_changes_nothing(clock, caplog):
    """The calls go on as if it were not there."""

    def listener(event: object) -> None:
        raise RuntimeError("a mistake")

    breaker = make(clock)
    stop = breaker.listen(listener)
    for _ in range(5):
        assert breaker.call(lambda: 1) == 1
    assert len(caplog.records) == 1
    stop()
    assert breaker.gate == breaker.generation


def test_a_result_can_be_a_failure_and_is_still_returned(clock):
    """With a classifier of results a 503 trips the breaker; the caller gets the 503 all the same."""
    classifier = ErrorClassifier(results=lambda status: Outcome.RETRYABLE if status == 503 else None)
    breaker = make(clock, classifier=classifier)
    guarded = breaker(lambda status: status)
    assert [guarded(503), guarded(503), guarded(200), guarded(503), guarded(503)] == [503, 503, 200, 503, 503]
    assert breaker.state is CLOSED
    assert guarded(503) == 503
    assert breaker.state is OPEN


def test_every_form_guards_the_same(clock):
    """Decorator, call and context count alike, on functions, coroutines and generators."""

    def broken() -> None:
        raise ConnectionError

    async def broken_later() -> None:
        raise ConnectionError

    def broken_items():
        yield 1
        raise ConnectionError

    breaker = make(clock, failures=6)
    with pytest.raises(ConnectionError):
        breaker(broken)()
    with pytest.raises(ConnectionError):
        breaker.call(broken)
    with pytest.raises(ConnectionError), breaker.guard():
        broken()
    with pytest.raises(ConnectionError):
        asyncio.run(breaker(broken_later)())
    with pytest.raises(ConnectionError):
        asyncio.run(breaker.call(broken_later))
    assert breaker.state is CLOSED
    with pytest.raises(ConnectionError):
        list(breaker(broken_items)())
    assert breaker.state is OPEN


def test_an_async_generator_is_refused_when_it_is_decorated(clock):
    """Better refused than silently unguarded."""
    with pytest.raises(ConfigurationError, match="allowed: a function, coroutine function or generator function"):

        @make(clock)
        async def items():
            yield 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"failure_threshold": 0}, "CircuitBreakerConfig.failure_threshold is 0; allowed: a whole number at least 1"),
        ({"failure_threshold": True}, "failure_threshold is True"),
        ({"recovery_timeout": 0}, "recovery_timeout is 0; allowed: a number above 0"),
        ({"success_threshold": 1.5}, "success_threshold is 1.5"),
        ({"half_open_permits": 0}, "half_open_permits is 0"),
        ({"break_multiplier": 0.9}, "break_multiplier is 0.9"),
        ({"max_recovery_timeout": 1}, "max_recovery_timeout is 1; allowed: a number at least 60"),
        ({"break_jitter": 2}, "break_jitter is 2; allowed: a number at least 0 and at most 1"),
    ],
)
def test_a_wrong_figure_is_named_with_value_and_range(settings, text):
    """At construction, with the field, the value and what would be accepted."""
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreakerConfig(**settings)
    assert text in str(caught.value)


def test_a_healthy_breaker_takes_no_lock(clock):
    """Closed, without failures and listeners, a call passes while somebody holds the lock; a failure brings the lock back."""
    breaker = make(clock)
    call = breaker(lambda: "answer")
    fail(breaker)
    assert breaker.alert
    assert call() == "answer"
    assert not breaker.alert
    with breaker.core.lock:
        assert call() == "answer"
