"""What executed proposals do to this node: parameters change, and budgets are paid by the home of who gets them.

The effects stand in `dag.db`, wherever they came from; a task carries them out in the order in which they came, again from the
first one after a restart. Everything here may be done twice: a parameter is set to what it is, and a budget is minted under
the name of its proposal, which the ledger takes once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from gates.node import ledger, motion
from gates.node.assembly import Assembly
from gates.node.background import Background
from gates.node.errors import FAILURES, Refusal
from gates.node.judging import Effect
from gates.node.metrics_governance import GovernanceMetrics
from gates.node.storage import Storage, Transaction
from gates.node.surroundings import Roster

BATCH = 500
PACE = 0.2


class Effects(Background):
    """Carries out the effects of executed proposals.

    Args:
        store, dag: the node's two databases.
        setters: by the name of a parameter, what makes a new value count; `capacity` is the ledger's.
        grant: mana of an account that is opened because a budget is paid to it.
    """

    task_name = "effects"

    def __init__(
        self,
        known: Assembly,
        roster: Roster,
        store: Storage,
        dag: Storage,
        metrics: GovernanceMetrics,
        *,
        setters: Mapping[str, Callable[[int], None]],
        grant: int,
        now: Callable[[], int],
    ) -> None:
        self._known, self._roster, self._store, self._dag, self._metrics = known, roster, store, dag, metrics
        self._setters, self._grant, self._now = setters, grant, now
        self._seen = 0
        self._set: dict[str, int] = {}

    async def _run(self) -> None:
        while True:
            with suppress(Refusal, *FAILURES):  # a database that is away, members that are not known: the next round
                await self.apply()
            await asyncio.sleep(PACE)

    async def apply(self) -> int:
        """Carry out what is new; how many effects that were. Raises FAILURES."""
        done = 0
        while effects := self._known.effects(self._dag.read, self._seen, BATCH):
            await self._apply(effects)
            self._seen = effects[-1].number
            done += len(effects)
        if done or self._seen == 0:
            self._metrics.members.set(len(self._known.membership(self._dag.read)[0]))
        return done

    async def _apply(self, effects: list[Effect]) -> None:
        if any(effect.kind == motion.PARAMETER for effect in effects):
            await self._set_parameters()
        for effect in effects:
            if effect.kind == motion.BUDGET and self._roster.home(effect.subject) == self._roster.name:
                await self._pay(effect)
            elif effect.kind != motion.PARAMETER:
                self._metrics.effects.labels(effect.kind).inc()

    async def _set_parameters(self) -> None:
        """Make the parameters what the proposals say, each where it differs."""
        for name, value in self._known.parameters(self._dag.read).items():
            if self._set.get(name) == value:
                continue
            if name == "capacity":
                await self._store.write(lambda tx, value=value: set_capacity(tx, value, self._now()))  # type: ignore[misc]
            elif name in self._setters:
                self._setters[name](value)
            self._set[name] = value
            self._metrics.effects.labels(motion.PARAMETER).inc()

    async def _pay(self, effect: Effect) -> None:
        paid = await self._store.write(lambda tx: pay(tx, effect, self._grant, self._now()))
        if paid:
            self._metrics.effects.labels(effect.kind).inc()

    @property
    def parameters(self) -> dict[str, int]:
        """The parameters that proposals have set here, and their values."""
        return dict(self._set)


def pay(tx: Transaction, effect: Effect, grant: int, now: int) -> bool:
    """Mint a budget for the account that gets it, once a proposal. False when it was paid before."""
    ledger.open_account(tx, effect.subject, grant, now)
    return ledger.mint(tx, effect.subject, effect.value, f"governance/budget:{effect.proposal}", now)


def set_capacity(tx: Transaction, capacity: int, now: int) -> None:
    """Let the ledger's accounts grow up to *capacity*, unless that is so already."""
    if tx.execute("SELECT 1 FROM accounts WHERE capacity <> ? LIMIT 1", (capacity,)).fetchone() is not None:
        ledger.set_capacity(tx, capacity, now)
