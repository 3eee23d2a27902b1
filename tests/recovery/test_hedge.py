"""Hedging, on a loop of virtual time: the first answer wins, and nothing goes on after it."""

from __future__ import annotations

import asyncio

import pytest

from gates.recovery import ErrorClassifier, Hedge, RetryBudget
from gates.recovery.testing import VirtualClock, run


class Server:
    """Answers call n after a given time, or raises; knows who is still at work."""

    def __init__(self, clock, *plan) -> None:
        self.clock = clock
        self.plan = plan
        self.started: list[float] = []
        self.working = 0
        self.cancelled = 0

    async def ask(self) -> str:
        number = len(self.started)
        self.started.append(self.clock.now)
        seconds, answer = self.plan[number]
        self.working += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0.01)
            raise
        finally:
            self.working -= 1
        if isinstance(answer, Exception):
            raise answer
        return f"{answer} {number}"


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of the loop."""
    return VirtualClock(0.0)


def ask(clock, hedge, *plan) -> tuple[Server, object]:
    """The answer, or the error, of one hedged call; nothing may be at work afterwards."""
    server = Server(clock, *plan)

    async def scene() -> object:
        try:
            return await hedge(server.ask)()
        except Exception as error:
            return error
        finally:
            assert server.working == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return server, run(scene, clock)


def test_a_slow_first_call_is_overtaken_and_cancelled_and_awaited(clock):
    """The second starts after the delay and answers first; the first has ended when the call returns."""
    server, answer = ask(clock, Hedge(0.1), (5.0, "answer"), (0.2, "answer"))
    assert answer == "answer 1"
    assert server.started == pytest.approx([0.0, 0.1])
    assert server.cancelled == 1
    assert clock.now == pytest.approx(0.31)


def test_a_fast_answer_starts_nothing_else(clock):
    """Within the delay there is one call."""
    server, answer = ask(clock, Hedge(0.1, 3), (0.05, "answer"))
    assert (answer, len(server.started)) == ("answer 0", 1)


def test_a_failure_starts_the_next_at_once_and_the_last_one_comes_out(clock):
    """No delay is waited for after a failure; when all have failed, the error of the last is raised."""
    errors = [(0.01, ConnectionError(f"failure {number}")) for number in range(3)]
    server, answer = ask(clock, Hedge(10.0, 2), *errors)
    assert server.started == pytest.approx([0.0, 0.01, 0.02])
    assert answer is errors[2][1]


def test_an_error_that_is_not_retryable_ends_everything(clock):
    """Bad input is bad input the second time as well."""
    hedge = Hedge(0.1, 2, classifier=ErrorClassifier(permanent=ValueError))
    server, answer = ask(clock, hedge, (0.15, ValueError("bad input")), (5.0, "answer"))
    assert isinstance(answer, ValueError)
    assert (len(server.started), server.cancelled) == (2, 1)


def test_hedges_are_paid_from_the_budget(clock):
    """With one token there is one extra call, however many are allowed."""
    server, answer = ask(clock, Hedge(0.1, 5, budget=RetryBudget(0.0, 1)), (1.0, "answer"), (2.0, "answer"), (0.1, "answer"))
    assert (answer, len(server.started)) == ("answer 0", 2)


def test_a_cancellation_from_outside_cancels_all(clock):
    """Both calls end before the CancelledError comes out."""
    server = Server(clock, (9.0, "answer"), (9.0, "answer"))

    async def scene() -> None:
        task = asyncio.ensure_future(Hedge(0.1)(server.ask)())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (server.working, server.cancelled) == (0, 2)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scene, clock)
