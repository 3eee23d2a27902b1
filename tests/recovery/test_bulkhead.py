"""The bulkhead: so many at once, first come first served, and no permit is ever lost."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from gates.recovery import Bulkhead, Overloaded
from gates.recovery.testing import VirtualClock, run


def test_no_more_than_the_limit_run_at_once_and_the_rest_are_refused():
    """Two run, three wait, and the sixth is told so at once."""
    clock = VirtualClock(0.0)
    bulkhead = Bulkhead(2, queue=3, name="database")
    order, running = [], []

    @bulkhead
    async def operation(who: int) -> None:
        running.append(who)
        order.append(who)
        assert len(running) <= 2
        await asyncio.sleep(1)
        running.remove(who)

    async def scene() -> None:
        tasks = [asyncio.ensure_future(operation(who)) for who in range(5)]
        await asyncio.sleep(0)
        assert bulkhead.waiting == 3
        with pytest.raises(Overloaded, match="database is full"):
            await operation(5)
        await asyncio.gather(*tasks)

    run(scene, clock)
    assert order == [0, 1, 2, 3, 4]
    assert (bulkhead.free, clock.now) == (2, 3.0)


def test_one_that_is_cancelled_while_it_waits_loses_no_permit_even_in_the_tick_of_its_grant():
    """Cancelled before, in, and after the tick in which the permit is handed over: full capacity afterwards."""
    for moment in (0.5, 1.0, 1.5):
        for cancel_first in (True, False):
            bulkhead = Bulkhead(1, queue=5)

            @bulkhead
            async def operation() -> None:
                await asyncio.sleep(1)

            async def scene(moment=moment, cancel_first=cancel_first, operation=operation) -> None:
                loop = asyncio.get_running_loop()
                holder = None if cancel_first else asyncio.ensure_future(operation())
                waiter_cancel = []
                if cancel_first:
                    loop.call_later(moment, lambda waiters: waiters[0].cancel(), waiter_cancel)
                    holder = asyncio.ensure_future(operation())
                await asyncio.sleep(0)
                waiter = asyncio.ensure_future(operation())
                waiter_cancel.append(waiter)
                if not cancel_first:
                    loop.call_later(moment, waiter.cancel)
                last = asyncio.ensure_future(operation())
                with pytest.raises(asyncio.CancelledError):
                    await waiter
                await asyncio.gather(holder, last)

            run(scene)
            assert (bulkhead.free, bulkhead.waiting) == (1, 0)


def test_one_that_is_cancelled_after_its_grant_and_before_its_turn_gives_the_permit_on():
    """The permit is handed over and the task is cancelled in one step of another task: the next in the queue gets it."""
    bulkhead, ran = Bulkhead(1, queue=5), []

    @bulkhead
    async def operation(name: str) -> None:
        await asyncio.sleep(1)
        ran.append(name)

    async def scene() -> None:
        async def hold() -> None:
            await operation("holder")
            assert (bulkhead.free, bulkhead.waiting) == (0, 1)
            waiter.cancel()

        holder = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        waiter, last = asyncio.ensure_future(operation("waiter")), asyncio.ensure_future(operation("last"))
        with pytest.raises(asyncio.CancelledError):
            await waiter
        await asyncio.gather(holder, last)

    run(scene)
    assert (ran, bulkhead.free, bulkhead.waiting) == (["holder", "last"], 1, 0)


def test_random_cancellations_leave_full_capacity():
    """Two hundred tasks, a third of them cancelled at random moments: all permits are back, and nobody is in the queue."""
    for seed in range(5):
        chance = random.Random(seed)
        bulkhead = Bulkhead(3, queue=200)
        out = []

        @bulkhead
        async def operation(out=out, chance=chance) -> None:
            out.append(1)
            assert len(out) <= 3
            try:
                await asyncio.sleep(chance.choice([0, 0.1, 0.2]))
            finally:
                out.pop()

        async def scene(operation=operation, chance=chance) -> None:
            tasks = [asyncio.ensure_future(operation()) for _ in range(200)]
            for task in chance.sample(tasks, 70):
                asyncio.get_running_loop().call_later(chance.choice([0, 0.1, 0.2, 0.3, 1.0]), task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)

        run(scene)
        assert (bulkhead.free, bulkhead.waiting) == (3, 0)


def test_patience_ends_in_the_queue():
    """Who waited so long gets Overloaded; the permit goes to those who still want it."""
    clock = VirtualClock(0.0)
    bulkhead = Bulkhead(1, queue=5, patience=0.5)

    @bulkhead
    async def operation() -> None:
        await asyncio.sleep(2)

    async def scene() -> None:
        first = asyncio.ensure_future(operation())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await operation()
        assert clock.now == 0.5
        await first

    run(scene, clock)
    assert (bulkhead.free, bulkhead.waiting) == (1, 0)


def test_threads_share_a_bulkhead():
    """Sixteen threads through four places: never more than four inside, and all places free at the end."""
    bulkhead = Bulkhead(4, queue=16)
    inside, most, lock = [], [], threading.Lock()

    @bulkhead
    def operation() -> None:
        with lock:
            inside.append(1)
            most.append(len(inside))
        with lock:
            inside.pop()

    threads = [threading.Thread(target=lambda: [operation() for _ in range(200)]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert max(most) <= 4
    assert (len(most), bulkhead.free, bulkhead.waiting) == (3200, 4, 0)


def test_a_thread_that_runs_out_of_patience_leaves_its_place():
    """It gets Overloaded, and the next permit goes to nobody who is gone."""
    bulkhead = Bulkhead(1, queue=1, patience=0.01)

    @bulkhead
    def outer() -> None:
        with pytest.raises(Overloaded):
            inner()

    inner = bulkhead(lambda: None)
    outer()
    assert (bulkhead.free, bulkhead.waiting) == (1, 0)


def test_a_thread_hands_its_permit_to_a_task_of_a_loop():
    """A permit that a thread gives back wakes a waiting task in its own loop."""
    bulkhead = Bulkhead(1, queue=1)
    leave, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        leave.wait(10)

    async def operation() -> str:
        return "answer"

    async def scene() -> str:
        task = asyncio.ensure_future(bulkhead(operation)())
        await asyncio.sleep(0)
        assert bulkhead.waiting == 1
        leave.set()
        return await task

    thread = threading.Thread(target=bulkhead(hold))
    thread.start()
    entered.wait(10)
    assert asyncio.run(scene()) == "answer"
    thread.join(10)
    assert bulkhead.free == 1


def test_one_that_is_granted_and_then_cancelled_in_the_same_step_passes_its_permit_on():
    """The holder gives its permit to the first in the queue and cancels it at once: the second gets it."""
    bulkhead = Bulkhead(1, queue=2)
    came = []

    @bulkhead
    async def operation(who: str) -> None:
        await asyncio.sleep(1)
        came.append(who)

    async def scene() -> None:
        async def hold() -> None:
            await operation("holder")
            first.cancel()

        holder = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        first, second = asyncio.ensure_future(operation("first")), asyncio.ensure_future(operation("second"))
        await asyncio.gather(holder, second)
        assert first.cancelled()

    run(scene)
    assert came == ["holder", "second"]
    assert (bulkhead.free, bulkhead.waiting) == (1, 0)


def test_a_permit_from_a_thread_is_not_lost_when_its_task_is_cancelled_on_the_way():
    """The thread hands it over, and before the loop gets to it the task is cancelled: it is free again."""
    bulkhead = Bulkhead(1, queue=1)
    leave = threading.Event()
    entered = threading.Event()

    def hold() -> None:
        entered.set()
        leave.wait(10)

    async def nothing() -> None:
        return

    async def scene() -> None:
        task = asyncio.ensure_future(bulkhead(nothing)())
        await asyncio.sleep(0)
        leave.set()
        thread.join(10)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)

    thread = threading.Thread(target=bulkhead(hold))
    thread.start()
    entered.wait(10)
    asyncio.run(scene())
    assert (bulkhead.free, bulkhead.waiting) == (1, 0)
