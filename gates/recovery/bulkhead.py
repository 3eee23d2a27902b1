"""The bulkhead: so many calls at the same time, and a bounded queue for those who come next.

Permits are handed over directly, first come, first served: while anybody waits, none is free. The two lines that take and
give back a free permit have no call in them, so under the GIL no other thread comes between looking and counting; a build
without the GIL needs a lock there and is not supported yet.
"""

from __future__ import annotations

from _thread import allocate_lock

from gates.recovery.configuration import number, text, whole
from gates.recovery.errors import Overloaded
from gates.recovery.locks import shared_lock
from gates.recovery.weaving import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable
    from typing import Any

    from gates.recovery.weaving import Source


class ThreadWaiter:
    """A thread that waits for a permit."""

    __slots__ = ("_granted",)

    def __init__(self) -> None:
        self._granted = allocate_lock()
        self._granted.acquire()

    def grant(self) -> bool:
        """Wake it; always True."""
        self._granted.release()
        return True

    def wait(self, patience: float | None) -> bool:
        """Sleep until granted, at most *patience* seconds; whether it was."""
        return self._granted.acquire(True, -1 if patience is None else patience)


class TaskWaiter:
    """A task that waits for a permit."""

    __slots__ = ("_bulkhead", "future")

    def __init__(self, bulkhead: Bulkhead, future: Future[None]) -> None:
        self._bulkhead = bulkhead
        self.future = future

    def granted(self) -> bool:
        """Whether it was handed a permit."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    def grant(self) -> bool:
        """Wake it; False when it was cancelled and wants no permit any more."""
        from asyncio import _get_running_loop

        loop = self.future.get_loop()
        if _get_running_loop() is not loop:
            return self._granted_there(loop)
        if self.future.done():
            return False
        self.future.set_result(None)
        return True

    def _granted_there(self, loop: AbstractEventLoop) -> bool:
        try:
            loop.call_soon_threadsafe(self._grant_here)
        except RuntimeError:
            # Its loop was closed around it, so nobody waits any more; whoever gives a permit back must not hear of that.
            return False
        return True

    def _grant_here(self) -> None:
        if self.future.done():
            self._bulkhead.leave()
        else:
            self.future.set_result(None)


class Bulkhead(Step):
    """At most *limit* calls at the same time. Beyond that *queue* callers wait, and the rest get Overloaded at once.

    Attributes:
        limit: calls at the same time.
        queue: callers that may wait, 0 for none.
        patience: the most seconds to wait in the queue, then Overloaded; None waits as long as it takes.
        name: for messages.
        free: the permits that nobody has.
    """

    __slots__ = ("_lock", "_waiting", "free", "limit", "name", "patience", "queue")

    def __init__(self, limit: int, queue: int = 0, *, patience: float | None = None, name: str = "bulkhead") -> None:
        self.limit = self.free = whole("Bulkhead.limit", limit, 1)
        self.queue = whole("Bulkhead.queue", queue, 0)
        self.patience = None if patience is None else number("Bulkhead.patience", patience, 0.0, above=True)
        self.name = text("Bulkhead.name", name)
        self._lock = shared_lock()
        self._waiting: dict[ThreadWaiter | TaskWaiter, None] = {}

    keeps_tail = True

    @property
    def waiting(self) -> int:
        """How many callers are in the queue."""
        return len(self._waiting)

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write taking and giving back."""
        bulkhead, leave = source.bind(self, "bulkhead"), source.bind(self.leave, "leave")
        enter = source.bind(self.enter_task if source.waits else self.enter_thread, "enter")
        with source.block(f"if {bulkhead}.free > 0:"):
            source.line(f"{bulkhead}.free -= 1")
        with source.block("else:"):
            source.line(f"{source.waits}{enter}()")
        with source.block("try:"):
            inner()
        with source.block("finally:"):
            with source.block(f"if {bulkhead}._waiting:"):
                source.line(f"{leave}()")
            with source.block("else:"):
                source.line(f"{bulkhead}.free += 1")

    def enter_thread(self) -> None:
        """Take a permit, waiting in the queue if need be. Raises Overloaded."""
        waiter = ThreadWaiter()
        if self._entered(waiter):
            return
        granted = False
        try:
            granted = waiter.wait(self.patience)
        finally:
            if not granted:
                self._gave_up(waiter)
        if not granted:
            raise Overloaded(self.name)

    async def enter_task(self) -> None:
        """Take a permit, waiting in the queue if need be. Raises Overloaded."""
        import asyncio

        loop = asyncio.get_running_loop()
        waiter = TaskWaiter(self, loop.create_future())
        if self._entered(waiter):
            return
        timer = None if self.patience is None else loop.call_later(self.patience, self._expire, waiter)
        try:
            await waiter.future
        except BaseException:
            if not self._gave_up(waiter) and waiter.granted():
                # Granted in the same tick as it was cancelled: the permit goes to the next.
                self.leave()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def leave(self) -> None:
        """Give a permit back, to the first in the queue if there is one."""
        with self._lock:
            self.free += 1
            self._hand_over()

    def _entered(self, waiter: ThreadWaiter | TaskWaiter) -> bool:
        """Whether a permit was free after all; otherwise *waiter* is in the queue. Raises Overloaded when that is full."""
        with self._lock:
            if self.free > 0 and not self._waiting:
                self.free -= 1
                return True
            if len(self._waiting) >= self.queue:
                raise Overloaded(self.name)
            self._waiting[waiter] = None
            # A permit that came back between looking and queueing would otherwise wait for nobody.
            self._hand_over()
            return False

    def _hand_over(self) -> None:
        while self.free > 0 and self._waiting:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            if waiter.grant():
                self.free -= 1

    def _gave_up(self, waiter: ThreadWaiter | TaskWaiter) -> bool:
        """Take *waiter* out of the queue; False when it was granted meanwhile. A thread then gives its permit on."""
        with self._lock:
            if waiter in self._waiting:
                del self._waiting[waiter]
                return True
            if isinstance(waiter, ThreadWaiter):
                self.free += 1
                self._hand_over()
            return False

    def _expire(self, waiter: TaskWaiter) -> None:
        if not waiter.future.done():
            full: Overloaded[Any] = Overloaded(self.name)
            waiter.future.set_exception(full)
