"""An exhibit of a gate as a figure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gates.model import (
    Comparator,
    CriterionReport,
    Exhibit,
    GateReport,
    Intervals,
    LogTail,
    Measurement,
    Outcome,
    Quantiles,
    Series,
    Table,
)
from gates.report import reading
from gates.report.html import plots
from gates.report.html.parts import head, scrolling
from gates.report.prose import text

_NUMBER = re.compile(r"[-+−±<≤>≥]?\s*[\d.,]+\s*(?:%|x|/s|[a-zµA-Z]{1,3})?")


def draw(exhibit: Exhibit, gate: GateReport) -> str:
    """*exhibit* with its title; the rows of intervals take the outcome of the criterion that judged them."""
    match exhibit:
        case Series():
            drawn = plots.both(lambda width, class_: plots.series(exhibit, width, class_))
        case Quantiles():
            drawn = plots.both(lambda width, class_: plots.quantiles(exhibit, width, class_))
        case Intervals():
            outcomes = _outcomes(gate)
            drawn = plots.both(lambda width, class_: plots.intervals(exhibit, width, class_, outcomes))
        case Table():
            drawn = _table(exhibit)
        case LogTail():
            drawn = f'<pre tabindex="0">{text(chr(10).join(exhibit.lines))}</pre>'
    return f"<figure><figcaption>{text(exhibit.title)}</figcaption>{drawn}</figure>"


def _table(exhibit: Table) -> str:
    width = len(exhibit.columns)
    rows = [(*row[:width], *[""] * (width - len(row))) for row in exhibit.rows]
    numeric = frozenset(
        column
        for index, column in enumerate(exhibit.columns)
        if rows and all(_NUMBER.fullmatch(row[index].strip()) for row in rows)
    )
    classes = [' class="number"' if column in numeric else "" for column in exhibit.columns]
    pairs = ' class="pairs"' if width <= 2 else ""
    body = "\n".join(
        f"<tr>{''.join(f'<td{class_}>{text(cell)}</td>' for class_, cell in zip(classes, row, strict=True))}</tr>"
        for row in rows
    )
    return scrolling(f"<table{pairs}>{head(exhibit.columns, numeric)}<tbody>\n{body}\n</tbody></table>", exhibit.title)


def _outcomes(gate: GateReport) -> Mapping[str, Outcome]:
    """The outcome by selector and by key of each measurement that a criterion looked at."""
    found: dict[str, Outcome] = {}
    for report in gate.criteria:
        for index, measurement in enumerate(report.measurements):
            told = len(report.measurements) == 1 or report.outcomes
            outcome = reading.outcome_of(report, index) if told else _place(report, measurement)
            found[measurement.key] = outcome
            if measurement.selector and not report.criterion.built_in:
                found[measurement.selector] = outcome
    return found


def _place(report: CriterionReport, measurement: Measurement) -> Outcome:
    """Where one of several measurements lies, when the criterion's outcome doesn't tell which of them it is about.

    It colours a row and no more: the outcome that counts is the criterion's.
    """
    if report.outcome not in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        return report.outcome
    return max(
        (_side(measurement, c.comparator, c.limit, c.fail_beyond) for c in report.criterion.comparisons), key=_GRAVITY.index
    )


_GRAVITY = (Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL)


def _side(measurement: Measurement, comparator: Comparator, limit: float, beyond: float | None) -> Outcome:
    low, high = reading.ends(measurement)
    if comparator not in reading.UPPER:
        low, high, limit, beyond = -high, -low, -limit, -beyond if beyond is not None else None
    if low > (limit if beyond is None else beyond):
        return Outcome.FAIL
    return Outcome.PASS if high <= limit else Outcome.INCONCLUSIVE
