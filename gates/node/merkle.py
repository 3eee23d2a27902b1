"""The Merkle tree over all blocks of a node: 64 groups of 64 buckets by the first twelve bits of the digest.

A bucket's hash is sha2-256 over the sorted keys of its blocks (32 zero bytes when there are none), a group's over its buckets,
the root over the groups: it depends on the set of blocks alone. Only the 4,096 hashes are kept. Which of them are out of date
is derived from the rows that were committed since, so no insert has to tell.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable

from gates.node.dag import Dag, cid_at
from gates.node.storage import Storage

WIDTH = 64
BUCKETS = WIDTH * WIDTH
LARGEST_PAGE = 4096
_EMPTY = bytes(32)
_SEEN_AT_ONCE = 8192
_FEW = 8


def bucket_of(key: bytes) -> int:
    """The bucket of the block with this key."""
    return key[0] << 4 | key[1] >> 4


def _range(first: int, end: int) -> tuple[bytes, bytes]:
    """The keys of the buckets from *first* to before *end*: from the one up to, and without, the other."""
    return (first << 4).to_bytes(2, "big"), (end << 4).to_bytes(2, "big") if end < BUCKETS else b"\xff" * 34


class Merkle:
    """The tree over the blocks of *dag*, which lie in *store*."""

    def __init__(self, dag: Dag, store: Storage) -> None:
        self._dag, self._store = dag, store
        self._seen: int | None = None
        self._stale = [set(range(start, start + WIDTH)) for start in range(0, BUCKETS, WIDTH)]
        self._hashes = [_EMPTY] * BUCKETS
        self._counts = [0] * BUCKETS

    async def warm(self) -> None:
        """Compute the tree without holding up the event loop, as a start does with many blocks."""
        self._notice()
        for stale in self._stale:
            self._catch_up(stale)
            await asyncio.sleep(0)

    def root(self) -> str:
        """The root in hexadecimal. Raises StoreUnavailable."""
        started = time.perf_counter()
        self._refresh()
        root = hashlib.sha256(b"".join(self._group(number) for number in range(WIDTH))).hexdigest()
        self._dag.metrics.rooting.observe(time.perf_counter() - started)
        return root

    @property
    def blocks(self) -> int:
        """How many blocks the root is over."""
        return sum(self._counts)

    def groups(self) -> list[str]:
        """The hash of every group, half as long as they are: enough to tell which differ."""
        self._refresh()
        return [self._group(number)[:16].hex() for number in range(WIDTH)]

    def buckets(self, group: int) -> list[str]:
        """The hashes of the buckets of one group, likewise."""
        self._refresh()
        return [digest[:16].hex() for digest in self._hashes[group * WIDTH : (group + 1) * WIDTH]]

    def cids(self, buckets: Iterable[int], after: bytes) -> tuple[list[str], bool]:
        """The CIDs in *buckets* beyond the key *after*, in order of their keys, and whether there are more."""
        found: list[bytes] = []
        query = "SELECT key FROM blocks WHERE key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?"
        for bucket in sorted(set(buckets)):
            start, end = _range(bucket, bucket + 1)
            if end > after:
                limit = LARGEST_PAGE + 1 - len(found)
                found += [key for (key,) in self._store.read(query, (start, end, after, limit))]
            if len(found) > LARGEST_PAGE:
                return [cid_at(key) for key in found[:LARGEST_PAGE]], True
        return [cid_at(key) for key in found], False

    def _refresh(self) -> None:
        self._notice()
        for stale in self._stale:
            self._catch_up(stale)
        self._dag.metrics.blocks.set(self.blocks)

    def _notice(self) -> None:
        """Note the buckets of the blocks that were committed since the last look; before the first, all are stale anyway."""
        if self._seen is None:
            self._seen = self._dag.last
            return
        query = "SELECT number, key FROM blocks WHERE number > ? ORDER BY number LIMIT ?"
        while rows := self._store.read(query, (self._seen, _SEEN_AT_ONCE)):
            for _, key in rows:
                bucket = bucket_of(key)
                self._stale[bucket // WIDTH].add(bucket)
            self._seen = int(rows[-1][0])

    def _catch_up(self, stale: set[int]) -> None:
        """Hash the *stale* buckets of one group: each by itself, or the whole group in one pass when they are many."""
        if len(stale) > _FEW:
            start = min(stale) // WIDTH * WIDTH
            self._rehash(start, start + WIDTH, stale)
        for bucket in tuple(stale):
            self._rehash(bucket, bucket + 1, stale)

    def _rehash(self, first: int, end: int, stale: set[int]) -> None:
        keys: dict[int, list[bytes]] = {bucket: [] for bucket in range(first, end)}
        query = "SELECT key FROM blocks WHERE key >= ? AND key < ? ORDER BY key"
        for (key,) in self._store.read(query, _range(first, end)):
            keys[bucket_of(key)].append(key)
        for bucket, found in keys.items():
            self._hashes[bucket] = hashlib.sha256(b"".join(found)).digest() if found else _EMPTY
            self._counts[bucket] = len(found)
        self._dag.metrics.buckets.inc(end - first)
        stale.difference_update(keys)

    def _group(self, number: int) -> bytes:
        return hashlib.sha256(b"".join(self._hashes[number * WIDTH : (number + 1) * WIDTH])).digest()
