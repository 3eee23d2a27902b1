"""The job book: legal transitions only, a history that says all of them, and mana that moves once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from books import EXECUTOR, OTHER, OWNER, Books, echo, receipt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gates.node import jobbook, jobpages, ledger
from gates.node.errors import Refusal
from gates.node.jobbook import FINAL, LEGAL, MOST_ROUNDS, IllegalTransition

NOW = 1_000
ON_THE_WAY = ("BiddingOpen", "BiddingClosed", "Assigned", "Executing")
WAYS: dict[str, tuple[str, ...]] = {
    "Submitted": (),
    **{status: ON_THE_WAY[: number + 1] for number, status in enumerate(ON_THE_WAY)},
}


@pytest.fixture
def books() -> Iterator[Books]:
    """A book whose owner has 100 mana."""
    made = Books()
    made.change(ledger.establish, OWNER, 100, 0, NOW)
    yield made
    made.close()


def submitted(books: Books, key: str = "k", cost: int = 10) -> str:
    return books.change(jobbook.submit, OWNER, echo(key, cost=cost), NOW).job


def brought(books: Books, status: str, key: str = "k") -> str:
    """A job that has this status, on the shortest way."""
    job = submitted(books, key)
    for to in WAYS.get(status, ON_THE_WAY):
        books.change(jobbook.advance, job, to, NOW, **({"executor": EXECUTOR, "price": 4} if to == "Assigned" else {}))
    if status == "Completed":
        books.change(jobbook.complete, job, receipt(), "receipt", 4, NOW)
    elif status == "Failed":
        books.change(jobbook.fail, job, "no luck", NOW)
    elif status == "Cancelled":
        books.change(jobbook.cancel, job, OWNER, NOW)
    return job


def refusal(books: Books, change: Any, *arguments: Any) -> int:
    """The code with which *change* is refused; nothing moves."""
    before = list(books.tx.iterdump())
    with pytest.raises(Refusal) as caught:
        change(books.tx, *arguments)
    assert list(books.tx.iterdump()) == before
    return caught.value.code


# --- submission -------------------------------------------------------------------------------------------------------


def test_a_submission_reserves_the_cost(books: Books) -> None:
    """Nothing is burned yet, and the book says who submitted what."""
    shown = books.job(submitted(books))
    assert (books.account(OWNER).balance, books.account(OWNER).reserved, books.balanced()["burned"]) == (90, 10, 0)
    assert shown["job_id"] == jobbook.job_id(OWNER, "k")
    assert (shown["status"], shown["owner"], shown["idempotency_key"], shown["cost_mana"]) == ("Submitted", OWNER, "k", 10)
    assert shown["history"] == [["Submitted", NOW]]


def test_a_repeated_key_is_the_same_job_and_costs_nothing(books: Books) -> None:
    """Even when nothing is left to pay with, and after the job has ended."""
    job = submitted(books, cost=100)
    for _ in range(2):
        assert books.change(jobbook.submit, OWNER, echo("k", cost=100), NOW + 1) == jobbook.Receipted(job, repeated=True)
        books.tx.execute("UPDATE jobs SET status = 'Failed'")
    assert books.balanced()["reserved"] == 100


def test_a_key_with_another_body_is_a_conflict(books: Books) -> None:
    """Another payload, or another cost."""
    submitted(books)
    for other in (echo("k", payload="other"), echo("k", cost=11)):
        assert refusal(books, jobbook.submit, OWNER, other, NOW) == 409


def test_keys_are_an_owner_s_own(books: Books) -> None:
    """The same key of two owners is two jobs, which each pays."""
    books.change(ledger.open_account, OTHER, 20, NOW)
    first = submitted(books)
    second = books.change(jobbook.submit, OTHER, echo("k"), NOW)
    assert (second.repeated, second.job == first) == (False, False)
    assert (books.account(OWNER).balance, books.account(OTHER).balance) == (90, 10)


def test_who_cannot_pay_has_no_job(books: Books) -> None:
    """And may come back under the same key."""
    with pytest.raises(Refusal) as caught:
        books.change(jobbook.submit, OWNER, echo("k", cost=101), NOW)
    assert (caught.value.code, jobpages.jobs(books.read, 0, 10)) == (402, ([], None))
    assert refusal(books, jobbook.advance, jobbook.job_id(OWNER, "k"), "BiddingOpen", NOW) == 404
    submitted(books)


# --- transitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", LEGAL)
@pytest.mark.parametrize("to", ON_THE_WAY)
def test_only_a_legal_transition_is_made(books: Books, before: str, to: str) -> None:
    """Each pair of statuses; a job that has the status already is left as it is."""
    job = brought(books, before)
    history = books.job(job)["history"]
    if to == before:
        assert not books.change(jobbook.advance, job, to, NOW + 1)
    elif to in LEGAL[before]:
        assert books.change(jobbook.advance, job, to, NOW + 1)
        assert books.job(job)["history"] == [*history, [to, NOW + 1]]
        return
    else:
        assert refusal(books, jobbook.advance, job, to, NOW + 1) == 409
    assert books.job(job)["history"] == history


def test_a_clock_that_is_set_back_does_not_turn_a_history_around(books: Books) -> None:
    """Times never decrease."""
    job = submitted(books)
    for number, to in enumerate(ON_THE_WAY):
        books.change(jobbook.advance, job, to, NOW + (5, 3, 9, 1)[number])
    assert [at for _, at in books.job(job)["history"]] == [NOW, NOW + 5, NOW + 5, NOW + 9, NOW + 9]


@pytest.mark.parametrize("end", FINAL)
def test_an_end_is_not_reached_without_its_mana(books: Books, end: str) -> None:
    """The ends have functions of their own."""
    with pytest.raises(ValueError, match="is an end"):
        jobbook.advance(books.tx, brought(books, "Executing"), end, NOW)


def test_a_completed_job_costs_its_price(books: Books) -> None:
    """The rest of what was reserved comes back, and the book shows what came of it."""
    job = brought(books, "Completed")
    shown = books.job(job)
    assert (books.account(OWNER).balance, books.balanced()["reserved"], books.balanced()["burned"]) == (96, 0, 4)
    assert (shown["price_mana"], shown["executor_did"], shown["receipt_cid"]) == (4, EXECUTOR, "receipt")
    assert (shown["result"], shown["result_cid"], shown["cpu_ms"]) == ("hello", "cid of hello", 1)
    assert [status for status, _ in shown["history"]] == ["Submitted", *ON_THE_WAY, "Completed"]


def test_the_same_receipt_again_changes_nothing(books: Books) -> None:
    """Another one for the same job is refused."""
    job = brought(books, "Completed")
    assert not books.change(jobbook.complete, job, receipt(), "receipt", 4, NOW)
    assert refusal(books, jobbook.complete, job, receipt(), "another", 4, NOW) == 409
    assert books.balanced()["burned"] == 4


@pytest.mark.parametrize("before", [status for status in LEGAL if status != "Executing"])
def test_a_receipt_for_a_job_that_is_not_executing_is_refused(books: Books, before: str) -> None:
    """Above all one that arrives after a cancel."""
    assert refusal(books, jobbook.complete, brought(books, before), receipt(), "late", 4, NOW) == 409


def test_a_receipt_must_come_from_the_executor_and_cost_no_more_than_was_promised(books: Books) -> None:
    """Otherwise nothing happens to the job."""
    job = brought(books, "Executing")
    assert refusal(books, jobbook.complete, job, receipt(OTHER), "receipt", 4, NOW) == 403
    for price in (11, -1, 4.0, True):
        assert refusal(books, jobbook.complete, job, receipt(), "receipt", price, NOW) == 422


@pytest.mark.parametrize("before", [status for status in LEGAL if status not in FINAL])
def test_a_job_that_has_not_ended_can_be_cancelled_by_its_owner(books: Books, before: str) -> None:
    """All mana comes back, once: a second cancel changes nothing, and is no refusal, since the first answer may be lost."""
    job = brought(books, before)
    assert refusal(books, jobbook.cancel, job, OTHER, NOW) == 403
    assert books.change(jobbook.cancel, job, OWNER, NOW + 1)
    assert books.change(jobbook.cancel, job, OWNER, NOW + 2) is False
    assert refusal(books, jobbook.fail, job, "too late", NOW + 2) == 409
    assert (books.account(OWNER).balance, books.job(job)["history"][-1]) == (100, ["Cancelled", NOW + 1])


@pytest.mark.parametrize("before", FINAL)
def test_a_job_that_has_ended_stays_as_it_is(books: Books, before: str) -> None:
    """It is neither cancelled nor failed nor opened again, and the refusal says what it is."""
    job = brought(books, before)
    assert before == "Cancelled" or refusal(books, jobbook.cancel, job, OWNER, NOW) == 409
    assert refusal(books, jobbook.fail, job, "no", NOW) == 409
    assert refusal(books, jobbook.reopen, job, NOW) == 409
    with pytest.raises(IllegalTransition) as caught:
        jobbook.fail(books.tx, job, "no", NOW)
    assert (caught.value.before, caught.value.details) == (before, {"status": before})


def test_a_failed_job_says_why_and_costs_nothing(books: Books) -> None:
    """All mana comes back, and what else is known is kept."""
    job = brought(books, "Executing")
    books.change(jobbook.fail, job, "the executor says no", NOW, receipt_cid="receipt")
    shown = books.job(job)
    assert (shown["status"], shown["reason"], shown["receipt_cid"]) == ("Failed", "the executor says no", "receipt")
    assert books.account(OWNER).balance == 100


def test_a_lost_executor_is_replaced_a_few_times(books: Books) -> None:
    """Then the job fails with its mana back; before, its reservation stays."""
    job = brought(books, "Assigned")
    for number in range(2, MOST_ROUNDS + 1):
        assert books.change(jobbook.reopen, job, NOW)
        shown = books.job(job)
        assert (shown["status"], shown["round"], shown["executor_did"]) == ("BiddingOpen", number, None)
        assert books.account(OWNER).reserved == 10
        for to in ("BiddingClosed", "Assigned", "Executing"):
            books.change(jobbook.advance, job, to, NOW)
    assert not books.change(jobbook.reopen, job, NOW)
    assert (books.job(job)["status"], books.account(OWNER).balance) == ("Failed", 100)


@pytest.mark.parametrize("before", ["Submitted", "BiddingOpen", "BiddingClosed"])
def test_a_job_without_an_executor_is_not_opened_again(books: Books, before: str) -> None:
    """There is nobody to have lost."""
    assert refusal(books, jobbook.reopen, brought(books, before), NOW) == 409


def test_the_tables_themselves_refuse_a_job_that_cannot_be(books: Books) -> None:
    """Whoever writes past the functions meets the constraints."""
    brought(books, "Assigned")
    for wrong in ("status = 'Running'", "status = 'Completed'", "price = 11", "cost = 1001", "round = 4", "events = 0"):
        with pytest.raises(sqlite3.IntegrityError):
            books.tx.execute(f"UPDATE jobs SET {wrong}")


# --- reads ------------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_in_pages_with_their_histories(books: Books) -> None:
    """Each once, oldest first, and the last page says that it is the last."""
    made = [brought(books, status, key=status) for status in ("Completed", "Submitted", "Cancelled", "Failed", "Executing")]
    found, after = [], 0
    while after is not None:
        page, after = jobpages.jobs(books.read, after, 2)
        assert len(page) <= 2
        found += page
    assert [job["job_id"] for job in found] == made
    assert found == [books.job(job) for job in made]
    assert [job["history"][-1][0] for job in found] == [job["status"] for job in found]


def test_long_results_make_short_pages(books: Books) -> None:
    """So that a page fits into memory; a job that is longer than a page has one of its own."""
    for each in range(4):
        brought(books, "Completed", key=f"k{each}")
    books.tx.execute("UPDATE jobs SET result = printf('%.*c', ?, 'x') WHERE number < 4", (jobpages.LONGEST_RESULTS // 2,))
    books.tx.execute("UPDATE jobs SET result = printf('%.*c', ?, 'x') WHERE number = 3", (jobpages.LONGEST_RESULTS + 1,))
    pages, after = [], 0
    while after is not None:
        page, after = jobpages.jobs(books.read, after, 10)
        pages.append([job["number"] for job in page])
    assert pages == [[1, 2], [3], [4]]


def test_a_history_that_is_read_later_is_not_ahead_of_its_job(books: Books) -> None:
    """A transition between the two reads is not shown by half."""
    job = submitted(books)

    def read(statement: str, parameters: Any) -> list[Any]:
        rows = books.read(statement, parameters)
        if "job_events" not in statement:
            books.change(jobbook.advance, job, "BiddingOpen", NOW)
        return rows

    shown = jobpages.job(read, job)
    assert shown is not None
    assert (shown["status"], shown["history"]) == ("Submitted", [["Submitted", NOW]])


def test_what_has_not_ended_is_found_after_a_restart(books: Books) -> None:
    """With everything that carrying it out needs, oldest first, and by an index over these alone."""
    made = {status: brought(books, status, key=status) for status in LEGAL}
    found = jobbook.unfinished(books.read)
    assert [(job.status, job.id) for job in found] == [(status, made[status]) for status in LEGAL if status not in FINAL]
    assert (found[-1].executor, found[-1].price, found[-1].spec) == (EXECUTOR, 4, '{"kind":{"Echo":{"payload":"hello"}}}')
    assert found[-1] == jobbook.record(books.read, made["Executing"])
    assert not any(job.final for job in found)
    plan = books.read("EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE status NOT IN ('Completed', 'Failed', 'Cancelled')")
    assert "jobs_unfinished" in str(plan)


def test_jobs_are_counted_by_status(books: Books) -> None:
    """Those that ended as well, which is not a pass over all of them."""
    assert set(jobbook.counts(books.read).values()) == {0}
    for status in LEGAL:
        brought(books, status, key=status)
    assert jobbook.counts(books.read) == dict.fromkeys(LEGAL, 1)


# --- against a model --------------------------------------------------------------------------------------------------


class Expected:
    """What a job should be."""

    def __init__(self, owner: str, payload: str, cost: int) -> None:
        self.owner, self.payload, self.cost, self.price, self.round = owner, payload, cost, 0, 1
        self.history = ["Submitted"]

    @property
    def status(self) -> str:
        return self.history[-1]


OWNERS = st.sampled_from([OWNER, OTHER])
EXECUTORS = st.sampled_from(["did:key:x", "did:key:y"])
STARTING = 500


class JobBookMachine(RuleBasedStateMachine):
    """Everything that can happen to jobs, in any order, against what should come of it."""

    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.books, self.now = Books(), NOW
        self.expected: dict[str, Expected] = {}
        self.executors: dict[str, str] = {}
        self.receipts: dict[str, str] = {}
        for did in (OWNER, OTHER):
            self.books.change(ledger.open_account, did, STARTING, NOW)
        self.books.change(ledger.set_capacity, 0, NOW)

    def teardown(self) -> None:
        self.books.close()

    def tried(self, change: Any, *arguments: Any, **named: Any) -> Any:
        """The answer of a change, or the code of its refusal."""
        self.now += 1
        try:
            return self.books.change(change, *arguments, self.now, **named)
        except Refusal as refusal:
            return refusal.code

    def balance(self, owner: str) -> int:
        paid = (job.price if job.status == "Completed" else job.cost for job in self.costly(owner))
        return STARTING - sum(paid)

    def costly(self, owner: str) -> list[Expected]:
        """The jobs of *owner* that hold mana or have burned some."""
        jobs = self.expected.values()
        return [job for job in jobs if job.owner == owner and job.status not in ("Failed", "Cancelled")]

    @rule(
        target=jobs,
        owner=OWNERS,
        key=st.sampled_from("abcdef"),
        payload=st.sampled_from("pq"),
        cost=st.sampled_from([1, 90, 200]),
    )
    def submit(self, owner: str, key: str, payload: str, cost: int) -> str:
        job, enough = jobbook.job_id(owner, key), self.balance(owner) >= cost
        answer = self.tried(jobbook.submit, owner, echo(key, payload, cost))
        known = self.expected.get(job)
        if known is not None:
            same = (known.payload, known.cost) == (payload, cost)
            assert answer == (jobbook.Receipted(job, repeated=True) if same else 409)
        elif enough:
            assert answer == jobbook.Receipted(job, repeated=False)
            self.expected[job] = Expected(owner, payload, cost)
        else:
            assert answer == 402
        return job

    @rule(job=jobs, to=st.sampled_from(ON_THE_WAY), executor=EXECUTORS)
    def advance(self, job: str, to: str, executor: str) -> None:
        columns = {"executor": executor} if to == "Assigned" else {}
        answer = self.tried(lambda tx, now: jobbook.advance(tx, job, to, now, **columns))
        if self.moved(job, to, answer, repeated=True) and columns:
            self.executors[job] = executor

    @rule(job=jobs)
    def onward(self, job: str) -> None:
        """The next step of a job's straight way, so that many get far."""
        history = self.expected[job].history if job in self.expected else []
        for before, to in zip(("Submitted", *ON_THE_WAY), ON_THE_WAY, strict=False):
            if history[-1:] == [before]:
                self.advance(job, to, "did:key:x")
                return

    @rule(job=jobs, executor=EXECUTORS, price=st.sampled_from([0, 1, 50, 201]), receipt_cid=st.sampled_from("rs"))
    def complete(self, job: str, executor: str, price: int, receipt_cid: str) -> None:
        answer = self.tried(lambda tx, now: jobbook.complete(tx, job, receipt(executor), receipt_cid, price, now))
        known = self.expected.get(job)
        if known is not None and known.status == "Completed" and self.receipts[job] == receipt_cid:
            assert answer is False
        elif known is not None and known.status == "Executing" and executor != self.executors[job]:
            assert answer == 403
        elif known is not None and known.status == "Executing" and price > known.cost:
            assert answer == 422
        elif self.moved(job, "Completed", answer):
            self.expected[job].price, self.receipts[job] = price, receipt_cid

    @rule(job=jobs)
    def fail(self, job: str) -> None:
        self.moved(job, "Failed", self.tried(lambda tx, now: jobbook.fail(tx, job, "a reason", now)))

    @rule(job=jobs, owner=OWNERS)
    def cancel(self, job: str, owner: str) -> None:
        answer = self.tried(jobbook.cancel, job, owner)
        if job in self.expected and self.expected[job].owner != owner:
            assert answer == 403
        else:
            self.moved(job, "Cancelled", answer, repeated=True)

    @rule(job=jobs)
    def reopen(self, job: str) -> None:
        answer = self.tried(jobbook.reopen, job)
        known = self.expected.get(job)
        if known is not None and known.status in ("Assigned", "Executing"):
            assert answer is (known.round < MOST_ROUNDS)
            known.history.append("BiddingOpen" if answer else "Failed")
            known.round += bool(answer)
        else:
            assert answer == (404 if known is None else 409)

    def moved(self, job: str, to: str, answer: Any, *, repeated: bool = False) -> bool:
        """Whether *job* should have gone to *to*; the answer must say so."""
        known = self.expected.get(job)
        if known is None:
            assert answer == 404
        elif repeated and known.status == to:
            assert answer is False
        elif to not in LEGAL[known.status]:
            assert answer == 409
        else:
            assert answer is True
            known.history.append(to)
            return True
        return False

    @invariant()
    def the_book_is_as_the_model(self) -> None:
        shown, _ = jobpages.jobs(self.books.read, 0, 100)
        assert {job["job_id"]: [status for status, _ in job["history"]] for job in shown} == {
            job: expected.history for job, expected in self.expected.items()
        }
        for job in shown:
            known = self.expected[job["job_id"]]
            assert (job["status"], job["round"], job["owner"], job["cost_mana"]) == (
                known.status,
                known.round,
                known.owner,
                known.cost,
            )
            times = [at for _, at in job["history"]]
            assert times == sorted(set(times))

    @invariant()
    def mana_moved_once(self) -> None:
        self.books.balanced()
        for owner in (OWNER, OTHER):
            assert self.books.account(owner).balance == self.balance(owner)
            burned = sum(job.price for job in self.costly(owner) if job.status == "Completed")
            assert self.books.account(owner).burned == burned

    @invariant()
    def the_counts_are_right(self) -> None:
        statuses = [job.status for job in self.expected.values()]
        assert jobbook.counts(self.books.read) == {status: statuses.count(status) for status in LEGAL}
        assert len(jobbook.unfinished(self.books.read)) == sum(status not in FINAL for status in statuses)


JobBookMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestJobBookMachine = JobBookMachine.TestCase
