"""The invariants over jobs and mana: what clients saw against what all nodes say, recomputed from the jobs and blocks.

Every one of them asks the same question (`observation.observe`), so one answer serves all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gates.model import Fetch, Finding, InvariantOutcome, Level, Measurement, MetricSpec, Operation, Rule, Table, Unit
from gates.node import observation
from gates.node.observation import FINAL, Federation, Job, Node
from gates.node.proof import binary

FEWEST_OPERATIONS = 200
MOST_NAMED = 10
PROPOSAL_FEE, VOTE_FEE = 10, 1
LEGAL: Mapping[str, frozenset[str]] = {
    "Submitted": frozenset({"BiddingOpen", "Cancelled", "Failed"}),
    "BiddingOpen": frozenset({"BiddingClosed", "Cancelled", "Failed"}),
    "BiddingClosed": frozenset({"Assigned", "Cancelled", "Failed"}),
    "Assigned": frozenset({"Executing", "BiddingOpen", "Cancelled", "Failed"}),
    "Executing": frozenset({"Completed", "Failed", "Cancelled", "BiddingOpen"}),
}


class OverFederation:
    """An invariant over what all nodes say."""

    name: str
    summary: str
    metrics: tuple[MetricSpec, ...]
    within = 20.0
    """So many seconds after the last request everything must have come to its end."""

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """Every job, block and proposal of every node, and the sums of its ledger. Raises OSError when one does not answer."""
        return observation.observe(fetch, endpoints)

    def at_rest(self, fetch: Fetch, endpoints: Sequence[str]) -> tuple[Any, bool]:
        """A cheap look at what moves, and whether everything has come to its end."""
        return observation.at_rest(fetch, endpoints)

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        return self.found(history, observation.federation(before), observation.federation(after))

    def found(self, history: Sequence[Operation], before: Federation, after: Federation) -> InvariantOutcome:
        """What there is to say, with the answers as values."""
        raise NotImplementedError


def submissions(history: Sequence[Operation]) -> list[Operation]:
    """The operations that asked for a job: their flow declares what the job costs."""
    return [operation for operation in history if isinstance(operation.value, Mapping) and "cost_mana" in operation.value]


def census(metric: str, value: int, n: int) -> tuple[Measurement, ...]:
    """The one measurement of an invariant."""
    return (Measurement(metric, value, Unit.COUNT, n),)


def spec(name: str, summary: str, at_least: int = FEWEST_OPERATIONS) -> MetricSpec:
    """The metric of an invariant."""
    return MetricSpec(name, Unit.COUNT, Rule.CENSUS, summary, at_least=at_least)


def named(text: str, offenders: Sequence[str]) -> tuple[Finding, ...]:
    """A finding that names the first of *offenders*; none when there are none."""
    more = f" and {len(offenders) - MOST_NAMED} more" if len(offenders) > MOST_NAMED else ""
    return _said(f"{text}: {', '.join(offenders[:MOST_NAMED])}{more}" if offenders else "")


def _said(text: str) -> tuple[Finding, ...]:
    return (Finding(Level.WARNING, text),) if text else ()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> tuple[Table, ...]:
    """The arithmetic of an invariant."""
    return (Table(title, tuple(columns), tuple(tuple(_cell(cell) for cell in row) for row in rows)),)


def _cell(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


# --- what clients were promised ---------------------------------------------------------------------------------------


class NoAcknowledgedJobLost(OverFederation):
    """Every job that a client got an id for is stored on the node that gave it, under that id and key."""

    name = "no-acknowledged-job-lost"
    summary = "Every acknowledged job is stored on the node that acknowledged it."
    metrics = (spec("acknowledged.lost", "Acknowledged jobs that are not stored"),)

    def found(self, history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        stored = {name: {(job.key, job.id) for job in node.jobs} for name, node in after.nodes.items()}
        promised: dict[str, dict[tuple[str, str], None]] = {name: {} for name in stored}
        for operation in submissions(history):
            if operation.status == "ok":
                job = operation.answer.get("job_id", "") if isinstance(operation.answer, Mapping) else ""
                promised.setdefault(operation.endpoint, {})[operation.key, job] = None
        lost = {name: [pair for pair in pairs if pair not in stored.get(name, ())] for name, pairs in promised.items()}
        rows = [(name, len(pairs), len(pairs) - len(lost[name]), len(lost[name])) for name, pairs in promised.items()]
        keys = [key for pairs in lost.values() for key, _ in pairs]
        return InvariantOutcome(
            census("acknowledged.lost", len(keys), sum(len(pairs) for pairs in promised.values())),
            table("Acknowledged jobs, and what is stored of them", ("node", "acknowledged", "stored", "lost"), rows),
            named("acknowledged but not stored, by key", keys),
        )


class OneJobPerKey(OverFederation):
    """No key that a client sent has more than one job in the whole federation, and no other key has one."""

    name = "one-job-per-key"
    summary = "An idempotency key never makes more than one job, however often it is sent."
    metrics = (spec("acknowledged.duplicated", "Keys with more than one job, and new jobs under keys that no client sent"),)

    def found(self, history: Sequence[Operation], before: Federation, after: Federation) -> InvariantOutcome:
        stored = Counter(job.key for node in after.nodes.values() for job in node.jobs)
        asked = submissions(history)
        sent = Counter(operation.key for operation in asked if operation.status != "fail")
        duplicated = [key for key in dict.fromkeys(operation.key for operation in asked) if stored[key] > 1]
        known = {job.key for node in before.nodes.values() for job in node.jobs}
        shared = {str(each.value["key"]) for each in history if isinstance(each.value, Mapping) and "key" in each.value}
        duplicated += [key for key in sorted(shared) if stored[key] > 1]
        surplus = sorted(stored.keys() - known - shared - {operation.key for operation in asked})
        rows = [
            ("keys sent", len(sent)),
            ("of which sent more than once", sum(times > 1 for times in sent.values())),
            ("of which with exactly one job", sum(stored[key] == 1 for key in sent)),
            ("of which with no job", sum(stored[key] == 0 for key in sent)),
            ("of which with more than one job", len(duplicated)),
            ("keys of new jobs that no client sent", len(surplus)),
        ]
        findings = (
            *named("more than one job under one key", duplicated),
            *named("a job under a key that no client sent", surplus),
        )
        return InvariantOutcome(
            census("acknowledged.duplicated", len(duplicated) + len(surplus), len(sent)),
            table("Idempotency keys, and the jobs stored under them", ("what", "count"), rows),
            findings,
        )


# --- how jobs end -----------------------------------------------------------------------------------------------------


class EveryJobEnds(OverFederation):
    """Every job has come to an end within the bound."""

    name = "every-job-ends"
    summary = f"Every job is completed, failed or cancelled within {OverFederation.within:g} s after the last request."
    metrics = (spec("jobs.unfinished", "Jobs that have come to no end within the bound"),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        statuses = {name: Counter(job.status for job in node.jobs) for name, node in after.nodes.items()}
        open_ones = [job.id for node in after.nodes.values() for job in node.jobs if not job.final]
        rows = [
            (name, *(found[status] for status in sorted(FINAL)), sum(found.values()) - sum(found[s] for s in FINAL))
            for name, found in statuses.items()
        ]
        return InvariantOutcome(
            census("jobs.unfinished", len(open_ones), sum(len(node.jobs) for node in after.nodes.values())),
            table("How the jobs ended", ("node", *(status.lower() for status in sorted(FINAL)), "not at all"), rows),
            named("jobs without an end", open_ones),
        )


class LegalTransitions(OverFederation):
    """Every job went from Submitted to the status that it has through legal transitions, and time never ran back."""

    name = "legal-transitions-only"
    summary = "Every job's history is one that the job lifecycle allows."
    metrics = (spec("transitions.illegal", "Jobs whose history the lifecycle does not allow"),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        jobs = [job for node in after.nodes.values() for job in node.jobs]
        illegal = [job for job in jobs if not legal(job)]
        steps = Counter(step for job in jobs for step in zip(("", *job.history), job.history, strict=False))
        rows = [(one or "new", other, times) for (one, other), times in sorted(steps.items())]
        offenders = [f"{job.id} ({' > '.join(job.history)}, shown as {job.status})" for job in illegal]
        return InvariantOutcome(
            census("transitions.illegal", len(illegal), len(jobs)),
            table("Transitions of all jobs", ("from", "to", "times"), rows),
            named("an illegal history", offenders),
        )


def legal(job: Job) -> bool:
    """Whether the history of *job* is one that the lifecycle allows, and ends with the status that it has."""
    steps = zip(job.history, job.history[1:], strict=False)
    in_order = list(job.times) == sorted(job.times)
    begins_and_ends = job.history[:1] == ("Submitted",) and job.history[-1] == job.status
    return begins_and_ends and in_order and all(other in LEGAL.get(one, ()) for one, other in steps)


# --- mana -------------------------------------------------------------------------------------------------------------


def fees(federation: Federation, node: Node) -> int:
    """What members paid at *node* for proposals and votes: those that it has signed."""
    signed = {kind: [each.document.get("node") for each in federation.of(kind)] for kind in ("icn/proposal", "icn/vote")}
    return PROPOSAL_FEE * signed["icn/proposal"].count(node.did) + VOTE_FEE * signed["icn/vote"].count(node.did)


def prices(node: Node) -> int:
    """What the completed jobs of *node* cost together, each id counted once."""
    return sum({job.id: job.price for job in node.jobs if job.status == "Completed"}.values())


def _costs(jobs: Iterable[Job]) -> int:
    return sum({job.id: job.cost for job in jobs}.values())


class ManaConserved(OverFederation):
    """On every node, mana adds up, and what was burned is what the jobs and the governance blocks say, not the node's word."""

    name = "mana-conserved"
    summary = "Mana adds up on every node, and what was burned is what completed jobs and governance cost."
    metrics = (spec("mana.imbalance", "Mana that is missing or too much, summed over the nodes"),)

    def found(self, _history: Sequence[Operation], before: Federation, after: Federation) -> InvariantOutcome:
        owed = {name: prices(node) + fees(after, node) for name, node in after.nodes.items()}
        apart = {name: _apart(node, owed[name]) for name, node in after.nodes.items()}
        head = ("minted", "regenerated", "burned", "balances", "reserved")
        rows = [(name, *(node.sums[column] for column in head), owed[name], apart[name]) for name, node in after.nodes.items()]
        spent = sum(job.status == "Completed" for node in after.nodes.values() for job in node.jobs)
        spent += len(after.of("icn/proposal")) + len(after.of("icn/vote"))
        title = "Mana: minted + regenerated - burned = balances + reserved; burned = price of completed jobs + fees"
        unknown = _unknown(before, after)
        surplus = 0 if unknown else _surplus(before, after)
        imbalance = sum(apart.values()) + abs(surplus)
        minted = unknown or (f"{surplus:,} mana was minted that no executed allocation accounts for" if surplus else "")
        return InvariantOutcome(
            census("mana.imbalance", imbalance, spent) if imbalance or not unknown else (),
            table(title, ("node", *head, "price and fees", "imbalance"), rows),
            (*named("mana does not add up on", [name for name in apart if apart[name]]), *_said(minted)),
        )


def _apart(node: Node, owed: int) -> int:
    """How far *node*'s sums are from each other, from what is *owed* and what is held for open jobs, and below nothing."""
    sums = node.sums
    conserved = sums["minted"] + sums["regenerated"] - sums["burned"] - sums["balances"] - sums["reserved"]
    held = _costs(job for job in node.jobs if not job.final)
    short = max(0, -sums["balances"])
    return int(abs(conserved) + abs(sums["burned"] - owed) + abs(sums["reserved"] - held) + short)


def _unknown(before: Federation, after: Federation) -> str:
    """Why it can't be told what was minted beyond what was allocated: an account comes with a grant, which nobody signs."""
    unseen = sorted(after.nodes.keys() - before.nodes.keys())
    if unseen:
        return f"what was minted beyond allocations can't be told: {', '.join(unseen)} was not asked before the first request"
    opened = {name: node.sums["accounts"] - before.nodes[name].sums["accounts"] for name, node in after.nodes.items()}
    where = ", ".join(f"{count:,} on {name}" for name, count in opened.items() if count > 0)
    return f"what was minted beyond allocations can't be told: accounts were opened with a grant, {where}" if where else ""


def _surplus(before: Federation, after: Federation) -> int:
    """Mana minted since *before* beyond what was allocated by vote; known only while no account was opened."""
    minted = [sum(node.sums["minted"] for node in each.nodes.values()) for each in (before, after)]
    return int(minted[1] - minted[0] - _allocated(after) + _allocated(before))


def _allocated(federation: Federation) -> int:
    done = {
        block.document.get("proposal") for block in federation.of("icn/execution") if block.document["status"] == "Executed"
    }
    budgets = [block for block in federation.of("icn/proposal") if block.document.get("kind") == "BudgetAllocation"]
    return sum(int(block.document["data"]["amount"]) for block in budgets if binary(block.cid) in done)


class RefundedOnce(OverFederation):
    """What was given back for the jobs of a node is what was held for them without what they cost: each refund, once."""

    name = "refunds-exactly-once"
    summary = "What a job held and did not cost was given back exactly once."
    metrics = (spec("refunds.wrong", "Mana that was given back too often, or not at all, summed over the nodes"),)

    def found(self, _history: Sequence[Operation], _before: Federation, after: Federation) -> InvariantOutcome:
        books = {name: _refunds(after, node) for name, node in after.nodes.items()}
        wrong = {name: abs(given - due) for name, (_, _, due, given) in books.items()}
        rows = [(name, len(node.jobs), *books[name], wrong[name]) for name, node in after.nodes.items()]
        ended = sum(job.final for node in after.nodes.values() for job in node.jobs)
        return InvariantOutcome(
            census("refunds.wrong", sum(wrong.values()), ended),
            table(
                "Refunds: given back = held for all jobs - what the accounts lack of it",
                ("node", "jobs", "held for those that ended", "their price", "due", "given back", "wrong"),
                rows,
            ),
            named("refunds are wrong on", [name for name in wrong if wrong[name]]),
        )


def _refunds(federation: Federation, node: Node) -> tuple[int, int, int, int]:
    """What was held for the jobs of *node* that ended, their price, what is due of it, and what the accounts got back."""
    held, price = _costs(job for job in node.jobs if job.final), prices(node)
    income = node.sums["minted"] + node.sums["regenerated"] - fees(federation, node)
    return held, price, held - price, node.sums["balances"] - (income - _costs(node.jobs))
