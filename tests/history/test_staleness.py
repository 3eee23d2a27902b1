"""Reads that may be old when they say so."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_linear import histories, read, write

from gates.history.access import Access, Action
from gates.history.linear import first_misfit
from gates.history.staleness import Staleness, staleness


def aged(value: object, invoked: float, completed: float, age: float) -> Access:
    """A read that says how old it is."""
    return Access(Action.READ, value, invoked, completed, age)


def looked_at(*history: Access, oldest: float = 10.0) -> Staleness:
    """The staleness of one key."""
    return staleness({"k": history}, oldest=oldest)


OVERWRITTEN = (write(1, 0, 1), write(2, 4, 5))


def test_an_old_value_with_its_age_is_right() -> None:
    """It was current so long ago."""
    found = looked_at(*OVERWRITTEN, aged(1, 6, 7, 1.5))
    assert (found.wrong, found.checked, found.declared) == (0, 1, 1)


def test_an_old_value_without_its_age_is_wrong() -> None:
    """The client was told that it is fresh."""
    found = looked_at(*OVERWRITTEN, read(1, 6, 7))
    assert found.undeclared == (("k", read(1, 6, 7)),)
    assert found.wrong == 1


def test_an_age_that_is_too_young_is_wrong() -> None:
    """The value is older than the answer says."""
    assert looked_at(*OVERWRITTEN, aged(1, 8, 9, 2)).wrong == 1


def test_a_read_older_than_allowed_is_wrong_though_it_says_so() -> None:
    """Honesty is no excuse for an hour."""
    found = looked_at(*OVERWRITTEN, aged(1, 20, 21, 16), oldest=10)
    assert (len(found.too_old), len(found.undeclared), found.wrong) == (1, 0, 1)


def test_a_value_that_nobody_wrote_is_no_old_one() -> None:
    """Neither one that is from the future, nor one from nowhere."""
    assert len(looked_at(*OVERWRITTEN, aged(3, 6, 7, 5)).phantoms) == 1
    assert len(looked_at(read(1, 0, 1), write(1, 2, 3)).phantoms) == 1
    assert looked_at(read(1, 0, 1), write(1, 2, 3)).wrong == 1


def test_nothing_is_read_rightly_before_the_first_write() -> None:
    """The beginning counts as a value, and is over with the first write that was answered."""
    assert looked_at(read(None, 0, 1), write(1, 2, 3)).wrong == 0
    assert looked_at(write(1, 2, 3), read(None, 4, 5)).wrong == 1


def test_an_unanswered_write_ends_nothing() -> None:
    """It may not have taken effect yet; when it has, its value is right at any time later."""
    history = (write(1, 0, 1), write(2, 4))
    assert looked_at(*history, read(1, 90, 91)).wrong == 0
    assert looked_at(*history, read(2, 90, 91)).wrong == 0


def test_a_later_write_of_the_same_value_is_no_excuse() -> None:
    """A switch that is turned off, read as on, and turned on again was off when it was read."""
    history = (write("on", 0, 1), write("off", 2, 3), read("on", 10, 11), write("on", 20, 21))
    assert looked_at(*history).undeclared == (("k", read("on", 10, 11)),)
    assert looked_at(*history, aged("on", 12, 13, 9.5)).wrong == 1


def test_a_beginning_that_comes_back_is_no_excuse_either() -> None:
    """Nothing is there at first and at last, but not in between."""
    history = (write(1, 0, 1), read(None, 4, 5), write(None, 10, 11), read(None, 12, 13))
    assert looked_at(*history).undeclared == (("k", read(None, 4, 5)),)


def test_writes_at_once_end_in_either_order() -> None:
    """Either value may be the current one, until a later write is answered; and that may be one which began after another."""
    both = (write(1, 0, 5), write(2, 1, 2))
    assert looked_at(*both, read(1, 6, 7), read(2, 8, 9)).wrong == 0
    assert looked_at(*both, write(3, 10, 90), write(4, 11, 12), read(1, 13, 14)).wrong == 1


def test_a_value_of_an_unanswered_write_may_come_back_at_any_time() -> None:
    """Though it was written a second time, and that was overwritten."""
    assert looked_at(write(1, 0), write(1, 1, 2), write(2, 3, 4), read(1, 90, 91)).wrong == 0


def is_right(read: Access, history: Sequence[Access]) -> bool:
    """Brute force: some write of the value, or the beginning, had begun by then and was surely over no earlier than it says."""
    writes = [each for each in history if each.action is Action.WRITE]
    origins = [each for each in writes if each.value == read.value]
    origins += [write(None, -math.inf, -math.inf)] if read.value is None else []
    return any(
        origin.invoked <= read.completed
        and not any(
            each.certain and origin.completed < each.invoked and each.completed < read.invoked - read.age for each in writes
        )
        for origin in origins
    )


@st.composite
def busy(draw: st.DrawFn) -> list[Access]:
    """Writes of few values that come back, a few of them unanswered, and reads with and without an age."""
    found = []
    for _ in range(draw(st.integers(3, 10))):
        invoked, lasting, value = (
            draw(st.integers(0, 12)),
            draw(st.sampled_from([1, 2, 5])),
            draw(st.sampled_from([None, 1, 2])),
        )
        if draw(st.booleans()):
            found.append(aged(value, invoked, invoked + lasting, draw(st.sampled_from([0.0, 0.0, 1.0, 2.5]))))
        else:
            found.append(write(value, invoked, draw(st.sampled_from([invoked + lasting, invoked + lasting, math.inf]))))
    return sorted(found, key=lambda access: access.invoked)


@pytest.mark.end_to_end
@settings(max_examples=200, deadline=None)
@given(busy())
def test_the_check_agrees_with_brute_force(history: list[Access]) -> None:
    """Whatever small history with values that come back, and reads that tell an age: both name the same reads."""
    found = staleness({"k": history})
    wrong = {id(each) for _, each in (*found.undeclared, *found.phantoms)}
    assert wrong == {id(each) for each in history if each.action is Action.READ and not is_right(each, history)}


@pytest.mark.end_to_end
@settings(max_examples=400, deadline=None)
@given(histories([Action.WRITE, Action.READ]))
def test_an_undeclared_stale_read_is_never_linearizable(history: list[Access]) -> None:
    """Whatever this check calls wrong without an age, the stronger one does."""
    if staleness({"k": history}).wrong:
        assert first_misfit(history) is not None
