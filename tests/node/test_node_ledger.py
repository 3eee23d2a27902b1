"""Mana: what an account may do, what an amount may be, and that it adds up at every instant."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from books import OTHER, OWNER, Books
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gates.node import ledger
from gates.node.errors import Refusal
from gates.node.ledger import PERIOD_MS, Account, balance_at

START = 1_000_000


@pytest.fixture
def books() -> Iterator[Books]:
    """A ledger with one account of 100 mana that does not grow."""
    made = Books()
    made.change(ledger.establish, OWNER, 100, 0, START)
    yield made
    made.close()


def refusal(books: Books, change: Any, *arguments: Any) -> int:
    """The code with which *change* is refused; nothing moves."""
    before = ledger.audit(books.read)
    with pytest.raises(Refusal) as caught:
        books.change(change, *arguments)
    assert books.balanced() == before
    return caught.value.code


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_an_account_is_granted_mana_once(books: Books) -> None:
    """Opening an account a second time changes nothing, whatever the grant."""
    assert books.change(ledger.open_account, OTHER, 50, START)
    assert not books.change(ledger.open_account, OTHER, 70, START + 1)
    assert books.account(OTHER).balance == 50
    assert books.balanced()["minted"] == 150


def test_a_ledger_is_established_once(books: Books) -> None:
    """A restart neither mints for the node again nor takes back a capacity that was changed since."""
    books.change(ledger.set_capacity, 700, START)
    books.change(ledger.establish, OWNER, 100, 0, START + 1)
    books.change(ledger.open_account, OTHER, 1, START + 1)
    assert (books.account(OWNER).minted, books.account(OTHER).capacity) == (100, 700)


def test_who_has_no_account_can_neither_spend_nor_be_given_mana(books: Books) -> None:
    """The refusals say so: 402 to who wants to pay, 404 to who names an unknown account."""
    assert refusal(books, ledger.spend, OTHER, 1, "k", START) == 402
    assert refusal(books, ledger.reserve, OTHER, 1, "r", START) == 402
    assert refusal(books, ledger.mint, OTHER, 1, "k", START) == 404
    assert refusal(books, ledger.set_reputation, OTHER, 1, START) == 404


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1, 2**64, 1.0, 1.5, True, "1", None])
@pytest.mark.parametrize("change", [ledger.mint, ledger.spend, ledger.reserve])
def test_an_amount_is_a_positive_integer_of_reasonable_size(books: Books, change: Any, amount: Any) -> None:
    """Nothing else is minted, spent or reserved."""
    assert refusal(books, change, OWNER, amount, "k", START) == 422


def test_more_than_an_account_can_count_is_not_minted(books: Books) -> None:
    """Minting ends long before integers of the database do."""
    books.tx.execute("UPDATE accounts SET minted = 999999999999999999, balance = 999999999999999999")
    assert refusal(books, ledger.mint, OWNER, 2, "k", START) == 422


def test_the_table_itself_refuses_mana_that_does_not_add_up(books: Books) -> None:
    """Whoever writes past the functions meets the constraints."""
    for wrong in ("balance = balance + 1", "burned = 1", "balance = -1, burned = 101", "reserved = 5", "minted = 0"):
        with pytest.raises(sqlite3.IntegrityError):
            books.tx.execute(f"UPDATE accounts SET {wrong}")


# --- under a key ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "after"), [(ledger.mint, 140), (ledger.spend, 60)])
def test_an_operation_is_carried_out_once_a_key(books: Books, change: Any, after: int) -> None:
    """A repeated key moves nothing; with another amount, or for another operation, it is a conflict."""
    assert books.change(change, OWNER, 40, "k", START)
    assert not books.change(change, OWNER, 40, "k", START)
    assert refusal(books, change, OWNER, 41, "k", START) == 409
    assert refusal(books, ledger.spend if change is ledger.mint else ledger.mint, OWNER, 40, "k", START) == 409
    assert books.account(OWNER).balance == after


def test_keys_are_an_account_s_own(books: Books) -> None:
    """The same key of two accounts is two operations."""
    books.change(ledger.open_account, OTHER, 50, START)
    assert books.change(ledger.spend, OWNER, 10, "k", START)
    assert books.change(ledger.spend, OTHER, 20, "k", START)
    assert books.balanced()["burned"] == 30


def test_a_refused_operation_leaves_its_key_free(books: Books) -> None:
    """Who comes back with the mana may use the key again."""
    assert refusal(books, ledger.spend, OWNER, 101, "k", START) == 402
    books.change(ledger.mint, OWNER, 1, "m", START)
    assert books.change(ledger.spend, OWNER, 101, "k", START)


# --- reservations -----------------------------------------------------------------------------------------------------


def test_what_is_reserved_cannot_be_spent(books: Books) -> None:
    """It is out of the balance until the reservation ends."""
    books.change(ledger.reserve, OWNER, 70, "r", START)
    assert refusal(books, ledger.spend, OWNER, 31, "k", START) == 402
    assert refusal(books, ledger.reserve, OWNER, 31, "s", START) == 402
    assert books.change(ledger.spend, OWNER, 30, "k", START)


def test_a_reservation_s_name_is_used_once(books: Books) -> None:
    """Even after it has ended."""
    books.change(ledger.reserve, OWNER, 10, "r", START)
    assert refusal(books, ledger.reserve, OWNER, 10, "r", START) == 409
    books.change(ledger.release, "r", START)
    assert refusal(books, ledger.reserve, OWNER, 10, "r", START) == 409


@pytest.mark.parametrize("burn", [0, 4, 10])
def test_a_commit_burns_the_price_and_gives_back_the_rest(books: Books, burn: int) -> None:
    """And a reservation that has ended does not end again, either way."""
    books.change(ledger.reserve, OWNER, 10, "r", START)
    assert books.change(ledger.commit, "r", burn, START)
    for _ in range(2):
        assert not books.change(ledger.commit, "r", burn, START)
        assert not books.change(ledger.release, "r", START)
    assert (books.account(OWNER).balance, books.balanced()["burned"]) == (100 - burn, burn)


def test_a_release_gives_back_everything_once(books: Books) -> None:
    """Another reservation beside it is not touched by the second call."""
    books.change(ledger.reserve, OWNER, 10, "r", START)
    books.change(ledger.reserve, OWNER, 10, "s", START)
    assert books.change(ledger.release, "r", START)
    assert not books.change(ledger.release, "r", START)
    assert not books.change(ledger.commit, "r", 5, START)
    assert (books.account(OWNER).balance, books.account(OWNER).reserved) == (90, 10)


@pytest.mark.parametrize("burn", [-1, 11, 1.0, True])
def test_a_commit_burns_no_more_than_is_reserved(books: Books, burn: Any) -> None:
    """Nor less than nothing, nor half a mana."""
    books.change(ledger.reserve, OWNER, 10, "r", START)
    assert refusal(books, ledger.commit, "r", burn, START) == 422


def test_a_reservation_that_was_never_made_does_not_end(books: Books) -> None:
    """It is unknown, which is not the same as ended."""
    assert refusal(books, ledger.release, "r", START) == 404
    assert refusal(books, ledger.commit, "r", 1, START) == 404


# --- regeneration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reputation", "grown"), [(0, 1), (9, 1), (10, 1), (19, 1), (20, 2), (100, 10), (155, 15), (200, 20), (999, 20)]
)
def test_mana_grows_with_reputation(reputation: int, grown: int) -> None:
    """A tenth of ten mana a minute for who has none, at most the double; fractions are cut off."""
    account = Account(OWNER, 0, 0, 0, 0, 0, reputation, 10_000, START)
    assert [balance_at(account, START + ms) for ms in (0, PERIOD_MS - 1, PERIOD_MS, 3 * PERIOD_MS)] == [0, 0, grown, 3 * grown]


def test_mana_grows_up_to_the_capacity_and_never_above() -> None:
    """What is reserved counts, and an account beyond its capacity keeps what it has."""
    assert balance_at(Account(OWNER, 95, 0, 0, 95, 0, 100, 100, START), START + 9 * PERIOD_MS) == 100
    assert balance_at(Account(OWNER, 95, 0, 0, 50, 45, 100, 100, START), START + 9 * PERIOD_MS) == 55
    assert balance_at(Account(OWNER, 500, 0, 0, 500, 0, 100, 100, START), START + 9 * PERIOD_MS) == 500


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    """And nothing grows twice for the same minute."""
    account = Account(OWNER, 0, 0, 0, 0, 0, 100, 10_000, START)
    assert balance_at(account, START - 5 * PERIOD_MS) == 0


def test_time_for_which_an_account_was_full_is_not_made_up_for_later(books: Books) -> None:
    """Mana that is burned grows again from then on, not from when the account was last settled."""
    books.change(ledger.set_capacity, 100, START)
    books.change(ledger.reserve, OWNER, 50, "r", START)
    books.change(ledger.commit, "r", 50, START + 30 * PERIOD_MS)
    assert books.change(ledger.settle, OWNER, START + 30 * PERIOD_MS).balance == 50
    assert books.change(ledger.settle, OWNER, START + 31 * PERIOD_MS).balance == 51


def test_jobs_that_were_carried_out_let_mana_grow_faster_from_then_on(books: Books) -> None:
    """What grew before is settled at the old rate, and an account that is not here earns nothing."""
    books.change(ledger.set_capacity, 1000, START)
    books.change(ledger.earn, OWNER, 200, START + 10 * PERIOD_MS)
    books.change(ledger.earn, OWNER, 0, START)
    books.change(ledger.earn, OTHER, 5, START)
    known = books.account(OWNER)
    assert (known.reputation, known.balance) == (200, 100 + 10 * 1)
    assert ledger.balance_at(known, START + 20 * PERIOD_MS) == 110 + 10 * 20


def test_what_has_grown_can_be_spent(books: Books) -> None:
    """An account is settled when it would not have enough otherwise."""
    books.change(ledger.set_capacity, 200, START)
    assert refusal(books, ledger.reserve, OWNER, 103, "r", START + 2 * PERIOD_MS) == 402
    books.change(ledger.reserve, OWNER, 103, "r", START + 3 * PERIOD_MS)
    assert books.balanced()["regenerated"] == 3


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.lists(st.integers(0, 300_000), max_size=6))
def test_settling_more_often_makes_no_difference(reputation: int, balance: int, capacity: int, steps: list[int]) -> None:
    """Regeneration is a function of time alone: an account that is settled on the way ends like one that is not."""
    account = often = Account(OWNER, balance, 0, 0, balance, 0, reputation, capacity, START)
    now = START
    for step in steps:
        now += step
        periods = (now - often.settled_at) // PERIOD_MS
        often = Account(
            OWNER, balance, 0, 0, balance_at(often, now), 0, reputation, capacity, often.settled_at + periods * PERIOD_MS
        )
    assert balance_at(often, now) == balance_at(account, now)


# --- against a model --------------------------------------------------------------------------------------------------


class Model:
    """An account that grows minute by minute, as it would with a clock that ticks."""

    def __init__(self, balance: int, capacity: int, now: int) -> None:
        self.balance, self.minted, self.capacity, self.next = balance, balance, capacity, now + PERIOD_MS
        self.burned = self.regenerated = self.reputation = 0
        self.held: dict[str, int] = {}

    def tick(self, now: int) -> None:
        while self.next <= now:
            room = max(0, self.capacity - self.balance - sum(self.held.values()))
            grown = min(room, int(10 * min(max(self.reputation / 100, 0.1), 2)))
            self.balance, self.regenerated, self.next = self.balance + grown, self.regenerated + grown, self.next + PERIOD_MS


DIDS = st.sampled_from(["did:key:a", "did:key:b", "did:key:c"])
AMOUNTS = st.integers(1, 120)
NAMES = st.sampled_from([f"name-{number}" for number in range(8)])


class LedgerMachine(RuleBasedStateMachine):
    """Everything that can be done to a ledger, in any order, against what should come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.books, self.now, self.capacity = Books(), START, 0
        self.accounts: dict[str, Model] = {}
        self.used: dict[str, str] = {}
        self.operations: dict[tuple[str, str], str] = {}

    def teardown(self) -> None:
        self.books.close()

    def tried(self, change: Any, *arguments: Any) -> Any:
        """The answer of a change, or the code of its refusal."""
        try:
            return self.books.change(change, *arguments)
        except Refusal as refusal:
            return refusal.code

    @initialize(mana=st.integers(0, 300), capacity=st.integers(0, 400))
    def establish(self, mana: int, capacity: int) -> None:
        self.capacity = capacity
        self.books.change(ledger.establish, "did:key:a", mana, capacity, self.now)
        self.accounts["did:key:a"] = Model(mana, capacity, self.now)

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * 1000
        for account in self.accounts.values():
            account.tick(self.now)

    @rule(did=DIDS, grant=st.integers(0, 200))
    def open_account(self, did: str, grant: int) -> None:
        assert self.tried(ledger.open_account, did, grant, self.now) is (did not in self.accounts)
        self.accounts.setdefault(did, Model(grant, self.capacity, self.now))

    @rule(did=DIDS, amount=AMOUNTS, key=NAMES)
    def mint(self, did: str, amount: int, key: str) -> None:
        answer = self.tried(ledger.mint, did, amount, key, self.now)
        assert answer == self.expected(did, f"mint {amount}", key, 404, True)
        if answer is True:
            self.accounts[did].balance += amount
            self.accounts[did].minted += amount

    @rule(did=DIDS, amount=AMOUNTS, key=NAMES)
    def spend(self, did: str, amount: int, key: str) -> None:
        enough = did in self.accounts and self.accounts[did].balance >= amount
        answer = self.tried(ledger.spend, did, amount, key, self.now)
        assert answer == self.expected(did, f"spend {amount}", key, 402, enough)
        if answer is True:
            self.accounts[did].balance -= amount
            self.accounts[did].burned += amount

    def expected(self, did: str, content: str, key: str, unable: int, able: bool) -> bool | int:
        """What an operation under a key should be answered."""
        known = self.operations.get((did, key))
        if known is not None:
            return False if known == content else 409
        if did not in self.accounts or not able:
            return unable
        self.operations[did, key] = content
        return True

    @rule(did=DIDS, amount=AMOUNTS, name=NAMES)
    def reserve(self, did: str, amount: int, name: str) -> None:
        answer = self.tried(ledger.reserve, did, amount, name, self.now)
        if did not in self.accounts or self.accounts[did].balance < amount:
            assert answer == 402
        elif name in self.used:
            assert answer == 409
        else:
            assert answer is None
            self.used[name] = did
            self.accounts[did].balance -= amount
            self.accounts[did].held[name] = amount

    @rule(name=NAMES, burn=st.integers(0, 130))
    def commit(self, name: str, burn: int) -> None:
        self.end(name, burn, self.tried(ledger.commit, name, burn, self.now))

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        self.end(name, 0, self.tried(ledger.release, name, self.now))

    def end(self, name: str, burn: int, answer: bool | int) -> None:
        if name not in self.used:
            assert answer == 404
            return
        account = self.accounts[self.used[name]]
        if name not in account.held:
            assert answer in (False, 422)
        elif burn > account.held[name]:
            assert answer == 422
        else:
            assert answer is True
            account.balance += account.held.pop(name) - burn
            account.burned += burn

    @rule(did=DIDS, reputation=st.integers(0, 300))
    def set_reputation(self, did: str, reputation: int) -> None:
        answer = self.tried(ledger.set_reputation, did, reputation, self.now)
        assert answer == (None if did in self.accounts else 404)
        if did in self.accounts:
            self.accounts[did].reputation = reputation

    @rule(capacity=st.integers(0, 400))
    def set_capacity(self, capacity: int) -> None:
        self.books.change(ledger.set_capacity, capacity, self.now)
        self.capacity = capacity
        for account in self.accounts.values():
            account.capacity = capacity

    @invariant()
    def the_ledger_is_as_the_model(self) -> None:
        for did, model in self.accounts.items():
            account = self.books.account(did)
            grown = ledger.accrued(account, self.now)
            assert (account.balance + grown, account.regenerated + grown) == (model.balance, model.regenerated)
            assert (account.reserved, account.minted) == (sum(model.held.values()), model.minted)
            assert account.burned == model.burned

    @invariant()
    def mana_adds_up(self) -> None:
        assert self.books.balanced()["accounts"] == len(self.accounts)


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase
