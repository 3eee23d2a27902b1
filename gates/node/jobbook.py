"""The book of jobs: each job's row, its legal transitions, and the history that is written with every one of them.

Functions over one transaction, which also move the mana: a submission reserves its cost, a completion burns the price and gives
the rest back, and every other end gives all of it back, exactly once. All but `submit` refuse before they write anything, so a
change over many jobs may catch the refusal of one and go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gates.node import ledger
from gates.node.cid import cid_of
from gates.node.errors import Refusal
from gates.node.ledger import Read
from gates.node.storage import Transaction
from gates.node.submission import HIGHEST_COST, Submission

SUBMITTED, BIDDING_OPEN, BIDDING_CLOSED = "Submitted", "BiddingOpen", "BiddingClosed"
ASSIGNED, EXECUTING = "Assigned", "Executing"
COMPLETED, FAILED, CANCELLED = "Completed", "Failed", "Cancelled"
LEGAL: Mapping[str, frozenset[str]] = {
    SUBMITTED: frozenset({BIDDING_OPEN, CANCELLED, FAILED}),
    BIDDING_OPEN: frozenset({BIDDING_CLOSED, CANCELLED, FAILED}),
    BIDDING_CLOSED: frozenset({ASSIGNED, CANCELLED, FAILED}),
    ASSIGNED: frozenset({EXECUTING, BIDDING_OPEN, CANCELLED, FAILED}),
    EXECUTING: frozenset({COMPLETED, FAILED, CANCELLED, BIDDING_OPEN}),
    COMPLETED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}
FINAL = tuple(status for status, onward in LEGAL.items() if not onward)
MOST_ROUNDS = 3
_FINALS = ", ".join(f"'{status}'" for status in FINAL)
_STATUSES = ", ".join(f"'{status}'" for status in LEGAL)
TABLES = f"""
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL,
    cost INTEGER NOT NULL CHECK (cost BETWEEN 1 AND {HIGHEST_COST}), status TEXT NOT NULL CHECK (status IN ({_STATUSES})),
    events INTEGER NOT NULL CHECK (events >= 1), executor TEXT, price INTEGER CHECK (price BETWEEN 0 AND cost),
    round INTEGER NOT NULL DEFAULT 1 CHECK (round BETWEEN 1 AND {MOST_ROUNDS}), receipt_cid TEXT, result TEXT,
    result_cid TEXT, cpu_ms INTEGER, reason TEXT, submitted_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    CHECK (status != '{COMPLETED}' OR (executor IS NOT NULL AND price IS NOT NULL AND receipt_cid IS NOT NULL)));
CREATE INDEX IF NOT EXISTS jobs_unfinished ON jobs (status) WHERE status NOT IN ({_FINALS});
CREATE TABLE IF NOT EXISTS job_specs (job INTEGER PRIMARY KEY REFERENCES jobs, manifest TEXT NOT NULL, spec TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS job_events (
    job INTEGER NOT NULL REFERENCES jobs, sequence INTEGER NOT NULL, status TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (job, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs_ended (
    status TEXT PRIMARY KEY CHECK (status IN ({_FINALS})), jobs INTEGER NOT NULL CHECK (jobs > 0)) WITHOUT ROWID
"""
_RECORD = "number, id, owner, key, cost, status, events, executor, price, round, manifest, spec"
_STATE = "number, owner, cost, status, events, executor, round, receipt_cid, updated_at"
_CHANGEABLE = frozenset({"executor", "price", "round", "receipt_cid", "result", "result_cid", "cpu_ms", "reason"})


class IllegalTransition(Refusal):
    """A job cannot go from the status that it has to the one that was asked for; HTTP 409."""

    def __init__(self, job: str, before: str, to: str) -> None:
        super().__init__(409, f"job {job} is {before} and cannot become {to}", status=before)
        self.before, self.to = before, to


@dataclass(frozen=True, slots=True)
class Receipted:
    """The answer to a submission: the job's id and whether an earlier request under this key had made it."""

    job: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Job:
    """What carrying out a job needs to know of it.

    Attributes:
        number: its place in the book of this node, from 1.
        events: how many statuses it has had.
        executor: DID of the node that it is assigned to.
        price: mana that the executor asked for.
        round: how often bids were asked for, with this time.
        spec: the job specification as canonical JSON.
    """

    number: int
    id: str
    owner: str
    key: str
    cost: int
    status: str
    events: int
    executor: str | None
    price: int | None
    round: int
    manifest: str
    spec: str

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL


# --- submission -------------------------------------------------------------------------------------------------------


def job_id(owner: str, key: str) -> str:
    """The id of the job that *owner* submitted under *key*: the same key is the same job, whoever computes it."""
    return cid_of(f"{owner}\n{key}".encode())


def submit(tx: Transaction, owner: str, submission: Submission, now: int) -> Receipted:
    """Reserve the cost of a job and write it down, once a key of *owner*. Raises Refusal with 402 and 409."""
    job = new_id(owner, submission.key)
    known = known_content(tx, job)
    if known is not None:
        return repeat(tx, owner, submission, job, known)
    number = _enter(tx, job, owner, submission, now)
    charge(tx, owner, submission.cost, number, now)
    return Receipted(job, repeated=False)


def new_id(owner: str, key: str) -> str:
    """The id of a new job; it alone makes that a key is one job, so no second index is needed for that."""
    return job_id(owner, key)


def known_content(tx: Transaction, job: str) -> str | None:
    """The content that *job* was submitted with, None when there is no such job."""
    found = tx.execute("SELECT content FROM jobs WHERE id = ?", (job,)).fetchone()
    return found[0] if found else None


def repeat(_tx: Transaction, _owner: str, submission: Submission, job: str, content: str) -> Receipted:
    """What a known key is answered: the same job, and nothing is charged. Raises Refusal with 409 for another content."""
    if content != submission.content:
        raise Refusal(409, "this Idempotency-Key was used for another job")
    return Receipted(job, repeated=True)


def charge(tx: Transaction, owner: str, cost: int, number: int, now: int) -> None:
    """Reserve what a new job may cost. Raises Refusal with 402."""
    ledger.reserve(tx, owner, cost, reservation(number), now)


def reservation(number: int) -> str:
    """The name of a job's reservation; by number, so that the newest ones lie together."""
    return f"job-{number}"


def _enter(tx: Transaction, job: str, owner: str, submission: Submission, now: int) -> int:
    """Write down a new job and return its number."""
    statement = (
        "INSERT INTO jobs (id, owner, key, content, cost, status, events, submitted_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, 'Submitted', 1, ?, ?) RETURNING number"
    )
    row = (job, owner, submission.key, submission.content, submission.cost, now, now)
    ((number,),) = tx.execute(statement, row).fetchall()
    tx.execute("INSERT INTO job_specs VALUES (?, ?, ?)", (number, submission.manifest, submission.spec))
    tx.execute("INSERT INTO job_events VALUES (?, 1, 'Submitted', ?)", (number, now))
    return int(number)


# --- transitions ------------------------------------------------------------------------------------------------------


class _State(NamedTuple):
    """What a transition needs to know of a job."""

    number: int
    owner: str
    cost: int
    status: str
    events: int
    executor: str | None
    round: int
    receipt_cid: str | None
    updated_at: int


def advance(tx: Transaction, job: str, to: str, now: int, **columns: Any) -> bool:
    """Bring *job* to the status *to*, which is no end, and set *columns*. False when it has that status; then nothing is set.

    Raises IllegalTransition, and Refusal with 404. Ends move mana: `complete`, `fail` and `cancel` reach them.
    """
    if to in FINAL:
        raise ValueError(f"{to} is an end; expected complete, fail or cancel")
    state = _state(tx, job)
    if state.status == to:
        return False
    _check_legal(job, state.status, to)
    _write(tx, state, to, now, columns)
    return True


def legal(before: str, to: str) -> bool:
    """Whether a job may go from one status to another."""
    return to in LEGAL[before]


def complete(
    tx: Transaction, job: str, receipt: Mapping[str, Any], receipt_cid: str, price: int, now: int, *, result: str | None = None
) -> bool:
    """End *job* with the *receipt* of its executor: *price* is burned and the rest of what was reserved is given back.

    *result* is what was made, by default the receipt's member of that name. False when it was completed by this very receipt.
    Raises Refusal with 404, with 403 when another node was to execute it, with 422 for a price above its cost, and
    IllegalTransition when it is not executing.
    """
    state = _state(tx, job)
    if state.status == COMPLETED and state.receipt_cid == receipt_cid:
        return False
    _check_legal(job, state.status, COMPLETED)
    check_completion(state.executor, state.cost, receipt["executor_did"], price)
    columns = {"price": price, "receipt_cid": receipt_cid, "result": receipt.get("result") if result is None else result}
    columns |= {"result_cid": receipt["result_cid"], "cpu_ms": receipt["cpu_ms"]}
    _write(tx, state, COMPLETED, now, columns)
    return ledger.commit(tx, reservation(state.number), price, now)


def check_completion(assigned: str | None, cost: int, executor: str, price: int) -> None:
    """Raises Refusal with 403 when *executor* is not whom the job is assigned to, and 422 when *price* is none."""
    if executor != assigned:
        raise Refusal(403, "the receipt is not from the node that the job is assigned to")
    if type(price) is not int or not 0 <= price <= cost:
        raise Refusal(422, f"price: expected an integer from 0 to the cost of {cost}")


def fail(tx: Transaction, job: str, reason: str, now: int, **columns: Any) -> bool:
    """End *job* without a result, set *columns* and give all mana back.

    Raises IllegalTransition when it has ended, and Refusal with 404.
    """
    return _give_up(tx, job, FAILED, now, {"reason": reason, **columns})


def cancel(tx: Transaction, job: str, owner: str, now: int) -> bool:
    """End *job* because *owner* wants it and give all mana back. False when it was cancelled before.

    Raises IllegalTransition when it has ended otherwise, and Refusal with 404, and with 403 when the job is another's.
    """
    state = _state(tx, job)
    if state.owner != owner:
        raise Refusal(403, "only the owner of a job can cancel it")
    return state.status != CANCELLED and _give_up(tx, job, CANCELLED, now, {"reason": "cancelled by its owner"})


def reopen(tx: Transaction, job: str, now: int) -> bool:
    """Ask for bids again because the executor is lost; after `MOST_ROUNDS` the job fails instead, and that is False.

    Raises IllegalTransition when it is neither assigned nor executing, and Refusal with 404.
    """
    state = _state(tx, job)
    if state.status == SUBMITTED:
        raise IllegalTransition(job, state.status, BIDDING_OPEN)
    _check_legal(job, state.status, BIDDING_OPEN)
    if state.round >= MOST_ROUNDS:
        fail(tx, job, f"its executor was lost in each of {MOST_ROUNDS} rounds", now)
        return False
    _write(tx, state, BIDDING_OPEN, now, {"round": state.round + 1, "executor": None, "price": None})
    return True


def _give_up(tx: Transaction, job: str, to: str, now: int, columns: Mapping[str, Any]) -> bool:
    state = _state(tx, job)
    _check_legal(job, state.status, to)
    _write(tx, state, to, now, columns)
    return refund(tx, state.number, now)


def refund(tx: Transaction, number: int, now: int) -> bool:
    """Give back all that a job holds. False when that was done before."""
    return ledger.release(tx, reservation(number), now)


def _check_legal(job: str, before: str, to: str) -> None:
    if not legal(before, to):
        raise IllegalTransition(job, before, to)


def _state(tx: Transaction, job: str) -> _State:
    """Raises Refusal with 404."""
    found = tx.execute(f"SELECT {_STATE} FROM jobs WHERE id = ?", (job,)).fetchone()
    if found is None:
        raise Refusal(404, "no such job")
    return _State(*found)


def _write(tx: Transaction, state: _State, to: str, now: int, columns: Mapping[str, Any]) -> None:
    """Write a transition: the job's row, its history, and how many have ended so."""
    assert columns.keys() <= _CHANGEABLE, sorted(columns)
    at = max(now, state.updated_at)  # a clock that was set back does not turn a history around
    more = "".join(f", {name} = ?" for name in columns)
    values = (to, state.events + 1, at, *columns.values(), state.number)
    tx.execute(f"UPDATE jobs SET status = ?, events = ?, updated_at = ?{more} WHERE number = ?", values)
    tx.execute("INSERT INTO job_events VALUES (?, ?, ?, ?)", (state.number, state.events + 1, to, at))
    if to in FINAL:
        tx.execute("INSERT INTO jobs_ended VALUES (?, 1) ON CONFLICT (status) DO UPDATE SET jobs = jobs + 1", (to,))


# --- reads ------------------------------------------------------------------------------------------------------------


def record(read: Read, job: str) -> Job | None:
    """The job with this id, through a store's `read` or through `reading(tx)`."""
    rows = read(f"SELECT {_RECORD} FROM jobs JOIN job_specs ON job = number WHERE id = ?", (job,))
    return Job(*rows[0]) if rows else None


def unfinished(read: Read) -> list[Job]:
    """The jobs that have not ended, oldest first."""
    query = f"SELECT {_RECORD} FROM jobs JOIN job_specs ON job = number WHERE status NOT IN ({_FINALS}) ORDER BY number"
    return [Job(*row) for row in read(query, ())]


def open_ids(read: Read) -> list[str]:
    """The ids of the jobs that have not ended."""
    return [identifier for (identifier,) in read(f"SELECT id FROM jobs WHERE status NOT IN ({_FINALS})", ())]


def counts(read: Read) -> dict[str, int]:
    """How many jobs have each status, without a pass over those that have ended."""
    query = f"SELECT status, count(*) FROM jobs WHERE status NOT IN ({_FINALS}) GROUP BY status"
    return dict.fromkeys(LEGAL, 0) | dict(read(f"{query} UNION ALL SELECT status, jobs FROM jobs_ended", ()))
