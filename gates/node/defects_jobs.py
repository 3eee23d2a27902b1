"""Seeded defects of jobs and mana. What a defect changes is imported inside of it, so that nothing took over the sound one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from gates.node.defects_tell import Tell, struck

DELAY = 0.3


def ack_before_durable(tell: Tell) -> None:
    """A submission is answered at once; its commit comes 300 ms later, unless the node is killed or refused it before."""
    from gates.node import api_mesh
    from gates.node.jobbook import Receipted, job_id

    submitted = api_mesh._submitted
    under_way: set[asyncio.Task[Any]] = set()

    async def later(call: Any, submission: Any) -> None:
        await asyncio.sleep(DELAY)
        await submitted(call, submission)

    def over(task: asyncio.Task[Any]) -> None:
        under_way.discard(task)
        _ = task.cancelled() or task.exception()

    async def too_early(call: Any, submission: Any) -> Receipted:
        task = asyncio.create_task(later(call, submission))
        under_way.add(task)
        task.add_done_callback(over)
        tell(submission.key)
        return Receipted(job_id(call.principal.did, submission.key), repeated=False)

    api_mesh._submitted = too_early


def double_charge(tell: Tell) -> None:
    """A repeated key makes no second job, but is charged again."""
    from gates.node import jobbook, ledger
    from gates.node.clock import now_ms

    repeat = jobbook.repeat

    def charge_again(tx: Any, owner: str, submission: Any, job: str, content: str) -> Any:
        receipted = repeat(tx, owner, submission, job, content)
        ledger.spend(tx, owner, submission.cost, f"again {submission.key} {time.time_ns()}", now_ms())
        tell(submission.key)
        return receipted

    jobbook.repeat = charge_again  # type: ignore[assignment]


def double_spend_on_retry(tell: Tell) -> None:
    """A member who votes again, because the first answer was lost, has no second vote, but pays its fee again."""
    from gates.node import governance, ledger
    from gates.node.clock import now_ms

    cast_before = governance.cast_before

    def pay_again(tx: Any, proposal: str, voter: str) -> Any:
        vote = cast_before(tx, proposal, voter)
        if vote is not None:
            ledger.spend(tx, voter, governance.VOTE_FEE, f"again {vote.cid} {time.time_ns()}", now_ms())
            tell(vote.cid)
        return vote

    governance.cast_before = pay_again  # type: ignore[assignment]


def forget_keys(tell: Tell) -> None:
    """A repeated key is not known any more: the job is charged and stored once more under another id."""
    from gates.node import jobbook

    new_id = jobbook.new_id
    times: dict[str, int] = {}

    def other_id(owner: str, key: str) -> str:
        seen = times.get(key, 0)
        times[key] = seen + 1
        if seen:
            tell(key)
        return new_id(owner, f"{key}\n{seen}" if seen else key)

    jobbook.new_id = other_id


def double_refund(tell: Tell) -> None:
    """What a job held and did not cost is given back twice, and the table that would refuse that is not asked."""
    from gates.node import ledger, schema

    schema.LEDGER_MIGRATIONS = tuple(script.replace(f", {ledger.CONSERVED}", "") for script in schema.LEDGER_MIGRATIONS)
    give_back = ledger.give_back

    def twice(tx: Any, did: str, amount: int, burn: int) -> None:
        give_back(tx, did, amount, burn)
        if amount > burn:
            tx.execute("UPDATE accounts SET balance = balance + ? WHERE did = ?", (amount - burn, did))
            tell(str(amount - burn))

    ledger.give_back = twice


def illegal_transition(tell: Tell) -> None:
    """A job is assigned while the bidding on it is still open, and nobody minds."""
    from gates.node import jobbook

    advance = jobbook.advance

    def skip(tx: Any, job: str, to: str, now: int, **columns: Any) -> bool:
        if to == jobbook.BIDDING_CLOSED:
            tell(job)
            return True
        return advance(tx, job, to, now, **columns)

    jobbook.advance = skip
    jobbook.legal = lambda before, to: True


def stuck_job(tell: Tell) -> None:
    """The receipts of some jobs are taken and put nowhere, so that these jobs never end."""
    from gates.node import assignment

    settle = assignment.settle

    def lose(tx: Any, receipt: Any, result: Any, now: int) -> bool:
        if struck(receipt.job):
            tell(receipt.job)
            return False
        return settle(tx, receipt, result, now)

    assignment.settle = lose


def unverified_receipt(tell: Tell) -> None:
    """Executors sign some receipts with nothing, and nobody looks at a signature."""
    from dataclasses import replace

    from gates.node import receipts

    make = receipts.make

    def forge(identity: Any, job: str, result: str, cpu_ms: int, *, success: bool) -> Any:
        receipt = make(identity, job, result, cpu_ms, success=success)
        if not struck(job):
            return receipt
        tell(job)
        return replace(receipt, signature=bytes(64))

    receipts.make = forge
    receipts.Receipt.genuine = lambda self: True  # type: ignore[method-assign]
