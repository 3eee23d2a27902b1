"""What is ICN's own in the pipeline: the target preset `federation`, the flows and the invariants. Reached by entry points."""

from __future__ import annotations

import string
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gates.model import (
    Fetch,
    Finding,
    InvariantOutcome,
    Level,
    Measurement,
    MetricSpec,
    Operation,
    ProcessSpec,
    Ready,
    Rule,
    Table,
    TargetLayout,
    Unit,
)

FEWEST_OPERATIONS = 200
MOST_NAMED = 10

# --- the target preset ------------------------------------------------------------------------------------------------


class FederationSettings(BaseModel):
    """`target: {federation: {nodes: 3}}`.

    Attributes:
        nodes: how many reference nodes are started, named node-a, node-b and so on.
        mana: minted for each node's own account, once.
        defect: a seeded defect that every node is given, for drills.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int = Field(default=3, ge=1, le=10)
    mana: int = Field(default=10_000_000, ge=0, le=10**15)
    defect: Literal["", "ack-before-durable", "double-charge", "forget-keys", "slow-restart", "refuse-when-peer-down"] = ""


class Federation:
    """Reference nodes that know each other."""

    name = "federation"
    settings = FederationSettings

    def layout(self, settings: FederationSettings) -> TargetLayout:
        """One process a node, each with all others as its peers."""
        names = tuple(f"node-{letter}" for letter in string.ascii_lowercase[: settings.nodes])
        return TargetLayout(
            processes=tuple(_process(name, names, settings) for name in names), controls=("kill", "start", "pause", "data")
        )


def _process(name: str, names: Sequence[str], settings: FederationSettings) -> ProcessSpec:
    peers = ",".join(f"{peer}={{url:{peer}}}" for peer in names if peer != name)
    module = ("gates.node.defects", settings.defect, "--") if settings.defect else ("gates.node",)
    options = ("--port", "{port}", "--data", "{data}", "--name", name, "--peers", peers, "--mana", str(settings.mana))
    return ProcessSpec(name, (sys.executable, "-m", *module, *options), Ready(http="/ready"))


# --- flows ------------------------------------------------------------------------------------------------------------

FLOWS: Mapping[str, Any] = {
    "submit_job": {
        "summary": "A client submits an Echo job to any node, under an idempotency key.",
        "value": {"cost_mana": 10},
        "steps": [
            {
                "method": "POST",
                "path": "/mesh/submit",
                "headers": {"Idempotency-Key": "{key}"},
                "body": {
                    "manifest_cid": "bafyjobmanifest",
                    "spec_json": {"kind": {"Echo": {"payload": "{uuid}"}}},
                    "cost_mana": 10,
                },
                "capture": {"job_id": "job_id"},
                "check": {"status": 200, "json": {"job_id": {"type": "string", "matches": "^bafkrei[a-z2-7]{52}$"}}},
            }
        ],
    },
    "read_mana": {
        "summary": "A client reads the balance of the node's account.",
        "steps": [
            {
                "path": "/account/did:icn:{endpoint}/mana",
                "check": {"status": 200, "json": {"balance": {"type": "integer", "at_least": 0}}},
            }
        ],
    },
    "read_status": {
        "summary": "A client reads the node's status.",
        "steps": [{"path": "/status", "check": {"status": 200, "json": {"is_online": True}}}],
    },
}

# --- invariants -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Account:
    """What one node says of itself: mana minted and left, and its jobs as (key, id, cost)."""

    minted: int
    balance: int
    jobs: tuple[tuple[str, str, int], ...]

    @property
    def cost(self) -> int:
        """The mana that the stored jobs cost together, each id counted once."""
        return sum({job: cost for _, job, cost in self.jobs}.values())


class _OverAccounts:
    """An invariant over the accounts and jobs of all nodes."""

    name: str
    summary: str
    metrics: tuple[MetricSpec, ...]

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """Minted mana, balance and every stored job of every node. Raises OSError when one does not answer."""
        return {name: _observed(fetch, name) for name in endpoints}


def _observed(fetch: Fetch, name: str) -> dict[str, Any]:
    info = fetch(name, "/info")
    jobs = [[job["idempotency_key"], job["job_id"], job["cost_mana"], job["status"]] for job in _pages(fetch, name)]
    balance = fetch(name, f"/account/{info['did']}/mana")["balance"]
    return {"minted": info["minted_mana"], "balance": balance, "jobs": jobs}


def _pages(fetch: Fetch, name: str) -> Iterable[Any]:
    after: int | None = 0
    while after is not None:
        page = fetch(name, f"/mesh/jobs?after={after}")
        yield from page["jobs"]
        after = page["next"]


def _accounts(observed: Any) -> dict[str, _Account]:
    return {
        name: _Account(node["minted"], node["balance"], tuple((key, job, cost) for key, job, cost, _ in node["jobs"]))
        for name, node in observed.items()
    }


def _submissions(history: Sequence[Operation]) -> list[Operation]:
    """The operations that asked for a job: their flow declares what the job costs."""
    return [operation for operation in history if isinstance(operation.value, Mapping) and "cost_mana" in operation.value]


def _census(metric: str, value: int, n: int) -> tuple[Measurement, ...]:
    return (Measurement(metric, value, Unit.COUNT, n),)


def _spec(name: str, summary: str) -> MetricSpec:
    return MetricSpec(name, Unit.COUNT, Rule.CENSUS, summary, at_least=FEWEST_OPERATIONS)


def _named(text: str, offenders: Sequence[str]) -> tuple[Finding, ...]:
    shown = ", ".join(offenders[:MOST_NAMED]) + (
        f" and {len(offenders) - MOST_NAMED} more" if len(offenders) > MOST_NAMED else ""
    )
    return (Finding(Level.WARNING, f"{text}: {shown}"),) if offenders else ()


class NoAcknowledgedJobLost(_OverAccounts):
    """Every job that a client got an id for is stored on the node that gave it, under that id and key."""

    name = "no-acknowledged-job-lost"
    summary = "Every acknowledged job is stored on the node that acknowledged it."
    metrics = (_spec("acknowledged.lost", "Acknowledged jobs that are not stored"),)

    def check(self, history: Sequence[Operation], _before: Any, after: Any) -> InvariantOutcome:
        stored = {name: {(key, job) for key, job, _ in account.jobs} for name, account in _accounts(after).items()}
        promised: dict[str, dict[tuple[str, str], None]] = {name: {} for name in stored}
        for operation in _submissions(history):
            if operation.status == "ok":
                job = operation.answer.get("job_id", "") if isinstance(operation.answer, Mapping) else ""
                promised.setdefault(operation.endpoint, {})[operation.key, job] = None
        lost = {name: [pair for pair in pairs if pair not in stored.get(name, ())] for name, pairs in promised.items()}
        rows = [
            (name, f"{len(pairs):,}", f"{len(pairs) - len(lost[name]):,}", f"{len(lost[name]):,}")
            for name, pairs in promised.items()
        ]
        table = Table("Acknowledged jobs, and what is stored of them", ("node", "acknowledged", "stored", "lost"), tuple(rows))
        keys = [key for pairs in lost.values() for key, _ in pairs]
        examined = sum(len(pairs) for pairs in promised.values())
        findings = _named("acknowledged but not stored, by key", keys)
        return InvariantOutcome(_census("acknowledged.lost", len(keys), examined), (table,), findings)


class OneJobPerKey(_OverAccounts):
    """No key that a client sent has more than one job in the whole federation, and no other key has one."""

    name = "one-job-per-key"
    summary = "An idempotency key never makes more than one job, however often it is sent."
    metrics = (_spec("acknowledged.duplicated", "Keys with more than one job, and new jobs under keys that no client sent"),)

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        stored = Counter(key for account in _accounts(after).values() for key, _, _ in account.jobs)
        submissions = _submissions(history)
        sent = Counter(operation.key for operation in submissions if operation.status != "fail")
        duplicated = [key for key in sent if stored[key] > 1]
        known = {key for account in _accounts(before).values() for key, _, _ in account.jobs}
        surplus = sorted(stored.keys() - known - {operation.key for operation in submissions})
        rows = [
            ("keys sent", f"{len(sent):,}"),
            ("of which sent more than once", f"{sum(times > 1 for times in sent.values()):,}"),
            ("of which with exactly one job", f"{sum(stored[key] == 1 for key in sent):,}"),
            ("of which with no job", f"{sum(stored[key] == 0 for key in sent):,}"),
            ("of which with more than one job", f"{len(duplicated):,}"),
            ("keys of new jobs that no client sent", f"{len(surplus):,}"),
        ]
        table = Table("Idempotency keys, and the jobs stored under them", ("what", "count"), tuple(rows))
        findings = (
            *_named("more than one job under one key", duplicated),
            *_named("a job under a key that no client sent", surplus),
        )
        found = len(duplicated) + len(surplus)
        return InvariantOutcome(_census("acknowledged.duplicated", found, len(sent)), (table,), findings)


class ManaConserved(_OverAccounts):
    """On every node, minted mana is what is left plus what the distinct stored jobs cost, in all and since the load began."""

    name = "mana-conserved"
    summary = "Mana adds up: minted = balance + cost of the distinct stored jobs, on every node."
    metrics = (_spec("mana.imbalance", "Mana that is missing or too much, summed over the nodes"),)

    def check(self, _history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        start, end = _accounts(before), _accounts(after)
        columns = ("node", "minted", "balance before", "balance after", "cost of all jobs", "cost of new jobs", "imbalance")
        rows, imbalance, new_jobs = [], 0, 0
        for name, now in end.items():
            then = start.get(name, _Account(now.minted, now.minted, ()))
            known = {job for _, job, _ in then.jobs}
            new = {job: cost for _, job, cost in now.jobs if job not in known}
            whole = abs(now.minted - now.balance - now.cost)
            since = abs(then.balance - now.balance - sum(new.values()))
            figures = (now.minted, then.balance, now.balance, now.cost, sum(new.values()), max(whole, since))
            rows.append((name, *(f"{figure:,}" for figure in figures)))
            imbalance, new_jobs = imbalance + max(whole, since), new_jobs + len(new)
        table = Table("Mana: minted - balance = cost of all jobs; before - after = cost of new jobs", columns, tuple(rows))
        offenders = [row[0] for row in rows if row[-1] != "0"]
        findings = _named("mana does not add up on", offenders)
        return InvariantOutcome(_census("mana.imbalance", imbalance, new_jobs), (table,), findings)
