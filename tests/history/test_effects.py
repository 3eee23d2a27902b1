"""Nothing acknowledged is lost, a key has one effect, everything ends, and replicas agree in time."""

from __future__ import annotations

from gates.history.effects import disagreeing, effects, lost, unfinished
from gates.model import Operation


def asked(key: str, status: str = "ok") -> Operation:
    """A client sent *key*."""
    return Operation(0, "order", "shop", key, status, 0.0, 1.0)


def test_what_was_acknowledged_and_is_there_is_not_lost() -> None:
    """Also what was acknowledged twice counts once."""
    found = lost(["a", "b", "a"], ["b", "a", "c"])
    assert (found.acknowledged, found.lost) == (2, ())


def test_what_was_acknowledged_and_is_gone_is_lost() -> None:
    """It is named."""
    assert lost(["a", "b"], {"a"}).lost == ("b",)


def test_one_effect_a_key_is_right_also_for_what_was_sent_twice() -> None:
    """An unknown outcome may have had its effect or not."""
    found = effects([asked("a"), asked("a", "unknown"), asked("b", "unknown"), asked("c", "unknown")], ["a", "b"])
    assert (found.sent, found.duplicated, found.unasked) == (3, (), ())


def test_two_effects_of_a_key_are_one_too_many() -> None:
    """However often it was sent."""
    assert effects([asked("a"), asked("a")], ["a", "a"]).duplicated == ("a",)


def test_an_effect_that_nobody_asked_for_is_found() -> None:
    """As is one of what was refused; what was there before is not."""
    found = effects([asked("a"), asked("b", "fail")], ["a", "b", "x", "old"], known={"old"})
    assert found.unasked == ("b", "x")


def test_a_second_effect_of_a_key_that_was_there_before_is_one_too_many() -> None:
    """Whether or not somebody asked for it again; as many as there were are right."""
    assert effects([asked("old")], ["old", "old"], known=["old"]).duplicated == ("old",)
    assert effects([], ["old", "old"], known=["old"]).duplicated == ("old",)
    assert effects([], ["old", "old"], known=["old", "old"]).duplicated == ()


def test_a_refused_key_that_was_sent_again_may_have_its_effect() -> None:
    """The second time it was taken."""
    assert effects([asked("a", "fail"), asked("a")], ["a"]).unasked == ()


def test_items_without_an_end_are_named() -> None:
    """All that is in no final state."""
    states = {"j1": "done", "j2": "running", "j3": "cancelled"}
    assert unfinished(states, {"done", "cancelled"}) == ("j2",)
    assert unfinished(states, {"done", "cancelled", "running"}) == ()
    assert unfinished({"j4": ""}, {"done"}) == ("j4",)


def test_the_replica_that_differs_is_named() -> None:
    """The majority is taken for right."""
    assert disagreeing({"a": 1, "b": 1, "c": 2}) == ("c",)
    assert disagreeing({"a": 1, "b": 1}) == ()
    assert disagreeing({}) == ()
