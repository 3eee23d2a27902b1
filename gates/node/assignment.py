"""The changes of a batch of jobs on their way: opened, assigned, executing, ended; each one durable change for the whole batch.

Each of them looks at what a job is when the change is applied, and leaves alone what was cancelled or has gone on meanwhile, so
that a change may be applied again when nobody knows whether it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gates.node import jobbook, ledger, outbox
from gates.node.bidding import Bid
from gates.node.cid import DAG_CBOR, cid_of
from gates.node.errors import Refusal
from gates.node.execution import Done
from gates.node.jobbook import IllegalTransition, Job
from gates.node.receipts import Receipt
from gates.node.storage import Transaction

_BIDDING = (jobbook.SUBMITTED, jobbook.BIDDING_OPEN, jobbook.BIDDING_CLOSED)
_ASSIGNED = (jobbook.ASSIGNED, jobbook.EXECUTING)


def open_bidding(tx: Transaction, ids: Iterable[str], now: int) -> list[Job]:
    """Open the bidding for those of *ids* that still wait for it, and give them back."""
    found = (jobbook.record(ledger.reading(tx), identifier) for identifier in ids)
    jobs = [job for job in found if job is not None and job.status in _BIDDING]
    for job in jobs:
        if job.status == jobbook.SUBMITTED:
            jobbook.advance(tx, job.id, jobbook.BIDDING_OPEN, now)
    return jobs


def assign(tx: Transaction, chosen: Mapping[str, Bid], now: int) -> list[str]:
    """Close the bidding and assign each job to its bidder; the ids of those that could be."""
    return [job for job, bid in chosen.items() if _assign(tx, job, bid, now)]


def _assign(tx: Transaction, identifier: str, bid: Bid, now: int) -> bool:
    job = _standing(tx, identifier)
    if job is None or job.status not in _BIDDING:
        return job is not None and job.status == jobbook.ASSIGNED and job.executor == bid.executor
    if job.status == jobbook.BIDDING_OPEN:
        jobbook.advance(tx, identifier, jobbook.BIDDING_CLOSED, now)
    return jobbook.advance(tx, identifier, jobbook.ASSIGNED, now, executor=bid.executor, price=bid.price)


def start(tx: Transaction, ids: Iterable[str], now: int) -> None:
    """Say of those of *ids* that are assigned that their executor has begun."""
    for identifier in ids:
        job = _standing(tx, identifier)
        if job is not None and job.status == jobbook.ASSIGNED:
            jobbook.advance(tx, identifier, jobbook.EXECUTING, now)


def finish(tx: Transaction, done: Sequence[Done], now: int) -> list[str]:
    """End the jobs of *done* by their receipts, which are to be anchored; the ids of those that ended."""
    ended = []
    for each in done:
        with suppress(Refusal):  # cancelled, or assigned to another meanwhile
            if settle(tx, each.receipt, each.result, now):
                ended.append(each.receipt.job)
    return ended


def accept(tx: Transaction, receipt: Receipt, result: Any, now: int) -> str:
    """End a job by a receipt that anybody may have handed in, with its *result* if given; the CID of its block.

    Raises Refusal: 404, 403 and 409 as `settle`, and 422 when its executor has not signed it, or it is not that of *result*.
    """
    _owed(tx, receipt)
    if not receipt.genuine():
        raise Refusal(422, "the receipt is not signed by the executor that it names")
    if result is not None and not (isinstance(result, str) and receipt.of(result)):
        raise Refusal(422, "result: expected the string that result_cid names")
    settle(tx, receipt, result, now)
    return cid_of(receipt.block(), DAG_CBOR)


def settle(tx: Transaction, receipt: Receipt, result: str | None, now: int) -> bool:
    """End a job by a receipt whose signature was checked; False when this very receipt has ended it before.

    Raises Refusal: 404 for an unknown job, 403 when another node was to execute it, 409 when it is not being executed.
    """
    job, block = _owed(tx, receipt), receipt.block()
    cid = cid_of(block, DAG_CBOR)
    if job.status in jobbook.FINAL and job.receipt_cid == cid:
        return False
    if job.status not in _ASSIGNED:
        raise IllegalTransition(receipt.job, job.status, jobbook.COMPLETED)
    jobbook.advance(tx, receipt.job, jobbook.EXECUTING, now)
    if receipt.success:
        jobbook.complete(tx, receipt.job, receipt.document(), cid, job.price or 0, now, result=result)
        ledger.earn(tx, receipt.executor, 1, now)  # its account is here only when this node is the executor
    else:
        jobbook.fail(tx, receipt.job, result or "the executor could not carry it out", now)
        columns = (cid, receipt.result_cid, receipt.cpu_ms, job.number)
        tx.execute("UPDATE jobs SET receipt_cid = ?, result_cid = ?, cpu_ms = ? WHERE number = ?", columns)
    outbox.put(tx, block, DAG_CBOR, receipt.executor)
    return True


def _owed(tx: Transaction, receipt: Receipt) -> _Standing:
    """The job that *receipt* is for. Raises Refusal: 404 for an unknown job, 403 when another node was to execute it."""
    job = _standing(tx, receipt.job)
    if job is None:
        raise Refusal(404, "no such job")
    if receipt.executor != job.executor:
        raise Refusal(403, "the receipt is not from the node that the job is assigned to")
    return job


def reopen(tx: Transaction, ids: Iterable[str], executor: str, now: int) -> list[str]:
    """Ask for bids again for those of *ids* that *executor* still has; those whose rounds are over fail instead.

    Returns the ids that wait for bids.
    """
    waiting = []
    for identifier in ids:
        job = _standing(tx, identifier)
        if job is not None and job.status in _ASSIGNED and job.executor == executor and jobbook.reopen(tx, identifier, now):
            waiting.append(identifier)
    return waiting


def give_up(tx: Transaction, ids: Iterable[str], reason: str, now: int) -> None:
    """Fail those of *ids* that have not ended."""
    for identifier in ids:
        job = _standing(tx, identifier)
        if job is not None and job.status not in jobbook.FINAL:
            jobbook.fail(tx, identifier, reason, now)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a job is."""

    number: int
    status: str
    executor: str | None
    price: int | None
    receipt_cid: str | None


def _standing(tx: Transaction, identifier: str) -> _Standing | None:
    query = "SELECT number, status, executor, price, receipt_cid FROM jobs WHERE id = ?"
    row = tx.execute(query, (identifier,)).fetchone()
    return _Standing(*row) if row else None
