"""Real block stores for the tests, and nodes that reach each other without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gates.node import dag, outbox
from gates.node.api_dag import ROUTES
from gates.node.dag import Dag, Projector
from gates.node.errors import PeerUnavailable
from gates.node.http import Call
from gates.node.merkle import Merkle
from gates.node.storage import SqliteStorage
from gates.node.sync import Sync

AUTHOR = "did:key:z6MkTester"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where many stores are made in one test; on a disk, syncing them takes most of the time."""


@dataclass
class Clock:
    """A wall clock that stands still until it is moved."""

    milliseconds: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.milliseconds


@asynccontextmanager
async def opened(path: Path, tables: str) -> AsyncIterator[SqliteStorage]:
    """The store at *path*, open in this event loop."""
    store = SqliteStorage(path, (tables,))
    store.open()
    store.start()
    try:
        yield store
    finally:
        store.close()


def with_dag(path: Path, use: Callable[[Dag, SqliteStorage], Coroutine[Any, Any, Any]], **projectors: Projector) -> Any:
    """What *use* gives over the block store at *path*."""

    async def whole() -> Any:
        async with opened(path, dag.TABLES) as store:
            return await use(Dag(store, projectors, Clock()), store)

    return asyncio.run(whole())


@dataclass
class BlockNode:
    """The part of a node that has to do with blocks; what handlers see of it is `dag` and `merkle`."""

    name: str
    store: SqliteStorage
    dag: Dag
    merkle: Merkle
    sync: Sync

    def counted(self, outcome: str) -> float:
        """How many blocks from peers had this outcome."""
        return float(self.dag.metrics.pulled.labels(outcome)._value.get())


class Network:
    """Calls the real handlers of the named nodes. *spoil* may change or fail what is answered.

    Attributes:
        calls: path, body and answer of every call.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, BlockNode] = {}
        self.spoil: Callable[[str, str, Any, Callable[[], Awaitable[bytes]]], Awaitable[bytes]] | None = None
        self.calls: list[tuple[str, Any, bytes]] = []

    async def call(self, peer: str, method: str, path: str, body: Any = None, /, *, idempotent: bool, timeout: float) -> Any:
        """The answer's body, over JSON like the real client's request."""
        handler = next(route.handler for route in ROUTES if (route.method, route.path) == (method, path) and route.peer)
        node, sent = self.nodes[peer], json.dumps(body).encode()
        principal = SimpleNamespace(did="did:key:z6MkPeer", kind="signature", peer=True)

        async def true() -> bytes:
            answer = await handler(Call(node, SimpleNamespace(), principal, sent))  # type: ignore[arg-type]
            return bytes(answer.body)

        answer = await (self.spoil(peer, path, body, true) if self.spoil else true())
        self.calls.append((path, body, answer))
        return answer


@asynccontextmanager
async def network(
    folder: Path, names: str, *, clock: Callable[[], int] | None = None, projectors: Mapping[str, Projector] | None = None
) -> AsyncIterator[Network]:
    """One node a letter of *names*, each with the others as peers."""
    net, clock = Network(), clock or Clock()
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        for name in names:
            store = await stack.enter_async_context(opened(folder / f"{name}.db", dag.TABLES))
            blocks = Dag(store, projectors or {}, clock)
            merkle = Merkle(blocks, store)
            others = [other for other in names if other != name]
            sync = Sync(blocks, merkle, net, lambda others=others: others, every_ms=500, now=clock)  # type: ignore[misc]
            net.nodes[name] = BlockNode(name, store, blocks, merkle, sync)
        yield net


def gone(text: str = "the link is down") -> PeerUnavailable:
    """What a call raises when the peer is not there."""
    return PeerUnavailable(text)


LEDGER_TABLES = outbox.TABLES + "CREATE TABLE decided (what TEXT PRIMARY KEY);"
