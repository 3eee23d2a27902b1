"""The invariants over what clients contend for: shared keys, and balances that are read while they change."""

from __future__ import annotations

from gates.model import Operation
from gates.node.invariants_shared import PINS_FRESH, PINS_LINEARIZABLE, SHARED_KEYS, BalancesInBounds

BEFORE = {"node-a": 1000, "node-b": 1000}


def shared(when: float, job: str | None, status: str = "ok", node: str = "node-a") -> Operation:
    """A client submitted under a shared key and was told of *job*."""
    answer = {"job_id": job} if job else None
    return Operation(
        0, "submit_shared", node, "k", status, when, when + 0.5, 200, {"key": f"shared-{node}-1", "cost": 10}, answer
    )


def broken(*history: Operation) -> float:
    """How many shared keys had no one answer."""
    return SHARED_KEYS.check(history, None, None).measurements[0].value


def test_a_shared_key_names_one_job_to_everybody() -> None:
    """Whoever submits is told of the first job; on another node the same slot is another key."""
    assert broken(shared(0, "j1"), shared(1, "j1"), shared(1.2, None, "unknown"), shared(2, "j9", node="node-b")) == 0


def test_a_shared_key_with_two_jobs_is_broken() -> None:
    """Also when the first submitter never got an answer."""
    assert broken(shared(0, "j1"), shared(1, "j2")) == 1
    assert broken(shared(0, None, "unknown"), shared(1, "j1"), shared(2, "j2")) == 1


def job(when: float, status: str = "ok") -> Operation:
    """A client submitted a job of 10 mana."""
    return Operation(0, "submit_job", "node-a", "k", status, when, when + 0.5, 200, {"cost_mana": 10})


def balance(when: float, amount: int) -> Operation:
    """A client read a balance."""
    return Operation(0, "read_mana", "node-a", "k", "ok", when, when + 0.1, 200, None, {"balance": str(amount)})


def wrong(*history: Operation) -> tuple[float, int]:
    """How many balances can't have been, of how many."""
    measured = BalancesInBounds().check(history, BEFORE, None).measurements[0]
    return measured.value, measured.n


def test_a_balance_lies_between_nothing_and_everything_that_was_asked_for() -> None:
    """A job may have been paid, refunded, or not have begun; a refused one costs nothing, an unanswered one perhaps."""
    assert wrong(job(0), balance(1, 990), balance(2, 1000)) == (0, 2)
    assert wrong(job(0), job(1, "unknown"), balance(2, 980)) == (0, 1)
    assert wrong(job(0), job(1, "fail"), balance(2, 980)) == (1, 1)
    assert wrong(job(0), balance(0.1, 990)) == (0, 1)  # while its answer is awaited


def test_a_balance_that_can_not_have_been_is_wrong() -> None:
    """More than there was, or less than all wishes together could have left."""
    assert wrong(job(0), balance(1, 1001)) == (1, 1)
    assert wrong(job(0), balance(1, 980)) == (1, 1)
    assert wrong(balance(0, 990), job(3)) == (1, 1)


def test_a_balance_is_never_below_nothing() -> None:
    """However much clients asked for: what can't be paid is refused."""
    wishes = [job(number / 100) for number in range(120)]
    assert wrong(*wishes, balance(2, 0)) == (0, 1)
    assert wrong(*wishes, balance(2, -10)) == (1, 1)


def pin(kind: str, when: float, pinned: str, status: str = "ok") -> Operation:
    """A client pinned or unpinned a shared block, or read whether it is pinned."""
    read = kind == "read_pin"
    value = {"block": "shared-node-a-1"} | ({} if read else {"pinned": pinned})
    return Operation(0, kind, "node-a", "k", status, when, when + 0.5, 200, value, {"pinned": pinned} if read else None)


def pins(*history: Operation) -> tuple[float, float]:
    """Keys whose pins fit into no order, and reads of what a pin had been."""
    both = (PINS_LINEARIZABLE, PINS_FRESH)
    broken, stale = (each.check(history, None, None).measurements[0].value for each in both)
    return broken, stale


def test_a_pin_is_what_was_written_last() -> None:
    """Nothing is pinned at first; what has an unknown outcome may have come about, or not."""
    first, second = pin("pin_shared", 1, "true"), pin("unpin_shared", 3, "false")
    assert pins(pin("read_pin", 0, "false"), first, pin("read_pin", 2, "true"), second, pin("read_pin", 4, "false")) == (0, 0)
    assert pins(first, pin("unpin_shared", 3, "false", "unknown"), pin("read_pin", 4, "true")) == (0, 0)


def test_a_pin_that_was_overwritten_is_told_in_vain() -> None:
    """A read of it fits into no order, and says nothing of its age."""
    first, second = pin("pin_shared", 1, "true"), pin("unpin_shared", 3, "false")
    assert pins(first, second, pin("read_pin", 4, "true")) == (1, 1)
