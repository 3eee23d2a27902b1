"""The schedules: inside their bounds, evenly drawn, and spread where a herd comes back."""

from __future__ import annotations

import math
import statistics

import pytest

from gates.recovery import (
    ConfigurationError,
    Constant,
    Custom,
    Deadline,
    DeadlineExceeded,
    Exponential,
    Retry,
    parse_retry_after,
)
from gates.recovery.testing import VirtualClock, seeded


@pytest.mark.parametrize("attempt", [1, 2, 3, 7, 1000, 1_000_000])
@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated", "proportional", "none"])
def test_every_delay_is_inside_its_bounds(jitter, attempt):
    """However high the attempt; nothing overflows, and jitter never leaves the cap."""
    schedule, draw = Exponential(0.1, 30.0, 2.0, jitter), seeded(attempt)
    width = min(30.0, 0.1 * 2.0 ** min(attempt - 1, 100))
    previous = 0.0
    for _ in range(200):
        delay = schedule.delay(attempt, previous, draw)
        low, high = {
            "full": (0.0, width),
            "equal": (width / 2, width),
            "decorrelated": (0.1, min(30.0, max(0.3, 3 * previous))),
            "proportional": (width, min(30.0, 1.1 * width)),
            "none": (width, width),
        }[jitter]
        assert low <= delay <= high
        previous = delay


def test_full_jitter_is_drawn_evenly():
    """A Kolmogorov-Smirnov distance over 100,000 seeded draws that chance exceeds in less than one of a thousand cases."""
    schedule, draw, count = Exponential(1.0, 30.0), seeded(7), 100_000
    draws = sorted(schedule.delay(1, 0.0, draw) for _ in range(count))
    distance = max(max((index + 1) / count - value, value - index / count) for index, value in enumerate(draws))
    assert distance < 1.95 / math.sqrt(count)


@pytest.mark.parametrize(
    ("jitter", "expected"), [("full", 0.1 / math.sqrt(12)), ("equal", 0.05 / math.sqrt(12)), ("none", 0.0)]
)
def test_a_herd_arrives_as_spread_as_theory_says(jitter, expected):
    """The standard deviation of ten thousand first retries is within 2 % of the uniform distribution's."""
    schedule, draw = Exponential(0.1, 10.0, jitter=jitter), seeded(3)
    arrivals = [schedule.delay(1, 0.0, draw) for _ in range(10_000)]
    assert statistics.pstdev(arrivals) == pytest.approx(expected, rel=0.02, abs=1e-12)


def herd(schedule) -> tuple[int, float]:
    """The most retries in any 10 ms when 10,000 clients fail at once six times, and the mean time of the sixth retry."""
    draw, bins, ends = seeded(11), {}, []
    for _ in range(10_000):
        at = previous = 0.0
        for attempt in range(1, 7):
            previous = schedule.delay(attempt, previous, draw)
            at += previous
            bins[int(at * 100)] = bins.get(int(at * 100), 0) + 1
        ends.append(at)
    return max(bins.values()), statistics.fmean(ends)


def test_wide_first_windows_keep_ten_thousand_clients_below_two_hundred_retries_in_ten_milliseconds():
    """Full jitter from 100 ms peaks at about 1,600; with no window below 1.7 s the peak is below 200."""
    peak, ends = herd(Exponential(0.1, 10.0))
    spread_peak, spread_ends = herd(Exponential(0.1, 10.0, spread=1.7))
    assert peak > 1400
    assert spread_peak <= 200
    # Six delays on the way: the mean delay grows by far less than half a second.
    assert (spread_ends - ends) / 6 <= 0.5


def test_decorrelated_jitter_grows_with_the_delay_before():
    """Three times the previous delay is its ceiling, not three times the first."""
    schedule, draw = Exponential(0.1, 30.0, jitter="decorrelated"), seeded(2)
    assert 2.5 < max(schedule.delay(2, 1.0, draw) for _ in range(200)) <= 3.0


def test_a_custom_schedule_is_asked_and_checked():
    """It gets the failed attempt; what is no number of seconds is an error that says which attempt."""
    assert Custom(lambda attempt: attempt * 2.0).delay(3, 0.0, seeded(1)) == 6.0
    with pytest.raises(ConfigurationError, match=r"Custom.function\(2\) is -1; allowed: a number at least 0"):
        Custom(lambda attempt: -1).delay(2, 0.0, seeded(1))


def test_constant_delays_have_jitter_too():
    """Full from nothing, equal from the half."""
    draw = seeded(5)
    assert Constant(2.0).delay(1, 0.0, draw) == 2.0
    assert all(0.0 <= Constant(2.0, "full").delay(1, 0.0, draw) <= 2.0 for _ in range(100))
    assert all(1.0 <= Constant(2.0, "equal").delay(1, 0.0, draw) <= 2.0 for _ in range(100))


class Busy(Exception):
    """An answer that says when to come back."""

    def __init__(self, retry_after) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("asked", "slept"), [(3.0, 3.0), (0.1, 0.5), (1000.0, 60.0), (-5, 0.5), ("soon", 0.5), (math.nan, 0.5)]
)
def test_retry_after_lengthens_the_pause_and_nothing_else(asked, slept):
    """Between the computed delay and the maximum; what is negative or no number was not asked."""
    clock = VirtualClock(0.0)

    def operation() -> None:
        raise Busy(asked)

    with pytest.raises(Exception, match="failed after 2 attempts"):
        Retry(2, Constant(0.5), sleep=clock.sleep)(operation)()
    assert clock.sleeps == [slept]


def test_retry_after_beyond_the_deadline_ends_the_call_at_once():
    """Nobody sleeps through a deadline to fail after it."""
    clock = VirtualClock(0.0)

    def operation() -> None:
        raise Busy(30)

    with pytest.raises(DeadlineExceeded):
        Deadline(10, clock=clock)(Retry(5, Constant(0.5), sleep=clock.sleep)(operation))()
    assert clock.sleeps == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("Fri, 99 Dec 1999 23:59:59 GMT", None),
        (None, None),
    ],
)
def test_the_header_is_seconds_or_a_date_or_nothing(header, seconds):
    """A date in the past means now; nonsense means that nothing was said."""
    assert parse_retry_after(header, wall_clock=lambda: 946684740.0) == seconds
