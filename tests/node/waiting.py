"""Waiting for a condition, never for ever: who waits in vain is told for what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0
PACE = 0.005
Found = TypeVar("Found")


def await_that(holds: Callable[[], bool], what: str, *, limit: float = PATIENCE) -> None:
    """Look until it holds; an AssertionError that says *what* did not come."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"not within {limit:g} s: {what}"
        time.sleep(PACE)


async def soon(holds: Callable[[], bool], what: str, *, limit: float = PATIENCE) -> None:
    """As `await_that`, while the event loop goes on."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"not within {limit:g} s: {what}"
        await asyncio.sleep(0.001)


def given_time(look: Callable[[float], Found], enough: Callable[[Found], bool], *seconds: float) -> Found:
    """What *look* found in the first of *seconds* in which it saw *enough* to be judged, else in the last of them.

    A busy machine gets more time, and what is asserted of what was found stays as it is.
    """
    for each in seconds:
        found = look(each)
        if enough(found):
            break
    return found


class Bound:
    """For a loop with work of its own: call it in each round; it raises an AssertionError once the time is up."""

    def __init__(self, what: str, *, limit: float = PATIENCE) -> None:
        self._what, self._limit, self._end = what, limit, time.monotonic() + limit

    def __call__(self) -> bool:
        assert time.monotonic() < self._end, f"not within {self._limit:g} s: {self._what}"
        return True
