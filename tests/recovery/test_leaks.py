"""What is left behind: no cycles, no growing tracebacks, no locked locks, no wall clock."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import inspect
import os
import pickle
import threading
import time
import tracemalloc

import pytest

from gates.recovery import (
    AdaptiveLimit,
    BreakerRegistry,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    CircuitState,
    ConfigurationError,
    Constant,
    CountWindow,
    Deadline,
    ErrorRecoveryConfig,
    ExhaustedRetries,
    FailedAttempt,
    Overloaded,
    Policy,
    RateLimiter,
    ResultRejected,
    Retry,
    RetryBudget,
    Timeout,
    retry_with_backoff,
)
from gates.recovery.locks import shared_lock
from gates.recovery.testing import VirtualClock, run


@pytest.fixture
def collected():
    """A function that says how many objects only the collector could free since the test began."""
    gc.collect()
    gc.disable()
    yield gc.collect
    gc.enable()


def broken() -> None:
    """Nothing answers."""
    raise ConnectionError("no answer")


@pytest.mark.parametrize("reraise", [False, True])
@pytest.mark.parametrize("last", ["answer", "failure", "permanent", "interrupt"])
def test_a_retried_call_leaves_no_cycle(collected, reraise, last):
    """Whichever way it ends, its errors, tracebacks and frames go when they are no longer used, without the collector."""
    endings = {
        "answer": None,
        "failure": ConnectionError(),
        "permanent": CircuitBreakerOpen("x", 1.0),
        "interrupt": KeyboardInterrupt(),
    }
    calls = []

    @Retry(3, Constant(0), reraise=reraise)
    def operation() -> None:
        calls.append(1)
        if len(calls) % 3:
            raise ConnectionError
        if endings[last] is not None:
            raise type(endings[last])()

    for _ in range(10):
        with contextlib.suppress(BaseException):
            operation()
    assert len(calls) == 30
    assert collected() == 0


def test_the_originals_entrance_leaves_no_cycle(collected):
    """Each call makes a retry of its own and takes it away again."""
    for _ in range(5):
        with contextlib.suppress(ExhaustedRetries):
            retry_with_backoff(broken, ErrorRecoveryConfig.testing(), sleep=lambda seconds: None)
    assert collected() == 0


def test_a_timed_coroutine_leaves_no_cycle(collected):
    """The task, the error that it ended with and the alarm do not keep each other alive, interrupted or not."""

    async def hang(seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise ConnectionError

    async def scene() -> None:
        for seconds in (0.5, 3600.0):
            timed = asyncio.ensure_future(Retry(2, Constant(0.1), attempt_timeout=1.0)(hang)(seconds))
            await asyncio.wait([timed])
            assert isinstance(timed.exception(), ExhaustedRetries)
            del timed
        gc.collect()
        for seconds in (0.5, 3600.0):
            timed = asyncio.ensure_future(Retry(2, Constant(0.1), attempt_timeout=1.0)(hang)(seconds))
            await asyncio.wait([timed])
            assert isinstance(timed.exception(), ExhaustedRetries)
            del timed
        assert collected() == 0

    run(scene)


def test_a_whole_policy_leaves_no_cycle(collected):
    """Sync, with breaker, budget and fallback in it."""
    call = Policy(Retry(3, Constant(0), budget=RetryBudget(0.1, 1e6)), CircuitBreaker(config=CircuitBreakerConfig(1000)))(
        broken
    )
    for _ in range(10):
        with contextlib.suppress(ExhaustedRetries):
            call()
    assert collected() == 0


def test_the_error_comes_out_with_its_traceback_and_a_short_chain():
    """The same object, from the operation's own line, with one error in its context however many attempts there were."""
    with pytest.raises(ExhaustedRetries) as caught:
        Retry(50, Constant(0))(broken)()
    error = caught.value.last_error
    chain = []
    link: BaseException | None = error
    while link is not None:
        chain.append(link)
        link = link.__context__
    assert len(chain) <= 2
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames == ["call", "broken"]


def test_rejections_are_fresh_and_grow_nothing(in_full):
    """Of ten thousand, in full a hundred thousand, every one is new; tracebacks stay as short as the first, memory flat."""
    breaker = CircuitBreaker("b", CircuitBreakerConfig(1, 1e6))
    call = breaker(broken)
    with pytest.raises(ConnectionError):
        call()

    def reject() -> int:
        depth = 0
        try:
            call()
        except CircuitBreakerOpen as error:
            assert (error.__cause__, error.__context__) == (None, None)  # noqa: PT017 - pytest.raises would add frames
            traceback = error.__traceback__
            while traceback is not None:
                depth += 1
                traceback = traceback.tb_next
        return depth

    assert {reject() for _ in range(100)} == {2}
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(100_000 if in_full else 10_000):
        reject()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 10_000


def test_the_wall_clock_is_never_asked(monkeypatch):
    """With time.time and datetime gone everything goes on as before."""

    def refuse(*_: object) -> float:
        raise AssertionError("the wall clock was asked")

    monkeypatch.setattr(time, "time", refuse)
    monkeypatch.setattr(datetime, "datetime", refuse)
    clock = VirtualClock()
    breaker = CircuitBreaker("b", CircuitBreakerConfig(1, 10.0, 1), clock=clock)
    with pytest.raises(ExhaustedRetries):
        Retry(2, sleep=clock.sleep)(broken)()
    with pytest.raises(ConnectionError):
        breaker(broken)()
    clock.advance(10)
    assert breaker(lambda: 1)() == 1
    assert RetryBudget(reserve=1.0).withdraw()


@pytest.mark.parametrize(
    "primitive", [AdaptiveLimit, BreakerRegistry, CircuitBreaker, Deadline, RateLimiter, Retry, RetryBudget]
)
def test_every_clock_is_monotonic_unless_another_is_given(primitive):
    """Defaults are bound when the package is imported, so taking the wall clock away later would not show one."""
    assert inspect.signature(primitive).parameters["clock"].default is time.monotonic


def test_a_clock_that_steps_back_never_raises_and_extends_no_break():
    """Whatever it does, an open breaker admits a probe when the clock has reached its time."""
    clock = VirtualClock(100.0)
    breaker = CircuitBreaker("b", CircuitBreakerConfig(1, 10.0, 1), clock=clock)
    with pytest.raises(ConnectionError):
        breaker(broken)()
    clock.advance(-50)
    assert breaker.try_acquire() is None
    assert breaker.snapshot().retry_after >= 0
    clock.now = 110.0
    assert breaker.try_acquire() is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_finds_every_lock_unlocked():
    """A fork in the middle of somebody's transition: the child goes on."""
    locks = [shared_lock() for _ in range(64)]
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        done.wait()
        for lock in locks:
            lock.release()

    # In a thread of its own, because a lock lets its holder in again, and after the fork that is the child.
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if not child:
        os._exit(0 if all(lock.acquire(False) for lock in locks) else 1)
    done.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_keyed_breaker_is_small():
    """At most 120 bytes, and 240 with a window of a hundred calls that has seen failures."""
    for window, most in ((None, 120), (CountWindow(100, 1.0, 100), 240)):
        registry = BreakerRegistry(CircuitBreakerConfig(1000, window=window), limit=100_000)
        core = registry.get("first").core
        names = [f"peer-{number}" for number in range(2000)]
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        breakers = [CircuitBreaker(name, core=core) for name in names]
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        size = (after - before - breakers.__sizeof__()) / len(breakers)
        if window is not None:
            for breaker in breakers[:1]:
                for _ in range(100):
                    breaker.succeeded(breaker.gate)
                with pytest.raises(ConnectionError):
                    breaker.call(broken)
                size += breaker.window.bits.__sizeof__()
        assert size <= most


def test_eight_threads_are_not_made_to_queue():
    """A breaker around calls that wait holds no lock meanwhile: all eight are inside at the same time."""
    breaker, inside = CircuitBreaker("b"), threading.Barrier(8)
    call = breaker(lambda: inside.wait(10))
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not inside.broken


def test_calls_of_many_threads_are_all_accounted_for():
    """Started = answered + failed + ignored + rejected, in what the listener heard and in what the callers saw."""
    clock = VirtualClock()
    breaker = CircuitBreaker("b", CircuitBreakerConfig(5, 0.001, 1, half_open_permits=2), clock=time.monotonic)
    heard: list[str] = []
    breaker.listen(lambda event: heard.append(event.kind) if event.kind in ("outcome", "rejected", "stale") else None)
    saw: list[str] = []

    @breaker
    def operation(number: int) -> None:
        if number % 3 == 0:
            raise ConnectionError

    def work(offset: int) -> None:
        for number in range(300):
            try:
                operation(number // 20 + offset)
                saw.append("outcome")
            except ConnectionError:
                saw.append("outcome")
            except CircuitBreakerOpen:
                saw.append("rejected")

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert clock.sleeps == []
    assert len(saw) == 1800
    assert heard.count("rejected") == saw.count("rejected")
    assert heard.count("outcome") + heard.count("stale") == saw.count("outcome")
    assert breaker.snapshot().in_flight == 0


def test_threads_count_every_call_of_a_window():
    """Eight threads of good calls into a window that is larger than all of them: none is lost."""
    breaker = CircuitBreaker("w", CircuitBreakerConfig(window=CountWindow(100_000, 1.0, 1)))
    call = breaker(lambda: None)
    threads = [threading.Thread(target=lambda: [call() for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert breaker.snapshot().calls == 16_000


def test_cancelling_tasks_at_any_time_leaves_no_probe_out():
    """Fifty tasks through a half-open breaker, each cancelled at another moment."""
    clock = VirtualClock(0.0)
    breaker = CircuitBreaker("b", CircuitBreakerConfig(1, 1.0, 99, half_open_permits=3), clock=clock)
    with pytest.raises(ConnectionError):
        breaker(broken)()
    clock.advance(1)

    @breaker
    async def operation() -> None:
        await asyncio.sleep(0.1)

    async def scene() -> None:
        tasks = []
        for number in range(50):
            tasks.append(asyncio.ensure_future(operation()))
            asyncio.get_running_loop().call_later(0.004 * number, tasks[-1].cancel)
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scene, clock)
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.snapshot().in_flight == 0


def test_errors_travel_between_processes():
    """Every error of recovery comes out of a pickle as it went in; a breaker, which has a lock, does not go in."""
    errors = [
        ExhaustedRetries(3, ValueError("no"), (FailedAttempt(ValueError("no"), 0.5),), "prices"),
        CircuitBreakerOpen("prices", 2.5, "ConnectionError: no answer"),
        Timeout(1.5),
        Overloaded("api", 0.5),
        ResultRejected(503),
        ConfigurationError("Retry.attempts", 0, "a whole number at least 1"),
    ]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
    assert pickle.loads(pickle.dumps(errors[0])).history[0].delay == 0.5
    with pytest.raises(TypeError):
        pickle.dumps(CircuitBreaker("prices"))
