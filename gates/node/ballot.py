"""The blocks that governance is made of, and what one of them tells by itself.

A proposal, a vote, the close of a proposal and its execution are DAG-CBOR maps, each signed by the node that decided it. What
is checked here needs nothing but the block: `read_block` gives a record of the right shape, or refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gates.node import cid, http, motion
from gates.node.errors import Refusal
from gates.node.identity import Identity, is_did, signed, valid
from gates.node.motion import Data, Motion
from gates.node.tally import ACCEPTED, MILLION, OPTIONS, REJECTED, Tally, Vote

PROPOSAL, VOTE, CLOSE, EXECUTION = TYPES = ("icn/proposal", "icn/vote", "icn/close", "icn/execution")
OPEN, EXECUTED, FAILED = "VotingOpen", "Executed", "Failed"
MOST_CHANGES = 10_000
MOST_VOTES = 20_000
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as it was made; nothing of it changes.

    Attributes:
        id: the CID of its block.
        node: DID of its home, which made it and alone closes and executes it.
        threshold: millionths of those who vote that must say yes.
        created_at, deadline: milliseconds since the epoch.
        changes: executions that admitted or removed members; with the founding members they tell who may vote.
        body: CID of a longer text, or None.
    """

    id: str
    node: str
    proposer: str
    kind: str
    data: Data
    description: str
    quorum: int
    threshold: int
    created_at: int
    deadline: int
    changes: tuple[str, ...]
    body: str | None


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a voting.

    Attributes:
        cid: the block.
        votes: the CIDs of the votes that count.
        tally: what they add up to.
        status: ACCEPTED or REJECTED.
    """

    cid: str
    proposal: str
    votes: tuple[str, ...]
    tally: Tally
    status: str
    at: int
    node: str


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of an accepted proposal.

    Attributes:
        cid: the block.
        close: the close that accepted the proposal.
        status: EXECUTED, or FAILED when there was nothing to change.
        reason: why it failed, or "".
    """

    cid: str
    proposal: str
    close: str
    status: str
    reason: str
    at: int
    node: str


Record = Proposal | Vote | Close | Execution


def proposal_block(motion: Motion, proposer: str, key: str, now: int, changes: Sequence[str], identity: Identity) -> bytes:
    """The block of a new proposal. *key* keeps two equal ones of the same instant apart."""
    document = {
        "type": PROPOSAL,
        "proposer": proposer,
        "kind": motion.kind,
        "data": motion.data,
        "description": motion.description,
        "quorum": motion.quorum,
        "threshold": motion.threshold,
        "created_at": now,
        "deadline": now + motion.duration * 1000,
        "changes": [cid.link(change) for change in sorted(changes)],
        "body": None if motion.body is None else cid.link(cid.cid_of(motion.body, cid.RAW)),
        "key": key,
    }
    return _block(document, identity)


def vote_block(proposal: str, voter: str, option: str, now: int, identity: Identity) -> bytes:
    """The block of a vote that the voter's home took."""
    document = {"type": VOTE, "proposal": cid.link(proposal), "voter": voter, "option": option, "at": now}
    return _block(document, identity)


def close_block(proposal: str, votes: Sequence[str], sums: Tally, status: str, now: int, identity: Identity) -> bytes:
    """The block that ends a voting."""
    links = [cid.link(vote) for vote in sorted(votes)]
    document = {"type": CLOSE, "proposal": cid.link(proposal), "votes": links, "status": status, "at": now}
    return _block({**document, **sums.shown()}, identity)


def execution_block(proposal: str, close: str, status: str, reason: str, now: int, identity: Identity) -> bytes:
    """The block that puts an accepted proposal into effect."""
    document = {"type": EXECUTION, "proposal": cid.link(proposal), "close": cid.link(close), "status": status}
    return _block({**document, "reason": reason, "at": now}, identity)


def read_block(name: str, document: Mapping[str, Any]) -> Record:
    """The record in the block *name*. Raises Refusal with 422 when it is malformed or not signed by the node that it names."""
    record = _read(name, document)
    if not valid(document["type"], document, record.node):
        raise Refusal(422, f"signature: expected that of {record.node} over this {document['type']}")
    return record


@lru_cache(maxsize=_REMEMBERED)
def decoded(data: bytes) -> Record:
    """The record in the bytes of a block whose signature was checked when it came."""
    return _read(cid.cid_of(data, cid.DAG_CBOR), cid.decode(data))


def _read(name: str, document: Mapping[str, Any]) -> Record:
    kind = document.get("type")
    if kind not in _READERS:
        raise Refusal(422, f"type: expected one of {', '.join(TYPES)}")
    read, expected = _READERS[str(kind)]
    values = http.fields(dict(document), (*expected, "type", "node", "signature"), (), str(kind))
    return read(name, _did(values, "node"), values)


def _block(document: dict[str, Any], identity: Identity) -> bytes:
    return cid.encode(signed(document["type"], {**document, "node": identity.did}, identity))


def _proposal(name: str, node: str, values: Mapping[str, Any]) -> Proposal:
    kind, data = motion.read_effect(values["kind"], values["data"])
    created_at = http.integer(values, "created_at")
    return Proposal(
        name,
        node,
        _did(values, "proposer"),
        kind,
        data,
        http.text(values, "description", longest=motion.LONGEST_TEXT),
        http.integer(values, "quorum", lowest=1, highest=motion.LARGEST_QUORUM),
        http.integer(values, "threshold", lowest=1, highest=MILLION),
        created_at,
        http.integer(values, "deadline", lowest=created_at + 1),
        _links(values, "changes", MOST_CHANGES),
        None if values["body"] is None else _link(values, "body"),
    )


def _vote(name: str, node: str, values: Mapping[str, Any]) -> Vote:
    option = _one_of(values, "option", OPTIONS)
    return Vote(name, _link(values, "proposal"), _did(values, "voter"), option, http.integer(values, "at"), node)


def _close(name: str, node: str, values: Mapping[str, Any]) -> Close:
    votes = _links(values, "votes", MOST_VOTES)
    sums = Tally(*(http.integer(values, option.lower(), highest=MOST_VOTES) for option in OPTIONS))
    if sums.voters != len(votes):
        raise Refusal(422, f"the tally is of {sums.voters} votes, but the close names {len(votes)}")
    status = _one_of(values, "status", (ACCEPTED, REJECTED))
    return Close(name, _link(values, "proposal"), votes, sums, status, http.integer(values, "at"), node)


def _execution(name: str, node: str, values: Mapping[str, Any]) -> Execution:
    status = _one_of(values, "status", (EXECUTED, FAILED))
    reason = http.text(values, "reason", shortest=0)
    at = http.integer(values, "at")
    return Execution(name, _link(values, "proposal"), _link(values, "close"), status, reason, at, node)


def _did(values: Mapping[str, Any], name: str) -> str:
    did = values[name]
    if not isinstance(did, str) or not is_did(did):
        raise Refusal(422, f"{name}: expected a did:key of Ed25519")
    return did


def _one_of(values: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    if values[name] not in choices:
        raise Refusal(422, f"{name}: expected one of {', '.join(choices)}")
    return str(values[name])


def _link(values: Mapping[str, Any], name: str) -> str:
    found = cid.links(values[name]) if isinstance(values[name], bytes) else []
    if len(found) != 1:
        raise Refusal(422, f"{name}: expected the link of a block")
    return found[0]


def _links(values: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    """Distinct links in the order of their CIDs, which is the one way to write a set of them."""
    written = values[name]
    if not isinstance(written, list) or len(written) > most or not all(isinstance(each, bytes) for each in written):
        raise Refusal(422, f"{name}: expected at most {most} links of blocks")
    found = cid.links(written)
    if len(found) != len(written) or found != sorted(found):
        raise Refusal(422, f"{name}: expected links of blocks, each once, in the order of their CIDs")
    return tuple(found)


_PROPOSAL_FIELDS = (
    *("proposer", "kind", "data", "description", "quorum", "threshold"),
    *("created_at", "deadline", "changes", "body", "key"),
)
_READERS: Mapping[str, tuple[Callable[[str, str, Mapping[str, Any]], Record], tuple[str, ...]]] = {
    PROPOSAL: (_proposal, _PROPOSAL_FIELDS),
    VOTE: (_vote, ("proposal", "voter", "option", "at")),
    CLOSE: (_close, ("proposal", "votes", "yes", "no", "abstain", "status", "at")),
    EXECUTION: (_execution, ("proposal", "close", "status", "reason", "at")),
}
