"""What was measured against the stored baseline of the same machine: counts exactly, times by what chance allows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from gates.kinds.part import Part, together
from gates.model import (
    Criterion,
    Finding,
    Interval,
    Level,
    Measurement,
    MetricSpec,
    Request,
    Rule,
    Table,
    Unit,
    split_criterion_id,
)
from gates.regression.baselines import LEVEL, Baseline, Missing, Prediction, every, find, predicted
from gates.regression.counts import METRICS

METHOD = "prediction interval over earlier runs"
COUNTS = tuple(f"baseline.count.{metric}" for metric in METRICS)
CATALOGUE = (
    *(
        MetricSpec(name, Unit.RATIO, Rule.CENSUS, "How many more than in the stored baseline.", selectors=True)
        for name in COUNTS
    ),
    MetricSpec(
        "baseline.ratio",
        Unit.RATIO,
        Rule.SLOWDOWN,
        "How much a benchmark's ratio to the calibration lies above that of earlier runs.",
        selectors=True,
    ),
)
LOAD = (
    MetricSpec(
        "baseline.success.drop", Unit.RATIO, Rule.RATIO, "Percentage points of right answers below the stored baseline."
    ),
    MetricSpec(
        "baseline.latency.factor",
        Unit.FACTOR,
        Rule.FACTOR,
        "A percentile of steady latency over the stored baseline's.",
        at_least=200,
        selectors=True,
    ),
)
GUARDS = frozenset(spec.name for spec in LOAD)
_PREFIX = "baseline."


def check_stored(criteria: Sequence[Criterion], root: Path) -> None:
    """Read every stored baseline when a criterion needs one. Raises BadFileError for the first that can't be used."""
    if any(each.metric.startswith(_PREFIX) for each in criteria):
        for _ in every(root):
            pass


def against_stored(request: Request, measured: Sequence[Measurement]) -> Part:
    """What *measured* is against the baseline of this machine; why nothing is, where there is none.

    Raises BadFileError when the baseline was edited by hand or is of another version.
    """
    wanted = sorted({each.metric for each in request.gate.criteria if each.metric.startswith(_PREFIX)})
    if not wanted:
        return Part()
    baseline = find(Path(request.root), request.fingerprint, request.gate.name)
    if isinstance(baseline, Missing):
        hint = f"after a READY run on the default branch: {request.command} baseline accept --reason TEXT"
        return Part(findings=(Finding(Level.NOTE, baseline.reason, hint=hint),), absent=dict.fromkeys(wanted, baseline.reason))
    by_metric = {metric: [each for each in measured if each.metric == metric.removeprefix(_PREFIX)] for metric in wanted}
    exact = [_counts(metric, by_metric[metric], baseline) for metric in wanted if metric in COUNTS]
    return together(
        [*exact, *([_ratios(request, by_metric["baseline.ratio"], baseline)] if "baseline.ratio" in wanted else [])]
    )


def load_against_stored(request: Request, measured: Sequence[Measurement]) -> Part:
    """The absolute guards of a load: how far success fell and latency grew against the median of the accepted runs.

    Raises BadFileError when the baseline was edited by hand or is of another version.
    """
    wanted = sorted({each.metric for each in request.gate.criteria if each.metric.startswith(_PREFIX)})
    if not wanted:
        return Part()
    baseline = find(Path(request.root), request.fingerprint, request.gate.name)
    if isinstance(baseline, Missing):
        return _nothing_stored(request, wanted, baseline)
    found = [guard for each in measured if (guard := _guard(each, baseline)) is not None]
    absent = {name: "the stored baseline has no such number" for name in wanted if name not in {each.metric for each in found}}
    keys = (split_criterion_id(key) for key in baseline.newest)
    percentiles = [metric for metric, phase, flow in keys if metric.startswith("latency.p") and phase == "steady" and not flow]
    expected = {"baseline.latency.factor": tuple(metric.removeprefix("latency.") for metric in percentiles)}
    return Part(measurements=tuple(found), expected=expected, absent=absent)


def _guard(measured: Measurement, baseline: Baseline) -> Measurement | None:
    """What *measured* is against the median of *baseline*; None when no guard looks at it."""
    values, interval = baseline.values(measured.key), measured.interval
    if not values or interval is None or measured.selector:
        return None
    normal = median(values)
    if measured.key == "errors.ratio":
        shifted = replace(interval, low=interval.low - normal, high=interval.high - normal)
        return Measurement("baseline.success.drop", measured.value - normal, Unit.RATIO, measured.n, shifted)
    if measured.phase == "steady" and measured.metric.startswith("latency.p") and normal > 0:
        scaled = replace(interval, low=interval.low / normal, high=interval.high / normal)
        quantile = measured.metric.removeprefix("latency.")
        value = measured.value / normal
        return Measurement("baseline.latency.factor", value, Unit.FACTOR, measured.n, scaled, selector=quantile)
    return None


def _nothing_stored(request: Request, wanted: Sequence[str], missing: Missing) -> Part:
    hint = f"after a READY run on the default branch: {request.command} baseline accept --reason TEXT"
    return Part(findings=(Finding(Level.NOTE, missing.reason, hint=hint),), absent=dict.fromkeys(wanted, missing.reason))


def _counts(metric: str, measured: Sequence[Measurement], baseline: Baseline) -> Part:
    """The newest accepted number is what is normal: counts don't vary by chance."""
    found = []
    for each in measured:
        values = baseline.values(each.key)
        if values:
            found.append(
                Measurement(metric, (each.value - values[-1]) / max(1.0, values[-1]), Unit.RATIO, 1, selector=each.selector)
            )
    stored = {key.partition("/")[2] for key in baseline.newest if key.startswith(f"{metric.removeprefix(_PREFIX)}/")}
    names = tuple(each.selector for each in found) + tuple(sorted(stored - {each.selector for each in measured}))
    absent = {} if found else {metric: "the stored baseline has none of these numbers"}
    return Part(measurements=tuple(found), expected={metric: names}, absent=absent)


def _ratios(request: Request, measured: Sequence[Measurement], baseline: Baseline) -> Part:
    margins = [_margin(each) for each in request.gate.criteria if each.metric == "baseline.ratio"]
    least = min(margins)
    found, rows, why = [], [], ""
    expected = _usually(baseline, least, {each.selector for each in measured})
    for each in measured:
        prediction = predicted(baseline.values(each.key))
        if isinstance(prediction, Missing):
            why, row = prediction.reason, (each.selector, "", "", prediction.reason)
        elif prediction.is_wide_for(least):
            why = f"earlier runs of {each.selector} spread too far for a margin of {least:.0%}"
            row = (
                each.selector,
                f"{prediction.middle:.3g}x",
                f"{each.value:.3g}x",
                f"only watched: {_watched(each, prediction)}",
            )
        else:
            found.append(_excess(each, prediction))
            expected.append(each.selector)
            row = (each.selector, f"{prediction.middle:.3g}x", f"{each.value:.3g}x", f"of {prediction.runs} runs")
        rows.append(row)
    columns = ("benchmark", "median of earlier runs", "this run", "note")
    return Part(
        measurements=tuple(found),
        exhibits=(Table("Against the stored baseline", columns, tuple(rows)),) if rows else (),
        expected={"baseline.ratio": tuple(expected)},
        absent={} if found else {"baseline.ratio": why or "nothing was measured"},
    )


def _usually(baseline: Baseline, margin: float, measured: Collection[str]) -> list[str]:
    """Benchmarks of the newest accepted run that could be judged by their history, and were not *measured* now."""
    found = []
    for key in baseline.newest:
        metric, _, name = split_criterion_id(key)
        if metric == "ratio" and name not in measured:
            prediction = predicted(baseline.values(key))
            if not isinstance(prediction, Missing) and not prediction.is_wide_for(margin):
                found.append(name)
    return found


def _margin(criterion: Criterion) -> float:
    return min(comparison.limit for comparison in criterion.comparisons)


def _excess(measured: Measurement, prediction: Prediction) -> Measurement:
    value, low, high = prediction.excess(measured.value)
    interval = Interval(low, high, LEVEL, METHOD)
    return Measurement("baseline.ratio", value, Unit.RATIO, prediction.runs, interval, selector=measured.selector)


def _watched(measured: Measurement, prediction: Prediction) -> str:
    low = prediction.excess(measured.value)[1]
    return "beyond what chance allows" if low > 0 else "within what chance allows"
