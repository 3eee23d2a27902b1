"""What the invariants ask every node, and the answers as values: jobs, the ledger's sums, blocks and proposals."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gates.model import Fetch
from gates.node import proof

PAGE = 1000
FINAL = frozenset({"Completed", "Failed", "Cancelled"})
_JOB = (
    "idempotency_key", "job_id", "cost_mana", "status", "price_mana", "executor_did", "result", "result_cid", "receipt_cid",
    "history",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its node tells it; *history* holds its statuses in order, *times* when it got each, in milliseconds."""

    key: str
    id: str
    cost: int
    status: str
    price: int
    executor: str
    result: str | None
    result_cid: str
    receipt: str
    history: tuple[str, ...]
    times: tuple[int, ...]

    @property
    def final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True, slots=True)
class Block:
    """A document of the federation by its CID; *sound*: the bytes match it, and the node that it names has signed it."""

    cid: str
    document: Mapping[str, Any]
    sound: bool

    @property
    def type(self) -> str:
        return str(self.document.get("type", ""))


@dataclass(frozen=True, slots=True)
class Node:
    """What one node says of itself.

    Attributes:
        sums: of its ledger: minted, regenerated, burned, balances, reserved and accounts.
        cids: of the blocks that it holds, without those whose bytes were not what the CID names.
        damaged: those.
        proposals: id, status, votes and tally of each, as it shows them.
    """

    did: str
    sums: Mapping[str, int]
    jobs: tuple[Job, ...]
    root: str
    cids: frozenset[str]
    damaged: tuple[str, ...]
    proposals: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Federation:
    """All nodes by name, and every block that any of them holds."""

    nodes: Mapping[str, Node]
    blocks: Mapping[str, Block]

    def of(self, kind: str) -> list[Block]:
        """The sound blocks of one type, by CID."""
        return sorted(
            (block for block in self.blocks.values() if block.type == kind and block.sound), key=lambda each: each.cid
        )


def observe(fetch: Fetch, endpoints: Sequence[str]) -> dict[str, Any]:
    """Ask every node for everything. Raises OSError when one does not answer."""
    blocks: dict[str, str] = {}
    return {"nodes": {name: _node(fetch, name, blocks) for name in endpoints}, "blocks": blocks}


def at_rest(fetch: Fetch, endpoints: Sequence[str]) -> tuple[Any, bool]:
    """A cheap look at what moves, and whether all has come to its end: no mana held, nothing to anchor, one root everywhere."""
    looks = [(fetch(name, "/ledger/audit"), fetch(name, "/dag/root")) for name in endpoints]
    roots = {root["root"] for _, root in looks}
    waiting = sum(sums["reserved"] + sums.get("outbox", 0) for sums, _ in looks)
    return [list(look) for look in looks], len(roots) == 1 and waiting == 0


def _node(fetch: Fetch, name: str, blocks: dict[str, str]) -> dict[str, Any]:
    cids, damaged = _blocks(fetch, name, blocks)
    return {
        "did": fetch(name, "/info")["did"],
        "sums": fetch(name, "/ledger/audit"),
        "jobs": [[job[field] for field in _JOB] for job in _pages(fetch, name, "/mesh/jobs", "jobs")],
        "root": fetch(name, "/dag/root")["root"],
        "cids": cids,
        "damaged": damaged,
        "proposals": [_proposal(fetch, name, identifier) for identifier in _proposals(fetch, name)],
    }


def _blocks(fetch: Fetch, name: str, known: dict[str, str]) -> tuple[list[str], list[str]]:
    """The CIDs of a node's blocks, and of those that hold other bytes; what was not *known* yet is put there."""
    cids: list[str] = []
    damaged: list[str] = []
    for block in _pages(fetch, name, "/dag/blocks", "blocks"):
        cid, data = block["cid"], block["data"]
        right = known.get(cid) == data or proof.names(cid, base64.b64decode(data))
        (cids if right else damaged).append(cid)
        if right:
            known.setdefault(cid, data)
    return sorted(cids), sorted(damaged)


def _proposals(fetch: Fetch, name: str) -> Iterable[str]:
    """The ids of all proposals that a node knows; its pages end with one that is not full."""
    after: int = 0
    page: list[Any] = [None] * PAGE
    while len(page) == PAGE:
        page = fetch(name, f"/governance/proposals?after={after}&limit={PAGE}")
        yield from (proposal["proposal_id"] for proposal in page)
        after = page[-1]["number"] if page else after


def _proposal(fetch: Fetch, name: str, identifier: str) -> dict[str, Any]:
    shown = fetch(name, f"/governance/proposal/{identifier}")
    return {"id": identifier, **{field: shown[field] for field in ("status", "votes", "tally")}}


def _pages(fetch: Fetch, name: str, path: str, items: str) -> Iterable[Any]:
    after: int | None = 0
    while after is not None:
        page = fetch(name, f"{path}?after={after}&limit={PAGE}")
        yield from page[items]
        after = page["next"]


def federation(observed: Any) -> Federation:
    """The answers as values."""
    nodes = {name: _read_node(node) for name, node in observed["nodes"].items()}
    return Federation(nodes, {cid: _read_block(cid, data) for cid, data in observed["blocks"].items()})


def _read_node(node: Mapping[str, Any]) -> Node:
    jobs = tuple(_read_job(job) for job in node["jobs"])
    cids, damaged, proposals = frozenset(node["cids"]), tuple(node["damaged"]), tuple(node["proposals"])
    return Node(node["did"], node["sums"], jobs, node["root"], cids, damaged, proposals)


def _read_job(values: Sequence[Any]) -> Job:
    key, identifier, cost, status, price, executor, result, result_cid, receipt, history = values
    statuses, times = tuple(step[0] for step in history), tuple(step[1] for step in history)
    texts = (executor or "", result, result_cid or "", receipt or "")
    return Job(key, identifier, cost, status, price or 0, *texts, statuses, times)


@lru_cache(maxsize=200_000)
def _read_block(cid: str, data: str) -> Block:
    """Verified once: a block never changes."""
    raw = base64.b64decode(data)
    document = proof.document(raw)
    signer = document.get("node", document.get("executor_did"))
    return Block(cid, document, cid == proof.cid_of(raw, proof.DAG_CBOR) and proof.is_signed(document, signer))
