"""Series, quantile curves and intervals as pictures, each drawn for a wide page and once more for a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gates.model import IntervalRow, Intervals, Limit, Line, Outcome, Quantiles, Series, Unit, Window
from gates.report.html import svg
from gates.report.html.svg import Scale, element, label
from gates.report.reading import quantity

WIDE, NARROW = 860.0, 340.0
_ROW = 16.0  # height of a line of text in a plot
_COLOURS = 6
_USUAL = {"p99": 0, "p50": 1, "p90": 2, "p95": 3, "p999": 4, "errors": 0}


@dataclass(frozen=True, slots=True)
class Area:
    """The rectangle in which values are drawn."""

    left: float
    right: float
    top: float
    bottom: float


def both(draw: Callable[[float, str], str]) -> str:
    """A drawing for a wide page and one for a phone; style shows one of them."""
    return draw(WIDE, "plot wide") + draw(NARROW, "plot narrow")


# --- series -----------------------------------------------------------------------------------------------------------


def series(exhibit: Series, width: float, class_: str) -> str:
    """Values over time with limits as lines and windows as shades (seen) or brackets (asked for)."""
    lines = [Line(line.name, _drawable(line, exhibit.logarithmic)) for line in exhibit.lines]
    lasting = [window for window in exhibit.windows if window.end > window.start]
    asked, seen = [w for w in lasting if not w.seen], [w for w in lasting if w.seen]
    moments = [window for window in exhibit.windows if window.end <= window.start]
    area = _area(width, lines, top=14.0 + _ROW * _bracket_rows(asked), height=220.0)
    foot = _ROW * min(len(seen) + len(moments), 2) + 4  # words stand below the curves, not over them
    inner = replace(area, top=area.top + _head(exhibit.limits), bottom=area.bottom - foot)
    x = _time_scale(exhibit, area)
    y = _value_scale(lines, exhibit.limits, exhibit.logarithmic, inner)
    parts = [
        *_shades(seen, x, area),
        *_value_grid(y, exhibit.unit, area, logarithmic=exhibit.logarithmic),
        *_time_axis(x, area, width),
        *_brackets(asked, x, area),
        *_moments(moments, x, area),
        *_curves(lines, x, y, area),
        *_limits(exhibit.limits, y, area),
        *_notes([*seen, *moments], x, area),
    ]
    return svg.drawing(width, area.bottom + 26, _series_title(exhibit), class_, parts)


def _drawable(line: Line, logarithmic: bool) -> tuple[tuple[float, float], ...]:
    points = sorted(line.points)
    return tuple(point for point in points if point[1] > 0) if logarithmic else tuple(points)


def _head(limits: Sequence[Limit]) -> float:
    return 12.0 if limits else 0.0  # the words of a limit stand above its line


def _area(width: float, lines: Sequence[Line], *, top: float, height: float) -> Area:
    names = max((svg.wide(line.name) for line in lines), default=0.0)
    return Area(left=58.0, right=width - min(names + 12, width * 0.25), top=top, bottom=top + height)


def _time_scale(exhibit: Series, area: Area) -> Scale:
    xs = [x for line in exhibit.lines for x, _ in line.points] + [end for w in exhibit.windows for end in (w.start, w.end)]
    low, high = min([0.0, *xs]), max(xs, default=1.0)
    return Scale(low, high if high > low else low + 1.0, area.left, area.right)


def _value_scale(lines: Sequence[Line], limits: Sequence[Limit], logarithmic: bool, area: Area) -> Scale:
    values = [y for line in lines for _, y in line.points] + [limit.value for limit in limits]
    if logarithmic:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive) / 1.3, max(positive) * 1.3
        return Scale(low, high, area.bottom, area.top, math.log10)
    low, high = min([0.0, *values]), max([0.0, *values])
    return Scale(low, low + ((high - low) or 1.0) * 1.08, area.bottom, area.top)


def _value_grid(y: Scale, unit: Unit, area: Area, *, logarithmic: bool) -> list[str]:
    linear = svg.byte_ticks if unit is Unit.BYTES else svg.linear_ticks
    ticks = svg.log_ticks(y.low, y.high) if logarithmic else linear(y.low, y.high, 5)
    return [part for tick in ticks for part in _value_tick(tick, y(tick), unit, area)]


def _value_tick(tick: float, at: float, unit: Unit, area: Area) -> tuple[str, str]:
    line = element("line", x1=area.left, x2=area.right, y1=at, y2=at, class_="grid")
    return line, label(area.left - 8, at + 4, quantity(tick, unit), "tick", "end")


def _time_axis(x: Scale, area: Area, width: float) -> list[str]:
    ticks = svg.time_ticks(x.low, x.high, 7 if width > 500 else 4)
    return [label(x(tick), area.bottom + 20, quantity(tick, Unit.SECONDS), "tick", "middle") for tick in ticks]


def _curves(lines: Sequence[Line], x: Scale, y: Scale, area: Area) -> list[str]:
    parts, drawn = [], [(colour, line) for colour, line in zip(_colours(lines), lines, strict=True) if line.points]
    for colour, line in drawn:
        points = svg.thin(line.points, int(area.right - area.left))
        path = "M" + "L".join(f"{svg.number(x(px))} {svg.number(y(py))}" for px, py in points)
        parts.append(element("path", d=path, class_=f"line c{colour}"))
    places = svg.apart([y(line.points[-1][1]) for _, line in drawn], 14.0, area.top + 4, area.bottom - 2)
    for (colour, line), place in zip(drawn, places, strict=True):
        parts.append(label(area.right + 6, place + 4, svg.shorten(line.name, 110), f"name c{colour}"))
    return parts


def _colours(lines: Sequence[Line]) -> list[int]:
    """A colour a line: the same for a percentile in every plot, the next free one for others."""
    free = iter([colour for colour in range(_COLOURS) if colour not in {_USUAL.get(line.name) for line in lines}] * len(lines))
    return [_USUAL[line.name] if line.name in _USUAL else next(free, 0) for line in lines]


def _limits(limits: Sequence[Limit], y: Scale, area: Area) -> list[str]:
    parts = []
    places = svg.apart([y(limit.value) - 5 for limit in limits], 13.0, area.top + 9, area.bottom - 4)
    for limit, place in zip(limits, places, strict=True):
        at, kind = y(limit.value), "warning" if limit.warning else "limit"
        parts.append(element("line", x1=area.left, x2=area.right, y1=at, y2=at, class_=kind))
        parts.append(label(area.right - 4, place, svg.shorten(limit.text, area.right - area.left), f"{kind}-text", "end"))
    return parts


def _shades(windows: Sequence[Window], x: Scale, area: Area) -> list[str]:
    height = area.bottom - area.top
    return [
        element("rect", x=x(w.start), y=area.top, width=max(x(w.end) - x(w.start), 1), height=height, class_="seen")
        for w in windows
    ]


def _notes(windows: Sequence[Window], x: Scale, area: Area) -> list[str]:
    """What was seen and when something happened, in words at the foot of the plot, none over another."""
    parts, ends = [], list[float]()
    for window in sorted(windows, key=lambda window: window.start):
        words = svg.shorten(f"{window.text}, seen" if window.end > window.start else window.text, area.right - area.left)
        start = max(min(x(window.start) + 5, area.right - svg.wide(words) - 4), area.left + 2)
        row = next((index for index, end in enumerate(ends) if end <= start), len(ends))
        ends[row : row + 1] = [start + svg.wide(words) + 10]
        parts.append(label(start, area.bottom - 8 - _ROW * row, words, "window-text"))
    return parts


def _bracket_rows(windows: Sequence[Window]) -> int:
    return max((row + 1 for row in _rows(windows)), default=0)


def _rows(windows: Sequence[Window]) -> list[int]:
    """The first row in which each window overlaps no earlier one."""
    ends: list[float] = []
    rows = []
    for window in windows:
        row = next((index for index, end in enumerate(ends) if end <= window.start), len(ends))
        ends[row : row + 1] = [window.end]
        rows.append(row)
    return rows


def _brackets(windows: Sequence[Window], x: Scale, area: Area) -> list[str]:
    parts = []
    for window, row in zip(windows, _rows(windows), strict=True):
        start, end, y = x(window.start), x(window.end), area.top - 6 - _ROW * row
        parts.append(
            element("path", d=f"M{_at(start, y + 4)}V{svg.number(y)}H{svg.number(end)}V{svg.number(y + 4)}", class_="asked")
        )
        if end - start > 24:
            parts.append(label(start + 4, y - 5, svg.shorten(window.text, end - start - 10), "window-text"))
    return parts


def _at(x: float, y: float) -> str:
    return f"{svg.number(x)} {svg.number(y)}"


def _moments(windows: Sequence[Window], x: Scale, area: Area) -> list[str]:
    return [element("line", x1=x(w.start), x2=x(w.start), y1=area.top, y2=area.bottom, class_="moment") for w in windows]


def _series_title(exhibit: Series) -> str:
    return "; ".join(
        [exhibit.title, *(_spoken(line, exhibit.unit) for line in exhibit.lines), *(w.text for w in exhibit.windows)]
    )


def _spoken(line: Line, unit: Unit) -> str:
    values = [y for _, y in line.points]
    return (
        f"{line.name} from {quantity(min(values), unit)} to {quantity(max(values), unit)}"
        if values
        else f"{line.name}: no data"
    )


# --- quantile curves --------------------------------------------------------------------------------------------------


def quantiles(exhibit: Quantiles, width: float, class_: str) -> str:
    """Value by quantile, with as much room for 99 % to 99.9 % as for 90 % to 99 %."""
    values = [y for line in exhibit.lines for _, y in line.points if y > 0] + [limit.value for limit in exhibit.limits]
    logarithmic = bool(values) and min(values) > 0 and max(values) > 20 * min(values)
    # the maximum has no place on a scale of nines
    shown = [Line(line.name, tuple(point for point in line.points if point[0] < 1)) for line in exhibit.lines]
    lines = [Line(line.name, _drawable(line, logarithmic)) for line in shown]
    area = _area(width, lines, top=14.0, height=200.0)
    last = max((x for line in lines for x, _ in line.points if x < 1), default=0.99)
    x = Scale(0.0, max(last, 0.9), area.left, area.right, svg.nines)
    y = _value_scale(lines, exhibit.limits, logarithmic, replace(area, top=area.top + _head(exhibit.limits)))
    parts = [
        *_value_grid(y, exhibit.unit, area, logarithmic=logarithmic),
        *(label(x(q), area.bottom + 20, quantity(q, Unit.RATIO), "tick", "middle") for q in _shares(x, width)),
        *_curves(lines, x, y, area),
        *_limits(exhibit.limits, y, area),
    ]
    spoken = "; ".join([exhibit.title, *(_spoken(line, exhibit.unit) for line in exhibit.lines)])
    return svg.drawing(width, area.bottom + 26, spoken, class_, parts)


def _shares(x: Scale, width: float) -> list[float]:
    shares = (0.0, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 0.99999) if width > 500 else (0.0, 0.9, 0.99, 0.999, 0.9999)
    return [share for share in shares if share <= x.high]


# --- intervals --------------------------------------------------------------------------------------------------------


def intervals(exhibit: Intervals, width: float, class_: str, outcomes: Mapping[str, Outcome]) -> str:
    """A row a value with its interval, between common limits; *outcomes* colours the rows that a criterion judged."""
    beside = width > 500  # names stand beside their row, on a phone above it
    row_height = 26.0 if beside else 40.0
    names = min(max((svg.wide(_row_name(row)) for row in exhibit.rows), default=0.0) + 16, width * 0.4) if beside else 12.0
    top = 12.0 + _ROW * len(exhibit.limits)
    area = Area(left=names, right=width - 20, top=top, bottom=top + row_height * len(exhibit.rows) + 4)
    x = _interval_scale(exhibit, area)
    parts = [*_interval_grid(x, exhibit.unit, area, width), *_upright_limits(exhibit.limits, x, area)]
    for index, row in enumerate(exhibit.rows):
        at = area.top + row_height * (index + 1) - 10
        kind = "control" if row.control else outcomes.get(row.name, Outcome.NOT_APPLICABLE).value
        name = svg.shorten(_row_name(row), names - 12 if beside else width)
        parts.append(label(area.left - 10, at + 4, name, "row-name", "end") if beside else label(0, at - 12, name, "row-name"))
        parts.append(element("line", x1=x(row.low), x2=x(row.high), y1=at, y2=at, class_=f"interval {kind}"))
        parts.append(_point(x(row.value), at, kind))
    spoken = "; ".join(
        [exhibit.title, *(_spoken_row(row.name, row.value, row.low, row.high, exhibit.unit) for row in exhibit.rows)]
    )
    return svg.drawing(width, area.bottom + 26, spoken, class_, parts)


def _row_name(row: IntervalRow) -> str:
    return f"{row.name} (control)" if row.control and "control" not in row.name else row.name


def _interval_scale(exhibit: Intervals, area: Area) -> Scale:
    ends = [end for row in exhibit.rows for end in (row.low, row.high, row.value)] + [limit.value for limit in exhibit.limits]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = ((high - low) or abs(high) or 1.0) * 0.06
    return Scale(min(low - margin, 0.0) if low < 3 * margin else low - margin, high + margin, area.left, area.right)


def _interval_grid(x: Scale, unit: Unit, area: Area, width: float) -> list[str]:
    parts = []
    for tick in svg.linear_ticks(x.low, x.high, 6 if width > 500 else 4):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=area.top, y2=area.bottom, class_="grid"))
        parts.append(label(x(tick), area.bottom + 18, quantity(tick, unit), "tick", "middle"))
    return parts


def _upright_limits(limits: Sequence[Limit], x: Scale, area: Area) -> list[str]:
    parts = []
    for index, limit in enumerate(limits):
        at, y, kind = x(limit.value), area.top - 4 - _ROW * index, "warning" if limit.warning else "limit"
        parts.append(element("line", x1=at, x2=at, y1=y + 2, y2=area.bottom, class_=kind))
        anchor = "end" if at + svg.wide(limit.text) > area.right else "start"
        parts.append(label(at + (-4 if anchor == "end" else 4), y, limit.text, f"{kind}-text", anchor))
    return parts


def _point(x: float, y: float, kind: str) -> str:
    """A dot; a diamond for what fails and a ring for what is inconclusive, so that colour is not needed."""
    if kind == Outcome.FAIL.value:
        return element("path", d=f"M{_at(x, y - 7)}L{_at(x + 7, y)}L{_at(x, y + 7)}L{_at(x - 7, y)}Z", class_=f"point {kind}")
    return element("circle", cx=x, cy=y, r=4.5, class_=f"point {kind}")


def _spoken_row(name: str, value: float, low: float, high: float, unit: Unit) -> str:
    return f"{name} {quantity(value, unit)}, {quantity(low, unit)} to {quantity(high, unit)}"


# --- a value against its limit ----------------------------------------------------------------------------------------


def bar(value: float, low: float, high: float, limit: float, outcome: Outcome, spoken: str) -> str:
    """A value as a bar, its interval as a thin line and its limit as a mark."""
    width, height = 150.0, 14.0
    x = Scale(0.0, max(limit * 1.6, high * 1.05, value * 1.05), 0.0, width)
    parts = [
        element("rect", x=0.0, y=4.0, width=width, height=6.0, class_="track"),
        element("rect", x=0.0, y=4.0, width=max(x(value), 1.0), height=6.0, class_=f"fill {outcome.value}"),
        element("line", x1=x(low), x2=x(high), y1=7.0, y2=7.0, class_="spread") if high > low else "",
        element("line", x1=x(limit), x2=x(limit), y1=0.0, y2=height, class_="mark"),
    ]
    return svg.drawing(width, height, spoken, "bar", parts)
