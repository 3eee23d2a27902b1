"""Waking up on time.

A kernel timer in the event loop is late by some 50 µs, where the loop's own timers are by 1 ms. Spinning is late by a few
microseconds, and takes a whole core for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
_PR_SET_TIMERSLACK = 29

TIMER, SPIN = "timer", "spin"
PACINGS = (TIMER, SPIN)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Pacer(Protocol):
    """Calls back at absolute monotonic times, one at a time."""

    name: str

    def wake_at(self, when: float) -> None:
        """Call back at *when*, which may have passed."""
        ...

    def close(self) -> None:
        """Call back no more."""
        ...


class KernelPacer:
    """A timerfd that the loop watches like a socket. Raises OSError where the kernel has none."""

    name = "timerfd"

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        if sys.platform != "linux":
            raise OSError("timerfd is a thing of Linux")
        libc = ctypes.CDLL(None, use_errno=True)
        # by default the kernel may bundle a thread's wake-ups within 50 µs
        libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self._file = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = loop
        self._callback = callback
        self._is_set = False
        self._spec = _Itimerspec()
        self._when = self._spec.value
        self._set = partial(libc.timerfd_settime, self._file, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)
        loop.add_reader(self._file, self._expired)

    def wake_at(self, when: float) -> None:
        seconds = int(when)
        self._when.seconds = seconds
        # all zero would disarm it
        self._when.nanoseconds = int((when - seconds) * 1e9) or 1
        self._set()
        self._is_set = True

    def _expired(self) -> None:
        self._is_set = False
        self._callback()
        if not self._is_set:
            # setting it anew would have made it unreadable as well
            with contextlib.suppress(BlockingIOError):
                os.read(self._file, 8)

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)


class SpinPacer:
    """Asks for the time in every turn of the loop, and never sleeps: it needs a core of its own."""

    name = "spin"

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._again = loop.call_soon
        self._callback = callback
        self._when = 0.0
        self._handle: asyncio.Handle | None = None

    def wake_at(self, when: float) -> None:
        self._when = when
        self._handle = self._again(self._look)

    def _look(self) -> None:
        if time.monotonic() >= self._when:
            self._callback()
        else:
            self._handle = self._again(self._look)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class LoopPacer:
    """The event loop's own timers, where there is nothing better."""

    name = "loop"

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def wake_at(self, when: float) -> None:
        self._handle = self._loop.call_later(max(0.0, when - time.monotonic()), self._callback)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


def pacer(loop: asyncio.AbstractEventLoop, callback: Callable[[], None], pacing: str = TIMER) -> Pacer:
    """The best timer that this machine has, or the spinning one."""
    if pacing == SPIN:
        return SpinPacer(loop, callback)
    try:
        return KernelPacer(loop, callback)
    except (OSError, AttributeError):
        return LoopPacer(loop, callback)
