"""What other nodes ask of this one about jobs: bids on theirs, and to carry them out. Bodies and answers are DAG-CBOR."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gates.node import http
from gates.node.bidding import MOST_JOBS, read_needs
from gates.node.cid import decode, encode
from gates.node.errors import Refusal
from gates.node.execution import read_order
from gates.node.http import Call, Route

MEDIA_TYPE = "application/vnd.ipld.dag-cbor"
LONGEST_WAIT_MS = 1000


async def bids(call: Call) -> Response:
    """This node's signed bids on the jobs of another."""
    fields = http.fields(decode(call.body), ("nonce", "jobs"))
    needs = read_needs(fields["jobs"])
    return _answer(call.node.lifecycle.auction.sheet(http.text(fields, "nonce", longest=64), needs))


async def execute(call: Call) -> Response:
    """Carry out jobs for the node that asks, and say what is done, what is under way and what this node does not do."""
    fields = http.fields(decode(call.body), ("jobs", "cancel", "wait_ms"))
    orders = [read_order(each) for each in _listed(fields["jobs"], "jobs")]
    wait = http.integer(fields, "wait_ms", highest=LONGEST_WAIT_MS) / 1000
    coordinator, executions = call.principal.did, call.node.lifecycle.executions
    executions.cancel(coordinator, [job for job in _listed(fields["cancel"], "cancel") if isinstance(job, str)])
    answer = await executions.carry_out(coordinator, orders, wait)
    done = [each.sent() for each in answer.done]
    return _answer({"done": done, "pending": answer.pending, "refused": answer.refused})


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > MOST_JOBS:
        raise Refusal(422, f"{what}: expected a list of at most {MOST_JOBS}")
    return value


def _answer(document: dict[str, Any]) -> Response:
    return Response(encode(document), 200, None, MEDIA_TYPE)


ROUTES: tuple[Route, ...] = (
    Route("POST", "/peer/bids", bids, peer=True, priority=2),
    Route("POST", "/peer/execute", execute, peer=True, priority=1),
)
