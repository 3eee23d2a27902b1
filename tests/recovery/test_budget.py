"""The retry budget: what a total outage costs."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.recovery import BudgetExhausted, ConfigurationError, Constant, ExhaustedRetries, Retry, RetryBudget
from gates.recovery.testing import VirtualClock

calls: list[int] = []


def broken() -> None:
    """Nothing answers."""
    calls.append(1)
    raise ConnectionError("no answer")


def outage(call, times) -> float:
    """Calls on the wire for each of *times* calls made while nothing answers."""
    calls.clear()
    for _ in range(times):
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is not the point here
            call()
    return len(calls) / times


def test_a_total_outage_costs_one_percent_at_most():
    """Four attempts would make it 4 times the load; with the budget it is 1.01 once the burst is spent, here from the start."""
    call = Retry(4, Constant(0), budget=RetryBudget(0.1, 10))(broken)
    assert outage(call, 1000) <= 1.01
    assert outage(call, 1000) == 1.0


def test_three_nested_layers_cost_ten_percent_at_most():
    """Three layers of four attempts make 64 calls without a budget; with one shared by a step further out it is 1.1."""
    budget = RetryBudget(0.1, 10)
    layered = Retry(4, Constant(0))(Retry(4, Constant(0))(Retry(4, Constant(0))(broken)))
    assert outage(budget(layered), 100) <= 1.1
    assert outage(Retry(4, Constant(0), budget=budget)(Retry(4, Constant(0), budget=budget)(broken)), 100) == 1.0


def test_nested_retries_do_not_multiply_even_without_a_budget():
    """What the innermost layer has given up on is left alone by the others: 4 calls and not 64, reraised or wrapped."""
    for reraise in (False, True):
        retry = Retry(4, Constant(0), reraise=reraise)
        assert outage(retry(retry(retry(broken))), 1) == 4


def test_ten_thousand_clients_failing_at_once_retry_no_more_than_the_burst():
    """However the clients are timed, a process retries no more than its budget: 200, where full jitter peaks at 1,588."""
    budget = RetryBudget(0.1, 200)
    delays: list[float] = []
    call = Retry(6, budget=budget, sleep=delays.append)(broken)
    outage(call, 10_000)
    assert len(delays) == 200


def test_an_empty_budget_says_so():
    """The error comes apart from exhaustion, with the attempts that were made."""
    budget = RetryBudget(0.1, 1)
    with pytest.raises(BudgetExhausted, match="Retry budget exhausted after 2 attempts: no answer") as caught:
        Retry(9, Constant(0), budget=budget)(broken)()
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_successes_earn_retries_back():
    """Ten successes at 10 % pay for one retry, and not for two; nine pay for none."""
    budget = RetryBudget(0.1, 1)
    assert budget.withdraw()
    call = Retry(2, budget=budget)(lambda: "answer")
    for _ in range(9):
        call()
    assert not budget.withdraw()
    call()
    assert budget.withdraw()
    assert not budget.withdraw()


def test_the_reserve_trickles_by_the_clock():
    """Half a token a second makes one in two seconds, and never more than the burst."""
    clock = VirtualClock()
    budget = RetryBudget(0.0, 2, reserve=0.5, clock=clock)
    assert budget.withdraw()
    assert budget.withdraw()
    clock.advance(1.9)
    assert not budget.withdraw()
    clock.advance(0.1)
    assert budget.withdraw()
    clock.advance(1e9)
    assert budget.tokens == 2.0
    clock.advance(-1e9)
    assert budget.tokens == 2.0


def test_the_reserve_does_not_gain_by_being_looked_at():
    """Asked a thousand times in ten seconds, one token a second is ten tokens, and not more."""
    clock = VirtualClock()
    budget = RetryBudget(0.0, 100, reserve=1.0, clock=clock)
    for _ in range(100):
        assert budget.withdraw()
    for _ in range(1000):
        clock.advance(0.01)
        assert budget.tokens <= 10.001
    assert budget.tokens == pytest.approx(10.0, abs=0.001)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(
    ratio=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    burst=st.integers(0, 5),
    outcomes=st.lists(st.booleans(), max_size=200),
)
def test_retries_never_exceed_burst_and_ratio(ratio, burst, outcomes):
    """For any history: retries <= burst + ratio * successes, and the balance stays between 0 and the burst."""
    budget = RetryBudget(ratio, burst)
    retries = successes = 0
    for succeeded in outcomes:
        if succeeded:
            budget.deposit()
            successes += 1
        else:
            retries += budget.withdraw()
        assert 0 <= budget.tokens <= burst
        assert retries <= burst + ratio * successes + 1e-9


def test_threads_do_not_spend_a_token_twice():
    """Eight threads over a hundred tokens get a hundred."""
    budget = RetryBudget(0.0, 100)
    got = []
    start = threading.Barrier(8)

    def spend() -> None:
        start.wait()
        got.append(sum(budget.withdraw() for _ in range(50)))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 100


def test_sharing_ends_with_its_block_and_does_not_reach_sibling_tasks():
    """Inside the block the retry is limited; beside it, in a task of its own, it is not."""
    retry = Retry(3, Constant(0))

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ConnectionError

    call = retry(failing)

    async def inside() -> None:
        with RetryBudget(0.0, 0).sharing(), pytest.raises(BudgetExhausted):
            await call()

    async def scene() -> None:
        first, second = asyncio.ensure_future(inside()), asyncio.ensure_future(call())
        await first
        with pytest.raises(ExhaustedRetries):
            await second

    asyncio.run(scene())
    with pytest.raises(ExhaustedRetries):
        retry(broken)()


@pytest.mark.parametrize(
    ("settings_", "text"),
    [
        ({"ratio": 2}, "RetryBudget.ratio is 2; allowed: a number at least 0 and at most 1"),
        ({"burst": -1}, "RetryBudget.burst is -1"),
        ({"reserve": float("nan")}, "RetryBudget.reserve is nan"),
    ],
)
def test_a_wrong_budget_is_refused_at_construction(settings_, text):
    """With field, value and what would be accepted."""
    with pytest.raises(ConfigurationError) as caught:
        RetryBudget(**settings_)
    assert text in str(caught.value)


def test_a_budget_has_ten_tokens_and_is_full_at_first():
    """A success that finds it full costs one comparison."""
    budget = RetryBudget()
    assert (budget.ratio, budget.burst, budget.reserve, budget.tokens, budget.short) == (0.1, 10.0, 0.0, 10.0, False)
    assert sum(budget.withdraw() for _ in range(20)) == 10
    assert budget.short
    for _ in range(100):
        budget.deposit()
    assert (budget.tokens, budget.short) == (10.0, False)


def test_a_reserve_counts_from_the_moment_the_budget_was_made():
    """And not from the clock's zero: after an outage of two seconds at 1/s there are two tokens."""
    clock = VirtualClock(1000.0)
    budget = RetryBudget(0.0, 3.0, 1.0, clock=clock)
    assert [budget.withdraw() for _ in range(4)] == [True, True, True, False]
    clock.advance(2.0)
    assert budget.tokens == 2.0


def test_a_budget_around_a_generator_is_refused_by_name():
    """Whoever takes the items would run under it, too."""

    def items():
        yield 1

    with pytest.raises(
        ConfigurationError, match=r"^RetryBudget is 'items'; allowed: a function, a coroutine function or a block$"
    ):
        RetryBudget()(items)
