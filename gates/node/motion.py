"""What is proposed: the kinds of proposals, and the checks of what a client hands in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gates.node import http
from gates.node.errors import Refusal
from gates.node.identity import is_did
from gates.node.tally import MILLION

PARAMETER, ADMISSION, REMOVAL, BUDGET = "SystemParameterChange", "MemberAdmission", "RemoveMember", "BudgetAllocation"
UPGRADE, TEXT = "SoftwareUpgrade", "GenericText"
PARAMETERS: Mapping[str, tuple[int, int]] = {
    "client_rate": (1, 1_000_000),
    "capacity": (1, 10**15),
    "bidding_window_ms": (1, 60_000),
}
LARGEST_ALLOCATION = 10**12
LARGEST_QUORUM = 1_000_000
LONGEST_DURATION = 366 * 24 * 3600
LONGEST_TEXT = 4096
LARGEST_TEXT_BODY = 512 * 1024

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Motion:
    """A valid proposal before it is made.

    Attributes:
        kind: one of KINDS.
        data: what *kind* needs to know.
        duration: how long the voting is open, in seconds.
        quorum: so many members must vote.
        threshold: so many millionths of those who vote must say yes.
        body: a longer text, kept as a block of its own, or None.
    """

    kind: str
    data: Data
    description: str
    duration: int
    quorum: int = 1
    threshold: int = MILLION // 2
    body: bytes | None = None

    @property
    def content(self) -> str:
        """A digest of all that is asked for."""
        body = hashlib.sha256(self.body or b"").hexdigest()
        parts = [self.kind, self.data, self.description, self.duration, self.quorum, self.threshold, body]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_motion(values: Mapping[str, Any]) -> Motion:
    """The motion in the fields of a request. Raises Refusal with 422."""
    asked = http.fields(values.get("proposal"), ("type",), ("data",), "proposal")
    kind, data = read_effect(asked["type"], asked.get("data", {}))
    return Motion(
        kind,
        data,
        http.text(values, "description", longest=LONGEST_TEXT),
        http.integer(values, "duration_secs", lowest=1, highest=LONGEST_DURATION),
        1 if values.get("quorum") is None else http.integer(values, "quorum", lowest=1, highest=LARGEST_QUORUM),
        _threshold(values),
        _body(values.get("body")),
    )


def read_effect(kind: Any, data: Any) -> tuple[str, Data]:
    """What a proposal of *kind* would do. Raises Refusal with 422 for another kind or wrong data."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise Refusal(422, f"proposal.type: expected one of {', '.join(KINDS)}")
    return kind, KINDS[kind](data)


def subject(kind: str, data: Mapping[str, Any]) -> tuple[str, int]:
    """Whom or what a proposal would change, and to which value: what the effects of two proposals are compared by."""
    if kind == PARAMETER:
        return data["name"], data["value"]
    if kind == BUDGET:
        return data["did"], data["amount"]
    return str(data.get("did", "")), int(kind == ADMISSION)


def _parameter(data: Any) -> Data:
    values = http.fields(data, ("name", "value"), (), "proposal.data")
    name = values["name"]
    if not isinstance(name, str) or name not in PARAMETERS:
        raise Refusal(422, f"proposal.data.name: expected one of {', '.join(PARAMETERS)}")
    lowest, highest = PARAMETERS[name]
    return {"name": name, "value": http.integer(values, "value", lowest=lowest, highest=highest)}


def _member(data: Any) -> Data:
    return {"did": _did(http.fields(data, ("did",), (), "proposal.data"))}


def _budget(data: Any) -> Data:
    values = http.fields(data, ("did", "amount"), ("purpose",), "proposal.data")
    amount = http.integer(values, "amount", lowest=1, highest=LARGEST_ALLOCATION)
    purpose = http.text(values, "purpose", longest=LONGEST_TEXT, shortest=0, default="")
    return {"did": _did(values), "amount": amount, "purpose": purpose}


def _upgrade(data: Any) -> Data:
    return {"version": http.text(http.fields(data, ("version",), (), "proposal.data"), "version", longest=100)}


def _text(data: Any) -> Data:
    values = http.fields(data, (), ("text",), "proposal.data")
    return {"text": http.text(values, "text", longest=LONGEST_TEXT, shortest=0, default="")}


def _did(values: Mapping[str, Any]) -> str:
    did = values.get("did")
    if not isinstance(did, str) or not is_did(did):
        raise Refusal(422, "proposal.data.did: expected a did:key of Ed25519")
    return did


def _threshold(values: Mapping[str, Any]) -> int:
    """The threshold as a whole number of millionths, so that every node computes the same."""
    if values.get("threshold") is None:
        return MILLION // 2
    millionths = round(http.number(values, "threshold", lowest=0, highest=1) * MILLION)
    if millionths == 0:
        raise Refusal(422, "threshold: expected a number above 0, at most 1")
    return millionths


def _body(encoded: Any) -> bytes | None:
    if encoded is None:
        return None
    try:
        body = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Refusal(422, "body: expected a base64 string") from None
    if len(body) > LARGEST_TEXT_BODY:
        raise Refusal(413, f"body: expected at most {LARGEST_TEXT_BODY} bytes")
    return body


KINDS: Mapping[str, Callable[[Any], Data]] = {
    PARAMETER: _parameter,
    ADMISSION: _member,
    REMOVAL: _member,
    BUDGET: _budget,
    UPGRADE: _upgrade,
    TEXT: _text,
}
