"""Mana: accounts, reservations and their rules, as functions over one transaction.

Amounts are integers. For every account, and so for all of them together, minted + regenerated - burned = balance + reserved at
every instant; the table itself refuses a row for which that is not so. What is paid later is reserved first, under a name, and
each reservation ends exactly once, committed or released. Mana regenerates as a pure function of time and reputation, and is
settled lazily: `balance_at` says what settling at an instant would find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gates.node.errors import Refusal
from gates.node.storage import Transaction

PERIOD_MS = 60_000
BASE_RATE = 10
CAPACITY = 10_000
HIGHEST_AMOUNT = 10**15
HIGHEST_MINTED = 10**18
HIGHEST_REPUTATION = 1_000_000
CONSERVED = "CHECK (minted + regenerated - burned = balance + reserved)"
HELD, COMMITTED, RELEASED = "held", "committed", "released"
TABLES = f"""
CREATE TABLE IF NOT EXISTS accounts (
    did TEXT PRIMARY KEY, minted INTEGER NOT NULL CHECK (minted BETWEEN 0 AND {HIGHEST_MINTED}),
    regenerated INTEGER NOT NULL DEFAULT 0 CHECK (regenerated >= 0), burned INTEGER NOT NULL DEFAULT 0 CHECK (burned >= 0),
    balance INTEGER NOT NULL CHECK (balance >= 0), reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    reputation INTEGER NOT NULL DEFAULT 0 CHECK (reputation >= 0), capacity INTEGER NOT NULL CHECK (capacity >= 0),
    settled_at INTEGER NOT NULL, {CONSERVED});
CREATE TABLE IF NOT EXISTS reservations (
    id TEXT PRIMARY KEY, did TEXT NOT NULL REFERENCES accounts, amount INTEGER NOT NULL CHECK (amount > 0),
    state TEXT NOT NULL CHECK (state IN ('held', 'committed', 'released')),
    burned INTEGER NOT NULL DEFAULT 0 CHECK (burned BETWEEN 0 AND amount), CHECK (state = 'committed' OR burned = 0)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reservations_held ON reservations (did, amount) WHERE state = 'held';
CREATE TABLE IF NOT EXISTS operations (
    did TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (did, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_rules (
    one INTEGER PRIMARY KEY CHECK (one = 1), capacity INTEGER NOT NULL CHECK (capacity >= 0))
"""
_COLUMNS = "did, minted, regenerated, burned, balance, reserved, reputation, capacity, settled_at"
_AUDIT = """
SELECT coalesce(sum(minted), 0), coalesce(sum(regenerated), 0), coalesce(sum(burned), 0), coalesce(sum(balance), 0),
    coalesce(sum(reserved), 0), count(*), (SELECT coalesce(sum(amount), 0) FROM reservations WHERE state = 'held')
FROM accounts
"""

Read = Callable[[str, Sequence[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it was last settled.

    Attributes:
        minted: mana that was given to it.
        regenerated: mana that grew, up to `settled_at`.
        burned: mana that was spent.
        balance: mana that can be spent.
        reserved: mana that is held for what is under way.
        reputation: how fast mana grows: `reputation` per cent of `BASE_RATE` a period, between 10 and 200 per cent.
        capacity: mana does not grow beyond it, what is reserved included.
        settled_at: milliseconds since the epoch up to which what grew is in `balance`.
    """

    did: str
    minted: int
    regenerated: int
    burned: int
    balance: int
    reserved: int
    reputation: int
    capacity: int
    settled_at: int


# --- pure -------------------------------------------------------------------------------------------------------------


def rate(reputation: int) -> int:
    """The mana that grows in one period: floor(10 * clamp(reputation / 100, 0.1, 2))."""
    return BASE_RATE * min(max(reputation, 10), 200) // 100


def accrued(account: Account, now: int) -> int:
    """The mana that grew in the whole periods since *account* was settled, as far as there was room for it."""
    room = account.capacity - account.balance - account.reserved
    return max(0, min(room, _periods(account, now) * rate(account.reputation)))


def balance_at(account: Account, now: int) -> int:
    """The balance of *account* at *now*, in milliseconds since the epoch, had it been settled then."""
    return account.balance + accrued(account, now)


def _periods(account: Account, now: int) -> int:
    return max(0, (now - account.settled_at) // PERIOD_MS)


# --- accounts ---------------------------------------------------------------------------------------------------------


def establish(tx: Transaction, did: str, mana: int, capacity: int, now: int) -> None:
    """Set up a ledger: the node's own account *did* with *mana* and the capacity of accounts; only the first call counts."""
    tx.execute("INSERT INTO ledger_rules VALUES (1, ?) ON CONFLICT DO NOTHING", (capacity,))
    open_account(tx, did, mana, now)


def open_account(tx: Transaction, did: str, grant: int, now: int) -> bool:
    """Open the account of *did* with *grant* mana. False when it is open already, and then nothing is granted."""
    statement = (
        "INSERT INTO accounts (did, minted, balance, capacity, settled_at)"
        " VALUES (?, ?, ?, coalesce((SELECT capacity FROM ledger_rules), ?), ?) ON CONFLICT DO NOTHING"
    )
    return tx.execute(statement, (did, grant, grant, CAPACITY, now)).rowcount == 1


def account(read: Read, did: str) -> Account | None:
    """The account of *did*, read through a store's `read` or through `reading(tx)`."""
    rows = read(f"SELECT {_COLUMNS} FROM accounts WHERE did = ?", (did,))
    return Account(*rows[0]) if rows else None


def reading(tx: Transaction) -> Read:
    """Reads inside of a transaction."""
    return lambda statement, parameters: tx.execute(statement, parameters).fetchall()


def settle(tx: Transaction, did: str, now: int) -> Account:
    """The account of *did* with all that grew by *now* put into its balance. Raises Refusal with 404."""
    known = account(reading(tx), did)
    if known is None:
        raise Refusal(404, f"{did} has no account here; POST /account/open opens it")
    if _periods(known, now) == 0:
        return known
    grown, until = accrued(known, now), known.settled_at + _periods(known, now) * PERIOD_MS
    tx.execute(
        "UPDATE accounts SET balance = balance + ?, regenerated = regenerated + ?, settled_at = ? WHERE did = ?",
        (grown, grown, until, did),
    )
    settled = account(reading(tx), did)
    assert settled is not None
    return settled


def set_reputation(tx: Transaction, did: str, reputation: int, now: int) -> None:
    """Let mana grow by *reputation* from *now* on; what grew before is settled first. Raises Refusal with 404."""
    settle(tx, did, now)
    checked = min(max(reputation, 0), HIGHEST_REPUTATION)
    tx.execute("UPDATE accounts SET reputation = ? WHERE did = ?", (checked, did))


def earn(tx: Transaction, did: str, jobs: int, now: int) -> None:
    """Add a point to the reputation of *did* for each of the *jobs* that it carried out, when its account is here."""
    known = account(reading(tx), did) if jobs else None
    if known is not None:
        set_reputation(tx, did, known.reputation + jobs, now)


def set_capacity(tx: Transaction, capacity: int, now: int) -> None:
    """Let no account grow beyond *capacity* from *now* on; what grew before is settled first, and nothing is taken away."""
    for (did,) in tx.execute("SELECT did FROM accounts").fetchall():
        settle(tx, did, now)
    tx.execute(
        "INSERT INTO ledger_rules VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET capacity = excluded.capacity", (capacity,)
    )
    tx.execute("UPDATE accounts SET capacity = ?", (capacity,))


# --- at once, under a key ---------------------------------------------------------------------------------------------


def once(tx: Transaction, did: str, key: str, content: str, act: Callable[[], str]) -> tuple[str, bool]:
    """The answer of *act*, carried out at most once for *key* of *did*, and whether it was carried out before.

    Raises Refusal with 409 when the key was used for another *content*.
    """
    known = known_operation(tx, did, key)
    if known is None:
        answer = act()
        tx.execute("INSERT INTO operations VALUES (?, ?, ?, ?)", (did, key, content, answer))
        return answer, False
    if known[0] != content:
        raise Refusal(409, "this key was used for another operation")
    return known[1], True


def known_operation(tx: Transaction, did: str, key: str) -> tuple[str, str] | None:
    """What was asked for under *key* of *did*, and what was answered."""
    found: tuple[str, str] | None = tx.execute(
        "SELECT content, answer FROM operations WHERE did = ? AND key = ?", (did, key)
    ).fetchone()
    return found


def mint(tx: Transaction, did: str, amount: int, key: str, now: int) -> bool:
    """Give *amount* to *did*, once a key. False when it was given before. Raises Refusal with 404, 409 and 422."""

    def give() -> str:
        if settle(tx, did, now).minted + amount > HIGHEST_MINTED:
            raise Refusal(422, f"amount: more than {HIGHEST_MINTED} would be minted for {did}")
        tx.execute("UPDATE accounts SET minted = minted + ?, balance = balance + ? WHERE did = ?", (amount, amount, did))
        return ""

    _check_amount(amount)
    return not once(tx, did, key, f"mint {amount}", give)[1]


def spend(tx: Transaction, did: str, amount: int, key: str, now: int) -> bool:
    """Burn *amount* of *did* at once, once a key. False when it was spent before. Raises Refusal with 402, 409 and 422."""

    def burn() -> str:
        _afford(tx, did, amount, now)
        tx.execute("UPDATE accounts SET burned = burned + ?, balance = balance - ? WHERE did = ?", (amount, amount, did))
        return ""

    _check_amount(amount)
    return not once(tx, did, key, f"spend {amount}", burn)[1]


def _check_amount(amount: int) -> None:
    if type(amount) is not int or not 1 <= amount <= HIGHEST_AMOUNT:
        raise Refusal(422, f"amount: expected an integer from 1 to {HIGHEST_AMOUNT}")


def _afford(tx: Transaction, did: str, amount: int, now: int) -> None:
    """Settle *did*. Raises Refusal with 402 when it does not have *amount*."""
    if account(reading(tx), did) is None:
        raise Refusal(402, f"insufficient mana: {did} has no account here; POST /account/open opens it")
    settled = settle(tx, did, now)
    if settled.balance < amount:
        raise Refusal(402, f"insufficient mana: {amount} needed, {settled.balance} there", balance=settled.balance)


# --- reserve, then commit or release ----------------------------------------------------------------------------------


def reserve(tx: Transaction, did: str, amount: int, reservation: str, now: int) -> None:
    """Hold *amount* of *did* under the name *reservation*, which must be new. Raises Refusal with 402, 409 and 422.

    An account that has enough need not be settled first: what it may grow to counts what is reserved in.
    """
    _check_amount(amount)
    if not _hold(tx, did, amount):
        _afford(tx, did, amount, now)
        _hold(tx, did, amount)
    statement = "INSERT INTO reservations (id, did, amount, state) VALUES (?, ?, ?, 'held') ON CONFLICT DO NOTHING"
    if tx.execute(statement, (reservation, did, amount)).rowcount != 1:
        raise Refusal(409, f"the reservation {reservation} was made before")


def commit(tx: Transaction, reservation: str, burn: int, now: int) -> bool:
    """Burn *burn* of what *reservation* holds and give the rest back. False when it has ended before.

    Raises Refusal with 404 for a reservation that was never made and 422 for more than it holds.
    """
    did, amount, state = _reservation(tx, reservation)
    if type(burn) is not int or not 0 <= burn <= amount:
        raise Refusal(422, f"price: expected an integer from 0 to the {amount} that are reserved")
    if state != HELD:
        return False
    settle(tx, did, now)  # burning makes room to grow, which it must not do for the time before
    return _end(tx, reservation, COMMITTED, burn)


def release(tx: Transaction, reservation: str, now: int) -> bool:
    """Give back all that *reservation* holds. False when it has ended before. Raises Refusal with 404."""
    _reservation(tx, reservation)
    return _end(tx, reservation, RELEASED, 0)


def _hold(tx: Transaction, did: str, amount: int) -> bool:
    statement = "UPDATE accounts SET balance = balance - ?, reserved = reserved + ? WHERE did = ? AND balance >= ?"
    return tx.execute(statement, (amount, amount, did, amount)).rowcount == 1


def _reservation(tx: Transaction, reservation: str) -> tuple[str, int, str]:
    found: tuple[str, int, str] | None = tx.execute(
        "SELECT did, amount, state FROM reservations WHERE id = ?", (reservation,)
    ).fetchone()
    if found is None:
        raise Refusal(404, f"there is no reservation {reservation}")
    return found


def _end(tx: Transaction, reservation: str, state: str, burn: int) -> bool:
    """End a reservation and move its mana; False when `take` finds that it has ended before."""
    if (taken := take(tx, reservation, state, burn)) is None:
        return False
    give_back(tx, *taken, burn)
    return True


def take(tx: Transaction, reservation: str, state: str, burn: int) -> tuple[str, int] | None:
    """Mark a held reservation as ended and say whose it was and what it held; None when it has ended before."""
    statement = "UPDATE reservations SET state = ?, burned = ? WHERE id = ? AND state = 'held' RETURNING did, amount"
    found: list[tuple[str, int]] = tx.execute(statement, (state, burn, reservation)).fetchall()
    return found[0] if found else None


def give_back(tx: Transaction, did: str, amount: int, burn: int) -> None:
    """Move *amount* out of what *did* has reserved: *burn* is gone, the rest can be spent again."""
    statement = "UPDATE accounts SET reserved = reserved - ?, balance = balance + ?, burned = burned + ? WHERE did = ?"
    tx.execute(statement, (amount, amount - burn, burn, did))


# --- audit ------------------------------------------------------------------------------------------------------------


def audit(read: Read) -> dict[str, int]:
    """Sums over all accounts as settled, from one consistent read.

    minted + regenerated - burned = balances + reserved, and reserved = held, the sum of the reservations that have not ended.
    """
    names = ("minted", "regenerated", "burned", "balances", "reserved", "accounts", "held")
    return dict(zip(names, read(_AUDIT, ())[0], strict=True))
