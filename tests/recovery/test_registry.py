"""Breakers by key: the same one while it is used, and no more than are used."""

from __future__ import annotations

import pytest

from gates.recovery import BreakerRegistry, CircuitBreakerConfig, CircuitState, ConfigurationError
from gates.recovery.testing import VirtualClock


def trip(breaker) -> None:
    """Open a breaker whose threshold is one failure."""
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)


def test_a_key_has_one_breaker_of_its_own():
    """The failures of one peer do not open the breaker of another."""
    registry = BreakerRegistry(CircuitBreakerConfig(1))
    trip(registry["peer-a"])
    assert registry.get("peer-a") is registry["peer-a"]
    assert [registry[key].state for key in ("peer-a", "peer-b")] == [CircuitState.OPEN, CircuitState.CLOSED]


def test_idle_breakers_are_forgotten_and_open_ones_are_not():
    """After twice the idle time only what was used or is not closed is left."""
    clock = VirtualClock()
    registry = BreakerRegistry(CircuitBreakerConfig(1), idle=10, clock=clock)
    trip(registry["open"])
    used = registry["used"]
    _ = registry["idle"]
    for _ in range(5):
        clock.advance(10)
        _ = registry["used"], registry[f"new {clock.now}"]
    names = {breaker.name for breaker in registry}
    assert {"open", "used"} <= names
    assert "idle" not in names
    assert registry["used"] is used
    assert registry["open"].state is CircuitState.OPEN


def test_a_hundred_thousand_keys_are_kept_within_the_limit(in_full):
    """A million in full. However many keys come, no more than the limit of closed breakers stay, and none that is open goes."""
    registry = BreakerRegistry(CircuitBreakerConfig(1), limit=1000, clock=VirtualClock())
    keys = 1_000_000 if in_full else 100_000
    for number in range(keys):
        breaker = registry.get(f"peer-{number}")
        if number % (keys // 10) == 0:
            trip(breaker)
    assert len(registry) <= 1000 + 10
    assert sum(breaker.state is CircuitState.OPEN for breaker in registry) == 10


def test_a_listener_hears_of_all_of_them():
    """Those that are there and those that come."""
    registry = BreakerRegistry(CircuitBreakerConfig(1))
    before, events = registry["before"], []
    registry.listen(events.append)
    trip(before)
    trip(registry["after"])
    assert [event.source for event in events if event.kind == "transition"] == ["before", "after"]


def test_a_wrong_registry_is_refused_at_construction():
    """With field, value and what would be accepted."""
    with pytest.raises(ConfigurationError, match=r"BreakerRegistry.limit is 1; allowed: a whole number at least 2"):
        BreakerRegistry(limit=1)
