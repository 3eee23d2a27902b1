"""The failure detector, by a clock that the tests hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gates.node.detector import Detector, State

ALIVE, SUSPECT, DOWN = State.ALIVE, State.SUSPECT, State.DOWN


def heard_at(moment: int) -> Detector:
    """A detector that heard its peer at *moment*."""
    detector = Detector(suspect_after=2_500, down_after=5_000)
    detector.heard(moment)
    return detector


def test_a_peer_that_was_never_heard_is_down() -> None:
    """Whatever the time, and also after misses."""
    detector = Detector()
    assert detector.state(0) is DOWN
    detector.missed()
    assert detector.state(10**9) is DOWN


def test_one_miss_is_bad_luck_and_two_are_a_suspicion() -> None:
    """Two in a row make a suspect at once, and an answer clears it."""
    detector = heard_at(0)
    detector.missed()
    assert detector.state(1_000) is ALIVE
    detector.missed()
    assert detector.state(1_000) is SUSPECT
    detector.heard(1_100)
    detector.missed()
    assert detector.state(1_200) is ALIVE


def test_a_refused_connection_is_a_suspicion_at_once() -> None:
    """Nobody listens there: the process is gone or not back yet."""
    detector = heard_at(0)
    detector.missed(refused=True)
    assert detector.state(1) is SUSPECT


def test_silence_makes_a_suspect_and_silence_with_a_miss_takes_it_down() -> None:
    """At exactly 2.5 s and 5 s; a pause of this node's own, without a miss, takes nobody down."""
    detector = heard_at(1_000)
    assert [detector.state(1_000 + silence) for silence in (2_499, 2_500, 60_000)] == [ALIVE, SUSPECT, SUSPECT]
    detector.missed()
    assert [detector.state(1_000 + silence) for silence in (2_499, 4_999, 5_000)] == [ALIVE, SUSPECT, DOWN]


@given(st.lists(st.sampled_from(["heard", "missed", "refused"]), max_size=30))
def test_whoever_answers_is_alive_and_nobody_else_recovers(events: list[str]) -> None:
    """After an answer a peer is alive; a miss never makes it look better than before."""
    detector, order = Detector(), [ALIVE, SUSPECT, DOWN]
    for now, event in enumerate(events):
        before = detector.state(now)
        if event == "heard":
            detector.heard(now)
            assert detector.state(now) is ALIVE
        else:
            detector.missed(refused=event == "refused")
            assert order.index(detector.state(now)) >= order.index(before)
