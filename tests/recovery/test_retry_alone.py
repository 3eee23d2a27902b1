"""Retry where nothing else in the process sets a bound: what may forbid a retry is asked for all the same."""

from __future__ import annotations

import pytest

from gates.recovery import BudgetExhausted, Cancelled, Constant, Deadline, DeadlineExceeded, Retry, RetryBudget
from gates.recovery import retry as module
from gates.recovery.testing import VirtualClock

# Whether any deadline or budget was ever made is remembered for the whole process, so other tests' would hide what is missing.


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when somebody sleeps on it."""
    return VirtualClock(0.0)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a deadline nor a budget was ever made."""
    monkeypatch.setattr(module, "deadlines", [])
    monkeypatch.setattr(module, "budgets", [])


def refuse() -> None:
    raise ConnectionError


@pytest.mark.usefixtures("alone")
def test_a_cancellation_alone_forbids_a_retry(clock: VirtualClock) -> None:
    """No budget and no deadline is needed for it to be asked."""
    retry = Retry(backoff=Constant(1.0), sleep=clock.sleep, clock=clock, cancelled=lambda: True)
    with pytest.raises(Cancelled):
        retry(refuse)()
    assert clock() == 0.0


@pytest.mark.usefixtures("alone")
def test_a_budget_of_its_own_alone_forbids_a_retry(clock: VirtualClock) -> None:
    """No cancellation and no deadline is needed for it to be asked."""
    budget = RetryBudget(burst=1.0, clock=clock)
    retry = Retry(attempts=5, backoff=Constant(1.0), sleep=clock.sleep, clock=clock, budget=budget)
    with pytest.raises(BudgetExhausted):
        retry(refuse)()
    assert clock() == 1.0


def test_a_deadline_around_it_alone_forbids_a_retry(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's deadline is asked although nobody has a budget."""
    monkeypatch.setattr(module, "budgets", [])
    retry = Retry(backoff=Constant(5.0), sleep=clock.sleep, clock=clock)
    with pytest.raises(DeadlineExceeded):
        Deadline(3.0, clock=clock)(retry(refuse))()
    assert clock() == 0.0


def test_a_budget_around_it_alone_forbids_a_retry(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outer layer's budget is asked although nobody has a deadline."""
    monkeypatch.setattr(module, "deadlines", [])
    budget = RetryBudget(burst=1.0, clock=clock)
    inner = Retry(attempts=5, backoff=Constant(1.0), sleep=clock.sleep, clock=clock)
    with pytest.raises(BudgetExhausted):
        budget(inner(refuse))()
    assert clock() == 1.0
