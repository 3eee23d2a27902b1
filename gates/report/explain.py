"""Everything that is known of one criterion of a run."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import PurePosixPath

from gates.errors import UsageError
from gates.model import Comparison, CriterionReport, GateReport, Interval, Measurement, Report, Unit
from gates.quantity import show
from gates.report import reading
from gates.report.facts import run_again
from gates.report.prose import clean

Line = tuple[str, str]


def find(report: Report, name: str) -> tuple[GateReport, CriterionReport]:
    """The criterion that *name* (`gate:criterion`) means. Raises UsageError that says which ones there are."""
    gate_name, colon, wanted = name.partition(":")
    known = {gate.gate.name: gate for gate in report.gates}
    if gate_name not in known:
        raise UsageError(f"there is no gate {gate_name!r} in this run", hint=_suggest(gate_name, list(known)))
    gate = known[gate_name]
    ids = [criterion.criterion.id for criterion in gate.criteria]
    if not colon or not wanted:
        raise UsageError(f"{name!r} names no criterion; expected GATE:CRITERION", hint=_suggest("", ids, gate_name))
    for criterion in gate.criteria:
        if wanted == criterion.criterion.id or wanted in [measured.key for measured in criterion.measurements]:
            return gate, criterion
    raise UsageError(f"the gate {gate_name!r} has no criterion {wanted!r}", hint=_suggest(wanted, ids, gate_name))


def _suggest(wanted: str, known: list[str], gate: str = "") -> str:
    prefix = f"{gate}:" if gate else ""
    close = get_close_matches(wanted, known, n=1)
    if close:
        return f"did you mean {prefix}{close[0]}?"
    return "there are " + ", ".join(f"{prefix}{one}" for one in known) if known else "there are none"


def render(report: Report, gate: GateReport, criterion: CriterionReport, folder: str) -> str:
    """The explanation as text; evidence lies in *folder*, the run's."""
    title = f"{gate.gate.name}:{criterion.criterion.id}  {reading.SIGNS[criterion.outcome]} {reading.WORDS[criterion.outcome]}"
    lines = [(label, clean(value)) for label, value in _lines(report, gate, criterion, folder)]
    return (
        "\n".join([clean(title), f"  {clean(criterion.reason)}", "", *(f"  {label:<12} {value}" for label, value in lines)])
        + "\n"
    )


def _lines(report: Report, gate: GateReport, criterion: CriterionReport, folder: str) -> Iterator[Line]:
    if criterion.criterion.summary:
        yield "what", criterion.criterion.summary
    if not criterion.measurements:
        yield "value", "none was measured"
    for measurement in criterion.measurements:
        yield from _measured(report, gate, criterion, measurement)
    for comparison in criterion.criterion.comparisons:
        yield "limit", _limit(comparison, criterion)
    yield "phase", criterion.criterion.phase or "the whole run"
    yield "counts as", f"{criterion.criterion.severity.value}, {criterion.disposition.value}"
    yield "spec", gate.gate.line or report.plan.spec
    yield from _evidence(gate, folder)
    yield "last red", _last_red(report, gate, criterion)
    yield "run again", run_again(report, gate)


def _measured(report: Report, gate: GateReport, criterion: CriterionReport, measured: Measurement) -> Iterator[Line]:
    rule = criterion.criterion.rule
    name = f"  ({measured.key})" if len(criterion.measurements) > 1 else ""
    yield "value", reading.value_of(measured, rule) + name
    yield "interval", _interval(measured, measured.interval)
    yield "n", f"{measured.n:,}; to pass, at least {criterion.criterion.minimum:,}"
    for comparison in criterion.criterion.comparisons:
        yield "margin", margin(measured, comparison)
    previous = reading.previous_value(report, gate, criterion, measured)
    last = (
        f"{reading.quantity(previous, measured.unit, rule)} in {report.plan.history.previous_run}"
        if previous is not None
        else "none"
    )
    yield "last value", last


def _interval(measured: Measurement, interval: Interval | None) -> str:
    if interval is None:
        return f"none, {'all were looked at' if measured.n > 1 else 'a single value'}"
    return f"{reading.interval_of(measured)} at {interval.level * 100:g} % by {interval.method}"


def _limit(comparison: Comparison, criterion: CriterionReport) -> str:
    words = comparison.comparator.value.replace("_", " ")
    written = comparison.text or show(comparison.limit, criterion.criterion.unit)
    beyond = comparison.fail_beyond
    second = (
        f"; fails when all of the interval is beyond {show(beyond, criterion.criterion.unit)}" if beyond is not None else ""
    )
    return f"{words} {written}{second}"


def margin(measured: Measurement, comparison: Comparison) -> str:
    """How far the unfavourable end of the interval is from the limit."""
    low, high = reading.ends(measured)
    upper = comparison.comparator in reading.UPPER
    room = comparison.limit - high if upper else low - comparison.limit
    share = f" ({abs(room) / abs(comparison.limit) * 100:.0f} % of it)" if comparison.limit else ""
    return f"{show(abs(room), measured.unit)} {'to' if room >= 0 else 'beyond'} the limit{share}"


def _evidence(gate: GateReport, folder: str) -> Iterator[Line]:
    found = gate.result.evidence if gate.result else ()
    for index, one in enumerate(found):
        path = PurePosixPath(folder, gate.gate.name, one.path)
        yield "" if index else "evidence", f"{path}  {show(one.size, Unit.BYTES)}  sha256 {one.sha256}"
    if not found:
        yield "evidence", "none was kept"


def _last_red(report: Report, gate: GateReport, criterion: CriterionReport) -> str:
    keys = [criterion.criterion.id, *(measured.key for measured in criterion.measurements)]
    known = reading.proven(report)
    times = [known[f"{gate.gate.name}:{key}"] for key in keys if f"{gate.gate.name}:{key}" in known]
    return reading.clock(max(times)) if times else "never: no drill has turned this criterion red"
