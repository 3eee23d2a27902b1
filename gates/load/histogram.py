"""Histograms in the layout of HdrHistogram: exact to add up, and within three significant digits of every value.

A value's place is its first eleven bits and how many bits follow them (Gil Tene, HdrHistogram), so that a bucket is never
wider than a thousandth of its values. Values are whole microseconds here, collected in a list and counted a batch at a time,
which costs a small part of counting each. What is written is the format V2 of HdrHistogram, which its readers in Java, C, Go,
Rust, JavaScript and Python take.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gates.errors import Exit, GatesError

# One microsecond to longer than the longest run (24 h) and its timeout: what is beyond it can't have been measured.
LOWEST = 1
HIGHEST = 100_000_000_000
DIGITS = 3
PER_SECOND = 1_000_000

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_COMPRESSED = 0x1C849304
_PLAIN = 0x1C849303
_OF_COOKIE = ~0xF0  # a nibble of the cookie tells the size of words, which V2 does not need
_OUTER = struct.Struct(">II")
_HEADER = struct.Struct(">IIIIQQd")
_MOST_BYTES = 4 * 1024 * 1024
_EXACT = 2**53  # whole numbers up to here are exact as floats, which is how bits are counted


class HistogramError(GatesError):
    """A value that no bucket holds, histograms that don't fit together, or bytes that are no histogram."""

    code = Exit.BAD_FILE


@dataclass(frozen=True)
class Layout:
    """Which values share a bucket.

    Attributes:
        lowest: the smallest difference that is told apart, at least 1.
        highest: the largest value that is held.
        digits: significant decimal digits, 1 to 5.
    """

    lowest: int = LOWEST
    highest: int = HIGHEST
    digits: int = DIGITS

    def __post_init__(self) -> None:
        if not (1 <= self.digits <= 5 and self.lowest >= 1 and 2 * self.lowest <= self.highest < _EXACT):
            raise HistogramError(
                f"no histogram holds {self.lowest:,} to {self.highest:,} with {self.digits} digits; expected 1 to 5 digits,"
                " and a range from at least 1 to at least twice that and less than 2^53"
            )

    @cached_property
    def half(self) -> int:
        """Buckets of each power of two."""
        return 1 << (math.ceil(math.log2(2 * 10**self.digits)) - 1)

    @cached_property
    def _unit(self) -> int:
        return self.lowest.bit_length() - 1

    @cached_property
    def length(self) -> int:
        """How many buckets there are."""
        powers, reached = 1, (2 * self.half) << self._unit
        while reached <= self.highest:
            powers, reached = powers + 1, reached * 2
        return (powers + 1) * self.half

    def places(self, values: _Ints) -> _Ints:
        """The bucket of each of *values*. Raises HistogramError when one is negative or beyond the highest."""
        if len(values) and (values.min() < 0 or values.max() > self.highest):
            odd = values[(values < 0) | (values > self.highest)][0]
            raise HistogramError(f"{odd:,} is no value of a histogram that holds 0 to {self.highest:,}")
        scaled = values >> self._unit if self._unit else values
        power = self.half.bit_length() - 1
        # the bits of a float are its power of two and then what follows its leading bit: cut off there, they are the bucket
        buckets = (scaled.astype(np.float64).view(np.int64) >> (52 - power)) - (1023 + power - 1) * self.half
        return np.where(scaled < 2 * self.half, scaled, buckets)

    def lows(self, places: _Ints) -> _Ints:
        """The smallest value of each bucket."""
        shift = np.maximum(places // self.half - 1, 0)
        return np.asarray((places - shift * self.half) << (shift + self._unit))

    def highs(self, places: _Ints) -> _Ints:
        """The largest value of each bucket, which stands for all of them when a percentile falls into it."""
        return self.lows(places + 1) - 1


DEFAULT = Layout()


def microseconds(seconds: ArrayLike) -> _Ints:
    """*seconds* to the nearest microsecond. Raises HistogramError for what is no time: negative, infinite or missing."""
    found = np.rint(np.asarray(seconds, dtype=np.float64) * PER_SECOND)
    if len(found) and not (found.min() >= 0 and found.max() < _EXACT):  # a NaN fails the first comparison
        raise HistogramError("a time that is negative, missing or longer than any run can't be counted")
    return found.astype(np.int64)


class Histogram:
    """Counts by bucket."""

    __slots__ = ("counts", "layout")
    __hash__ = None  # type: ignore[assignment] # it changes

    def __init__(self, layout: Layout = DEFAULT) -> None:
        self.layout = layout
        self.counts: _Ints = np.zeros(layout.length, dtype=np.int64)

    @classmethod
    def of(cls, places: _Ints, counts: _Ints, layout: Layout = DEFAULT) -> Histogram:
        """The histogram that has *counts* in the buckets *places*, each named once."""
        made = cls(layout)
        made.counts[places] = counts
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.layout == other.layout and bool(np.array_equal(self.counts, other.counts))

    @property
    def total(self) -> int:
        """How many values were recorded."""
        return int(self.counts.sum())

    def record(self, values: Sequence[int] | _Ints) -> None:
        """Count a batch of *values*. Raises HistogramError, and counts none of them, when one is out of range."""
        given = np.asarray(values, np.int64) if isinstance(values, np.ndarray) else np.fromiter(values, np.int64, len(values))
        places = self.layout.places(given)
        if len(places):
            first = int(places.min())
            counted = np.bincount(places - first)
            self.counts[first : first + len(counted)] += counted

    def record_seconds(self, values: Sequence[float] | _Floats) -> None:
        """Count a batch of times in seconds, to the nearest microsecond."""
        # of a list of floats this makes an array in four fifths of the time
        given = values if isinstance(values, np.ndarray) else np.fromiter(values, np.float64, len(values))
        self.record(microseconds(given))

    def add(self, other: Histogram) -> None:
        """Take up what *other* counted. Raises HistogramError when its buckets are others."""
        if self.layout != other.layout:
            raise HistogramError(f"histograms of {self.layout} and of {other.layout} don't add up")
        self.counts += other.counts

    def percentile(self, quantile: float) -> int:
        """The largest value of the bucket that holds the *quantile* (0 to 1). Raises HistogramError when there is no value."""
        reached = np.cumsum(self.counts)
        if not len(reached) or not reached[-1]:
            raise HistogramError("a histogram without a value has no percentile")
        rank = max(1, math.ceil(quantile * int(reached[-1]) - 1e-9))
        return int(self.layout.highs(np.searchsorted(reached, [rank]))[0])

    @property
    def longest(self) -> int:
        """The largest value of the last bucket that holds any, 0 without one."""
        held = np.flatnonzero(self.counts)
        return int(self.layout.highs(held[-1:])[0]) if len(held) else 0

    # --- format V2

    def encode(self) -> bytes:
        """The compressed format V2."""
        held = np.flatnonzero(self.counts)
        words = _packed(_runs(held, self.counts[held]))
        layout = self.layout
        header = _HEADER.pack(_PLAIN | 0x10, len(words), 0, layout.digits, layout.lowest, layout.highest, 1.0)
        packed = zlib.compress(header + words)
        return _OUTER.pack(_COMPRESSED | 0x10, len(packed)) + packed

    def encode_text(self) -> str:
        """The compressed format V2 in base64, as it stands in histogram logs."""
        return base64.b64encode(self.encode()).decode()

    @classmethod
    def decode(cls, encoded: bytes | str) -> Histogram:
        """The histogram in *encoded*, which is base64 when it is text. Raises HistogramError for what is none."""
        outer = _from_text(encoded) if isinstance(encoded, str) else encoded
        plain = _unzipped(outer)
        cookie, length, _, digits, lowest, highest, _ = _HEADER.unpack_from(plain)
        if cookie & _OF_COOKIE != _PLAIN:
            raise HistogramError(f"the histogram inside starts with {cookie:#x}; expected the format V2, {_PLAIN:#x}")
        if length != len(plain) - _HEADER.size:
            raise HistogramError(f"a histogram of {length:,} bytes was announced, {len(plain) - _HEADER.size:,} came")
        return _filled(cls(Layout(lowest, highest, digits)), plain[_HEADER.size :])


def _runs(places: _Ints, counts: _Ints) -> _Ints:
    """The counts up to the last that is not zero, with the length of each run of zeros as a negative number."""
    gaps = np.diff(places, prepend=-1) - 1
    words = np.stack([-gaps, counts], axis=1)
    return np.asarray(words[np.stack([gaps > 0, np.ones(len(gaps), dtype=np.bool_)], axis=1)])


def _packed(words: _Ints) -> bytes:
    """ZigZag LEB128: seven bits a byte, the smallest first, a ninth byte whole."""
    zigzag = ((words << 1) ^ (words >> 63)).astype(np.uint64)
    shifted = zigzag[:, None] >> (np.arange(9, dtype=np.uint64) * np.uint64(7))
    more = np.zeros(shifted.shape, dtype=np.bool_)
    more[:, :-1] = shifted[:, 1:] > 0
    used = np.ones(shifted.shape, dtype=np.bool_)
    used[:, 1:] = more[:, :-1]
    low = np.where(np.arange(9) == 8, shifted & np.uint64(0xFF), shifted & np.uint64(0x7F))
    return (low | (more * np.uint64(0x80)))[used].astype(np.uint8).tobytes()


def _words(data: bytes) -> Iterator[int]:
    """What `_packed` packed."""
    value, shift = 0, 0
    for byte in data:
        if shift == 56:
            value |= byte << 56
        else:
            value |= (byte & 0x7F) << shift
            if byte & 0x80:
                shift += 7
                continue
        yield (value >> 1) ^ -(value & 1)
        value, shift = 0, 0
    if shift:
        raise HistogramError("the histogram ends in the middle of a count")


def _filled(histogram: Histogram, data: bytes) -> Histogram:
    place, length = 0, histogram.layout.length
    for word in _words(data):
        if place + max(1, -word) > length:
            raise HistogramError(f"the histogram has counts beyond its {length:,} buckets")
        if word > 0:
            histogram.counts[place] = word
        place += max(1, -word)
    return histogram


def _from_text(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HistogramError(f"a histogram as text is base64: {error}") from None


def _unzipped(outer: bytes) -> bytes:
    """What is inside the zlib stream, at least a header. Raises HistogramError."""
    if len(outer) < _OUTER.size:
        raise HistogramError(f"{len(outer)} bytes are no histogram")
    cookie, length = _OUTER.unpack_from(outer)
    if cookie & _OF_COOKIE != _COMPRESSED:
        raise HistogramError(f"it starts with {cookie:#x}; expected a compressed histogram of the format V2, {_COMPRESSED:#x}")
    if length != len(outer) - _OUTER.size:
        raise HistogramError(f"a histogram of {length:,} bytes was announced, {len(outer) - _OUTER.size:,} came")
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(outer[_OUTER.size :], _MOST_BYTES)
    except zlib.error as error:
        raise HistogramError(f"the histogram can't be unpacked: {error}") from None
    if not stream.eof or stream.unused_data or len(plain) < _HEADER.size:
        raise HistogramError("the histogram is cut off, or too large to be one")
    return plain
