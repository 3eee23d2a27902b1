"""Bids: what a node asks for a job, which bids count, and which one is taken.

A node answers a batch of jobs with one sheet under one signature. The selection takes, of the eligible bids alone, the lowest
price, then the best experience with the executor, then the least load (with what this batch already gives it), then the lowest
DID: it depends on nothing else, so that whoever has the same bids takes the same one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gates.node import http
from gates.node.errors import Refusal
from gates.node.identity import Identity, signed, valid
from gates.node.jobbook import Job
from gates.node.storage import Transaction

KIND = "icn/bids"
MOST_JOBS = 256
LARGEST_SENT = 256 * 1024
"""A specification of more bytes is carried out where it was submitted."""
ECHO_STEP, CPU_STEP = 64 * 1024, 100_000
RESOURCES = ("cpu_cores", "memory_mb", "storage_mb")
TABLES = """
CREATE TABLE IF NOT EXISTS experience (
    did TEXT PRIMARY KEY, good REAL NOT NULL, bad REAL NOT NULL, at INTEGER NOT NULL)
"""
_REMEMBER = """
INSERT INTO experience VALUES (?, ?, ?, ?)
ON CONFLICT (did) DO UPDATE SET good = excluded.good, bad = excluded.bad, at = excluded.at
"""
_HALF_LIFE_MS, _WARY_MS = 600_000, 10_000
_PRIOR = 10.0
_SHEET = ("type", "bidder", "nonce", "load", "resources", "bids")


@dataclass(frozen=True, slots=True)
class Need:
    """What a bidder has to know of a job.

    Attributes:
        job: its id.
        cost: the most that it may cost.
        kind: `Echo` or `Cpu`.
        size: bytes of the payload, or iterations.
        resources: what the executor must have, by name.
    """

    job: str
    cost: int
    kind: str
    size: int
    resources: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job) -> Need:
        """What carrying out *job* needs."""
        spec = json.loads(job.spec)
        ((kind, work),) = spec["kind"].items()
        size = work["iterations"] if kind == "Cpu" else len(job.spec)
        return cls(job.id, job.cost, kind, size, spec.get("required_resources", {}))

    def sent(self) -> list[Any]:
        """The need as peers read it."""
        return [self.job, self.cost, self.kind, self.size, dict(self.resources)]


@dataclass(frozen=True, slots=True)
class Bid:
    """One node's offer for one job.

    Attributes:
        load: how busy the bidder says it is.
        resources: what the bidder says it has.
    """

    job: str
    executor: str
    price: int
    load: int
    resources: Mapping[str, int] = field(default_factory=dict)


def read_needs(values: Any) -> list[Need]:
    """The needs that a peer sent. Raises Refusal with 422."""
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_JOBS:
        raise Refusal(422, f"jobs: expected a list of 1 to {MOST_JOBS} jobs")
    return [_need(value) for value in values]


def _need(value: Any) -> Need:
    if not isinstance(value, list) or len(value) != 5:
        raise Refusal(422, "jobs: expected [id, cost, kind, size, resources]")
    names = dict(zip(("job", "cost", "kind", "size"), value, strict=False))
    resources = http.fields(value[4], (), RESOURCES, "resources")
    return Need(
        http.text(names, "job", longest=128),
        http.integer(names, "cost", lowest=1),
        http.text(names, "kind", longest=32),
        http.integer(names, "size"),
        {name: http.integer(resources, name) for name in resources},
    )


def price(need: Need) -> int | None:
    """What this node asks for a job, by the work in it; None for a kind that it does not know."""
    steps = {"Echo": ECHO_STEP, "Cpu": CPU_STEP}
    return 1 + need.size // steps[need.kind] if need.kind in steps else None


def make_sheet(
    identity: Identity, nonce: str, needs: Iterable[Need], *, load: int, resources: Mapping[str, int]
) -> dict[str, Any]:
    """The signed bids of *identity* on all of *needs* that it can carry out for their cost."""
    priced = ((need, price(need)) for need in needs)
    bids = [[need.job, asked] for need, asked in priced if asked is not None and asked <= need.cost and _has(resources, need)]
    sheet = {"type": KIND, "bidder": identity.did, "nonce": nonce, "load": load, "resources": dict(resources), "bids": bids}
    return signed(KIND, sheet, identity)


def read_sheet(sheet: Any, bidder: str, nonce: str) -> list[Bid]:
    """The bids on the sheet that *bidder* answered to the request *nonce*. Raises Refusal with 422 for any other sheet."""
    fields = http.fields(sheet, (*_SHEET, "signature"), (), "the bids")
    if (fields["type"], fields["bidder"], fields["nonce"]) != (KIND, bidder, nonce):
        raise Refusal(422, "the bids are not from the node that was asked, or answer another request")
    if not valid(KIND, fields, bidder):
        raise Refusal(422, "the bids are not signed by their bidder")
    load = http.integer(fields, "load")
    has = http.fields(fields["resources"], (), RESOURCES, "resources")
    resources = {name: http.integer(has, name) for name in has}
    return [Bid(*_offer(offer, bidder), load, resources) for offer in _listed(fields["bids"])]


def _listed(offers: Any) -> list[Any]:
    if not isinstance(offers, list) or len(offers) > MOST_JOBS:
        raise Refusal(422, f"bids: expected a list of at most {MOST_JOBS} bids")
    return offers


def _offer(offer: Any, bidder: str) -> tuple[str, str, int]:
    if not isinstance(offer, list) or len(offer) != 2:
        raise Refusal(422, "bids: expected [job, price]")
    values = {"job": offer[0], "price": offer[1]}
    return http.text(values, "job", longest=128), bidder, http.integer(values, "price", lowest=1)


# --- selection --------------------------------------------------------------------------------------------------------


def eligible(need: Need, bid: Bid, members: Collection[str]) -> bool:
    """Whether *bid* may be taken for *need*: from a member, for this job, within its cost, with what it requires."""
    fits = bid.executor in members and bid.job == need.job and 1 <= bid.price <= need.cost
    return fits and _has(bid.resources, need)


def _has(resources: Mapping[str, int], need: Need) -> bool:
    return all(resources.get(name, 0) >= amount for name, amount in need.resources.items())


def select(
    needs: Sequence[Need],
    bids: Iterable[Bid],
    members: Collection[str],
    reputation: Callable[[str], int],
    lost: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, Bid]:
    """The bid that is taken for each job that has an eligible one, by job.

    *lost*: by job, the executors that were lost with it in an earlier round; they come after all others.
    """
    offered: dict[str, list[Bid]] = {need.job: [] for need in needs}
    for bid in bids:
        offered.get(bid.job, []).append(bid)
    given: Counter[str] = Counter()
    chosen: dict[str, Bid] = {}
    for need in needs:
        able = [bid for bid in offered[need.job] if eligible(need, bid, members)]
        if able:
            failed = lost.get(need.job, ())
            best = min(
                able, key=lambda bid: (bid.executor in failed, *_rank(bid, reputation(bid.executor), given[bid.executor]))
            )
            chosen[need.job] = best
            given[best.executor] += 1
    return chosen


def _rank(bid: Bid, reputation: int, given: int) -> tuple[int, int, int, str]:
    """The order of bids, best first; no two nodes have the same."""
    return bid.price, -reputation, bid.load + given, bid.executor


class Experience:
    """How executors did for this node: what it has seen itself, halved every ten minutes, so that failures are forgiven."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float, int]] = {}
        self._lost_at: dict[str, int] = {}

    def remember(self, rows: Iterable[tuple[str, float, float, int]]) -> None:
        """Start from what an earlier process wrote."""
        self._seen = {did: (good, bad, at) for did, good, bad, at in rows}

    def reputation(self, did: str, now: int) -> int:
        """0 to 10: the share of good executions, and no more than half of it for some seconds after a bad one."""
        good, bad = self._faded(did, now)
        share = 10 * (good + _PRIOR) / (good + bad + _PRIOR)
        return round(share / 2 if now - self._lost_at.get(did, now - _WARY_MS) < _WARY_MS else share)

    def add(self, did: str, now: int, *, good: int = 0, bad: int = 0) -> None:
        """Count executions of *did*."""
        before, failed = self._faded(did, now)
        self._seen[did] = (before + good, failed + bad, now)
        if bad:
            self._lost_at[did] = now

    def keep(self, tx: Transaction, did: str) -> None:
        """Write down what is known of *did*."""
        if did in self._seen:
            tx.execute(_REMEMBER, (did, *self._seen[did]))

    def _faded(self, did: str, now: int) -> tuple[float, float]:
        good, bad, at = self._seen.get(did, (0.0, 0.0, now))
        left: float = 0.5 ** (max(0, now - at) / _HALF_LIFE_MS)
        return good * left, bad * left
