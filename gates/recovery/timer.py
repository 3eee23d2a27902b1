"""Interrupting coroutines that take too long, with one armed timer for all that have the same time.

`asyncio.timeout` arms and disarms a timer for every call, 3.9 µs. Calls with the same limit fall due in the order in which
they began, so a queue and the timer of its head do; a call that ends in time is taken out of the queue and nothing else.
"""

from __future__ import annotations

from gates.recovery.locks import shared_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task, TimerHandle
    from collections.abc import Callable
    from typing import Any


class Alarm:
    """One call that is timed.

    Attributes:
        task: who is interrupted.
        due: the loop's time at which that happens.
        cancelling: the requests to cancel the task that were there before.
        fired: whether it has happened.
    """

    __slots__ = ("cancelling", "due", "fired", "queue", "task")

    def __init__(self, queue: Queue, task: Task[Any], due: float) -> None:
        self.queue = queue
        self.task = task
        self.due = due
        self.cancelling = task.cancelling()
        self.fired = False


class Queue:
    """The calls of one loop that have the same time."""

    __slots__ = ("handle", "loop", "now", "pending", "seconds")

    def __init__(self, loop: AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self.now = loop.time
        self.seconds = seconds
        self.pending: dict[Alarm, None] = {}
        self.handle: TimerHandle | None = None

    def ring(self) -> None:
        """Interrupt what is due, and arm the timer for what comes next."""
        self.handle = None
        now = self.now()
        for alarm in list(self.pending):
            if alarm.due > now:
                self.handle = self.loop.call_at(alarm.due, self.ring)
                return
            del self.pending[alarm]
            alarm.fired = True
            alarm.task.cancel()


class Timer:
    """Alarms of one length.

    Attributes:
        seconds: the length.
    """

    __slots__ = ("_current_task", "_lock", "_queue", "_queues", "_running", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = shared_lock()
        self._queues: dict[AbstractEventLoop, Queue] = {}
        self._queue: Queue | None = None
        self._running: Callable[[], AbstractEventLoop] | None = None

    def begin(self) -> Alarm:
        """Time the running task from now on."""
        if self._running is None:
            import asyncio

            self._running, self._current_task = asyncio.get_running_loop, asyncio.current_task
        loop, queue = self._running(), self._queue
        if queue is None or queue.loop is not loop:
            queue = self._queue_of(loop)
        task = self._current_task(loop)
        if task is None:
            raise RuntimeError("a timed call needs a running task; run it with asyncio.run or as a task")
        alarm = Alarm(queue, task, queue.now() + self.seconds)
        queue.pending[alarm] = None
        if queue.handle is None:
            queue.handle = loop.call_at(alarm.due, queue.ring)
        return alarm

    def end(self, alarm: Alarm, error: BaseException | None) -> bool:
        """The call is over, with *error* if any; whether the alarm interrupted it and nobody else did.

        A task that was cancelled from outside as well stays cancelled: the outer request wins, even in the same tick.
        """
        task = alarm.task
        # A task keeps the error that it ends with, whose traceback keeps the alarm: let go of the task.
        del alarm.task
        if not alarm.fired:
            del alarm.queue.pending[alarm]
            return False
        from asyncio import CancelledError

        outer = task.uncancel() > alarm.cancelling
        return isinstance(error, CancelledError) and not outer

    def _queue_of(self, loop: AbstractEventLoop) -> Queue:
        with self._lock:
            if loop not in self._queues:
                self._queues = {known: queue for known, queue in self._queues.items() if not known.is_closed()}
                self._queues[loop] = Queue(loop, self.seconds)
            queue = self._queues[loop]
        # The answer is not read back from the field, where another thread may have put its own loop's meanwhile.
        self._queue = queue
        return queue
