"""Histograms against the package `hdrhistogram`, which has its own code for everything."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.load.histogram import DEFAULT, HIGHEST, Histogram, HistogramError, Layout, microseconds

values = st.integers(0, HIGHEST) | st.integers(0, 5000) | st.sampled_from([2047, 2048, 4095, 4096, HIGHEST])
batches = st.lists(values, max_size=200)


def ours(recorded: list[int]) -> Histogram:
    """Our histogram of *recorded*."""
    histogram = Histogram()
    histogram.record(recorded)
    return histogram


def theirs(recorded: list[int]) -> HdrHistogram:
    """The package's."""
    histogram = HdrHistogram(DEFAULT.lowest, DEFAULT.highest, DEFAULT.digits)
    for value in recorded:
        assert histogram.record_value(value)
    return histogram


def plain(encoded: bytes) -> bytes:
    """What is inside the compressed format: zlib's own choices are no part of it."""
    return zlib.decompress(encoded[8:])


@settings(deadline=None, max_examples=60)
@given(batches)
def test_counts_and_encodings_are_those_of_the_package(recorded: list[int]) -> None:
    """Bucket by bucket, and byte by byte in both directions."""
    mine, other = ours(recorded), theirs(recorded)
    assert mine.counts.tolist() == [other.get_count_at_index(index) for index in np.arange(other.counts_len).tolist()]
    assert plain(mine.encode()) == plain(base64.b64decode(other.encode()))
    assert Histogram.decode(other.encode().decode()) == mine
    read = HdrHistogram.decode(mine.encode_text())
    assert read.get_total_count() == len(recorded)
    assert plain(base64.b64decode(read.encode())) == plain(mine.encode())


@settings(deadline=None, max_examples=60)
@given(batches.filter(bool), st.sampled_from([0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_percentiles_are_within_a_thousandth_of_the_value(recorded: list[int], quantile: float) -> None:
    """A percentile is the upper edge of the bucket that its value fell into: never below it."""
    mine = ours(recorded)
    true = int(np.quantile(recorded, quantile, method="inverted_cdf"))
    assert true <= mine.percentile(quantile) <= true * 1.001 + 1
    assert theirs(recorded).get_highest_equivalent_value(true) == mine.percentile(quantile)


@settings(deadline=None, max_examples=60)
@given(batches, st.lists(st.integers(0, 7), min_size=200, max_size=200))
def test_workers_merged_are_one_worker_bit_for_bit(recorded: list[int], workers: list[int]) -> None:
    """However the values were dealt out, the sum has the counts and the bytes of one histogram of them all."""
    merged = Histogram()
    for worker in range(8):
        merged.add(ours([value for value, taken in zip(recorded, workers, strict=False) if taken == worker]))
    assert merged == ours(recorded)
    assert merged.encode() == ours(recorded).encode()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2**62), max_size=40))
def test_large_counts_survive_the_format(counts: list[int]) -> None:
    """Up to nine bytes a count, with zeros between."""
    histogram = Histogram()
    histogram.counts[: 3 * len(counts) : 3] = counts
    assert Histogram.decode(histogram.encode()) == histogram


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 1000), st.integers(1, 5), st.lists(st.integers(0, 10**9), max_size=50))
def test_other_layouts_are_read_as_the_package_reads_them(lowest: int, digits: int, recorded: list[int]) -> None:
    """The layout is in the header: a coarser unit, other digits."""
    other = HdrHistogram(lowest, 10**9, digits)
    for value in recorded:
        other.record_value(value)
    mine = Histogram(Layout(lowest, 10**9, digits))
    mine.record(recorded)
    assert Histogram.decode(other.encode().decode()) == mine


def test_the_edges_of_a_bucket_enclose_what_falls_into_it() -> None:
    """The next bucket begins where one ends."""
    places = np.arange(DEFAULT.length - 1)
    lows, highs = DEFAULT.lows(places), DEFAULT.highs(places)
    assert (lows[1:] == highs[:-1] + 1).all()
    inside = lows <= HIGHEST
    assert (DEFAULT.places(lows[inside]) == places[inside]).all()
    assert ((highs - lows)[lows > 0] * 1000 <= lows[lows > 0]).all()


@pytest.mark.parametrize("value", [-1, HIGHEST + 1, 2**60])
def test_a_value_out_of_range_is_an_error_and_nothing_of_its_batch_is_counted(value: int) -> None:
    """It is never clipped to the highest bucket."""
    histogram = Histogram()
    with pytest.raises(HistogramError, match="is no value of a histogram that holds 0 to 100,000,000,000"):
        histogram.record([1, value, 2])
    assert histogram.total == 0


@pytest.mark.parametrize("seconds", [-1e-3, float("nan"), float("inf"), 1e300])
def test_what_is_no_time_is_an_error(seconds: float) -> None:
    """A wrong clock is seen, and not counted as zero."""
    with pytest.raises(HistogramError, match="can't be counted"):
        microseconds([0.1, seconds])


def test_times_are_rounded_to_the_nearest_microsecond() -> None:
    """Half a microsecond is all that is lost before buckets."""
    assert microseconds([0.0, 1.4e-6, 1.6e-6, 0.1 + 0.2]).tolist() == [0, 1, 2, 300_000]


def test_histograms_of_other_layouts_do_not_add_up() -> None:
    """Counts of other buckets can't be moved without a guess."""
    with pytest.raises(HistogramError, match="don't add up"):
        Histogram().add(Histogram(Layout(digits=2)))


def test_an_empty_histogram_has_no_percentile_and_survives_the_format() -> None:
    """No data is no zero."""
    with pytest.raises(HistogramError, match="without a value"):
        Histogram().percentile(0.5)
    assert Histogram.decode(Histogram().encode()).total == 0


def _zipped(inner: bytes, cookie: int = 0x1C849314) -> bytes:
    packed = zlib.compress(inner)
    return struct.pack(">II", cookie, len(packed)) + packed


def _header(*, cookie: int = 0x1C849313, length: int = 0, digits: int = 3, lowest: int = 1, highest: int = 10**6) -> bytes:
    return struct.pack(">IIIIQQd", cookie, length, 0, digits, lowest, highest, 1.0)


@pytest.mark.parametrize(
    ("encoded", "problem"),
    [
        ("no base64!", "as text is base64"),
        (b"\x1c", "1 bytes are no histogram"),
        (_zipped(_header(), cookie=0x1C849312), "starts with 0x1c849312"),
        (_zipped(_header())[:-1], "was announced"),
        (struct.pack(">II", 0x1C849314, 4) + b"abcd", "can't be unpacked"),
        (_zipped(b"short"), "cut off"),
        (_zipped(b"\0" * 5_000_000), "too large"),
        (_zipped(_header(cookie=0x1C849301)), "inside starts with"),
        (_zipped(_header(length=7)), "7 bytes was announced"),
        (_zipped(_header(digits=9)), "with 9 digits"),
        (_zipped(_header(lowest=0)), "holds 0 to"),
        (_zipped(_header(highest=2**60)), "less than 2.53"),
        (_zipped(_header(length=1) + b"\x80"), "middle of a count"),
        (_zipped(_header(length=5) + b"\xff\xff\xff\xff\x0f"), "counts beyond its"),
    ],
)
def test_bytes_that_are_no_histogram_are_told_and_never_half_read(encoded: bytes | str, problem: str) -> None:
    """A wrong cookie, a cut, a bomb, an impossible layout, counts beyond the buckets."""
    with pytest.raises(HistogramError, match=problem):
        Histogram.decode(encoded)
