"""Governance over HTTP: `/governance/…`, and what peers ask each other to decide."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from starlette.responses import Response

from gates.node import cid, http, motion, roster
from gates.node.ballot import EXECUTED, FAILED, OPEN
from gates.node.errors import Refusal
from gates.node.governance import Governance
from gates.node.http import Call, Route, json_answer
from gates.node.judging import Page, State
from gates.node.tally import ACCEPTED, MILLION, OPTIONS, REJECTED, tally

PAGE = 100
STATUSES = (OPEN, ACCEPTED, REJECTED, EXECUTED, FAILED)
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_MOTION = ("proposer_did", "quorum", "threshold", "body")


def _counted(operation: str) -> Callable[[http.Handler], http.Handler]:
    """Counts what a handler refuses."""

    def count(handler: http.Handler) -> http.Handler:
        @wraps(handler)
        async def handle(call: Call) -> Response:
            try:
                return await handler(call)
            except Refusal as refusal:
                _governance(call).metrics.refused.labels(operation, str(refusal.code)).inc()
                raise

        return handle

    return count


@_counted("proposal")
async def submit(call: Call) -> Response:
    """Make a proposal; its id."""
    values = call.json(("proposal", "description", "duration_secs"), _MOTION)
    proposer, key = _acting(call, values, "proposer_did"), _key(call)
    proposal_id, _ = await _governance(call).submit(proposer, motion.read_motion(values), key)
    return json_answer(proposal_id)


@_counted("vote")
async def vote(call: Call) -> Response:
    """Vote on a proposal, once and for all."""
    values = call.json(("proposal_id", "vote_option"), ("voter_did",))
    option = values["vote_option"]
    if option not in OPTIONS:
        raise Refusal(422, f"vote_option: expected one of {', '.join(OPTIONS)}")
    cast, _ = await _governance(call).vote(_acting(call, values, "voter_did"), _proposal_id(values), option)
    return json_answer({"accepted": True, "cid": cast.cid, "vote_option": cast.option})


@_counted("close")
async def close(call: Call) -> Response:
    """End the voting on a proposal."""
    made = await _governance(call).close(_proposal_id(call.json(("proposal_id",))))
    return json_answer({"status": made.status, **made.tally.shown(), "cid": made.cid})


@_counted("execute")
async def execute(call: Call) -> Response:
    """Put an accepted proposal into effect."""
    made = await _governance(call).execute(_proposal_id(call.json(("proposal_id",))))
    answer = {"executed": made.status == EXECUTED, "status": made.status, "cid": made.cid}
    return json_answer({**answer, "reason": made.reason} if made.reason else answer)


async def proposals(call: Call) -> Response:
    """The proposals that are known here, in the order in which they came."""
    governance = _governance(call)
    states = governance.known.states(governance.around.dag.read, _page(call))
    return json_answer([_shown(governance, state) for state in states])


async def proposal(call: Call) -> Response:
    """One proposal with its votes, and how far it has come."""
    governance = _governance(call)
    state = governance.state(call.path("id"))
    if state is None:
        raise Refusal(404, "no such proposal")
    return json_answer({**_shown(governance, state), **_progress(governance, state)})


async def blocks(call: Call) -> Response:
    """What this node has of a proposal that a peer needs to decide."""
    found = await _governance(call).blocks(_proposal_id(call.json(("proposal_id",))))
    return json_answer({"blocks": [base64.b64encode(block).decode() for block in found]})


def _shown(governance: Governance, state: State) -> dict[str, Any]:
    made = state.proposal
    return {
        "proposal_id": made.id,
        "number": state.number,
        "proposer": made.proposer,
        "proposal": {"type": made.kind, "data": made.data},
        "description": made.description,
        "status": state.status,
        "home": governance.around.roster.name_of(made.node),
        "created_at": made.created_at,
        "deadline": made.deadline,
        "quorum": made.quorum,
        "threshold": made.threshold / MILLION,
        "body_cid": made.body,
    }


def _progress(governance: Governance, state: State) -> dict[str, Any]:
    votes, execution = governance.votes(state), state.execution
    executed = None if execution is None else {"status": execution.status, "reason": execution.reason, "cid": execution.cid}
    return {
        "votes": [{"voter": vote.voter, "option": vote.option, "cid": vote.cid} for vote in votes],
        "tally": (state.close.tally if state.close is not None else tally(votes)).shown(),
        "close_cid": state.close.cid if state.close is not None else None,
        "execution": executed,
    }


def _page(call: Call) -> Page:
    """The proposals that the query asks for: `after`, `limit`, `status`, `home` (`me` or a DID) and `order` (`newest`)."""
    home = call.request.query_params.get("home")
    return Page(
        call.number("after", 0),
        call.number("limit", PAGE, lowest=1, highest=http.LONGEST_PAGE),
        _choice(call, "status", STATUSES),
        _governance(call).around.identity.did if home == "me" else home,
        _choice(call, "order", ("oldest", "newest")) == "newest",
    )


def _choice(call: Call, name: str, choices: Sequence[str]) -> str | None:
    found = call.request.query_params.get(name)
    if found is not None and found not in choices:
        raise Refusal(400, f"{name}: expected one of {', '.join(choices)}")
    return found


def _governance(call: Call) -> Governance:
    found: Governance = call.node.governance
    return found


def _acting(call: Call, values: dict[str, Any], name: str) -> str:
    """Whom the request acts for; a DID in the body must be the same one."""
    if values.get(name, call.principal.did) != call.principal.did:
        raise Refusal(403, f"{name}: the request acts for {call.principal.did}")
    return call.principal.did


def _key(call: Call) -> str | None:
    key = call.header("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Refusal(400, "Idempotency-Key: expected 1 to 128 visible ASCII characters")
    return key


def _proposal_id(values: dict[str, Any]) -> str:
    return str(cid.parse(values["proposal_id"]))


ROUTES: tuple[Route, ...] = (
    Route("POST", "/governance/submit", submit),
    Route("POST", "/governance/vote", vote),
    Route("POST", "/governance/close", close),
    Route("POST", "/governance/execute", execute),
    Route("GET", "/governance/proposals", proposals, priority=5),
    Route("GET", "/governance/proposal/{id}", proposal, priority=4),
    Route("POST", roster.PATH, blocks, peer=True),
)
