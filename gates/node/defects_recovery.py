"""Seeded defects of recovery: what a node does wrong while something is down, and when it is back.

What a defect changes is imported inside of it, so that nothing took over the sound one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gates.node.defects_tell import Tell

LIMPING = 0.3
STUCK, STICKY, LATE = 60.0, 4.0, 4.0
PACE = 0.1
MEMORY = 5.0


def _seldom(tell: Tell) -> Tell:
    """*tell*, ten times a second at most for each key."""
    last: dict[str, float] = {}

    def told(key: str) -> None:
        now = time.monotonic()
        if now - last.get(key, -PACE) >= PACE:
            last[key] = now
            tell(key)

    return told


def blind_detector(tell: Tell) -> None:
    """A node takes every peer that it ever heard for alive."""
    from gates.node.detector import Detector, State

    state, told = Detector.state, _seldom(tell)

    def alive(self: Detector, now: int) -> State:
        right = state(self, now)
        if self.heard_at is None or right is State.ALIVE:
            return right
        told(right)
        return State.ALIVE

    Detector.state = alive  # type: ignore[method-assign]


def retry_storm(tell: Tell) -> None:
    """A node asks a dead peer again and again: it takes it for alive, has no breaker, no patience and an endless budget."""
    from gates.node import peer_client
    from gates.recovery import CircuitBreakerConfig, Exponential, RetryBudget

    blind_detector(tell)
    peer_client.BREAKERS = dict.fromkeys(peer_client.BREAKERS, CircuitBreakerConfig(1_000_000, STUCK, 1))
    peer_client.ATTEMPTS = 30
    peer_client.Exponential = lambda *_: Exponential(0.002, 0.002)  # type: ignore[assignment,attr-defined]
    peer_client.RetryBudget = lambda **_: RetryBudget(ratio=1.0, burst=1_000_000)  # type: ignore[assignment,attr-defined]


def limping_restart(tell: Tell) -> None:
    """A node that was started again takes 0.3 s longer for every job."""
    import asyncio

    from gates.node import api_mesh
    from gates.node.storage import SqliteStorage

    lame: list[bool] = []
    open_store, submitted = SqliteStorage.open, api_mesh._submitted

    def remember(self: SqliteStorage) -> None:
        if self.path.name == "ledger.db" and self.path.exists():
            lame.append(True)
        open_store(self)

    async def limp(call: Any, submission: Any) -> Any:
        if lame:
            tell(submission.key)
            await asyncio.sleep(LIMPING)
        return await submitted(call, submission)

    SqliteStorage.open = remember  # type: ignore[method-assign]
    api_mesh._submitted = limp


def sticky_refusals(tell: Tell) -> None:
    """A node goes on refusing writes for four seconds after its ledger takes them again."""
    from gates.node.degradation import Degradation

    read_only, told = Degradation.read_only, _seldom(tell)
    last: list[float] = []

    def still(self: Degradation) -> bool:
        assert isinstance(read_only, property)
        assert read_only.fget is not None
        now = time.monotonic()
        if read_only.fget(self):
            last[:] = [now]
            return True
        if last and now - last[0] < STICKY:
            told("still")
            return True
        return False

    Degradation.read_only = property(still)  # type: ignore[assignment,method-assign]


def stuck_breaker(tell: Tell) -> None:
    """A breaker that has opened asks nobody for a minute whether its dependency is back."""
    from dataclasses import replace

    from gates.node import context
    from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpen

    stuck = CircuitBreakerConfig(5, STUCK, 1)
    context.PRESETS = {name: replace(figures, breaker=stuck) for name, figures in context.PRESETS.items()}
    admit, told = CircuitBreaker.admit, _seldom(tell)

    def tell_of(self: CircuitBreaker) -> int:
        try:
            return admit(self)
        except CircuitBreakerOpen:
            told(self.name)
            raise

    CircuitBreaker.admit = tell_of  # type: ignore[method-assign]


def late_breaker(tell: Tell) -> None:
    """A breaker counts no failure in the first four seconds since the first."""
    from gates.recovery import CircuitBreaker, Outcome
    from gates.recovery.classification import is_failure

    first: dict[str, float] = {}
    told, say = CircuitBreaker.told, _seldom(tell)

    def patient(self: CircuitBreaker, permit: int, outcome: Outcome, *rest: Any) -> None:
        if is_failure(outcome) and time.monotonic() - first.setdefault(self.name, time.monotonic()) < LATE:
            say(self.name)
            outcome, rest = Outcome.IGNORED, ()
        told(self, permit, outcome, *rest)

    CircuitBreaker.told = patient  # type: ignore[assignment,method-assign]


def no_retry_after(tell: Tell) -> None:
    """A node refuses without a word when to come again."""
    from gates.node import server

    refused: Callable[[Any], Any] = server.refused  # type: ignore[attr-defined]

    def curt(refusal: Any) -> Any:
        if refusal.retry_after is not None and refusal.code == 503:
            tell(str(refusal)[:60])
            refusal.retry_after = None
        return refused(refusal)

    server.refused = curt  # type: ignore[attr-defined]


def stale_pins(tell: Tell) -> None:
    """A node remembers for five seconds whether a block is pinned, whoever pins it meanwhile, and does not say so."""
    from gates.node.dag import Dag

    pinned, remembered = Dag.pinned, dict[str, tuple[float, bool]]()

    def old(self: Dag, text: str) -> bool:
        now, right = time.monotonic(), pinned(self, text)
        when, known = remembered.setdefault(text, (now, right))
        if now - when > MEMORY:
            remembered[text] = now, right
            return right
        if known is not right:
            tell(text)
        return known

    Dag.pinned = old  # type: ignore[method-assign]


def stale_while_locked(tell: Tell) -> None:
    """A node whose ledger takes no writes tells old balances, with their age, although it could read the new ones."""
    from gates.node.context import Balance, ResilientRuntimeContext
    from gates.recovery import CircuitState

    balance = ResilientRuntimeContext.balance_resilient

    async def old(self: ResilientRuntimeContext, account: str) -> Balance:
        fresh = await balance(self, account)
        if self.breakers["job"].state is CircuitState.CLOSED:
            return fresh
        tell(account)
        return Balance(fresh.account, fresh.available, 1.0)

    ResilientRuntimeContext.balance_resilient = old  # type: ignore[method-assign]
