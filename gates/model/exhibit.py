"""Exhibits: all that the report draws, as data."""

from __future__ import annotations

from dataclasses import dataclass

from gates.model.words import Unit


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of (x, y) points."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """A labelled limit line at *value* in a plot's y (or, for intervals, x) unit."""

    text: str
    value: float
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time on a series' x axis in seconds: a fault, a phase. *seen* is what a probe saw, else as asked for."""

    text: str
    start: float
    end: float
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time: x in seconds from the start of load, y in *unit*; *logarithmic* for latencies."""

    title: str
    unit: Unit
    lines: tuple[Line, ...]
    limits: tuple[Limit, ...] = ()
    windows: tuple[Window, ...] = ()
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantile curves: x is the quantile between 0 and 1, y in *unit*."""

    title: str
    unit: Unit
    lines: tuple[Line, ...]
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """A value with its interval; *control* marks the row that must not move."""

    name: str
    value: float
    low: float
    high: float
    control: bool = False


@dataclass(frozen=True, slots=True)
class Intervals:
    """Rows of values with intervals against common limits, x in *unit*."""

    title: str
    unit: Unit
    rows: tuple[IntervalRow, ...]
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Plain cells; the first row of thought is *columns*."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines of a log, as they were, without terminal escapes."""

    title: str
    lines: tuple[str, ...]


Exhibit = Series | Quantiles | Intervals | Table | LogTail
