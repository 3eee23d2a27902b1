"""A breaker's figures, its states and its snapshots, as people see them."""

from __future__ import annotations

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitState
from gates.recovery.testing import VirtualClock

AT_FIRST = (
    "Snapshot(calls=0, failures=0, generation=1, in_flight=0, last_failure='', retry_after=0.0, slow_calls=0, "
    "state=CircuitState.CLOSED, successes=0, trips=0)"
)


def test_the_figures_at_first_are_the_originals():
    """Five failures, sixty seconds, three successes; a break grows to ten times its length at most."""
    assert repr(CircuitBreakerConfig()) == (
        "CircuitBreakerConfig(break_jitter=0.0, break_multiplier=1.0, failure_threshold=5, half_open_permits=1, "
        "half_open_timeout=60.0, max_recovery_timeout=600.0, ramp=False, recovery_timeout=60.0, success_threshold=3, "
        "window=None)"
    )


def test_a_breaker_at_first_is_all_nothing():
    """A snapshot of one that was never called says so, and equals another one's."""
    breaker = CircuitBreaker(clock=VirtualClock())
    assert repr(breaker.snapshot()) == AT_FIRST
    assert breaker.snapshot() == CircuitBreaker(clock=VirtualClock()).snapshot()
    assert breaker.snapshot() != AT_FIRST


def test_a_breaker_moved_by_hand_has_no_outage_behind_it():
    """Isolated it stays for ever, without a trip, a probe or a success; reset, nothing of it is left."""
    breaker = CircuitBreaker(clock=VirtualClock())
    breaker.isolate()
    seen = breaker.snapshot()
    assert (seen.state, seen.retry_after, seen.trips) == (CircuitState.ISOLATED, float("inf"), 0)
    assert (seen.in_flight, seen.successes, seen.last_failure) == (0, 0, "isolated by hand")
    breaker.reset()
    assert repr(breaker.snapshot()) == AT_FIRST.replace("generation=1", "generation=3")


def test_a_break_that_grows_beyond_all_numbers_is_as_long_as_the_longest():
    """After so many openings that the power overflows."""
    config = CircuitBreakerConfig(1, 1.0, break_multiplier=1e9, max_recovery_timeout=30.0)
    assert config.break_duration(100, lambda: 0.0, 0.0) == 30.0
