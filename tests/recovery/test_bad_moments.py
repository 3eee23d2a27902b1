"""What comes from outside at a bad moment: collected garbage, closed loops, mocks, copies, mistakes in what was handed in."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from unittest.mock import AsyncMock, MagicMock

import pytest

from gates.recovery import (
    AdaptiveLimit,
    BreakerRegistry,
    Bulkhead,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    ConfigurationError,
    Constant,
    CountWindow,
    DeadlineExceeded,
    ErrorClassifier,
    Hedge,
    Outcome,
    Policy,
    RateLimiter,
    ResultRejected,
    Retry,
    RetryBudget,
    TimeLimit,
    TimeWindow,
    parse_retry_after,
    retry_with_backoff,
    with_timeout,
)
from gates.recovery.circuit import STATES
from gates.recovery.classification import OUTCOMES
from gates.recovery.prometheus import Collector
from gates.recovery.testing import VirtualClock, run


def refused() -> None:
    """An operation that fails."""
    raise ConnectionError


async def refused_later() -> None:
    """The same as a coroutine function."""
    raise ConnectionError


COLLECTED_INSIDE = """
import faulthandler, gc
faulthandler.dump_traceback_later(10, exit=True)
from gates.recovery import CircuitBreaker, CircuitBreakerConfig

def collecting():
    gc.collect()
    return 0.5

breaker = CircuitBreaker("api", CircuitBreakerConfig(1, break_jitter=0.5), random=collecting)

@breaker
def items():
    yield 1

class Holder:
    pass

gc.disable()
holder = Holder()
holder.items, holder.itself = items(), holder
next(holder.items)
del holder

@breaker
def refused():
    raise ConnectionError

try:
    refused()
except ConnectionError:
    print(breaker.state)
"""


def test_a_guarded_generator_that_is_collected_in_the_middle_of_a_change_does_not_deadlock():
    """The collector ends it while the breaker is being opened, and ending it tells the same breaker."""
    ended = subprocess.run([sys.executable, "-c", COLLECTED_INSIDE], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("open\n", 0), ended.stderr


@pytest.mark.parametrize("word", [*OUTCOMES, *STATES])
def test_an_outcome_and_a_state_stay_themselves_when_they_are_copied(word):
    """They are compared by identity, and errors that carry one travel between processes."""
    for twin in (pickle.loads(pickle.dumps(word)), copy.copy(word), copy.deepcopy(word), type(word)(str(word))):
        assert twin is word


def test_a_rejected_result_from_another_process_is_tried_again():
    """It carries what it means, and means the same after the journey."""
    error, calls = pickle.loads(pickle.dumps(ResultRejected("busy", Outcome.OVERLOAD))), []

    @Retry(3, Constant(0), reraise=True)
    def ask() -> None:
        calls.append(1)
        raise error

    with pytest.raises(ResultRejected):
        ask()
    assert len(calls) == 3


def test_an_outcome_that_nobody_knows_is_refused():
    """A text of one's own is no member."""
    with pytest.raises(ConfigurationError, match="allowed: a member of Outcome"):
        ErrorClassifier(otherwise=Outcome("perhaps"))


def test_mocks_are_guarded_like_what_they_stand_for():
    """A mock answers to every attribute, so looking for a partial in one must come to an end."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1))
    assert breaker(MagicMock(return_value=3))(1, key=2) == 3
    assert asyncio.run(breaker(AsyncMock(return_value=4))()) == 4
    with pytest.raises(ConnectionError):
        asyncio.run(breaker(AsyncMock(side_effect=ConnectionError))())
    assert breaker.state is CircuitState.OPEN


def test_a_marked_function_counts_as_a_coroutine_function():
    """As `asyncio.iscoroutinefunction` says."""

    def marked():
        return refused_later()

    marked._is_coroutine = asyncio.coroutines._is_coroutine
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1))
    with pytest.raises(ConnectionError):
        asyncio.run(breaker(marked)())
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("guard", [lambda breaker: breaker, Policy], ids=["breaker", "policy"])
def test_a_function_that_turns_out_to_give_an_awaitable_is_guarded_to_its_end(guard):
    """`call(lambda: fetch(url))` does not tell its colour before; a failure when it is awaited counts all the same."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(2))

    def without_colour():
        return refused_later()

    async def twice() -> None:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await guard(breaker).call(without_colour)

    asyncio.run(twice())
    assert breaker.state is CircuitState.OPEN


def test_a_policy_calls_again_what_gave_an_awaitable():
    """The first awaitable is awaited once, and every further attempt has one of its own."""
    calls: list[int] = []

    async def fetch(item: int, *, plus: int) -> int:
        calls.append(item)
        if len(calls) < 3:
            raise ConnectionError
        return item + plus

    policy = Policy(Retry(4, Constant(0)))
    given = functools.lru_cache(maxsize=0)(lambda item, *, plus: fetch(item, plus=plus))

    async def call() -> int:
        return await policy.call(given, 1, plus=2)

    assert (asyncio.run(call()), calls) == (3, [1, 1, 1])


@pytest.mark.parametrize("decorated", ["wraps", "cache"])
def test_a_plain_function_before_a_coroutine_function_is_guarded_to_its_end(decorated):
    """A decorator in between, by functools.wraps or functools.cache, hides what is below it: it is found out in the call."""
    if decorated == "cache":
        between = functools.lru_cache(maxsize=0)(refused_later)
    else:

        @functools.wraps(refused_later)
        def between(*args, **kwargs):
            return refused_later(*args, **kwargs)

    breaker = CircuitBreaker("api", CircuitBreakerConfig(2))
    guarded = Policy(Retry(2, Constant(0), reraise=True), breaker)(between)
    with pytest.raises(ConnectionError):
        asyncio.run(guarded())
    assert breaker.state is CircuitState.OPEN
    assert guarded.__wrapped__ is between


def test_a_plain_function_that_runs_its_coroutine_function_itself_gives_its_answer():
    """As asgiref's async_to_sync, which keeps what it wraps: it stays a function."""

    async def later(item: int, *, plus: int = 1) -> int:
        return item + plus

    @functools.wraps(later)
    def now(*args, **kwargs):
        return asyncio.run(later(*args, **kwargs))

    assert CircuitBreaker("api")(now)(1) == 2
    assert Policy(Retry(2), Bulkhead(1))(now)(1, plus=2) == 3


def test_what_turns_out_to_give_an_awaitable_takes_one_allowance():
    """The look at its colour is not a call."""

    async def later() -> int:
        return 7

    def without_colour():
        return later()

    limiter = RateLimiter(1.0, 2, clock=VirtualClock())

    async def calls() -> list[int]:
        return [await Policy(limiter).call(without_colour) for _ in range(2)]

    assert asyncio.run(calls()) == [7, 7]
    assert not limiter.try_acquire()


def test_a_stop_of_iteration_leaves_a_guarded_block_as_it_is():
    """A generator would make a RuntimeError of it."""
    error, error_async = StopIteration("mine"), StopAsyncIteration("mine")
    with pytest.raises(StopIteration) as caught, Policy(CircuitBreaker()).guard():
        raise error
    assert caught.value is error

    async def block() -> None:
        async with Policy(CircuitBreaker()).guard():
            raise error_async

    with pytest.raises(StopAsyncIteration) as caught_async:
        asyncio.run(block())
    assert caught_async.value is error_async


def test_an_interrupted_attempt_tells_those_before_it():
    """Attempts, history, service and event are there although the deadline ended the call and not a failure."""
    clock, told, calls = VirtualClock(0.0), [], []
    retry = Retry(9, Constant(0.1), deadline=1.0, clock=clock, service="prices")
    retry.listen(lambda event: told.append((event.kind, event.detail.get("why"))))

    @retry
    async def ask() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError(len(calls))
        await asyncio.sleep(100)

    with pytest.raises(DeadlineExceeded, match="Deadline exceeded for prices during attempt 3") as caught:
        run(ask, clock)
    ended = caught.value
    assert (ended.attempts, ended.last_error, ended.service, clock.now) == (3, None, "prices", 1.0)
    assert [(str(attempt.error), attempt.delay) for attempt in ended.history] == [("1", 0.1), ("2", 0.1)]
    assert told == [("retry", None), ("retry", None), ("gave_up", "DeadlineExceeded")]


def test_an_interrupted_first_attempt_has_no_history():
    """It is counted, and there was nothing before it."""

    @Retry(3, deadline=0.01)
    async def hang() -> None:
        await asyncio.sleep(10)

    with pytest.raises(DeadlineExceeded) as caught:
        asyncio.run(hang())
    assert (caught.value.attempts, caught.value.history) == (1, ())


def test_an_interrupted_retry_leaves_no_cycle():
    """What the error tells is not held by the frame that its traceback holds."""
    clock, calls = VirtualClock(0.0), []

    @Retry(9, Constant(0.1), deadline=1.0, clock=clock)
    async def ask() -> None:
        calls.append(1)
        if len(calls) % 3:
            raise ConnectionError
        await asyncio.sleep(100)

    async def some() -> int:
        for _ in range(3):
            with contextlib.suppress(DeadlineExceeded):
                await ask()
        return gc.collect()

    gc.collect()
    gc.disable()
    try:
        assert run(some, clock) == 0
    finally:
        gc.enable()


def test_a_counter_shows_every_digit():
    """A counter that is rounded to six digits stands still for ten calls of every eleven from ten million on."""
    collector, breaker = Collector(), CircuitBreaker("api")
    collector.watch(breaker)
    breaker(len)("")
    collector._counts = dict.fromkeys(collector._counts, 12_345_678)
    assert 'recovery_calls_total{breaker="api",outcome="success"} 12345678' in collector.text().splitlines()


COLLECTOR_FORKED = """
import os, threading
from gates.recovery import CircuitBreaker
from gates.recovery.prometheus import Collector

collector, breaker = Collector(), CircuitBreaker("api")
collector.watch(breaker)
held, done = threading.Event(), threading.Event()

def hold():
    with collector._lock:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    import signal
    signal.alarm(5)
    breaker(len)("")
    os._exit(7)
done.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_finds_the_collector_unlocked():
    """Another thread counts at the moment of the fork, and is not there in the child to end it."""
    ended = subprocess.run([sys.executable, "-c", COLLECTOR_FORKED], capture_output=True, text=True, check=False)
    assert ended.stdout == "7\n", ended.stderr


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "header",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 -0000",
    ],
)
def test_every_syntax_of_a_date_is_greenwich_time(monkeypatch, header, zone):
    """Whatever the zone of this machine: one of the three forms of RFC 9110 names none, and means the same."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after(header, lambda: 784111777.0 - 100) == 100.0
    finally:
        monkeypatch.undo()
        time.tzset()


class Mistaken(ErrorClassifier):
    """A classifier with a mistake in it."""

    def classify(self, error: BaseException) -> Outcome:
        """Never comes to an answer."""
        raise TypeError("a mistake")


def test_a_mistaken_classifier_keeps_no_place_of_an_adaptive_limit():
    """The call's own error comes out, and the place is free again."""
    limit = AdaptiveLimit(1, classifier=Mistaken())
    for _ in range(3):
        with pytest.raises(ConnectionError):
            limit(refused)()
    assert limit.in_flight == 0


def test_a_mistake_about_a_result_keeps_no_probe_and_hides_no_result():
    """A function over results that raises says nothing, so the result is a success."""

    def mistaken(value: object) -> Outcome:
        raise TypeError("a mistake")

    clock = VirtualClock()
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 10.0, 1), classifier=ErrorClassifier(results=mistaken), clock=clock)
    with pytest.raises(ConnectionError):
        breaker(refused)()
    clock.advance(10.0)
    assert breaker(lambda: 5)() == 5
    assert breaker.state is CircuitState.CLOSED


def test_an_error_whose_retry_after_raises_is_a_failure_like_any_other():
    """What it asks for can't be known, and the error itself comes out."""

    class Odd(Exception):
        @property
        def retry_after(self) -> float:
            raise TypeError("a mistake")

    def ask() -> None:
        raise Odd

    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, 10.0))
    with pytest.raises(Odd):
        breaker(ask)()
    assert breaker.state is CircuitState.OPEN


def test_a_permit_is_given_back_although_the_loop_of_a_waiter_was_closed():
    """Whoever leaves must not hear of it, and the place is free."""
    bulkhead, loop = Bulkhead(1, queue=2), asyncio.new_event_loop()
    inside, leave = threading.Event(), threading.Event()

    @bulkhead
    def work() -> None:
        inside.set()
        leave.wait()

    @bulkhead
    async def wait() -> None: ...

    errors: list[BaseException] = []

    def worker() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=worker)
    thread.start()
    inside.wait()
    coroutine = wait()

    async def begun() -> None:
        coroutine.send(None)

    loop.run_until_complete(begun())
    loop.close()
    assert bulkhead.waiting == 1
    leave.set()
    thread.join()
    coroutine.close()
    assert (errors, bulkhead.free, bulkhead.waiting) == ([], 1, 0)


def test_what_a_hedge_overtook_in_the_same_tick_leaves_no_complaint():
    """Two calls end in one tick, the first well and the second not: its error was looked at, so the loop says nothing."""
    complaints: list[str] = []

    async def race() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
        calls: list[int] = []
        end = asyncio.Event()

        @Hedge(0.001)
        async def ask() -> int:
            calls.append(1)
            mine = len(calls)
            if mine == 2:
                asyncio.get_running_loop().call_soon(end.set)
            await end.wait()
            if mine == 2:
                raise ConnectionError
            return mine

        answer = await ask()
        gc.collect()
        await asyncio.sleep(0)
        return answer

    assert (asyncio.run(race()), complaints) == (1, [])


def test_a_loop_of_another_thread_never_gets_an_alarm_of_this_one(monkeypatch):
    """Two threads meet while each makes a queue for its loop: each alarm is in the queue of its own loop."""
    limit = TimeLimit(30.0)
    other = asyncio.new_event_loop()
    timer = limit._timer

    class Loop(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            if not met:
                met.append(1)
                thread = threading.Thread(target=timer._queue_of, args=(other,))
                thread.start()
                # Without a lock it comes in between here; with one it waits, and there is nothing more to see.
                thread.join(0.05)
                threads.append(thread)
            return super().is_closed()

    met: list[int] = [1]
    threads: list[threading.Thread] = []
    first, second = Loop(), asyncio.new_event_loop()
    try:
        timer._queue_of(first)
        met.clear()
        assert timer._queue_of(second).loop is second
        for thread in threads:
            thread.join()
        assert {queue.loop for queue in timer._queues.values()} == {first, second, other}
    finally:
        for loop in (first, second, other):
            loop.close()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(10**400), "Constant.seconds is 1"),
        (lambda: Constant(1e12), r"Constant.seconds is 1000000000000.0; allowed: a number at least 0 and at most 1e\+09"),
        (lambda: Bulkhead(1, 1, patience=1e10), "Bulkhead.patience is 10000000000.0"),
        (lambda: RetryBudget(burst=1e305), r"RetryBudget.burst is 1e\+305"),
        (lambda: RetryBudget(reserve=1e305), r"RetryBudget.reserve is 1e\+305"),
        (lambda: TimeWindow(5e-324), "TimeWindow.seconds is 5e-324; allowed: a number at least 1e-06"),
        (lambda: RateLimiter(1e-320, 2), "RateLimiter.rate is 1e-320; allowed: a number at least 1e-09"),
        (lambda: RateLimiter(1, 10**400), r"RateLimiter.burst is 1\d+; allowed: a whole number at least 1 and at most 9.22"),
        (lambda: RateLimiter(1, name=5), "RateLimiter.name is 5; allowed: a text"),
        (lambda: RateLimiter(1, sleep_async=0), "RateLimiter.sleep_async is 0; allowed: something callable"),
        (lambda: Bulkhead(1, name=5), "Bulkhead.name is 5; allowed: a text"),
        (lambda: AdaptiveLimit(name=5), "AdaptiveLimit.name is 5; allowed: a text"),
        (lambda: Retry(service=5), "Retry.service is 5; allowed: a text"),
        (lambda: Retry(reraise="no"), "Retry.reraise is 'no'; allowed: True or False"),
        (lambda: Retry(wait_for_breaker="no"), "Retry.wait_for_breaker is 'no'; allowed: True or False"),
        (lambda: BreakerRegistry(random=5), "BreakerRegistry.random is 5; allowed: something callable"),
        (lambda: BreakerRegistry().listen(5), "BreakerRegistry.listen is 5; allowed: something callable"),
        (lambda: retry_with_backoff(5), "operation is 5; allowed: something callable"),
        (lambda: asyncio.run(with_timeout(5, 1.0)), "operation is 5; allowed: something callable"),
        (lambda: CircuitBreakerConfig(window=CountWindow(10**400)), "CountWindow.size is 1"),
    ],
)
def test_figures_that_would_fail_in_the_middle_of_an_outage_are_refused_at_construction(make, text):
    """Too long to be slept, too short for a float, or of another kind."""
    with pytest.raises(ConfigurationError, match=text):
        make()
