"""What a look counts for: a fault is seen when it was not there, then was caused, then is there; over when it stays away."""

from __future__ import annotations

import time

import pytest

from gates.faults.looker import Looker, struck


class Film:
    """Looks that come one by one, each a second after the last."""

    def __init__(self, steady: float = 0.0) -> None:
        self.now, self.there = 0.0, False
        self.answer: bool | None = False
        self.looker = Looker(lambda: self.answer, lambda: self.now, steady=steady)

    def look(self, *answers: bool | None) -> None:
        for self.answer in answers:
            self.looker._note()
            self.now += 1

    @property
    def seen(self) -> tuple[float | None, float | None]:
        return self.looker.seen_start, self.looker.seen_end


def test_a_fault_is_seen_from_its_first_look_to_the_first_without_it() -> None:
    """Looks that can't tell are passed over."""
    film = Film()
    film.look(False)
    film.looker.count()
    film.look(None, True, None, True, None)
    film.looker.heals()
    film.look(False, True)
    assert film.seen == (2.0, 6.0)


def test_what_was_there_before_it_was_caused_is_not_the_fault() -> None:
    """Nor is what never was absent: nothing shows then that we caused it."""
    film = Film()
    film.look(True, True)
    film.looker.count()
    film.look(True, True)
    assert film.seen == (None, None)
    film.looker.heals()
    film.look(False, True, False)
    assert film.seen == (5.0, 6.0)


def test_a_gap_is_no_end() -> None:
    """A fault that comes and goes is over once it stays away for a while; a look that can't tell breaks no row."""
    film = Film(steady=2.0)
    film.look(False)
    film.looker.count()
    film.look(True, False, True)
    film.looker.heals()
    film.look(False, None, False)
    assert film.seen == (1.0, 4.0)
    assert film.looker.lapses == 1


def test_what_comes_back_before_the_heal_was_not_over() -> None:
    """One look without the fault, whatever was wrong with it, does not end what is there until it is healed."""
    film = Film()
    film.look(False)
    film.looker.count()
    film.look(True, False, True, False)
    assert film.seen == (1.0, None)
    film.looker.heals()
    film.look(True, False)
    assert film.seen == (1.0, 6.0)


def test_a_fault_that_was_over_long_before_its_healing_was_not_seen_to_its_end() -> None:
    """It lapsed by itself, so nothing is proven of the time that it was asked for."""
    now, there = 0.0, False

    def cause() -> None:
        nonlocal there
        there = True

    with struck(lambda: there, lambda: now, cause=cause, heal=lambda: None, how=lambda: "a look") as watch:
        there = False
        time.sleep(0.05)  # some looks
        now = 2.0
    assert watch.seen_start == 0.0
    assert watch.seen_end is None
    assert "it was over 2.00 s before the healing began" in watch.detail


def test_a_look_that_fails_tells_nothing() -> None:
    """A process that is gone can't be read; that is neither the fault nor its end."""
    looker = Looker(lambda: int("x") > 0, lambda: 0.0)
    looker._note()
    assert not looker.calm.is_set()
    assert looker.looks == 1


def test_a_cause_that_fails_is_healed_and_not_seen() -> None:
    """Also then the heal runs, and the error is told."""
    done: list[str] = []

    def cause() -> None:
        done.append("cause")
        raise OSError("it did not work")

    with (
        pytest.raises(OSError, match="it did not work"),
        struck(lambda: False, lambda: 0.0, cause=cause, heal=lambda: done.append("heal"), how=lambda: "nothing"),
    ):
        done.append("body")
    assert done == ["cause", "heal"]


def test_a_fault_without_effect_is_not_seen() -> None:
    """The look has no part in causing it, so it does not take its word."""
    with struck(
        lambda: False, lambda: 1.0, cause=lambda: None, heal=lambda: None, how=lambda: "nothing", notice=0.02, patience=0.02
    ) as watch:
        pass
    assert (watch.caused, watch.healing, watch.seen_start, watch.seen_end) == (1.0, 1.0, None, None)
