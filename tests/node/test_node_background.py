"""What a part of the node does by itself, between its start and its stop."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gates.node.background import Background
from gates.node.degradation import Degradation
from gates.node.effects import Effects
from gates.node.federation import Federation
from gates.node.outbox import Anchorer
from gates.node.sync import Sync


class Waiting(Background):
    """Waits for ever, and counts how often it began and ended."""

    task_name = "waiting"

    def __init__(self) -> None:
        self.began = self.ended = 0

    async def _run(self) -> None:
        self.began += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


class Failing(Background):
    """Has a mistake in it."""

    task_name = "failing"

    async def _run(self) -> None:
        raise ZeroDivisionError("a mistake")


class Stubborn(Waiting):
    """Takes a while to end, as who writes a batch does."""

    def __init__(self, may_end: asyncio.Event) -> None:
        super().__init__()
        self.may_end = may_end

    async def _run(self) -> None:
        try:
            await super()._run()
        finally:
            await self.may_end.wait()


def tasks(name: str) -> int:
    """How many tasks of this name there are."""
    return sum(task.get_name() == name for task in asyncio.all_tasks())


@pytest.mark.parametrize("part", [Anchorer, Degradation, Effects, Federation, Sync])
def test_the_parts_that_work_by_themselves_share_one_start_and_one_stop(part: type) -> None:
    """A copy of its own could come to differ."""
    assert issubclass(part, Background)
    assert {"start", "stop"}.isdisjoint(vars(part))
    assert part.task_name


def test_a_part_works_from_its_start_to_its_stop_and_again() -> None:
    """A second start changes nothing while it works; a stop before the start, or a second one, neither."""

    async def whole() -> None:
        part = Waiting()
        await part.stop()
        for round_ in (1, 2):
            part.start()
            part.start()
            await asyncio.sleep(0)
            assert (part.began, tasks("waiting")) == (round_, 1)
            await part.stop()
            await part.stop()
            assert (part.ended, tasks("waiting")) == (round_, 0)

    asyncio.run(whole())


def test_a_mistake_that_ends_a_part_is_told_at_once_and_stopping_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for the task until the node stops, and the other parts must be stopped then."""

    async def whole() -> None:
        part = Failing()
        part.start()
        for _ in range(3):
            await asyncio.sleep(0)
        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.ERROR, "the node's task 'failing' has ended by a mistake")
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ZeroDivisionError)
        await part.stop()

    asyncio.run(whole())
    assert len(caplog.records) == 1


def test_who_stops_a_part_can_be_cancelled_itself() -> None:
    """The end of the task and the end of who waits for it are told apart."""

    async def whole() -> None:
        part = Stubborn(asyncio.Event())
        part.start()
        await asyncio.sleep(0)
        stopping = asyncio.create_task(part.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        part.may_end.set()
        await asyncio.wait((stopping,))
        assert stopping.cancelled()
        await part.stop()

    asyncio.run(whole())
