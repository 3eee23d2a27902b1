"""The outbox: blocks that a change decided on, durable with it, on their way into the block store.

A change of the ledger's database puts the block beside what it decided, in one transaction. The `Anchorer` copies outbox rows
into the block store and deletes them once they are durable there; a crash between the two copies them again, which changes
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gates.node.background import Background
from gates.node.cid import cid_of
from gates.node.dag import DEFERRED, LARGEST_BLOCK, REFUSED, Block, Dag, checked
from gates.node.errors import FAILURES, Refusal
from gates.node.storage import Storage, Transaction
from gates.recovery import Exponential

BATCH = 256
PACE = 0.1
LINGER = 0.01
BACKOFF = Exponential(0.1, 5.0, jitter="equal")
_LOG = logging.getLogger(__name__)
TABLES = """
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY, cid TEXT NOT NULL UNIQUE, codec INTEGER NOT NULL, author TEXT NOT NULL, refused TEXT,
    data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_by_fate ON outbox (refused, number);
"""


def put(tx: Transaction, data: bytes, codec: int, author: str) -> str:
    """Have a block anchored once the change commits; its CID. The same block again is the same entry."""
    cid = cid_of(data, codec)
    statement = "INSERT INTO outbox (cid, codec, author, data) VALUES (?, ?, ?, ?) ON CONFLICT (cid) DO NOTHING"
    tx.execute(statement, (cid, codec, author, data))
    return cid


class Anchorer(Background):
    """Moves the outbox of *ledger* into *dag*.

    Args:
        draw: uniform numbers in [0, 1) for the jitter of the pauses after failures.
    """

    task_name = "anchorer"

    def __init__(self, ledger: Storage, dag: Dag, *, draw: Callable[[], float] = random.random) -> None:
        self._ledger, self._dag, self._draw = ledger, dag, draw
        self._woken = asyncio.Event()
        self.failures = 0

    @property
    def depth(self) -> int:
        """How many blocks wait to be anchored. Raises StoreUnavailable."""
        ((waiting,),) = self._ledger.read("SELECT count(*) FROM outbox WHERE refused IS NULL")
        return int(waiting)

    @property
    def refused(self) -> int:
        """How many blocks of this node its own block store refused; they stay in the outbox. Raises StoreUnavailable."""
        ((kept,),) = self._ledger.read("SELECT count(*) FROM outbox WHERE refused IS NOT NULL")
        return int(kept)

    def wake(self) -> None:
        """Look soon, when no pause after a failure is under way."""
        self._woken.set()

    async def drain(self) -> int:
        """Anchor all that waits; how many blocks left the outbox. Raises FAILURES.

        A block that can't be judged yet stays, and does not hold up those behind it.
        """
        moved = after = 0
        while batch := self._waiting(after):
            moved += await self._move(batch)
            after = batch[-1][0]
        return moved

    async def _run(self) -> None:
        delay = 0.0
        while True:
            try:
                await self.drain()
                self.failures, delay = 0, 0.0
            except Exception:  # whatever it is, what waits must be tried again; `failures` and the metrics tell
                self.failures += 1
                delay = BACKOFF.delay(self.failures, delay, self._draw)
            with suppress(*FAILURES):
                self._dag.metrics.depth.labels("waiting").set(self.depth)
                self._dag.metrics.depth.labels("refused").set(self.refused)
            await asyncio.sleep(delay)
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), PACE)
            await asyncio.sleep(LINGER)  # whoever woke us is seldom alone, and one commit takes them all
        self._woken.clear()

    def _waiting(self, after: int) -> list[tuple[Any, ...]]:
        """The oldest rows beyond number *after*, up to a batch's count and bytes, and at least one."""
        query = (
            "SELECT number, cid, codec, author, length(data) FROM outbox "
            "WHERE refused IS NULL AND number > ? ORDER BY number LIMIT ?"
        )
        rows, left = self._ledger.read(query, (after, BATCH)), LARGEST_BLOCK
        fitting: list[tuple[Any, ...]] = []
        for *row, size in rows:
            left -= size
            if left < 0 and fitting:
                break
            fitting.append(tuple(row))
        return fitting

    async def _move(self, rows: list[tuple[Any, ...]]) -> int:
        started = time.perf_counter()
        try:
            anchored, refused = await self._anchor(rows)
            await self._ledger.write(lambda tx: _settle(tx, anchored, refused))
        except Exception:
            self._dag.metrics.drains.labels("failed").inc()
            raise
        self._dag.metrics.drains.labels("done").inc()
        self._dag.metrics.anchoring.observe(time.perf_counter() - started)
        self._dag.metrics.anchored.labels("anchored").inc(len(anchored))
        self._dag.metrics.anchored.labels("refused").inc(len(refused))
        for cid, why in refused.items():
            _LOG.error("block %s of this node can't be anchored, and is kept in the outbox: %s", cid, why)
        return len(anchored) + len(refused)

    async def _anchor(self, rows: list[tuple[Any, ...]]) -> tuple[list[str], dict[str, str]]:
        """Write the blocks of *rows*; the CIDs that are anchored, and why others were refused."""
        refused: dict[str, str] = {}
        blocks: dict[str, Block] = {}
        for number, cid, codec, author in rows:
            ((data,),) = self._ledger.read("SELECT data FROM outbox WHERE number = ?", (number,))
            try:
                blocks[cid] = checked(data, codec, author, cid)
            except Refusal as refusal:
                refused[cid] = str(refusal)
        outcomes = await self._dag.put_many(list(blocks.values()))
        fates = dict(zip(blocks, outcomes, strict=True))
        refused |= {cid: "its projector refused it" for cid, fate in fates.items() if fate == REFUSED}
        return [cid for cid, fate in fates.items() if fate not in (REFUSED, DEFERRED)], refused


def _settle(tx: Transaction, anchored: list[str], refused: dict[str, str]) -> None:
    """Take what was anchored out of the outbox. What was refused stays, set aside: it is this node's own mistake to look at."""
    tx.executemany("DELETE FROM outbox WHERE cid = ?", [(cid,) for cid in anchored])
    tx.executemany("UPDATE outbox SET refused = ? WHERE cid = ?", [(text, cid) for cid, text in refused.items()])
