"""What clients of a federation do: the flows of load and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYED = {"Idempotency-Key": "{key}"}
_SHARED = "shared-{endpoint}-{slot}"
_WAIT = "header:Retry-After?"
_CID = "^baf[a-z2-7]{56}$"
_OPEN = "VotingOpen"


def _submission(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": "POST",
        "path": "/mesh/submit",
        "headers": _KEYED,
        "body": {"manifest_cid": "bafyjobmanifest", "spec_json": {"kind": kind}, "cost_mana": 10},
        "capture": {"job_id": "job_id", "retry_after": _WAIT},
        "check": {"status": 200, "json": {"job_id": {"type": "string", "matches": "^bafkrei[a-z2-7]{52}$"}}},
    }


def _post(path: str, body: Mapping[str, Any], *codes: int, **more: Any) -> dict[str, Any]:
    return {"method": "POST", "path": path, "body": body, "check": {"status": list(codes)}, **more}


def _proposal(kind: str, data: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    body = {
        "proposal": {"type": kind, "data": data},
        "description": "Proposal {uuid}",
        "duration_secs": seconds,
        "quorum": 1,
        "threshold": 0.5,
    }
    check = {"status": 200, "json": {"": {"type": "string", "matches": _CID}}}
    return _post("/governance/submit", body, 200, headers=_KEYED, capture={"proposal": ""}) | {"check": check}


def _found(query: str) -> dict[str, Any]:
    """The first proposal that a node names for *query*."""
    return {"path": f"/governance/proposals?limit=1&{query}", "capture": {"proposal": "0.proposal_id"}}


_VOTE_YES = _post("/governance/vote", {"proposal_id": "{proposal}", "vote_option": "Yes"}, 200)

_SHARED_BLOCK = _post("/dag/put", {"data": "{slot}{slot}{slot}{slot}"}, 200, capture={"cid": ""})

FLOWS: Mapping[str, Any] = {
    "submit_job": {
        "summary": "A client submits an Echo job to any node, under an idempotency key.",
        "value": {"cost_mana": 10},
        "steps": [_submission({"Echo": {"payload": "{uuid}"}})],
    },
    "submit_work": {
        "summary": "A client submits a job that computes, in a process of its own on some node.",
        "value": {"cost_mana": 10},
        "steps": [_submission({"Cpu": {"iterations": 1000, "seed": 7}})],
    },
    "submit_shared": {
        "summary": "Clients submit the same job under the same few idempotency keys of a node, again and again.",
        "value": {"key": _SHARED, "cost": 10},
        "steps": [_submission({"Echo": {"payload": _SHARED}}) | {"headers": {"Idempotency-Key": _SHARED}}],
    },
    "cancel_job": {
        "summary": "A client submits a job and cancels it at once; it may have ended before.",
        "value": {"cost_mana": 10},
        "steps": [_submission({"Echo": {"payload": "{uuid}"}}), _post("/mesh/jobs/{job_id}/cancel", {}, 200, 409)],
    },
    "read_mana": {
        "summary": "A client reads the balance of its account.",
        "steps": [
            {
                "path": "/account/me/mana",
                "capture": {"balance": "balance", "age": "age_seconds?", "retry_after": _WAIT},
                "check": {"status": 200, "json": {"balance": {"type": "integer", "at_least": 0}}},
            }
        ],
    },
    "read_status": {
        "summary": "A client reads the node's status.",
        "steps": [{"path": "/status", "check": {"status": 200, "json": {"is_online": True}}}],
    },
    "put_block": {
        "summary": "A client stores a block and reads it back.",
        "steps": [
            _post("/dag/put", {"data": "{key}"}, 200, capture={"cid": ""}),
            {
                "method": "POST",
                "path": "/dag/get",
                "body": {"cid": "{cid}"},
                "check": {"status": 200, "json": {"": "{key}"}},
            },
        ],
    },
    "pin_shared": {
        "summary": "A client pins a block that others pin and unpin, too.",
        "value": {"block": _SHARED, "pinned": "true"},
        "steps": [_SHARED_BLOCK, _post("/dag/pin", {"cid": "{cid}"}, 200)],
    },
    "unpin_shared": {
        "summary": "A client takes the pin of a block away that others pin and unpin, too.",
        "value": {"block": _SHARED, "pinned": "false"},
        "steps": [_SHARED_BLOCK, _post("/dag/unpin", {"cid": "{cid}"}, 200)],
    },
    "read_pin": {
        "summary": "A client reads whether a block is pinned that others pin and unpin.",
        "value": {"block": _SHARED},
        "steps": [_SHARED_BLOCK, _post("/dag/meta", {"cid": "{cid}"}, 200, capture={"pinned": "pinned"})],
    },
    "propose": {
        "summary": "A member makes a proposal and votes for it, twice, as one does who lost the first answer.",
        "steps": [_proposal("GenericText", {"text": "{key}"}, 3), _VOTE_YES, _VOTE_YES],
    },
    "vote": {
        "summary": "A member votes for the newest proposal that its node knows; it may have voted or come too late.",
        "steps": [
            _found("order=newest"),
            _post("/governance/vote", {"proposal_id": "{proposal}", "vote_option": "Yes"}, 200, 409),
        ],
    },
    "vote_against": {
        "summary": "A member votes against the newest proposal that its node knows; it may have voted or come too late.",
        "steps": [
            _found("order=newest"),
            _post("/governance/vote", {"proposal_id": "{proposal}", "vote_option": "No"}, 200, 409),
        ],
    },
    "read_proposal": {
        "summary": "A member reads the newest proposal that its node knows, its votes and what they add up to.",
        "steps": [
            _found("order=newest"),
            {
                "path": "/governance/proposal/{proposal}",
                "check": {
                    "status": 200,
                    "json": {"proposal_id": "{proposal}", "votes": {"type": "array"}, "tally.yes": {"type": "integer"}},
                },
            },
        ],
    },
    "close": {
        "summary": "A member closes the oldest open proposal of its node; the voting may not have ended yet.",
        "steps": [
            _found(f"home=me&status={_OPEN}"),
            _post("/governance/close", {"proposal_id": "{proposal}"}, 200, 409),
        ],
    },
    "execute": {
        "summary": "A member executes the oldest accepted proposal of its node.",
        "steps": [
            _found("home=me&status=Accepted"),
            _post("/governance/execute", {"proposal_id": "{proposal}"}, 200),
        ],
    },
}
