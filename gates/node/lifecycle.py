"""The way of a job from its submission to its end, many at a time, as the node that took the submission coordinates it.

Jobs that arrive while a round of bidding is under way make up the next round: one request a peer asks for bids on all of them,
the bids that came by the end of the window count, one change assigns them all, one request an executor has them carried out,
and one change ends those whose receipts came back. Who does not answer delays nobody: jobs go on with the bids that are there,
the node's own among them, and come back for bids when their executor is lost. What a crash interrupts is taken up again, and so
is, every few seconds, each job that nothing carries on with because something unforeseen has happened to its batch. Such a job
goes on by itself, so that it is not others that it takes with it, and fails with a refund when that happens again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from gates.node import assignment, bidding, execution, jobbook, receipts
from gates.node.auction import Auction, Client
from gates.node.bidding import MOST_JOBS, Bid
from gates.node.dispatch import Dispatcher, batches
from gates.node.errors import FAILURES, Refusal
from gates.node.execution import Done, Executions
from gates.node.guarded import persistently
from gates.node.jobbook import MOST_ROUNDS, Job
from gates.node.metrics_jobs import JobMetrics
from gates.node.storage import Storage, Transaction

TABLES = ";".join((execution.TABLES, bidding.TABLES))
POLL = 0.5
"""Seconds that an executor may wait for the end of a job before it says that it is still under way."""
RESUMED_ATTEMPTS = 10
SWEEP = 2.0
"""Seconds between two looks for jobs that nothing carries on with."""
_LOG = logging.getLogger(__name__)


class Lifecycle:
    """Carries the jobs of one node to their ends.

    Args:
        did: the node's own.
        store: the ledger's store.
        anchor: called when there is something new in the outbox.
    """

    def __init__(
        self,
        did: str,
        store: Storage,
        client: Client,
        auction: Auction,
        executions: Executions,
        *,
        metrics: JobMetrics,
        now: Callable[[], int],
        anchor: Callable[[], None] = lambda: None,
        sweep: float = SWEEP,
    ) -> None:
        self._did, self._store, self._now, self._anchor, self._pause = did, store, now, anchor, sweep
        self._dispatcher = Dispatcher(did, client, executions, metrics)
        self.auction, self.executions, self._metrics = auction, executions, metrics
        self._offered: deque[str] = deque()
        self._wanted = asyncio.Event()
        self._since: dict[str, float] = {}
        self._unwanted: dict[str, int] = {}
        self._mishaps: dict[str, int] = {}
        self._lost: dict[str, set[str]] = {}
        self._out: dict[str, dict[str, Job]] = {}
        self._cancelled: dict[str, set[str]] = {}
        self._followed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.waiting.set_function(lambda: float(len(self._offered)))

    # --- what other parts ask -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what is unfinished, and begin, in the event loop in which the node serves. Raises StoreUnavailable."""
        self.auction.experience.remember(self._store.read("SELECT did, good, bad, at FROM experience"))
        self._resume(jobbook.unfinished(self._store.read))
        self._spawn(self._rounds())
        self._spawn(self._sweep())

    async def stop(self) -> None:
        """Stop where everything is; the next start goes on from there."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.auction.stop()
        await self.executions.stop()

    def offer(self, job: str) -> None:
        """Have a submitted job carried out, unless it is under way."""
        if job not in self._since:
            self._enqueue(job)

    def cancel(self, job: str) -> None:
        """Have the executor of a job told that it was cancelled, if it has one."""
        for executor, jobs in self._out.items():
            if jobs.pop(job, None) is not None:
                self._cancel_at(executor, job)
        self._forget(job)

    async def accept_receipt(self, values: Any) -> str:
        """End a job by the receipt that was handed in, in the interface's shape; the CID that it is anchored under.

        Handing in the same receipt again changes nothing. Raises Refusal: 422 for what is no receipt, 404 for an unknown job,
        403 when another node is its executor, 422 when the signature is not good or the result is another, 409 when it is not
        being executed; and FAILURES.
        """
        try:
            receipt = receipts.read(values)
            cid = await self._store.write(lambda tx: assignment.accept(tx, receipt, values.get("result"), self._now()))
        except Refusal:
            self._metrics.receipts.labels("refused").inc()
            raise
        self._metrics.receipts.labels("accepted").inc()
        self.cancel(receipt.job)  # nobody needs to wait for it any more
        self._anchor()
        return cid

    # --- what was left ------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Take up, again and again, what was written down and nothing here carries on with."""
        while True:
            await asyncio.sleep(self._pause)
            with suppress(*FAILURES):
                unfinished = set(jobbook.open_ids(self._store.read))
                for over in self._mishaps.keys() - unfinished:
                    del self._mishaps[over]
                if unfinished - self._since.keys():
                    self._resume([job for job in jobbook.unfinished(self._store.read) if job.id not in self._since])

    def _resume(self, jobs: Iterable[Job]) -> None:
        """Go on with *jobs* from where they are; those that something has happened to go on one by one, or fail."""
        assigned: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            self._began(job.id)
            if self._mishaps.get(job.id, 0) >= MOST_ROUNDS:
                self._spawn(self._abandon(job.id))
            elif job.status in (jobbook.ASSIGNED, jobbook.EXECUTING) and job.executor is not None:
                alone = job.id if job.id in self._mishaps else ""
                assigned.setdefault((job.executor, alone), []).append(job)
            else:
                self._enqueue(job.id)
        for (executor, _), share in assigned.items():
            for batch in batches(share):
                self._spawn(self._order(executor, batch, attempts=RESUMED_ATTEMPTS), batch)

    async def _abandon(self, job: str) -> None:
        reason = f"this node failed to carry it on {MOST_ROUNDS} times"
        await persistently(self._store, lambda tx: assignment.give_up(tx, [job], reason, self._now()))
        self._ended([job], "abandoned")

    def _set_aside(self, ids: Iterable[str]) -> None:
        """Let go of jobs that something unforeseen has happened to; the next sweep takes up those that have not ended."""
        for job in ids:
            times = self._mishaps.get(job, 0) + 1
            self._forget(job)
            self._mishaps[job] = times

    # --- rounds of bidding --------------------------------------------------------------------------------------------

    def _enqueue(self, job: str) -> None:
        self._began(job)
        self._offered.append(job)
        self._wanted.set()

    async def _rounds(self) -> None:
        """Hold one round after the other, each at least a window after the one before."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            began, ids = loop.time(), self._take()
            try:
                await self._round(ids)
            except Exception:  # a mistake in here must not end the loop that all jobs depend on
                _LOG.exception("a round of bidding for %d jobs failed; they are taken up one by one", len(ids))
                self._set_aside(ids)
            await asyncio.sleep(max(0.0, began + self.auction.window() - loop.time()))

    def _take(self) -> list[str]:
        """The jobs of the next round, each once; one that something has happened to has a round of its own."""
        ids: dict[str, None] = {}
        while self._offered and len(ids) < MOST_JOBS:
            alone = self._offered[0] in self._mishaps
            if ids and alone:
                break
            ids[self._offered.popleft()] = None
            if alone:
                break
        if not self._offered:
            self._wanted.clear()
        return list(ids)

    async def _round(self, ids: Sequence[str]) -> None:
        began = asyncio.get_running_loop().time()
        jobs = await persistently(self._store, lambda tx: assignment.open_bidding(tx, ids, self._now()))
        for gone in set(ids) - {job.id for job in jobs}:
            self._forget(gone)
        if not jobs:
            return
        chosen = await self.auction.hold(jobs, self._lost)
        self._metrics.rounds.inc()
        self._metrics.round_jobs.observe(len(jobs))
        self._metrics.round_seconds.observe(asyncio.get_running_loop().time() - began)
        await self._assign(jobs, chosen)
        await self._leave([job.id for job in jobs if job.id not in chosen])

    async def _assign(self, jobs: Sequence[Job], chosen: Mapping[str, Bid]) -> None:
        """Assign the jobs and send them out."""
        assigned = set(await persistently(self._store, lambda tx: assignment.assign(tx, chosen, self._now())))
        shares: dict[str, list[Job]] = {}
        for job in jobs:
            if job.id in assigned:
                shares.setdefault(chosen[job.id].executor, []).append(job)
        for executor, share in shares.items():
            self._metrics.assigned.labels("self" if executor == self._did else "peer").inc(len(share))
            for batch in batches(share):
                self._spawn(self._order(executor, batch), batch)

    async def _leave(self, ids: Sequence[str]) -> None:
        """Ask again for bids on jobs that nobody may carry out, and fail them after as many rounds as a job has."""
        self._unwanted |= {job: self._unwanted.get(job, 0) + 1 for job in ids}
        over = [job for job in ids if self._unwanted[job] >= MOST_ROUNDS]
        for job in set(ids) - set(over):
            self._enqueue(job)
        if over:
            reason = f"no eligible bid in {MOST_ROUNDS} rounds"
            await persistently(self._store, lambda tx: assignment.give_up(tx, over, reason, self._now()))
            self._ended(over, "refused")

    # --- execution ----------------------------------------------------------------------------------------------------

    async def _order(self, executor: str, jobs: Sequence[Job], *, attempts: int = 1) -> None:
        """Have *jobs* carried out by *executor*; those that take their time are followed."""
        await self._ask(executor, {job.id: job for job in jobs}, wait=0.0, attempts=attempts)
        if executor not in self._followed and self._out.get(executor):
            self._followed.add(executor)
            self._spawn(self._follow(executor))

    async def _follow(self, executor: str) -> None:
        """Ask for the receipts of what *executor* has under way, until nothing is."""
        out, asked = self._out.setdefault(executor, {}), dict[str, Job]()
        try:
            while out:
                asked = dict(islice(out.items(), MOST_JOBS))
                await self._ask(executor, asked, wait=POLL)
        except Exception:
            # what was answered is no longer out, though nothing may have been written down for it
            self._set_aside([job for job in asked | out if job in self._since])
            out.clear()
            raise
        finally:
            self._followed.discard(executor)

    async def _ask(self, executor: str, jobs: Mapping[str, Job], *, wait: float, attempts: int = 1) -> None:
        """One request for the receipts of *jobs*, and what follows from its answer."""
        stopped = self._cancelled.pop(executor, set())
        answer = await self._dispatcher.ask(executor, jobs, stopped, wait=wait, attempts=attempts)
        done = {each.receipt.job: each for each in answer.done if each.receipt.job in jobs}
        pending = [job for job in answer.pending if job in jobs and job not in done]
        out = self._out.setdefault(executor, {})
        for job in jobs.keys() - set(pending):
            out.pop(job, None)
        await self._finish(executor, list(done.values()), jobs)
        await self._wait_for(executor, {job: jobs[job] for job in pending if job not in out})
        gone = jobs.keys() - done.keys() - set(pending)
        await self._lose(executor, [job for job in jobs if job in gone and job in self._since])

    async def _finish(self, executor: str, done: Sequence[Done], jobs: Mapping[str, Job]) -> None:
        """End the jobs whose receipts came."""
        if not done:
            return
        now = self._now()
        self.auction.experience.add(executor, now, good=len(done))

        def change(tx: Transaction) -> list[str]:
            self.auction.experience.keep(tx, executor)
            return assignment.finish(tx, done, now)

        ended = set(await persistently(self._store, change))
        self._anchor()
        self._metrics.receipts.labels("accepted").inc(len(ended))
        for each in done:
            if each.receipt.job in ended:
                self._metrics.job_rounds.observe(jobs[each.receipt.job].round)
                self._ended([each.receipt.job], "completed" if each.receipt.success else "failed")

    async def _wait_for(self, executor: str, fresh: Mapping[str, Job]) -> None:
        """Note that *executor* has begun with jobs that take their time."""
        if not fresh:
            return
        await persistently(self._store, lambda tx: assignment.start(tx, fresh, self._now()))
        for job in fresh:
            if job in self._since:
                self._out[executor][job] = fresh[job]
            else:  # it was cancelled while it was sent out
                self._cancel_at(executor, job)

    def _cancel_at(self, executor: str, job: str) -> None:
        """Have *executor* told at once; several jobs that are cancelled at a time are one request."""
        waiting = self._cancelled.setdefault(executor, set())
        if not waiting:
            self._spawn(self._ask(executor, {}, wait=0.0))
        waiting.add(job)

    async def _lose(self, executor: str, ids: Sequence[str]) -> None:
        """Open the bidding again for jobs that *executor* did not carry out."""
        if not ids:
            return
        now = self._now()
        self.auction.experience.add(executor, now, bad=len(ids))

        def change(tx: Transaction) -> list[str]:
            self.auction.experience.keep(tx, executor)
            return assignment.reopen(tx, ids, executor, now)

        waiting = await persistently(self._store, change)
        self._ended([job for job in ids if job not in waiting], "lost")
        for job in waiting:
            self._lost.setdefault(job, set()).add(executor)
            self._enqueue(job)

    # --- what all of it rests on --------------------------------------------------------------------------------------

    def _began(self, job: str) -> None:
        self._since.setdefault(job, asyncio.get_running_loop().time())

    def _ended(self, ids: Iterable[str], outcome: str) -> None:
        """Count jobs that have ended, but for those that were cancelled before."""
        for job in ids:
            if job in self._since:
                self._metrics.ended.labels(outcome).inc()
                self._metrics.job_seconds.observe(asyncio.get_running_loop().time() - self._since[job])
            self._forget(job)

    def _forget(self, job: str) -> None:
        self._since.pop(job, None)
        self._unwanted.pop(job, None)
        self._lost.pop(job, None)
        self._mishaps.pop(job, None)

    def _spawn(self, work: Coroutine[Any, Any, None], jobs: Sequence[Job] = ()) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda over: self._gone(over, jobs))

    def _gone(self, task: asyncio.Task[None], jobs: Sequence[Job]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a batch of %d jobs was left; they are taken up one by one", len(jobs), exc_info=task.exception())
            self._set_aside(job.id for job in jobs)
