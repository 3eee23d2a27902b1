"""Sending jobs to their executors, this node among them, and reading what they answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gates.node.auction import Client, document, size
from gates.node.bidding import LARGEST_SENT, MOST_JOBS
from gates.node.cid import encode
from gates.node.errors import PeerUnavailable, Refusal, StoreUnavailable
from gates.node.execution import Answer, Done, Executions, Order
from gates.node.jobbook import Job
from gates.node.metrics_jobs import JobMetrics

PATIENCE = 2.0
"""Seconds in which an executor says what it has done of a batch; after that it is lost."""
PAUSE = 0.5


class Dispatcher:
    """Asks executors for receipts.

    Args:
        did: the node's own; its jobs go to *executions* without a request.
    """

    def __init__(self, did: str, client: Client, executions: Executions, metrics: JobMetrics) -> None:
        self._did, self._client, self._executions, self._metrics = did, client, executions, metrics

    async def ask(
        self, executor: str, jobs: Mapping[str, Job], stopped: Collection[str], *, wait: float, attempts: int = 1
    ) -> Answer:
        """What *executor* has done of *jobs*: nothing when it can't be asked. It is told to stop those in *stopped*."""
        orders = [Order(job.id, json.loads(job.spec)) for job in jobs.values()]
        try:
            if executor == self._did:
                self._executions.cancel(executor, stopped)
                answer = await self._executions.carry_out(executor, orders, wait)
            else:
                answer = await self._send(executor, orders, stopped, wait, attempts)
        except (PeerUnavailable, Refusal, StoreUnavailable) as error:
            self._metrics.ordered.labels("refused" if isinstance(error, Refusal) else "unavailable").inc()
            return Answer()
        self._metrics.ordered.labels("answered").inc()
        return answer

    async def _send(
        self, executor: str, orders: Sequence[Order], stopped: Collection[str], wait: float, attempts: int
    ) -> Answer:
        """One request to a peer, repeated while it can't be reached and *attempts* are left."""
        sent = {"jobs": [order.sent() for order in orders], "cancel": sorted(stopped), "wait_ms": round(wait * 1000)}
        body = encode(sent)
        while True:
            attempts -= 1
            try:
                answer = await self._client.call(executor, "POST", "/peer/execute", body, timeout=PATIENCE + wait)
                return self._read(answer, executor)
            except PeerUnavailable:
                if attempts <= 0:
                    raise
            await asyncio.sleep(PAUSE)  # this node has just started, and may not have met the executor yet

    def _read(self, answer: Any, executor: str) -> Answer:
        """A peer's answer to orders; what is no genuine receipt of its own counts as not done. Raises Refusal."""
        fields = document(answer)
        done, pending = fields.get("done"), fields.get("pending")
        if not isinstance(done, list) or not isinstance(pending, list):
            raise Refusal(422, "expected done and pending")
        read = Answer(pending=[job for job in pending if isinstance(job, str)])
        for each in done:
            try:
                read.done.append(Done.read(each, executor))
            except Refusal:
                self._metrics.receipts.labels("refused").inc()
        return read


def batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """*jobs* in batches that a request can carry."""
    batch: list[Job] = []
    carried = 0
    for job in jobs:
        if batch and (len(batch) >= MOST_JOBS or carried + size(job) > LARGEST_SENT):
            yield batch
            batch, carried = [], 0
        batch.append(job)
        carried += size(job)
    if batch:
        yield batch
