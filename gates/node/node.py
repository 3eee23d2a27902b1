"""One node, put together: its parts, what each is given, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from gates.node import ledger, outbox, receipts, roster, schema
from gates.node.assembly import Assembly
from gates.node.auction import Auction
from gates.node.auth import Gatekeeper
from gates.node.clock import now_ms
from gates.node.context import ResilientRuntimeContext
from gates.node.dag import Dag
from gates.node.degradation import Degradation
from gates.node.effects import Effects
from gates.node.errors import FAILURES, StoreUnavailable
from gates.node.execution import Executions
from gates.node.federation import Federation
from gates.node.governance import Governance
from gates.node.http import Route
from gates.node.identity import Identity
from gates.node.lifecycle import Lifecycle
from gates.node.merkle import Merkle
from gates.node.metrics import Metrics
from gates.node.openapi import interface
from gates.node.outbox import Anchorer
from gates.node.peer_client import PeerClient
from gates.node.server import Server
from gates.node.settings import Settings
from gates.node.storage import SqliteStorage
from gates.node.surroundings import Surroundings
from gates.node.sync import Sync

DATABASES = ("ledger", "dag")
RETRY_START = 0.25
START_PATIENCE = 1.0
HEIGHT_KEPT = 0.05
_LOG = logging.getLogger(__name__)


class Node:
    """One node's parts.

    Args:
        settings: how it is set up.
        url: where other nodes reach it.
        now: wall clock in milliseconds.

    Attributes:
        started: whether what a crash interrupted was taken up; before that nothing but probes is answered.
        draining: whether it is about to end, and takes no new work from who asks `/ready`.
    """

    def __init__(self, settings: Settings, url: str, *, now: Callable[[], int] = now_ms) -> None:
        self.settings, self.url, self.now = settings, url, now
        self.started = self.draining = False
        self._began = time.monotonic()
        self._height, self._height_until = 0, 0.0
        self._beginning: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self.metrics = Metrics()
        settings.data.mkdir(parents=True, exist_ok=True)
        self._claim = claim(settings.data)
        self.identity = Identity.load(settings.data / "identity.key")
        self._open_stores()
        self._meet()
        self._keep_blocks()
        self._carry_out_jobs()
        self._govern()
        self.degradation = Degradation(self.ledger_store, self.dag_store, self.context, self.metrics.runtime)
        self.server = Server(self, routes())

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _open_stores(self) -> None:
        """Both databases, and what everything else reaches them through. Raises StoreUnavailable."""
        self.ledger_store = self._store("ledger", schema.LEDGER_MIGRATIONS)
        self.dag_store = self._store("dag", schema.DAG_MIGRATIONS)
        self.context = ResilientRuntimeContext(
            self.ledger_store,
            self.dag_store,
            owner=self.identity.did,
            preset=self.settings.preset,
            metrics=self.metrics.runtime,
            now=self.now,
        )

    def _store(self, name: str, migrations: Sequence[str]) -> SqliteStorage:
        commits, batches = (family.labels(name) for family in (self.metrics.runtime.commits, self.metrics.runtime.batches))

        def committed(changes: int, seconds: float) -> None:
            batches.observe(changes)
            commits.observe(seconds)

        store = SqliteStorage(self.settings.data / f"{name}.db", migrations, committed=committed)
        store.open()
        return store

    def _meet(self) -> None:
        """The other nodes: who they are, how they are asked, and who is let in."""
        counted = self.metrics.federation
        self.federation = Federation(
            self.settings, self.identity, self.context.ledger, url=self.url, metrics=counted, now=self.now
        )
        self.federation.load()
        self.client = PeerClient(self.identity, self.federation, metrics=counted, preset=self.settings.preset, now=self.now)
        self.context.peers = self.client.breakers
        self.gatekeeper = Gatekeeper(
            self.settings, self.identity.did, known=self.federation.known, metrics=counted, now=self.now
        )
        for breaker in self.context.breakers.values():
            self.metrics.recovery.watch(breaker)
        self.metrics.recovery.watch(self.client.breakers)
        for retry in (self.context.retry, self.client.retry):
            self.metrics.recovery.watch(retry)
        self.metrics.recovery.watch_budget("node", self.context.budget)
        self.metrics.recovery.watch_budget("peers", self.client.budget)

    def _keep_blocks(self) -> None:
        """The block store, the outbox, and what makes all nodes equal."""
        self.roster = roster.FederationRoster(self.federation)
        told = self.metrics.governance.blocks
        self.assembly = Assembly(self.roster, lambda kind, outcome: told.labels(kind, outcome).inc())
        projectors = {receipts.KIND: receipts.project, **self.assembly.projectors()}
        self.dag = Dag(self.context.dag, projectors, self.now, self.metrics.dag)
        self.merkle = Merkle(self.dag, self.context.dag)
        self.anchorer = Anchorer(self.context.ledger, self.dag)
        self.sync = Sync(self.dag, self.merkle, self.client, self._alive, every_ms=self.settings.sync_every_ms, now=self.now)

    def _alive(self) -> list[str]:
        return [peer.name for peer in self.federation.alive()]

    def _carry_out_jobs(self) -> None:
        """Bidding, execution, and the way of a job to its end."""
        self.window_ms = self.settings.bidding_window_ms
        store, counted = self.context.jobs, self.metrics.jobs
        limit = self.settings.execution_limit_s
        executions = Executions(self.identity, store, metrics=counted, now=self.now, limit_s=limit)
        auction = Auction(
            self.identity,
            self.federation,
            self.client,
            executions,
            metrics=counted,
            now=self.now,
            window=lambda: self.window_ms / 1000,
            resources=resources(self.settings.data),
            able=lambda: not (self.draining or self.degradation.read_only),
        )
        self.lifecycle = Lifecycle(
            self.identity.did,
            store,
            self.client,
            auction,
            executions,
            metrics=counted,
            now=self.now,
            anchor=self.anchorer.wake,
        )
        self.context.receipts = self.lifecycle.accept_receipt

    def _govern(self) -> None:
        """Proposals, votes, and what executed proposals change here."""
        around = Surroundings(
            self.identity,
            self.roster,
            self.context.ledger,
            self.context.dag,
            outbox.put,
            roster.storing(self.dag, self.identity.did),
            roster.asking(self.federation, self.client.call),
            self.now,
            self.anchorer.wake,
        )
        self.governance = Governance(around, self.assembly, self.metrics.governance)
        self.effects = Effects(
            self.assembly,
            self.roster,
            self.context.ledger,
            self.context.dag,
            self.metrics.governance,
            setters={"client_rate": self.gatekeeper.limit, "bidding_window_ms": partial(setattr, self, "window_ms")},
            grant=self.settings.grant,
            now=self.now,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve; what needs the databases begins as soon as they are there, which is mostly at once."""
        self.ledger_store.start()
        self.dag_store.start()
        self.client.start()
        self.federation.look_through(self.client)
        self.federation.start()
        self.degradation.start()
        self._beginning = asyncio.create_task(self._begin(), name="start")
        await asyncio.wait((self._beginning,), timeout=START_PATIENCE)

    async def _begin(self) -> None:
        while not self.started:
            try:
                await self._take_up()
            except FAILURES as error:
                _LOG.warning("%s can't begin yet: %s", self.settings.name, error)
                await asyncio.sleep(RETRY_START)
        self.metrics.runtime.startup.set(self.uptime)
        self._warming = asyncio.create_task(self.merkle.warm(), name="warm")

    async def _take_up(self) -> None:
        """Open the node's own account, and schedule what was under way. Raises FAILURES."""
        did, mana, capacity = self.identity.did, self.settings.mana, self.settings.capacity
        await self.ledger_store.write(lambda tx: ledger.establish(tx, did, mana, capacity, self.now()))
        self.lifecycle.start()
        self.anchorer.start()
        self.sync.start()
        self.effects.start()
        self.started = True

    async def stop(self) -> None:
        """Stop in the other order; what is unfinished goes on at the next start."""
        for task in (self._beginning, self._warming):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.degradation.stop()
        if self.started:
            await self.effects.stop()
            await self.sync.stop()
            await self.lifecycle.stop()
            await self.anchorer.stop()
        await self.federation.stop()
        await self.client.close()
        self.close()

    def close(self) -> None:
        """Close the databases."""
        self.dag_store.close()
        self.ledger_store.close()
        self._claim.close()

    # --- what it says of itself ---------------------------------------------------------------------------------------

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def height(self) -> int:
        """The number of the newest block, looked up at most so often."""
        now = time.monotonic()
        if now >= self._height_until:
            self._height_until = now + HEIGHT_KEPT
            with suppress(*FAILURES):
                self._height = self.dag.last
        return self._height

    def exposition(self) -> bytes:
        """All metrics, as they are now."""
        runtime = self.metrics.runtime
        with suppress(*FAILURES):
            self.metrics.mesh.refresh(self.context.ledger.read)
        for name, store in zip(DATABASES, (self.ledger_store, self.dag_store), strict=True):
            runtime.waiting.labels(name).set(store.waiting)
            runtime.file.labels(name).set(_size(store.path))
        runtime.uptime.set(self.uptime)
        self.server.admission.show()
        _ = self.degradation.modes
        return self.metrics.text()


def routes() -> list[Route]:
    """Every path of the interface."""
    from gates.node import api_account, api_dag, api_federation, api_governance, api_mesh, api_peer, health

    modules = (health, api_mesh, api_account, api_dag, api_governance, api_federation, api_peer)
    return [*(route for module in modules for route in module.ROUTES), interface()]


def claim(folder: Path) -> IO[str]:
    """The folder for this process alone, as long as the answer is open. Raises StoreUnavailable when another node has it."""
    lock = (folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreUnavailable(f"{folder} belongs to another running node") from None
    return lock


def resources(folder: Path) -> dict[str, int]:
    """What this machine has for jobs."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    disk = os.statvfs(folder)
    storage = disk.f_bavail * disk.f_frsize
    return {"cpu_cores": os.cpu_count() or 1, "memory_mb": pages // 2**20, "storage_mb": storage // 2**20}


def _size(path: Path) -> int:
    """The bytes of a database and its log on disk."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
