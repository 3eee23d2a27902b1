"""How tests wait: they are told in vain for what."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from waiting import Bound, await_that, soon


def test_who_waits_in_vain_is_told_for_what() -> None:
    """With the time that it was waited, by each of the three ways."""
    expected = r"^not within 0.01 s: the moon is full"
    with pytest.raises(AssertionError, match=expected):
        await_that(lambda: False, "the moon is full", limit=0.01)
    with pytest.raises(AssertionError, match=expected):
        asyncio.run(soon(lambda: False, "the moon is full", limit=0.01))
    in_time = Bound("the moon is full", limit=0.01)
    with pytest.raises(AssertionError, match=expected):
        all(in_time() for _ in count())


def test_who_waits_goes_on_when_it_is_so() -> None:
    """At once, or in the round in which it comes to hold."""
    rounds = count()
    await_that(lambda: next(rounds) == 3, "the fourth look")
    asyncio.run(soon(lambda: next(rounds) == 6, "the seventh look"))
    assert next(rounds) == 7
    assert Bound("anything")()
