"""The block store: content-addressed blocks that every node of the federation comes to hold.

A block's key is its digest and then its codec, so that blocks lie in the order of the Merkle tree. Rows are numbered in the
order of their commits and never deleted: what a reader has not seen yet is what has a higher number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from gates.node.cid import DAG_CBOR, RAW, Cid, cid_of, decode, links, parse
from gates.node.errors import Refusal
from gates.node.metrics_dag import DagMetrics
from gates.node.storage import Storage, Transaction

LARGEST_BLOCK = 1024 * 1024
LONGEST_TTL = 10 * 366 * 24 * 3600
NEW, REPEATED, REFUSED, DEFERRED = "new", "repeated", "refused", "deferred"
LOWEST_DEFERRAL = 500
_ASKED = 256
TABLES = """
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, author TEXT NOT NULL, at INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pins (key BLOB PRIMARY KEY, until INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A block that was checked: its bytes match its CID, and DAG-CBOR is canonical.

    Attributes:
        cid: its CID.
        codec: RAW or DAG_CBOR.
        data: its bytes.
        author: DID of whoever put it here first; a peer's word for blocks that came from a peer.
        document: what a DAG-CBOR block holds, None for a raw one.
    """

    cid: str
    codec: int
    data: bytes
    author: str
    document: Any = field(default=None, compare=False)

    @property
    def type(self) -> str:
        """The `type` of a document that says one, else ""."""
        found = self.document.get("type", "") if isinstance(self.document, dict) else ""
        return found if isinstance(found, str) else ""


Projector = Callable[[Transaction, Block], None]
"""Verifies and indexes a new document. It raises Refusal: below 500 for a wrong one, 503 for one that it can't judge yet."""


def checked(data: bytes, codec: int, author: str, cid: str | None = None) -> Block:
    """The block of these bytes. Raises Refusal: 413 when too large, 422 when it is no document or not what *cid* names."""
    if len(data) > LARGEST_BLOCK:
        raise Refusal(413, f"the block has {len(data):,} bytes; expected at most {LARGEST_BLOCK:,}")
    if codec not in (RAW, DAG_CBOR):
        raise Refusal(422, f"codec {codec:#x}: expected raw ({RAW:#x}) or dag-cbor ({DAG_CBOR:#x})")
    computed = cid_of(data, codec)
    if cid is not None and cid != computed:
        raise Refusal(422, f"the bytes do not match {cid}: they are {computed}")
    return Block(computed, codec, data, author, decode(data) if codec == DAG_CBOR else None)


def key_of(cid: Cid) -> bytes:
    """What the block lies under: its digest, then its codec. Raises Refusal with 404 for a codec that no block here has."""
    if cid.codec not in (RAW, DAG_CBOR):
        raise Refusal(404, f"no block {cid} here")
    return cid.digest + bytes((cid.codec,))


def cid_at(key: bytes) -> str:
    """The CID of the block that lies under *key*."""
    return str(Cid(key[-1], key[:-1]))


class Dag:
    """The blocks of one node.

    Args:
        store: the database with `TABLES`.
        projectors: by type of document, what verifies and indexes a new block in the transaction that stores it.
        now: wall clock in milliseconds.
    """

    def __init__(
        self,
        store: Storage,
        projectors: Mapping[str, Projector],
        now: Callable[[], int],
        metrics: DagMetrics | None = None,
    ) -> None:
        self._store, self._projectors, self._now = store, projectors, now
        self.metrics = metrics or DagMetrics(CollectorRegistry())

    # --- changes ------------------------------------------------------------------------------------------------------

    async def put(self, data: bytes, codec: int, author: str) -> str:
        """Store a block and return its CID. Raises Refusal (413, 422, and what the projector refuses) and FAILURES."""
        try:
            block = checked(data, codec, author)
            new = await self._store.write(lambda tx: self.insert(tx, block))
        except Refusal:
            self.metrics.puts.labels(REFUSED).inc()
            raise
        self._count(block, NEW if new else REPEATED)
        return block.cid

    async def put_many(self, blocks: Sequence[Block]) -> list[str]:
        """Store checked *blocks* and say how it went with each. Raises FAILURES.

        NEW and REPEATED are stored. REFUSED is wrong, says its projector; DEFERRED can't be judged yet. Neither is stored.
        """
        try:
            news = await self._store.write(lambda tx: [self.insert(tx, block) for block in blocks])
            outcomes = [NEW if new else REPEATED for new in news]
        except Refusal:
            outcomes = [await self._put_one(block) for block in blocks]
        for block, outcome in zip(blocks, outcomes, strict=True):
            self._count(block, outcome)
        return outcomes

    async def _put_one(self, block: Block) -> str:
        try:
            return NEW if await self._store.write(lambda tx: self.insert(tx, block)) else REPEATED
        except Refusal as refusal:
            return REFUSED if refusal.code < LOWEST_DEFERRAL else DEFERRED

    def insert(self, tx: Transaction, block: Block) -> bool:
        """Store and index a checked *block* inside a change; whether it was new. Raises Refusal when its projector does."""
        statement = "INSERT INTO blocks (key, author, at, data) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
        row = (key_of(parse(block.cid)), block.author, self._now(), block.data)
        if tx.execute(statement, row).rowcount != 1:
            return False
        if block.type in self._projectors:
            self._project(tx, block)
        return True

    def _project(self, tx: Transaction, block: Block) -> None:
        """Verify and index a document. One that lacks what its type needs is refused, whoever's mistake that is."""
        try:
            self._projectors[block.type](tx, block)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Refusal(422, f"no valid {block.type}: {type(error).__name__} {error}") from error

    def _count(self, block: Block, outcome: str) -> None:
        self.metrics.puts.labels(outcome).inc()
        if outcome == NEW:
            self.metrics.sizes.observe(len(block.data))
            self.metrics.stored.inc(len(block.data))
            if block.type in self._projectors:
                self.metrics.projected.labels(block.type).inc()

    async def pin(self, text: str, ttl: int | None = None) -> Cid:
        """Pin a block, for *ttl* seconds or for good. Raises Refusal: 404 when it is not here, 422 for a wrong ttl."""
        cid = self._present(text)
        until = None if ttl is None else self._now() + ttl * 1000
        statement = "INSERT INTO pins VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET until = excluded.until"
        await self._store.write(lambda tx: tx.execute(statement, (key_of(cid), until)).rowcount)
        self.metrics.pins.labels("pinned").inc()
        return cid

    async def unpin(self, text: str) -> Cid:
        """Take a block's pin away; one without a pin stays as it is. Raises Refusal with 404 when it is not here."""
        cid = self._present(text)
        await self._store.write(lambda tx: tx.execute("DELETE FROM pins WHERE key = ?", (key_of(cid),)).rowcount)
        self.metrics.pins.labels("unpinned").inc()
        return cid

    # --- reads --------------------------------------------------------------------------------------------------------

    def get(self, text: str) -> bytes:
        """The bytes of a block. Raises Refusal: 404 when it is not here, 503 when what is here does not match its CID."""
        cid = parse(text)
        rows = self._store.read("SELECT data FROM blocks WHERE key = ?", (key_of(cid),))
        if not rows:
            self.metrics.gets.labels("missing").inc()
            raise Refusal(404, f"no block {text} here")
        data: bytes = rows[0][0]
        if cid_of(data, cid.codec) != text:
            self.metrics.gets.labels("damaged").inc()
            raise Refusal(503, f"the stored bytes of {text} are damaged; ask another node")
        self.metrics.gets.labels("found").inc()
        return data

    def meta(self, text: str) -> dict[str, Any]:
        """The members of the interface's `DagBlockMetadata`, and whether the block is pinned. Raises Refusal as `get` does."""
        cid, data = parse(text), self.get(text)
        ((author, at),) = self._store.read("SELECT author, at FROM blocks WHERE key = ?", (key_of(cid),))
        found = links(decode(data)) if cid.codec == DAG_CBOR else []
        return {
            "size": len(data),
            "timestamp": at // 1000,
            "author_did": author,
            "links": [{"cid": each} for each in found],
            "pinned": self.pinned(text),
        }

    def pinned(self, text: str) -> bool:
        """Whether a pin holds the block now."""
        query = "SELECT 1 FROM pins WHERE key = ? AND (until IS NULL OR until > ?)"
        return bool(self._store.read(query, (key_of(parse(text)), self._now())))

    def has(self, text: str) -> bool:
        """Whether the block is here."""
        return bool(self._store.read("SELECT 1 FROM blocks WHERE key = ?", (key_of(parse(text)),)))

    def missing(self, cids: Iterable[str]) -> list[str]:
        """Those of *cids* that are not here. Raises Refusal for what is none."""
        keys = {key_of(parse(text)): text for text in cids}
        asked = list(keys)
        for start in range(0, len(asked), _ASKED):
            some = asked[start : start + _ASKED]
            for (key,) in self._store.read(f"SELECT key FROM blocks WHERE key IN ({', '.join('?' * len(some))})", some):
                del keys[key]
        return list(keys.values())

    def bundle(self, cids: Iterable[str], most: int) -> list[Block]:
        """The blocks of *cids* that are here and whole, in order, up to *most* bytes, and at least the first."""
        found: list[Block] = []
        for text in cids:
            block = self._whole(parse(text))
            if block is None:
                continue
            most -= len(block.data)
            if most < 0 and found:
                break
            found.append(block)
        return found

    def _whole(self, cid: Cid) -> Block | None:
        rows = self._store.read("SELECT data, author FROM blocks WHERE key = ?", (key_of(cid),))
        if not rows or cid_of(rows[0][0], cid.codec) != str(cid):
            return None
        return Block(str(cid), cid.codec, *rows[0])

    def tail(self, after: int, limit: int) -> tuple[list[str], int]:
        """The CIDs of at most *limit* blocks beyond number *after*, in the order of commits, and the number of the last."""
        rows = self._store.read("SELECT number, key FROM blocks WHERE number > ? ORDER BY number LIMIT ?", (after, limit))
        return [cid_at(key) for _, key in rows], rows[-1][0] if rows else after

    def page(self, after: int, limit: int, most: int) -> tuple[list[tuple[str, bytes]], int | None]:
        """CID and stored bytes of at most *limit* blocks beyond number *after*, up to *most* bytes and at least one.

        In the order of their commits, with the number to go on from when there may be more. The bytes are as they are stored:
        who reads them all, as an auditor does, hashes them itself.
        """
        query = "SELECT number, key, length(data) FROM blocks WHERE number > ? ORDER BY number LIMIT ?"
        rows, fitting = self._store.read(query, (after, limit)), 0
        for _, _, size in rows:
            most -= size
            if most < 0 and fitting:
                break
            fitting += 1
        if not fitting:
            return [], None
        last = rows[fitting - 1][0]
        query = "SELECT key, data FROM blocks WHERE number > ? AND number <= ? ORDER BY number"
        found = [(cid_at(key), data) for key, data in self._store.read(query, (after, last))]
        return found, last if fitting < len(rows) or len(rows) == limit else None

    @property
    def last(self) -> int:
        """The number of the newest block, 0 when there is none."""
        ((number,),) = self._store.read("SELECT coalesce(max(number), 0) FROM blocks")
        return int(number)

    def _present(self, text: str) -> Cid:
        cid = parse(text)
        if not self.has(text):
            raise Refusal(404, f"no block {text} here")
        return cid
