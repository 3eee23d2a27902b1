"""Jobs over HTTP: submitting, looking at, cancelling, and bringing a receipt."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from gates.node import jobbook, jobpages
from gates.node.api_account import require_home
from gates.node.errors import Refusal
from gates.node.http import LONGEST_PAGE, Call, Route, json_answer, load_json
from gates.node.jobbook import Receipted
from gates.node.metrics_mesh import MeshMetrics, unhappy
from gates.node.submission import Submission, parse_submission


async def submit(call: Call) -> Response:
    """Take a job on, once an `Idempotency-Key` of the caller."""
    metrics: MeshMetrics = call.node.metrics.mesh
    with unhappy(metrics.submissions), metrics.submission_seconds.time():
        try:
            submission = parse_submission(call.body, call.header("idempotency-key"))
            receipted = await _submitted(call, submission)
        except Refusal as refusal:
            metrics.refusals.labels(str(refusal.code)).inc()
            raise
    if not receipted.repeated:
        metrics.cost.observe(submission.cost)
        metrics.spec_bytes.observe(len(submission.spec))
    metrics.submissions.labels("repeated" if receipted.repeated else "new").inc()
    return json_answer({"job_id": receipted.job})


async def _submitted(call: Call, submission: Submission) -> Receipted:
    """The job, durable before anybody hears of it.

    One that is written down is carried out, even when the request ends before the answer is there. A repeated one may not be
    under way yet, when the commit before was undecided.
    """
    owner = call.principal.did
    require_home(call, owner)
    writing = asyncio.ensure_future(call.node.context.submit_resilient(owner, submission))
    writing.add_done_callback(lambda done: _carry_out(call, done))
    receipted: Receipted = await asyncio.shield(writing)
    return receipted


def _carry_out(call: Call, done: asyncio.Future[Receipted]) -> None:
    if not done.cancelled() and done.exception() is None:
        call.node.lifecycle.offer(done.result().job)


async def jobs(call: Call) -> Response:
    """A page of the jobs that were submitted to this node, oldest first; `next` is the `after` of the page behind it."""
    after, limit = call.number("after", 0), call.number("limit", LONGEST_PAGE, lowest=1)
    page, more = jobpages.jobs(call.node.context.jobs.read, after, min(limit, LONGEST_PAGE))
    call.node.metrics.mesh.page_jobs.observe(len(page))
    return json_answer({"jobs": page, "next": more})


async def job(call: Call) -> Response:
    """One job that was submitted to this node, with its history."""
    found = await call.node.context.get_job_status_resilient(call.path("job_id"))
    call.node.metrics.mesh.reads.labels("unknown" if found is None else "found").inc()
    if found is None:
        raise Refusal(404, "no such job")
    return json_answer(found)


async def cancel(call: Call) -> Response:
    """End a job of the caller that has not ended; asking again is the same answer, since the first may have been lost."""
    identifier, owner, now = call.path("job_id"), call.principal.did, call.node.now()
    with unhappy(call.node.metrics.mesh.cancellations):
        new = await call.node.context.jobs.write(lambda tx: jobbook.cancel(tx, identifier, owner, now))
    call.node.lifecycle.cancel(identifier)
    call.node.metrics.mesh.cancellations.labels("done" if new else "repeated").inc()
    return json_answer({"job_id": identifier, "status": jobbook.CANCELLED})


async def receipt(call: Call) -> Response:
    """Take a receipt that the executor of a job has signed, whoever brings it."""
    with unhappy(call.node.metrics.mesh.receipts):
        cid = await call.node.context.anchor_receipt_resilient(load_json(call.body))
    call.node.metrics.mesh.receipts.labels("done").inc()
    return json_answer({"accepted": True, "receipt_cid": cid})


ROUTES: tuple[Route, ...] = (
    Route("POST", "/mesh/submit", submit, priority=3),
    Route("GET", "/mesh/jobs", jobs, priority=5),
    Route("GET", "/mesh/jobs/{job_id}", job, priority=3),
    Route("POST", "/mesh/jobs/{job_id}/cancel", cancel, priority=2),
    Route("POST", "/mesh/receipts", receipt, priority=1),
)
