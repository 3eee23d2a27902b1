"""The conformance suite: ours passes it, and each defect that it is for fails it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from leaping import LeapingLoop

from gates.recovery import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    Constant,
    ErrorClassifier,
    Retry,
)
from gates.recovery.circuit import CLOSED, HALF_OPEN
from gates.recovery.conformance import BREAKER_CHECKS, RETRY_CHECKS, Breakers, Retries, check_all
from gates.recovery.testing import VirtualClock, run


class Ours(Breakers):
    """Our breaker, or one with a defect."""

    name = "gates.recovery"
    rejection = CircuitBreakerOpen

    def __init__(self, clock, kind=CircuitBreaker) -> None:
        self.clock = clock
        self.kind = kind

    def make(self, failures: int) -> Any:
        config = CircuitBreakerConfig(failures, self.seconds, 1)
        return self.kind("checked", config, clock=self.clock, classifier=ErrorClassifier(permanent=self.business))

    async def call(self, breaker, function) -> Any:
        return await breaker(function)()

    def state(self, breaker) -> str:
        return str(breaker.state)


class OurRetries(Retries):
    """Our retry."""

    name = "gates.recovery"

    def __init__(self, clock) -> None:
        self.clock = clock

    def retried(self, function, attempts, delay, deadline=None) -> Any:
        return Retry(attempts, Constant(delay), deadline=deadline, clock=self.clock)(function)


def said(adapter_of) -> dict[str, str]:
    """What the suite says, in virtual time."""
    clock = VirtualClock(0.0)
    return run(lambda: check_all(adapter_of(clock)), clock)


def test_ours_conforms():
    """All twelve checks of a breaker and all six of a retry."""
    assert said(Ours) == {check.__name__: "" for check in BREAKER_CHECKS}
    assert said(OurRetries) == {check.__name__: "" for check in RETRY_CHECKS}


class NeverOpens(CircuitBreaker):
    """Counts and does nothing."""

    __slots__ = ()

    def _opening(self, *_) -> None:
        return


class NeverCloses(CircuitBreaker):
    """Good probes do not help."""

    __slots__ = ()

    def _enter(self, events, state, now) -> None:
        if state is not CLOSED:
            super()._enter(events, state, now)


class AdmitsEveryone(CircuitBreaker):
    """Half-open there is no limit."""

    __slots__ = ()

    def _probe(self, events, now, outage) -> int:
        outage.probes.clear()
        return super()._probe(events, now, outage)


class CountsEverything(CircuitBreaker):
    """Business errors are failures."""

    __slots__ = ()

    def _meaning(self, error):
        from gates.recovery import Outcome

        return Outcome.RETRYABLE


class TakesLateResults(CircuitBreaker):
    """A result is a result, whatever generation it began in."""

    __slots__ = ()

    def _current(self, permit) -> bool:
        return super()._current(permit) or True

    def _counted(self, events, now, failed, slow, failure, retry_after) -> None:
        if self.state is not CLOSED and self.state is not HALF_OPEN and not failed:
            self._enter(events, CLOSED, now)
        super()._counted(events, now, failed, slow, failure, retry_after)


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (NeverOpens, {"opens_at_its_threshold"}),
        (NeverCloses, {"closes_after_a_good_probe"}),
        (AdmitsEveryone, {"stampede"}),
        (CountsEverything, {"business_errors_do_not_trip", "cancel_closed", "system_exit"}),
        (TakesLateResults, {"late_success", "late_failure_half_open"}),
    ],
)
def test_a_seeded_defect_is_caught_by_the_check_that_is_for_it(kind, caught):
    """Each defect makes its checks speak."""
    spoke = {name for name, sentence in said(lambda clock: Ours(clock, kind)).items() if sentence}
    assert caught <= spoke


def test_the_suite_runs_on_an_asyncio_loop_too():
    """As it is run on other implementations: it sleeps on the loop, and the clock is one that it does not hold."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        clock = runner.get_loop().time
        assert not any(runner.run(check_all(Ours(clock))).values())
        assert clock() > Ours.seconds


def test_an_implementation_with_an_error_of_its_own_is_told_so_and_nothing_is_left_over(caplog):
    """A cancelled call that ends with another error is one sentence, not a traceback that nobody retrieved."""

    class Swapping(Ours):
        async def call(self, breaker, function):
            try:
                return await super().call(breaker, function)
            except asyncio.CancelledError:
                raise OSError("the connection was closed") from None

    class SwappingRetries(OurRetries):
        def retried(self, function, attempts, delay, deadline=None):
            async def swapped():
                try:
                    return await Retry(attempts, Constant(delay), deadline=deadline, clock=self.clock)(function)()
                except asyncio.CancelledError:
                    raise OSError("the connection was closed") from None

            return swapped

    said(Swapping)
    assert said(SwappingRetries)["cancellation_passes"]
    gc.collect()
    assert caplog.messages == []
