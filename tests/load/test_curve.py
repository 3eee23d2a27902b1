"""The rate over time, integrated and solved: no arrival is lost or put where nothing comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.load.curve import Curve, Piece, curve
from gates.load.schedule import _Pieces

RATES = st.one_of(st.just(0.0), st.integers(1, 500).map(float), st.floats(0.01, 500))
PIECES = st.lists(st.builds(Piece, st.floats(0.05, 20), RATES, RATES), min_size=1, max_size=5).map(tuple)


def at_least_one(found: Curve) -> bool:
    """Whether anything comes."""
    return found.count >= 1


CURVES = st.builds(curve, PIECES, st.floats(0.5, 40)).filter(at_least_one)


def integral(found: Curve) -> float:
    """The rate summed over the time, by the trapezes that the pieces are."""
    return sum(piece.seconds * (piece.start + piece.end) / 2 for piece in found.pieces)


@settings(deadline=None)
@given(CURVES)
def test_as_many_arrivals_come_as_the_integral_of_the_rate_within_one(found: Curve) -> None:
    """The part of an arrival that is left at the end does not come."""
    assert found.count == pytest.approx(integral(found), abs=1 + 1e-6)


@settings(deadline=None)
@given(CURVES, st.floats(0, 1))
def test_up_to_any_moment_as_many_came_as_the_integral_says_within_one(found: Curve, part: float) -> None:
    """Not only at the end: the arrivals follow the curve, wherever it bends."""
    moment = part * sum(piece.seconds for piece in found.pieces)
    assert found.before(moment) == pytest.approx(found.mass(moment), abs=1 + 1e-6)


@settings(deadline=None)
@given(CURVES)
def test_arrays_and_single_sums_give_the_same_bits(found: Curve) -> None:
    """So `gates check`, which has no numpy, counts the arrivals that the run will have."""
    chosen = np.unique(np.linspace(0, found.count - 1, 50).astype(np.int64)).astype(np.float64)
    assert _Pieces(found).times(chosen).tolist() == [found.time(mass) for mass in chosen.tolist()]


@settings(deadline=None)
@given(CURVES)
def test_arrivals_come_in_order_and_within_the_time(found: Curve) -> None:
    """The first not before 0, none after the end."""
    times = _Pieces(found).times(np.arange(min(found.count, 5000), dtype=np.float64))
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] <= found.starts[-1] + found.pieces[-1].seconds


def test_the_first_arrival_of_a_burst_comes_with_the_burst_and_not_before_the_pause() -> None:
    """Rates that are no binary fractions must not put it at the end of the burst before: 0.1/s for 10 s is one, whole."""
    train = curve((Piece(10, 0.1, 0.1), Piece(5, 0, 0)), 45)
    assert [train.time(float(k)) for k in range(train.count)] == [0, 15, 30]


def test_a_ramp_is_solved_without_loss_of_digits() -> None:
    """N(t) = r t² / 2T: half of the arrivals come after 1/sqrt(2) of the time; down from 100/s as well as up."""
    up, down = curve((Piece(10, 0, 100),), 10), curve((Piece(10, 100, 0),), 10)
    assert up.count == down.count == 500
    assert up.time(250) == pytest.approx(10 / 2**0.5, rel=1e-15)
    assert down.time(250) == pytest.approx(10 - 10 / 2**0.5, rel=1e-14)


def test_a_long_train_does_not_drift() -> None:
    """The ten-thousandth period of 0.1 s begins at 1000 s."""
    train = curve((Piece(0.07, 0, 0), Piece(0.03, 100, 100)), 1000.1)
    assert train.starts[20000] == pytest.approx(1000, abs=1e-9)
    assert train.count == 30003
