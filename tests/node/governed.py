"""Nodes of a federation in one process, as far as governance needs them: real stores and blocks, a clock in our hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from gates.node import dag, governance, ledger, outbox
from gates.node.assembly import Assembly
from gates.node.dag import Dag
from gates.node.effects import Effects
from gates.node.governance import Governance
from gates.node.identity import Identity
from gates.node.metrics_governance import GovernanceMetrics
from gates.node.motion import Motion
from gates.node.outbox import Anchorer
from gates.node.roster import storing
from gates.node.storage import SqliteStorage
from gates.node.surroundings import Surroundings

NAMES = ("node-a", "node-b", "node-c")
MANA = 10_000
GRANT = 1_000
START = 1_800_000_000_000
LEDGER = (";".join((ledger.TABLES, outbox.TABLES, governance.LEDGER_TABLES)),)
DAG = (";".join((dag.TABLES, governance.DAG_TABLES)),)


def identity(name: str) -> Identity:
    """The same key for the same name in every test."""
    return Identity.from_seed(name.encode().ljust(32, b"."))


@dataclass
class StaticRoster:
    """Nodes that all know each other; a user's home is told by *homes*, else it is the first node."""

    name: str
    names: tuple[str, ...] = NAMES
    homes: dict[str, str] = field(default_factory=dict)
    met: bool = True

    def home(self, did: str) -> str:
        return self.name_of(did) or self.homes.get(did, self.names[0])

    def name_of(self, did: str) -> str | None:
        return next((name for name in self.names if identity(name).did == did), None)

    def founding(self) -> frozenset[str] | None:
        return frozenset(identity(name).did for name in self.names) if self.met else None


class GovernedNode:
    """One node: its two databases, and everything of governance over them."""

    def __init__(self, folder: Path, roster: StaticRoster, federation: Governed) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.roster, self.me = roster.name, roster, identity(roster.name)
        self.ledger = SqliteStorage(folder / "ledger.db", LEDGER)
        self.store = SqliteStorage(folder / "dag.db", DAG)
        self.metrics = GovernanceMetrics(CollectorRegistry())
        self.known = Assembly(roster)
        self.dag = Dag(self.store, self.known.projectors(), federation.clock)
        self.anchorer = Anchorer(self.ledger, self.dag)
        self.up = True
        around = Surroundings(
            self.me,
            roster,
            self.ledger,
            self.store,
            outbox.put,
            storing(self.dag, self.me.did),
            lambda proposal_id: federation.ask(self, proposal_id),
            federation.clock,
        )
        self.governance = Governance(around, self.known, self.metrics)
        self.parameters: dict[str, int] = {}
        self.effects = self.fresh_effects(federation.clock)
        self._clock = federation.clock

    def fresh_effects(self, clock: Callable[[], int]) -> Effects:
        """A task that begins with the first effect, as after a restart."""
        setters = {
            name: lambda value, name=name: self.parameters.update({name: value})
            for name in ("client_rate", "bidding_window_ms")
        }
        return Effects(self.known, self.roster, self.ledger, self.store, self.metrics, setters=setters, grant=GRANT, now=clock)

    async def open(self) -> None:
        """Open the stores, and the node's own account."""
        for store in (self.ledger, self.store):
            store.open()
            store.start()
        await self.ledger.write(lambda tx: ledger.establish(tx, self.me.did, MANA, 10_000, self._clock()))

    def close(self) -> None:
        self.ledger.close()
        self.store.close()

    async def vote(self, proposal_id: str, option: str, voter: str | None = None) -> Any:
        return (await self.governance.vote(voter or self.me.did, proposal_id, option))[0]

    def status(self, proposal_id: str) -> str | None:
        state = self.governance.state(proposal_id)
        return None if state is None else state.status

    def tally(self, proposal_id: str) -> dict[str, int]:
        """What the federation's blocks say here of a closed proposal."""
        state = self.known.state(self.store.read, proposal_id)
        assert state is not None
        assert state.close is not None
        return state.close.tally.shown()

    def account(self, did: str | None = None) -> ledger.Account:
        found = ledger.account(self.ledger.read, did or self.me.did)
        assert found is not None
        return found

    def balance(self, did: str | None = None) -> int:
        return self.account(did).balance

    def blocks(self) -> list[bytes]:
        return [data for (data,) in self.store.read("SELECT data FROM blocks ORDER BY number")]


class Governed:
    """A federation in one process. Nothing moves between the nodes until `spread` says so."""

    def __init__(self, folder: Path, names: tuple[str, ...] = NAMES, homes: dict[str, str] | None = None) -> None:
        self.time = START
        self.folder, self.names, self.homes = folder, names, homes or {}
        self.nodes = [self.made(name) for name in names]

    def made(self, name: str) -> GovernedNode:
        return GovernedNode(self.folder / name, StaticRoster(name, self.names, self.homes), self)

    def clock(self) -> int:
        return self.time

    async def ask(self, asker: GovernedNode, proposal_id: str) -> dict[str, list[bytes]]:
        others = [node for node in self.nodes if node is not asker and node.up]
        return {node.name: await node.governance.blocks(proposal_id) for node in others}

    async def spread(self, seed: int = 0) -> None:
        """Anchor all that was decided, and give every node the blocks of all others, in some order."""
        for node in self.nodes:
            await node.anchorer.drain()
        everything = [(data, node.me.did) for node in self.nodes for data in node.blocks()]
        random.Random(seed).shuffle(everything)
        for node in self.nodes:
            for data, author in everything:
                await node.dag.put(data, dag.DAG_CBOR if data[:1] >= b"\xa0" else dag.RAW, author)
            await node.effects.apply()

    async def accepted(self, motion: Motion, by: int = 0, key: str | None = None) -> str:
        """A proposal that all members have accepted, executed at its home, and known everywhere."""
        home = self.nodes[by]
        proposal_id, _ = await home.governance.submit(home.me.did, motion, key)
        await self.spread()
        for node in self.nodes:
            await node.vote(proposal_id, "Yes")
        await home.governance.close(proposal_id)
        await home.governance.execute(proposal_id)
        await self.spread()
        return proposal_id


def governed(folder: Path, story: Callable[[Governed], Awaitable[None]], **how: Any) -> None:
    """Run *story* with a federation under *folder*."""

    async def run() -> None:
        federation = Governed(folder, **how)
        async with AsyncExitStack() as stack:
            for node in federation.nodes:
                await node.open()
                stack.callback(node.close)
            await story(federation)

    begin(run())


def begin(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run one coroutine to its end."""
    asyncio.run(coroutine)


def text(description: str = "we agree", duration: int = 60, **changes: Any) -> Motion:
    """A proposal that changes nothing."""
    return Motion("GenericText", {"text": ""}, description, duration, **changes)
