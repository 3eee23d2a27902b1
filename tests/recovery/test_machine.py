"""The breaker against its plain model: seeded random histories, and every interleaving of three callers."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitState, CountWindow, Outcome, TimeWindow
from gates.recovery.testing import RELEASES, ReferenceBreaker, VirtualClock

STEPS = int(os.environ.get("RECOVERY_STEPS", "1500"))
"""Steps of the state machine in all; nightly it is RECOVERY_STEPS=1000000."""

CONFIGS = [
    CircuitBreakerConfig(2, 10.0, 1),
    CircuitBreakerConfig(3, 10.0, 2, half_open_permits=2, half_open_timeout=7.0),
    CircuitBreakerConfig(1, 4.0, 5, half_open_permits=4, ramp=True, break_multiplier=2.0, max_recovery_timeout=20.0),
    CircuitBreakerConfig(9, 10.0, 2, window=CountWindow(5, 0.4, 3), half_open_permits=3),
    CircuitBreakerConfig(9, 8.0, 1, window=TimeWindow(16.0, 0.5, 4, buckets=4)),
]


class BreakerMachine(RuleBasedStateMachine):
    """Two breakers are told the same: ours, by permits and by the woven path, and the model."""

    permits = Bundle("permits")

    @initialize(config=st.sampled_from(CONFIGS))
    def start(self, config):
        self.clock = VirtualClock(0.0)
        self.ours = CircuitBreaker("ours", config, clock=self.clock)
        self.model = ReferenceBreaker(config)
        self.guarded = self.ours(self._operation)

    def _operation(self, outcome):
        if outcome is Outcome.RETRYABLE:
            raise ConnectionError

    @rule(target=permits)
    def acquire(self):
        ours, model = self.ours.try_acquire(), self.model.acquire(self.clock.now)
        assert (ours is None) == (model is None)
        return ours, model

    @rule(pair=consumes(permits), outcome=st.sampled_from(RELEASES), again=st.booleans())
    def release(self, pair, outcome, again):
        ours, model = pair
        if ours is None:
            return
        self._release(ours, outcome)
        self.model.release(model, outcome, self.clock.now)
        if again:
            self._release(ours, Outcome.RETRYABLE)

    def _release(self, permit, outcome):
        if outcome is Outcome.SUCCESS:
            permit.succeeded()
        elif outcome is Outcome.RETRYABLE:
            permit.failed(ConnectionError())
        else:
            permit.ignored(outcome)

    @rule(outcome=st.sampled_from([Outcome.SUCCESS, Outcome.RETRYABLE]), times=st.integers(1, 4))
    def call_woven(self, outcome, times):
        for _ in range(times):
            model = self.model.acquire(self.clock.now)
            try:
                self.guarded(outcome)
            except ConnectionError:
                assert model is not None
            except Exception:
                assert model is None
            else:
                assert model is not None
            if model is not None:
                self.model.release(model, outcome, self.clock.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 4.0, 7.0, 10.0, 1000.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @precondition(lambda self: hasattr(self, "ours"))
    @invariant()
    def agree(self):
        snapshot = self.ours.snapshot()
        assert snapshot.state is self.model.state
        assert snapshot.generation == self.model.generation
        assert snapshot.in_flight == len(self.model.probes())
        if snapshot.state is CircuitState.HALF_OPEN:
            assert snapshot.in_flight <= self.ours.config.half_open_permits
            assert snapshot.successes == len(self.model.outcomes)


def test_random_histories_agree_with_the_model():
    """Seeded steps of acquire, release, call and wait: state, generation, probes and successes are the model's after each."""
    run_state_machine_as_test(
        BreakerMachine,
        settings=settings(
            max_examples=max(1, STEPS // 50),
            stateful_step_count=50,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


CALLERS = 3
DEPTH = 8
SMALL = [
    CircuitBreakerConfig(1, 10.0, 1),
    CircuitBreakerConfig(2, 10.0, 2, half_open_permits=2, half_open_timeout=10.0),
    CircuitBreakerConfig(9, 10.0, 1, window=CountWindow(3, 0.5, 2)),
]


class Scene:
    """Three callers, ours and the model; the history of actions makes the scene."""

    def __init__(self, config, path):
        self.clock = VirtualClock(0.0)
        self.ours = CircuitBreaker("ours", config, clock=self.clock)
        self.model = ReferenceBreaker(config)
        self.held = [None] * CALLERS
        for action in path:
            self.act(action)

    def actions(self):
        """What can happen next."""
        yield ("wait", 5.0)
        for caller, held in enumerate(self.held):
            if held is None:
                yield ("acquire", caller)
            else:
                for outcome in (Outcome.SUCCESS, Outcome.RETRYABLE, Outcome.CANCELLED):
                    yield (outcome, caller)

    def act(self, action):
        """Let it happen to both, and look at them."""
        what, who = action
        if what == "wait":
            self.clock.advance(who)
        elif what == "acquire":
            ours, model = self.ours.try_acquire(), self.model.acquire(self.clock.now)
            assert (ours is None) == (model is None)
            self.held[who] = None if ours is None else (ours, model)
        else:
            ours, model = self.held[who]
            self.held[who] = None
            {Outcome.SUCCESS: ours.succeeded, Outcome.CANCELLED: ours.ignored}.get(
                what, lambda: ours.failed(ConnectionError())
            )()
            self.model.release(model, what, self.clock.now)
        seen = self.ours.snapshot()
        assert (seen.state, seen.generation, seen.in_flight) == (
            self.model.state,
            self.model.generation,
            len(self.model.probes()),
        )
        assert seen.in_flight <= self.ours.config.half_open_permits

    def key(self):
        """Equal for scenes with the same future."""
        model = self.model
        since = self.clock.now - model.opened_at
        held = tuple(
            held
            and (
                model.generation - held[1].generation if model.generation != held[1].generation else 0,
                self.clock.now - held[1].admitted,
            )
            for held in self.held
        )
        outcomes = tuple(failed for _, failed in model.outcomes[-3:])
        return model.state, since if model.state is CircuitState.OPEN else 0, held, outcomes, self.ours.snapshot().failures


@pytest.mark.parametrize("config", SMALL, ids=["consecutive", "two probes", "window"])
def test_every_interleaving_of_three_callers_to_depth_eight_agrees_with_the_model(config):
    """Every sequence of acquire, success, failure, cancel and wait; sequences that meet in the same scene are followed once."""
    level = {Scene(config, ()).key(): ()}
    seen = set(level)
    for _ in range(DEPTH):
        following = {}
        for path in level.values():
            for action in list(Scene(config, path).actions()):
                scene = Scene(config, (*path, action))
                key = scene.key()
                if key not in seen:
                    seen.add(key)
                    following[key] = (*path, action)
        level = following
    assert len(seen) > 300
