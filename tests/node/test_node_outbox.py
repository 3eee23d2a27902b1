"""The outbox: what was decided is anchored, whatever happens to the block store or the process between."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from block_stores import AUTHOR, LEDGER_TABLES, MEMORY, Clock, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import soon

from gates.node import dag, outbox
from gates.node.cid import DAG_CBOR, RAW, cid_of, encode
from gates.node.dag import LARGEST_BLOCK, Block, Dag
from gates.node.errors import Refusal, StoreUnavailable
from gates.node.guarded import GuardedStorage
from gates.node.outbox import Anchorer
from gates.node.storage import SqliteStorage, Transaction
from gates.recovery import CircuitBreaker

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from block_stores import LEDGER_TABLES, AUTHOR, Clock, opened
from gates.node import dag, outbox
from gates.node.cid import RAW
from gates.node.dag import Dag
from gates.node.outbox import Anchorer

class KilledBetween(Dag):
    async def put_many(self, blocks):
        await super().put_many(blocks)
        os.kill(os.getpid(), signal.SIGKILL)

async def main(folder):
    async with opened(folder / "ledger.db", LEDGER_TABLES) as ledger, opened(folder / "dag.db", dag.TABLES) as blocks:
        await ledger.write(lambda tx: [outbox.put(tx, b"%d" % number, RAW, AUTHOR) for number in range(300)])
        await Anchorer(ledger, KilledBetween(blocks, {}, Clock())).drain()

asyncio.run(main(Path(sys.argv[1])))
"""


class Books:
    """A node's two databases, and what moves blocks from the one to the other."""

    def __init__(self, folder: Path, ledger: SqliteStorage, blocks: SqliteStorage, **projectors: dag.Projector) -> None:
        self.path, self.ledger, self.blocks = folder, ledger, blocks
        self.dag = Dag(blocks, projectors, Clock())
        self.anchorer = Anchorer(ledger, self.dag, draw=lambda: 0.0)

    async def decide(self, *payloads: bytes) -> list[str]:
        """Decide on *payloads* and put each into the outbox, in one transaction."""

        def change(tx: Transaction) -> list[str]:
            for data in payloads:
                tx.execute("INSERT INTO decided VALUES (?) ON CONFLICT DO NOTHING", (cid_of(data),))
            return [outbox.put(tx, data, RAW, AUTHOR) for data in payloads]

        return await self.ledger.write(change)

    def lost(self) -> list[str]:
        """What was decided, and is neither anchored nor in the outbox."""
        decided = [what for (what,) in self.ledger.read("SELECT what FROM decided")]
        waiting = {cid for (cid,) in self.ledger.read("SELECT cid FROM outbox")}
        return [cid for cid in self.dag.missing(decided) if cid not in waiting]


@asynccontextmanager
async def books(folder: Path, **projectors: dag.Projector) -> AsyncIterator[Books]:
    async with opened(folder / "ledger.db", LEDGER_TABLES) as ledger, opened(folder / "dag.db", dag.TABLES) as blocks:
        yield Books(folder, ledger, blocks, **projectors)


def test_what_is_decided_is_anchored_and_leaves_the_outbox(tmp_path: Path) -> None:
    """More than one batch of blocks, and large ones, in the order of the decisions; a second drain has nothing to do."""

    async def whole() -> None:
        async with books(tmp_path) as both:
            payloads = [b"%d" % number for number in range(600)] + [bytes([number]) * 700_000 for number in range(3)]
            cids = await both.decide(*payloads)
            assert both.anchorer.depth == len(payloads)
            assert await both.anchorer.drain() == len(payloads)
            assert await both.anchorer.drain() == both.anchorer.depth == 0
            assert both.dag.tail(0, 1000)[0] == cids
            assert both.dag.meta(cids[0])["author_did"] == AUTHOR

    asyncio.run(whole())


def test_a_decision_that_is_refused_anchors_nothing(tmp_path: Path) -> None:
    """The block stands and falls with the transaction that decided."""

    def change(tx: Transaction) -> None:
        outbox.put(tx, b"half", RAW, AUTHOR)
        raise Refusal(402, "no mana")

    async def whole() -> None:
        async with books(tmp_path) as both:
            with pytest.raises(Refusal):
                await both.ledger.write(change)
            assert await both.anchorer.drain() == 0

    asyncio.run(whole())


def test_the_same_block_twice_is_one_entry(tmp_path: Path) -> None:
    """Before it is anchored and after."""

    async def whole() -> None:
        async with books(tmp_path) as both:
            await both.decide(b"x", b"x")
            await both.decide(b"x")
            assert await both.anchorer.drain() == 1
            await both.decide(b"x")
            assert await both.anchorer.drain() == 1
            assert both.dag.last == 1

    asyncio.run(whole())


def test_while_the_block_store_is_down_the_outbox_grows_and_is_drained_later(tmp_path: Path) -> None:
    """The fault is real: another connection holds the block store's database exclusively. The started task does the rest."""

    async def whole() -> None:
        async with books(tmp_path) as both:
            with closing(sqlite3.connect(tmp_path / "dag.db", isolation_level=None)) as holder:
                holder.execute("BEGIN EXCLUSIVE")
                both.anchorer.start()
                cids = await both.decide(b"1", b"2", b"3")
                await both.decide(b"4")
                async with asyncio.timeout(10):
                    while both.anchorer.failures == 0:
                        await asyncio.sleep(0.001)
                assert both.anchorer.depth == 4
                assert both.dag.missing(cids) == cids
                holder.execute("ROLLBACK")
            async with asyncio.timeout(10):
                while both.anchorer.depth or both.anchorer.failures:
                    await asyncio.sleep(0.001)
            await both.anchorer.stop()
            assert both.dag.last == 4
            assert both.lost() == []
            assert both.dag.metrics.drains.labels("failed")._value.get() >= 1
            assert both.dag.metrics.depth.labels("waiting")._value.get() == 0

    asyncio.run(whole())


def test_a_process_killed_between_the_two_databases_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL after the block store's commit and before the outbox is emptied; the next start anchors them again."""
    child = subprocess.run([sys.executable, "-c", CHILD, tmp_path], env={"PYTHONPATH": str(Path(__file__).parent)}, check=False)
    assert child.returncode == -signal.SIGKILL

    async def whole() -> None:
        async with books(tmp_path) as both:
            assert (both.anchorer.depth, both.dag.last) == (300, 256)
            assert await both.anchorer.drain() == 300
            assert (both.anchorer.depth, both.dag.last) == (0, 300)

    asyncio.run(whole())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.lists(st.integers(0, 30), min_size=1, max_size=5)),
        st.tuples(st.just("drain"), st.sampled_from(["fine", "before", "after", "settling", "cancelled"])),
    ),
    max_size=10,
)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_wherever_draining_fails_nothing_is_lost(steps: list[Any]) -> None:
    """At every moment what was decided is anchored or in the outbox; a drain that succeeds anchors all."""

    async def whole(folder: Path) -> None:
        async with books(folder) as both:
            for what, how in steps:
                if what == "decide":
                    await both.decide(*(b"%d" % number for number in how))
                else:
                    await failing(both, how)
                assert both.lost() == []
            await both.anchorer.drain()
            assert both.anchorer.depth == 0
            assert both.lost() == []

    with TemporaryDirectory(dir=MEMORY) as folder:
        asyncio.run(whole(Path(folder)))


class Unsettled:
    """A ledger that takes no write after the blocks are anchored."""

    def __init__(self, ledger: SqliteStorage) -> None:
        self.read = ledger.read

    async def write(self, _change: Callable[[Transaction], Any]) -> Any:
        raise StoreUnavailable("while the outbox is emptied")


async def failing(both: Books, how: str) -> None:
    """A drain that fails in this way: before or after the blocks are written, while the outbox is emptied, or cancelled."""

    class Failing(Dag):
        async def put_many(self, blocks: Sequence[Block]) -> list[str]:
            if how == "before":
                raise StoreUnavailable("before")
            outcomes = await super().put_many(blocks)
            if how == "after":
                raise StoreUnavailable("after")
            if how == "cancelled":
                raise asyncio.CancelledError
            return outcomes

    ledger: Any = Unsettled(both.ledger) if how == "settling" else both.ledger
    try:
        await Anchorer(ledger, Failing(both.blocks, {}, Clock())).drain()
    except (StoreUnavailable, asyncio.CancelledError):
        assert how != "fine"


def test_a_block_that_can_not_be_judged_yet_waits_and_a_wrong_one_is_set_aside(tmp_path: Path) -> None:
    """Neither holds up those behind it, and neither is thrown away."""
    known = set()

    def judge(_tx: Transaction, block: Block) -> None:
        if block.document["fate"] == "wrong":
            raise Refusal(422, "wrong")
        if block.document["fate"] == "early" and not known:
            raise Refusal(503, "too early")

    async def whole() -> None:
        async with books(tmp_path, test=judge) as both:
            blocks = {fate: encode({"type": "test", "fate": fate}) for fate in ("early", "wrong", "good")}
            await both.ledger.write(lambda tx: [outbox.put(tx, data, DAG_CBOR, AUTHOR) for data in blocks.values()])
            assert await both.anchorer.drain() == 2
            assert both.dag.tail(0, 9)[0] == [cid_of(blocks["good"], DAG_CBOR)]
            assert (both.anchorer.depth, both.anchorer.refused) == (1, 1)
            known.add("founders")
            assert await both.anchorer.drain() == 1
            assert (both.anchorer.depth, both.anchorer.refused, both.dag.last) == (0, 1, 2)

    asyncio.run(whole())


def test_what_can_never_be_a_block_does_not_stop_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A decision of this node that is too large or no DAG-CBOR is set aside with its reason, which is logged and shown."""

    async def whole() -> None:
        async with books(tmp_path) as both:
            wrong = [(bytes(LARGEST_BLOCK + 1), RAW), (b"\xff", DAG_CBOR), (b"right", RAW)]
            await both.ledger.write(lambda tx: [outbox.put(tx, data, codec, AUTHOR) for data, codec in wrong])
            await both.anchorer.drain()
            assert both.dag.tail(0, 9)[0] == [cid_of(b"right")]
            assert (both.anchorer.depth, both.anchorer.refused) == (0, 2)
            told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert [cid_of(data, codec) in text for (data, codec), text in zip(wrong, told, strict=False)] == [True, True]
            both.anchorer.start()
            refused = both.dag.metrics.depth.labels("refused")._value
            await soon(lambda: refused.get() == 2, "the gauge shows the two refused blocks")
            await both.anchorer.stop()

    asyncio.run(whole())


def test_an_open_breaker_keeps_the_block_store_alone(tmp_path: Path) -> None:
    """A store behind an open breaker is not asked; what waits stays, and is anchored once the breaker is closed."""

    async def whole() -> None:
        async with books(tmp_path) as both:
            breaker = CircuitBreaker("dag")
            behind = GuardedStorage(both.blocks, writes=breaker, reads=CircuitBreaker("dag_read"))
            anchorer = Anchorer(both.ledger, Dag(behind, {}, Clock()))
            breaker.isolate()
            await both.decide(b"x")
            with pytest.raises(StoreUnavailable):
                await anchorer.drain()
            assert (anchorer.depth, both.dag.last) == (1, 0)
            breaker.reset()
            assert await anchorer.drain() == 1

    asyncio.run(whole())
