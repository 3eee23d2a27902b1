"""The block store and its Merkle tree."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from block_stores import AUTHOR, MEMORY, Clock, opened, with_dag
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.node import dag
from gates.node.cid import DAG_CBOR, RAW, Cid, cid_of, encode, link, parse
from gates.node.dag import DEFERRED, LARGEST_BLOCK, NEW, REFUSED, REPEATED, Block, Dag, checked
from gates.node.errors import Refusal
from gates.node.merkle import BUCKETS, Merkle, bucket_of
from gates.node.storage import SqliteStorage, Transaction


def judge(tx: Transaction, block: Block) -> None:
    """A projector: documents say how they are to be judged, and good ones are indexed in `seen`."""
    tx.execute("CREATE TABLE IF NOT EXISTS seen (cid TEXT PRIMARY KEY)")
    tx.execute("INSERT INTO seen VALUES (?)", (block.cid,))
    if block.document["fate"] == "wrong":
        raise Refusal(422, "wrong")
    if block.document["fate"] == "early":
        raise Refusal(503, "can't be judged yet")


def document(number: int, fate: str = "good") -> bytes:
    return encode({"type": "test", "number": number, "fate": fate})


def code_of(operation: Any) -> int:
    """The code with which *operation* is refused."""
    with pytest.raises(Refusal) as caught:
        operation()
    return caught.value.code


def test_a_block_is_had_back_under_its_cid_with_what_is_known_of_it(tmp_path: Path) -> None:
    """Bytes, size, seconds, author and the links of a document; the second put of the same bytes is the same block."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        leaf = await blocks.put(b"leaf", RAW, AUTHOR)
        data = encode({"children": [link(leaf), link(leaf)]})
        parent = await blocks.put(data, DAG_CBOR, AUTHOR)
        assert await blocks.put(data, DAG_CBOR, "did:key:z6MkSecond") == parent
        assert blocks.get(parent) == data
        expected = {
            "size": len(data),
            "timestamp": 1_700_000_000,
            "author_did": AUTHOR,
            "links": [{"cid": leaf}],
            "pinned": False,
        }
        assert blocks.meta(parent) == expected
        assert (blocks.last, blocks.tail(0, 10)) == (2, ([leaf, parent], 2))

    with_dag(tmp_path / "dag.db", use)


def test_the_same_bytes_as_raw_and_as_a_document_are_two_blocks(tmp_path: Path) -> None:
    """The codec is a part of the CID, so neither hides the other."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        data = encode({"a": 1})
        first, second = await blocks.put(data, RAW, AUTHOR), await blocks.put(data, DAG_CBOR, AUTHOR)
        assert first != second
        assert blocks.get(first) == blocks.get(second) == data
        assert blocks.last == 2

    with_dag(tmp_path / "dag.db", use)


@pytest.mark.parametrize(
    ("data", "codec", "cid", "code"),
    [
        (bytes(LARGEST_BLOCK + 1), RAW, None, 413),
        (b"\xff", DAG_CBOR, None, 422),
        (b"x", 0x70, None, 422),
        (b"x", RAW, cid_of(b"y"), 422),
        (b"x", RAW, cid_of(b"x", DAG_CBOR), 422),
    ],
    ids=["too large", "no document", "another codec", "other bytes", "the CID of another codec"],
)
def test_what_is_no_block_is_refused(data: bytes, codec: int, cid: str | None, code: int) -> None:
    """Size, codec, encoding and the CID are checked before anything is written."""
    assert code_of(lambda: checked(data, codec, AUTHOR, cid)) == code


def test_the_largest_block_is_stored(tmp_path: Path) -> None:
    """The bound is the last size that is taken."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        assert blocks.get(await blocks.put(bytes(LARGEST_BLOCK), RAW, AUTHOR)) == bytes(LARGEST_BLOCK)

    with_dag(tmp_path / "dag.db", use)


def test_a_block_that_is_not_here_is_not_found(tmp_path: Path) -> None:
    """404 for a CID without a block, of a codec that is stored here or not; 400 for what is no CID."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        for text, code in [(cid_of(b"x"), 404), (str(Cid(0x70, bytes(32))), 404), ("nonsense", 400)]:
            assert code_of(lambda text=text: blocks.get(text)) == code
            assert code_of(lambda text=text: blocks.meta(text)) == code
            with pytest.raises(Refusal):
                await blocks.pin(text)
            with pytest.raises(Refusal):
                await blocks.unpin(text)

    with_dag(tmp_path / "dag.db", use)


def test_damaged_bytes_are_never_given_out(tmp_path: Path) -> None:
    """What does not match its CID on the disk is answered with 503 and not given to peers either."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        cid = await blocks.put(b"whole", RAW, AUTHOR)
        with closing(sqlite3.connect(tmp_path / "dag.db", isolation_level=None)) as other:
            other.execute("UPDATE blocks SET data = ?", (b"whale",))
        assert code_of(lambda: blocks.get(cid)) == 503
        assert blocks.bundle([cid], 100) == []
        assert blocks.metrics.gets.labels("damaged")._value.get() == 1

    with_dag(tmp_path / "dag.db", use)


def test_a_pin_ends_with_its_time_or_is_taken_away(tmp_path: Path) -> None:
    """A pin without a time stays; a later pin replaces an earlier one."""

    async def whole() -> None:
        clock = Clock()
        async with opened(tmp_path / "dag.db", dag.TABLES) as store:
            blocks = Dag(store, {}, clock)
            cid = await blocks.put(b"x", RAW, AUTHOR)
            assert await blocks.pin(cid, 10) == parse(cid)
            clock.milliseconds += 9_999
            assert blocks.pinned(cid)
            clock.milliseconds += 1
            assert not blocks.pinned(cid)
            await blocks.pin(cid)
            clock.milliseconds += 10**12
            assert blocks.meta(cid)["pinned"]
            await blocks.unpin(cid)
            assert not blocks.pinned(cid)

    asyncio.run(whole())


def test_one_wrong_block_among_many_is_refused_alone(tmp_path: Path) -> None:
    """The others are stored and indexed; of the wrong and the early one neither row nor index stays."""

    async def use(blocks: Dag, store: SqliteStorage) -> None:
        given = [document(1), document(2, "wrong"), document(3, "early"), document(1), document(4)]
        outcomes = await blocks.put_many([checked(data, DAG_CBOR, AUTHOR) for data in given])
        assert outcomes == [NEW, REFUSED, DEFERRED, REPEATED, NEW]
        stored = [cid_of(document(number), DAG_CBOR) for number in (1, 4)]
        assert blocks.tail(0, 10)[0] == stored
        assert sorted(cid for (cid,) in store.read("SELECT cid FROM seen")) == sorted(stored)
        with pytest.raises(Refusal):
            await blocks.put(document(2, "wrong"), DAG_CBOR, AUTHOR)

    with_dag(tmp_path / "dag.db", use, test=judge)


def test_a_document_that_lacks_what_its_type_needs_is_refused(tmp_path: Path) -> None:
    """A projector that stumbles over a document refuses it; the store goes on."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        with pytest.raises(Refusal) as caught:
            await blocks.put(encode({"type": "test"}), DAG_CBOR, AUTHOR)
        assert caught.value.code == 422
        assert blocks.last == 0

    with_dag(tmp_path / "dag.db", use, test=judge)


def test_documents_of_no_or_a_strange_type_are_stored_as_they_are(tmp_path: Path) -> None:
    """A type that nobody projects, one that is no string, and a document that is no map are blocks like any other."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        for odd in ({"type": "other"}, {"type": 7}, {"type": ["test"]}, [1], None, "test"):
            await blocks.put(encode(odd), DAG_CBOR, AUTHOR)
        assert blocks.last == 6

    with_dag(tmp_path / "dag.db", use, test=judge)


def test_what_is_missing_is_told_for_more_than_one_query(tmp_path: Path) -> None:
    """Those of many CIDs that are not here, in the order in which they were asked for."""

    async def use(blocks: Dag, _store: SqliteStorage) -> None:
        data = [str(number).encode() for number in range(700)]
        await blocks.put_many([checked(each, RAW, AUTHOR) for each in data[::2]])
        assert blocks.missing(map(cid_of, data)) == [cid_of(each) for each in data[1::2]]

    with_dag(tmp_path / "dag.db", use)


# --- the Merkle tree --------------------------------------------------------------------------------------------------


def from_scratch(payloads: Sequence[bytes]) -> str:
    """The root by its definition, from a plain set."""
    keys = sorted({hashlib.sha256(data).digest() + bytes((RAW,)) for data in payloads})
    buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
    for key in keys:
        buckets[int.from_bytes(key[:2], "big") >> 4].append(key)
    hashes = [hashlib.sha256(b"".join(bucket)).digest() if bucket else bytes(32) for bucket in buckets]
    groups = [hashlib.sha256(b"".join(hashes[start : start + 64])).digest() for start in range(0, BUCKETS, 64)]
    return hashlib.sha256(b"".join(groups)).hexdigest()


def crowded() -> list[bytes]:
    """Payloads of which many share a bucket."""
    buckets: dict[int, list[bytes]] = {}
    for number in range(8000):
        data = b"%d" % number
        buckets.setdefault(bucket_of(hashlib.sha256(data).digest()), []).append(data)
    return [data for bucket in sorted(buckets.values(), key=len)[-8:] for data in bucket]


@pytest.mark.end_to_end
@given(batches=st.lists(st.lists(st.sampled_from(crowded()), max_size=12), max_size=5))
@settings(max_examples=25, deadline=None)
def test_the_root_depends_on_the_set_of_blocks_alone(batches: list[list[bytes]]) -> None:
    """After every batch, in any order and with repetitions, the tree that was kept equals a new one and the definition."""

    async def use(blocks: Dag, store: SqliteStorage) -> None:
        kept, so_far = Merkle(blocks, store), []
        assert kept.root() == from_scratch([])
        for batch in batches:
            await blocks.put_many([checked(data, RAW, AUTHOR) for data in batch])
            so_far += batch
            assert kept.root() == Merkle(blocks, store).root() == from_scratch(so_far)
            assert kept.blocks == len(set(so_far))

    with TemporaryDirectory(dir=MEMORY) as folder:
        with_dag(Path(folder) / "dag.db", use)


def test_a_block_that_another_connection_committed_is_under_the_root(tmp_path: Path) -> None:
    """What changed is read from the rows and told by nobody, so nothing can be forgotten; a warmed tree goes on likewise."""

    async def use(blocks: Dag, store: SqliteStorage) -> None:
        tree = Merkle(blocks, store)
        await blocks.put(b"first", RAW, AUTHOR)
        await tree.warm()
        assert tree.root() == from_scratch([b"first"])
        with closing(sqlite3.connect(tmp_path / "dag.db", isolation_level=None)) as other:
            row = (hashlib.sha256(b"second").digest() + bytes((RAW,)), AUTHOR, 0, b"second")
            other.execute("INSERT INTO blocks (key, author, at, data) VALUES (?, ?, ?, ?)", row)
        assert tree.root() == from_scratch([b"first", b"second"])

    with_dag(tmp_path / "dag.db", use)


def test_pages_of_cids_hold_every_block_of_the_buckets_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page after page in the order of their keys, for any choice of buckets."""
    monkeypatch.setattr("gates.node.merkle.LARGEST_PAGE", 7)
    data = [str(number).encode() for number in range(100)]

    async def use(blocks: Dag, store: SqliteStorage) -> None:
        await blocks.put_many([checked(each, RAW, AUTHOR) for each in data])
        tree = Merkle(blocks, store)
        chosen = {bucket_of(dag.key_of(parse(cid_of(each)))) for each in data[:50]} | {0, BUCKETS - 1}
        found, after, more = [], b"", True
        while more:
            page, more = tree.cids(chosen, after)
            assert len(page) <= 7
            found += page
            after = dag.key_of(parse(page[-1]))
        assert found == sorted(found, key=lambda cid: dag.key_of(parse(cid)))
        assert set(found) >= {cid_of(each) for each in data[:50]}
        assert len(found) == len(set(found))
        assert all(bucket_of(dag.key_of(parse(cid))) in chosen for cid in found)

    with_dag(tmp_path / "dag.db", use)


def test_the_last_bucket_holds_the_highest_keys(tmp_path: Path) -> None:
    """A digest of nothing but ones lies in the last bucket, and is found there."""

    async def use(blocks: Dag, store: SqliteStorage) -> None:
        key = b"\xff" * 32 + bytes((DAG_CBOR,))
        with closing(sqlite3.connect(tmp_path / "dag.db", isolation_level=None)) as other:
            other.execute("INSERT INTO blocks (key, author, at, data) VALUES (?, '', 0, '')", (key,))
        tree = Merkle(blocks, store)
        tree.root()
        assert (tree.blocks, tree.cids([BUCKETS - 1], b"")) == (1, ([dag.cid_at(key)], False))

    with_dag(tmp_path / "dag.db", use)
