"""Nodes of one process for the tests of jobs: real ledgers, bids, executions and lifecycles, and calls without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from waiting import soon

from gates.node import api_peer, jobbook, jobpages, ledger, lifecycle, outbox
from gates.node.auction import Auction
from gates.node.clock import now_ms
from gates.node.errors import PeerUnavailable
from gates.node.execution import Executions
from gates.node.http import Call
from gates.node.identity import Identity
from gates.node.lifecycle import Lifecycle
from gates.node.metrics_jobs import JobMetrics
from gates.node.storage import SqliteStorage
from gates.node.submission import make_submission

TABLES = ";".join((ledger.TABLES, jobbook.TABLES, outbox.TABLES, lifecycle.TABLES))
MANA = 10_000


def echo(payload: str = "hello", **more: Any) -> dict[str, Any]:
    return {"kind": {"Echo": {"payload": payload}}, **more}


def cpu(iterations: int, seed: int = 7) -> dict[str, Any]:
    return {"kind": {"Cpu": {"iterations": iterations, "seed": seed}}}


@dataclass
class Mesh:
    """All nodes, and what their calls meet on the way."""

    nodes: dict[str, MeshNode] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)
    tamper: Callable[[str, str, bytes], bytes] = lambda did, path, answer: answer
    hold: dict[str, asyncio.Event] = field(default_factory=dict)


@dataclass
class MeshNode:
    """One node, which is also what its own calls go through."""

    mesh: Mesh
    identity: Identity
    store: SqliteStorage
    lifecycle: Lifecycle = field(init=False)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @property
    def did(self) -> str:
        return self.identity.did

    def alive(self) -> list[Any]:
        return [SimpleNamespace(did=did) for did in self.mesh.nodes if did != self.did]

    async def call(self, peer: str, method: str, path: str, body: Any = None, *, timeout: float = 2.0, **_: Any) -> Any:
        """A call to another node of the mesh, through its real handlers."""
        self.mesh.calls.append((peer, path))
        if (
            peer in self.mesh.unreachable
            or peer not in self.mesh.nodes
            or (peer in self.mesh.broken and path == "/peer/execute")
        ):
            raise PeerUnavailable(peer)
        if (held := self.mesh.hold.get(path)) is not None:
            await held.wait()
        (route,) = (route for route in api_peer.ROUTES if (route.method, route.path) == (method, path))
        asking: Any = SimpleNamespace(did=self.did, kind="signature", peer=True)
        response = await route.handler(Call(self.mesh.nodes[peer], SimpleNamespace(), asking, body))  # type: ignore[arg-type]
        return self.mesh.tamper(peer, path, bytes(response.body))

    async def submit(self, spec: dict[str, Any], key: str, cost: int = 10) -> str:
        """Submit a job of this node and offer it."""
        submission = make_submission("bafymanifest", spec, cost, key)
        receipted = await self.store.write(lambda tx: jobbook.submit(tx, self.did, submission, now_ms()))
        self.lifecycle.offer(receipted.job)
        return receipted.job

    def job(self, job: str) -> dict[str, Any]:
        shown = jobpages.job(self.store.read, job)
        assert shown is not None
        return shown

    async def until(self, job: str, *statuses: str) -> dict[str, Any]:
        """The job once it has one of *statuses*."""
        await soon(lambda: self.job(job)["status"] in statuses, f"{job} is {' or '.join(statuses)}")
        return self.job(job)

    def account(self) -> tuple[int, int]:
        """Balance and reserved mana."""
        found = ledger.account(self.store.read, self.did)
        assert found is not None
        return found.balance, found.reserved

    def anchored(self) -> list[str]:
        return [cid for (cid,) in self.store.read("SELECT cid FROM outbox")]


@asynccontextmanager
async def node_of(
    mesh: Mesh, folder: Path, seed: int, *, window: float = 0.005, limit_s: float = 5, sweep: float = lifecycle.SWEEP
) -> AsyncIterator[MeshNode]:
    """A node of *mesh*; the same seed and folder again are its restart."""
    identity = Identity.from_seed(bytes([seed]) * 32)
    store = SqliteStorage(folder / f"{seed}.db", (TABLES,))
    store.open()
    store.start()
    node = MeshNode(mesh, identity, store)
    await store.write(lambda tx: ledger.establish(tx, identity.did, MANA, MANA, now_ms()))
    metrics = JobMetrics(node.registry)
    executions = Executions(identity, store, metrics=metrics, now=now_ms, limit_s=limit_s)
    resources = {"cpu_cores": 2, "memory_mb": 1000, "storage_mb": 1000}
    auction = Auction(identity, node, node, executions, metrics=metrics, now=now_ms, window=lambda: window, resources=resources)
    node.lifecycle = Lifecycle(identity.did, store, node, auction, executions, metrics=metrics, now=now_ms, sweep=sweep)
    mesh.nodes[identity.did] = node
    node.lifecycle.start()
    try:
        yield node
    finally:
        await node.lifecycle.stop()
        mesh.nodes.pop(identity.did)
        store.close()
