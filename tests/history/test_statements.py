"""Statements over good and bad histories."""

from __future__ import annotations

import pytest

from gates.history.statements import Availability, acknowledged, availability, counts, recovery_time, undecided
from gates.model import Operation


def did(status: str, completed: float, *, endpoint: str = "b", key: str = "", took: float = 0.01) -> Operation:
    """An operation that ended at *completed*."""
    return Operation(0, "submit_job", endpoint, key, status, completed - took, completed)


def test_an_unknown_operation_is_decided_by_a_later_answer_to_its_key() -> None:
    """A time-out is unknown until a retry of the same key at the same endpoint is answered."""
    history = [
        did("unknown", 1, key="k1"),
        did("unknown", 2, key="k2"),
        did("ok", 3, key="k1"),
        did("ok", 3, key="k2", endpoint="a"),
        did("fail", 4, key="k3"),
    ]
    assert [operation.key for operation in undecided(history)] == ["k2"]
    assert len(acknowledged(history)) == 2


def test_counts_go_by_phase_of_invocation_and_endpoint() -> None:
    """An operation belongs to the phase in which it was invoked, whenever it ended."""
    history = [did("ok", 1), did("ok", 2.5, took=1), did("fail", 2.5), did("ok", 2.5, endpoint="a")]
    found = counts(history, {"before": (0, 2), "fault": (2, 3)})
    assert found == {("before", "b"): {"ok": 2}, ("fault", "b"): {"fail": 1}, ("fault", "a"): {"ok": 1}}


def test_what_is_invoked_between_two_phases_belongs_to_the_second() -> None:
    """It is counted once."""
    found = counts([did("ok", 3.0, took=1.0)], {"before": (0, 2), "fault": (2, 3)})
    assert found == {("fault", "b"): {"ok": 1}}


def test_availability_counts_everything_that_was_not_answered_rightly() -> None:
    """Failed and unknown operations of the chosen endpoints, invoked in the window; others don't count."""
    history = [did("ok", 1), did("fail", 2), did("unknown", 3), did("fail", 9), did("fail", 2, endpoint="a")]
    assert availability(history, {"b"}, 0, 5) == Availability(3, 2)
    assert availability(history, {"c"}, 0, 5) == Availability(0, 0)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([("fail", 1), ("fail", 2.1), ("ok", 2.5), ("ok", 2.6)], 0.5),
        ([("ok", 1), ("ok", 2.2)], 0.2),
        ([("ok", 2.2), ("fail", 2.4), ("ok", 2.8), ("ok", 4)], 0.8),
        ([("ok", 2.2), ("unknown", 3.1), ("ok", 3.2)], 1.2),
        ([("ok", 2.2), ("fail", 3.3), ("ok", 3.4)], 0.2),
        ([("fail", 2.2), ("fail", 3.3)], None),
        ([("ok", 2.2), ("fail", 2.9)], None),
        ([("ok", 1.9)], None),
        ([], None),
    ],
    ids=[
        "down until 2.5",
        "never down",
        "a relapse within a second",
        "a time-out within a second",
        "a failure after a steady second",
        "only failures",
        "no steady second",
        "answered only before the heal",
        "nothing",
    ],
)
def test_recovery_is_the_first_answer_that_stays_right(statuses: list[tuple[str, float]], expected: float | None) -> None:
    """From the heal at 2 s to the first right answer that no failure follows within a second; no answer, no recovery."""
    history = [did(status, completed) for status, completed in statuses] + [did("ok", 9, endpoint="a")]
    found = recovery_time(history, {"b"}, 2.0)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_history_that_ends_before_the_steady_second_shows_no_recovery() -> None:
    """Nobody watched whether a failure followed; one more operation a second later decides it."""
    history = [did("ok", 2.5), did("ok", 3.4)]
    assert recovery_time(history, {"b"}, 2.0) is None
    assert recovery_time([*history, did("ok", 3.5)], {"b"}, 2.0) == pytest.approx(0.5)


def test_an_answer_to_a_request_from_before_the_heal_is_no_recovery() -> None:
    """A response that was under way says nothing of the restarted process."""
    later = did("ok", 9, endpoint="a")
    assert recovery_time([did("ok", 2.1, took=1.0), later], {"b"}, 2.0) is None
    assert recovery_time([did("ok", 2.1, took=1.0), did("ok", 3), later], {"b"}, 2.0) == 1
