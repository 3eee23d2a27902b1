"""Anti-entropy: a node pulls from its peers what it lacks, until all have the same Merkle root.

A round with one peer first asks for the peer's root. The same root: done. Otherwise the peer's newest blocks since the last
round (its tail) say what is missing, at the cost of what is new; when the peer has nothing new, or there is no tail to go on
from, the two trees are compared from the root down. What is missing is fetched in batches of at most 256 blocks and about
1 MiB. Nothing that a peer says is believed: a block is stored when its bytes match the CID that was asked for and its projector
accepts it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gates.node.background import Background
from gates.node.cid import decode, parse
from gates.node.dag import DEFERRED, REFUSED, Block, Dag, checked, key_of
from gates.node.errors import PeerUnavailable, Refusal
from gates.node.merkle import LARGEST_PAGE, WIDTH, Merkle, bucket_of

MOST_BLOCKS = 256
MOST_BYTES = 1024 * 1024
MOST_PAGES = 64
LONGEST_AUTHOR = 256
PATIENCE = 5.0
REST_MS = {REFUSED: 30_000, DEFERRED: 1_000}
MOST_RESTING = 1024
TREE_EVERY = 16
EQUAL, PULLED, FAILED = "equal", "pulled", "failed"


class Caller(Protocol):
    """What asks a peer, as `PeerClient` does: the body goes as JSON, a DAG-CBOR answer comes back as bytes."""

    async def call(
        self, peer: str, method: str, path: str, body: Any = None, /, *, idempotent: bool, timeout: float
    ) -> Any: ...


@dataclass(slots=True)
class _Tail:
    """How far a peer's blocks were seen, and the rounds since the trees were compared."""

    number: int
    rounds: int = 0


class Sync(Background):
    """Keeps *dag* the same as the peers'.

    Args:
        peers: names of the peers that are alive.
        every_ms: mean time between two rounds.
        now: wall clock in milliseconds.
        draw: uniform numbers in [0, 1): the jitter, and which peer is next.
    """

    task_name = "sync"

    def __init__(
        self,
        dag: Dag,
        merkle: Merkle,
        client: Caller,
        peers: Callable[[], Sequence[str]],
        *,
        every_ms: int,
        now: Callable[[], int],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._dag, self._merkle, self._client, self._peers = dag, merkle, client, peers
        self._every, self._now, self._draw = every_ms / 1000, now, draw
        self._tails: dict[str, _Tail] = {}
        self._resting: OrderedDict[str, int] = OrderedDict()
        self._round = asyncio.Lock()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every * (0.5 + self._draw()))
            names = self._peers()
            if names:
                await self.pull(names[int(self._draw() * len(names))])

    async def pull(self, peer: str) -> str:
        """One round with *peer*: `equal`, `pulled` or `failed`, never an error. One round at a time."""
        started = time.perf_counter()
        async with self._round:
            try:
                outcome = await self._pull(peer)
            except Exception:  # the peer is away or answers nonsense, or the store is down: the next round tries again
                outcome = FAILED
        self._dag.metrics.rounds.labels(outcome).inc()
        self._dag.metrics.round.observe(time.perf_counter() - started)
        return outcome

    async def _pull(self, peer: str) -> str:
        theirs = await self._ask(peer, "root")
        newest = int(theirs["last"])
        if theirs["root"] == self._merkle.root():
            self._dag.metrics.agreed.set(self._now() / 1000)
            self._tails[peer] = _Tail(newest)
            return EQUAL
        tail = self._tails.get(peer)
        if tail is None or tail.rounds >= TREE_EVERY or not await self._follow(peer, tail):
            self._tails.pop(peer, None)
            await self._compare(peer)
            self._tails[peer] = _Tail(newest)
        return PULLED

    # --- what is missing ----------------------------------------------------------------------------------------------

    async def _follow(self, peer: str, tail: _Tail) -> bool:
        """Fetch what *peer* got since the last round; whether there was anything, known here or not."""
        self._dag.metrics.compared.labels("tail").inc()
        tail.rounds += 1
        found = False
        for _ in range(MOST_PAGES):
            page = await self._ask(peer, "tail", after=tail.number)
            await self._fetch(peer, self._missing(page["cids"]))
            found = found or bool(page["cids"])
            tail.number = int(page["last"])
            if len(page["cids"]) < LARGEST_PAGE:
                break
        return found

    async def _compare(self, peer: str) -> None:
        """Go down both trees to the buckets that differ, and fetch what the peer has in them and this node has not."""
        self._dag.metrics.compared.labels("tree").inc()
        theirs = (await self._ask(peer, "buckets"))["groups"]
        groups = [number for number, digest in enumerate(self._merkle.groups()) if theirs[number] != digest]
        answer = (await self._ask(peer, "buckets", groups=groups))["buckets"] if groups else []
        differing = [
            group * WIDTH + place
            for group, digests in zip(groups, answer, strict=True)
            for place, digest in enumerate(self._merkle.buckets(group))
            if digests[place] != digest
        ]
        await self._fetch_buckets(peer, differing)

    async def _fetch_buckets(self, peer: str, buckets: list[int]) -> None:
        after: str | None = None
        while buckets:
            page = await self._ask(peer, "cids", buckets=buckets, after=after)
            await self._fetch(peer, self._missing(page["cids"]))
            if not page["more"]:
                return
            if after is not None and key_of(parse(page["cids"][-1])) <= key_of(parse(after)):
                raise PeerUnavailable(f"{peer}: its pages of CIDs do not come to an end")
            after = page["cids"][-1]
            first = bucket_of(key_of(parse(after)))
            buckets = [bucket for bucket in buckets if bucket >= first]

    def _missing(self, cids: Iterable[str]) -> list[str]:
        """Those of *cids* that are not here and were not refused a short while ago."""
        return [cid for cid in self._dag.missing(cids) if self._resting.get(cid, 0) <= self._now()]

    # --- fetching it --------------------------------------------------------------------------------------------------

    async def _fetch(self, peer: str, cids: Sequence[str]) -> None:
        """Fetch and store *cids* in batches. What the peer does not give, or gives wrong, is left for a later round."""
        for start in range(0, len(cids), MOST_BLOCKS):
            wanted = dict.fromkeys(cids[start : start + MOST_BLOCKS])
            while wanted:
                answer = await self._ask(peer, "blocks", cids=list(wanted))
                before = len(wanted)
                await self._store([block for block in map(self._checked, answer["blocks"], [wanted] * before) if block])
                if len(wanted) == before:
                    break

    def _checked(self, given: Any, wanted: dict[str, None]) -> Block | None:
        """The block that a peer gave, when it is one of *wanted* and its bytes are what the CID names."""
        cid = given["cid"]
        if cid not in wanted:
            return None
        del wanted[cid]
        data, author = given["data"], given["author"]
        if not isinstance(data, bytes) or not isinstance(author, str) or len(author) > LONGEST_AUTHOR:
            raise PeerUnavailable("expected the bytes of a block and the DID of its author")
        try:
            self._dag.metrics.received.inc(len(data))
            return checked(data, parse(cid).codec, author, cid)
        except Refusal:  # another peer may have the true bytes, so the CID is asked for again
            self._dag.metrics.pulled.labels(REFUSED).inc()
            return None

    async def _store(self, blocks: list[Block]) -> None:
        if not blocks:
            return
        self._dag.metrics.batches.observe(len(blocks))
        for block, outcome in zip(blocks, await self._dag.put_many(blocks), strict=True):
            self._dag.metrics.pulled.labels(outcome).inc()
            if outcome in REST_MS:
                self._rest(block.cid, REST_MS[outcome])
            else:
                self._resting.pop(block.cid, None)

    def _rest(self, cid: str, milliseconds: int) -> None:
        """Do not ask for a block that its projector did not take again for a while."""
        self._resting[cid] = self._now() + milliseconds
        self._resting.move_to_end(cid)
        while len(self._resting) > MOST_RESTING:
            self._resting.popitem(last=False)

    async def _ask(self, peer: str, what: str, **body: Any) -> Any:
        path = f"/peer/dag/{what}"
        return decode(await self._client.call(peer, "POST", path, body, idempotent=True, timeout=PATIENCE))
