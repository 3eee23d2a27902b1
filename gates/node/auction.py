"""A round of bidding: who is asked, whose bids came in time, and who gets which job."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from gates.node import bidding
from gates.node.bidding import LARGEST_SENT, Bid, Experience, Need
from gates.node.cid import decode, encode
from gates.node.errors import PeerUnavailable, Refusal
from gates.node.execution import Executions
from gates.node.identity import Identity
from gates.node.jobbook import Job
from gates.node.metrics_jobs import JobMetrics

PATIENCE = 1.0
"""Seconds until a request for bids is given up. Who answers later than the window has lost its chance, but is not down."""


class Member(Protocol):
    """Another node."""

    @property
    def did(self) -> str | None: ...


class Members(Protocol):
    """Who may bid; `Federation` is this."""

    def alive(self) -> Sequence[Member]: ...


class Client(Protocol):
    """How peers are called; `PeerClient` is this."""

    async def call(
        self, peer: str, method: str, path: str, body: Any = None, *, idempotent: bool = True, timeout: float = ...
    ) -> Any: ...


class Auction:
    """Holds the rounds of bidding of one node, and bids in those of others.

    Args:
        window: seconds that bids are collected for; asked anew in each round.
        resources: what this node has for jobs.
        able: whether this node can carry out jobs of others now; while it can't, it bids on none.
    """

    def __init__(
        self,
        identity: Identity,
        members: Members,
        client: Client,
        executions: Executions,
        *,
        metrics: JobMetrics,
        now: Callable[[], int],
        window: Callable[[], float],
        resources: Mapping[str, int],
        able: Callable[[], bool] = lambda: True,
    ) -> None:
        self._identity, self._members, self._client, self._executions = identity, members, client, executions
        self._metrics, self._now, self.window, self._resources = metrics, now, window, resources
        self.able = able
        self._asking: dict[str, asyncio.Task[list[Bid]]] = {}
        self.experience = Experience()

    def sheet(self, nonce: str, needs: Iterable[Need]) -> dict[str, Any]:
        """This node's signed bids on *needs*."""
        self._metrics.sheets.inc()
        wanted = needs if self.able() else ()
        return bidding.make_sheet(self._identity, nonce, wanted, load=self._executions.load, resources=self._resources)

    async def hold(self, jobs: Sequence[Job], lost: Mapping[str, Collection[str]]) -> dict[str, Bid]:
        """The bid that is taken for each of *jobs* that has an eligible one; *lost*: who was lost with it before, by job."""
        needs = [Need.of(job) for job in jobs]
        small = [need for need, job in zip(needs, jobs, strict=True) if size(job) <= LARGEST_SENT]
        bids, members = await self._collect(needs, small)
        now = self._now()
        return bidding.select(needs, bids, members, lambda did: self.experience.reputation(did, now), lost)

    async def stop(self) -> None:
        """Wait for nobody's bids any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _collect(self, needs: Sequence[Need], small: Sequence[Need]) -> tuple[list[Bid], set[str]]:
        """The bids that came by the end of the window, and who may bid. No peer is asked again before it has answered."""
        peers = {peer.did for peer in self._members.alive() if peer.did is not None}
        asked = [self._ask(did, small) for did in sorted(peers - self._asking.keys())] if small else []
        bids = self._own_bids(needs)
        if asked:
            answered, _ = await asyncio.wait(asked, timeout=self.window())
            bids += [bid for task in answered for bid in task.result()]
        return bids, peers | {self._identity.did}

    def _own_bids(self, needs: Sequence[Need]) -> list[Bid]:
        load, own = self._executions.load, self._identity.did
        priced = [(need, bidding.price(need)) for need in needs]
        bids = [Bid(need.job, own, price, load, self._resources) for need, price in priced if price is not None]
        self._metrics.bids.labels("self").inc(len(bids))
        return bids

    def _ask(self, did: str, needs: Sequence[Need]) -> asyncio.Task[list[Bid]]:
        task = asyncio.create_task(self._bids_of(did, needs))
        self._asking[did] = task
        task.add_done_callback(lambda _: self._asking.pop(did, None))
        return task

    async def _bids_of(self, did: str, needs: Sequence[Need]) -> list[Bid]:
        """The bids of a peer; none when it does not answer, or answers with something else."""
        nonce = secrets.token_hex(16)
        body = encode({"nonce": nonce, "jobs": [need.sent() for need in needs]})
        try:
            answer = await self._client.call(did, "POST", "/peer/bids", body, idempotent=False, timeout=PATIENCE)
            bids = bidding.read_sheet(document(answer), did, nonce)
        except (PeerUnavailable, Refusal) as error:
            self._metrics.asked.labels("refused" if isinstance(error, Refusal) else "unavailable").inc()
            return []
        self._metrics.asked.labels("answered").inc()
        self._metrics.bids.labels("peer").inc(len(bids))
        return bids


def size(job: Job) -> int:
    """Bytes of a job's specification."""
    return len(job.spec.encode())


def document(answer: Any) -> dict[str, Any]:
    """A peer's answer as the map that it should be. Raises Refusal with 422."""
    found = decode(answer) if isinstance(answer, bytes) else None
    if not isinstance(found, dict):
        raise Refusal(422, "expected a map in DAG-CBOR")
    return found
