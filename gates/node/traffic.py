"""Requests, their times and answers, counted by the event loop alone, and therefore without a lock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from gates.node.auth import EXEMPT
from gates.node.http import Route

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BOUNDS = (*(f"{seconds:g}" for seconds in _SECONDS), "+Inf")


class Entry:
    """A route of the table, and what came of it.

    Attributes:
        open: anybody may ask, as often as they like, whatever the node's state is.
    """

    __slots__ = ("buckets", "codes", "open", "route", "seconds", "size")

    def __init__(self, route: Route) -> None:
        self.route, self.open = route, route.path in EXEMPT
        self.codes: dict[int, int] = {}
        self.buckets = [0] * len(_BOUNDS)
        self.seconds = 0.0
        self.size = 0

    def answered(self, code: int, seconds: float, size: int) -> None:
        """Count an answer of *size* bytes."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.buckets[bisect_left(_SECONDS, seconds)] += 1
        self.seconds += seconds
        self.size += size


class Traffic:
    """All entries, as families of Prometheus."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def entry(self, route: Route) -> Entry:
        """A new entry, which is counted from now on."""
        self._entries.append(Entry(route))
        return self._entries[-1]

    def collect(self) -> Iterator[Metric]:
        """The families as they are now; those of one path under two methods are summed."""
        requests = CounterMetricFamily("icn_requests", "HTTP requests by path and code", labels=["path", "code"])
        times = HistogramMetricFamily("icn_request_duration_seconds", "Time to answer", labels=["path"])
        sizes = CounterMetricFamily("icn_response_bytes", "Bytes of answers without their heads")
        for path, entries in self._by_path().items():
            for code in sorted({code for entry in entries for code in entry.codes}):
                requests.add_metric([path, str(code)], sum(entry.codes.get(code, 0) for entry in entries))
            counts = accumulate(_sums(entry.buckets for entry in entries))
            times.add_metric([path], list(zip(_BOUNDS, counts, strict=True)), sum(entry.seconds for entry in entries))
        sizes.add_metric([], sum(entry.size for entry in self._entries))
        yield from (requests, times, sizes)

    def _by_path(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self._entries:
            if entry.codes:
                found.setdefault(entry.route.path, []).append(entry)
        return found


def _sums(rows: Iterable[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]
