"""The rate of arrivals over time, as pieces in which it is constant or changes linearly. Base dependencies only.

Integrated from the start it gives a number of arrivals, here called *mass*: arrival k comes when the mass has reached k. A
piece from rate a to rate b over T seconds has the mass x = a t + (b - a) t² / 2T after t seconds; solved for t without
cancellation it is t = 2x / (a + sqrt(a² + 2 x (b - a) / T)). `gates.load.schedule` does the same sums for whole arrays, and
both give the same bits, so that `gates check` counts the very arrivals that a run will have.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle

MOST_PIECES = 100_000
_HAIR = 1e-9


@dataclass(frozen=True, slots=True)
class Piece:
    """So many *seconds* in which the rate goes from *start* to *end*, both in arrivals a second."""

    seconds: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Pieces one after the other.

    Attributes:
        pieces: those that have a length.
        starts: when each begins, in seconds.
        masses: the mass at the start of each.
        total: the mass at the end.
    """

    pieces: tuple[Piece, ...]
    starts: tuple[float, ...]
    masses: tuple[float, ...]
    total: float

    @property
    def count(self) -> int:
        """How many arrivals come."""
        return int(self.total + _HAIR)

    def time(self, mass: float) -> float:
        """When the mass is reached, in seconds; where nothing comes for a while, the end of that while."""
        index = bisect_right(self.masses, mass) - 1
        piece = self.pieces[index]
        left = mass - self.masses[index]
        if not left:
            return self.starts[index]
        bend = (piece.end - piece.start) / piece.seconds
        root = math.sqrt(max(0.0, piece.start * piece.start + 2 * bend * left))
        return self.starts[index] + min(2 * left / (piece.start + root), piece.seconds)

    def mass(self, time: float) -> float:
        """The mass at *time*."""
        index = max(0, bisect_right(self.starts, time) - 1)
        piece = self.pieces[index]
        into = min(max(0.0, time - self.starts[index]), piece.seconds)
        return self.masses[index] + into * (piece.start + (piece.end - piece.start) * into / piece.seconds / 2)

    def before(self, time: float) -> int:
        """How many arrivals come before *time*, when they are spaced evenly over the mass."""
        return bisect_left(range(self.count), time, key=self.time)


@lru_cache(maxsize=64)
def curve(pieces: tuple[Piece, ...], seconds: float) -> Curve:
    """*pieces* again and again until *seconds* are over, the last one cut there."""
    kept: list[Piece] = []
    starts: list[float] = []
    masses: list[float] = []
    total = begun = 0.0
    for turn, piece in enumerate(cycle(pieces)):
        # a multiple of the whole turn, so that a long train does not drift
        begun = _begin(pieces, turn)
        left = seconds - begun
        if left <= _HAIR:
            break
        cut = piece if piece.seconds <= left else _cut(piece, left)
        kept.append(cut)
        starts.append(begun)
        masses.append(total)
        total = _snapped(total + cut.seconds * (cut.start + cut.end) / 2)
    return Curve(tuple(kept), tuple(starts), tuple(masses), total)


def _begin(pieces: tuple[Piece, ...], turn: int) -> float:
    whole, rest = divmod(turn, len(pieces))
    return whole * math.fsum(piece.seconds for piece in pieces) + math.fsum(piece.seconds for piece in pieces[:rest])


def _cut(piece: Piece, seconds: float) -> Piece:
    return Piece(seconds, piece.start, piece.start + (piece.end - piece.start) * seconds / piece.seconds)


def _snapped(mass: float) -> float:
    """A mass that should be whole is, so that the arrival at a piece's start is not put at the end of the one before."""
    whole = float(round(mass))
    return whole if abs(mass - whole) <= _HAIR * max(1.0, mass) else mass
