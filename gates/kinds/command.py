"""The kind `command`: any executable with an exit code and an optional JSON file of measurements, declared beforehand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, model_validator

from gates import codec
from gates.errors import BadFileError
from gates.fields import Settings
from gates.kinds import child
from gates.kinds.measurements import MeasurementsFile
from gates.model import (
    Comparator,
    Comparison,
    Criterion,
    Execution,
    Finding,
    GateResult,
    KindContext,
    KindPlan,
    Level,
    Measurement,
    MetricSpec,
    Request,
    Rule,
    Unit,
)

DEFAULT_FILE = "{evidence}/measurements.json"
LARGEST = 4 * 2**20
_WITH_INTERVAL = frozenset({Rule.PERCENTILE, Rule.RATIO, Rule.SLOWDOWN, Rule.FACTOR})
_PAIRS = 12
_SAMPLES = "valid.samples."
_EXIT = "valid.exit"
_EXITED_WELL = Criterion(
    _EXIT,
    Unit.COUNT,
    Rule.CENSUS,
    (Comparison(Comparator.AT_MOST, 0, text="0"),),
    1,
    built_in=True,
    summary="The exit code, where no criterion asks for it: what a command measured before it failed is no evidence.",
)


class Declared(Settings):
    """A metric that the command writes: its unit and the rule that its numbers follow."""

    unit: Unit = Field(description="base unit of its values: s, ratio, count, B, /s or x")
    rule: Rule = Field(description="percentile, ratio, census, single, slowdown or factor")
    quantile: float = Field(0.0, ge=0, lt=1, description="of a percentile: 0.99")
    at_least: int = Field(1, ge=1, description="the fewest samples that may pass")

    @model_validator(mode="after")
    def _percentiles_say_which(self) -> Declared:
        if (self.rule is Rule.PERCENTILE) != (self.quantile > 0):
            raise ValueError("`quantile` is needed for the rule percentile, and only there, such as 0.99")
        return self

    def fewest(self) -> int:
        """The fewest samples that may pass. A ratio's interval widens with too few by itself, so it needs no more."""
        if self.rule is Rule.PERCENTILE:
            return max(self.at_least, math.ceil(round(10 / (1 - self.quantile), 6)))
        return max(self.at_least, _PAIRS if self.rule is Rule.SLOWDOWN else 1)


class CommandSettings(Settings):
    """What a gate of the kind `command` can set."""

    command: list[str] = Field(
        min_length=1, description="the command and its arguments; {evidence}, {root}, {python} are filled in"
    )
    measurements: str = Field(DEFAULT_FILE, min_length=1, description="the JSON file of measurements that the command writes")
    declares: dict[str, Declared] = Field(default_factory=dict, description="the metrics in that file, by name")


class CommandKind:
    """Runs a command; its exit code is a metric, and so is what it declares and writes."""

    name = "command"
    summary = "Any executable: its exit code, and the measurements that it declares and writes as JSON."
    measures = False
    needs_target = False
    settings = CommandSettings
    metrics = (
        MetricSpec("exit", Unit.COUNT, Rule.CENSUS, "The exit code; 128 + N when signal N ended the command."),
        MetricSpec("*", Unit.COUNT, Rule.SINGLE, "A metric that the gate declares.", selectors=True),
    )

    def plan(self, settings: CommandSettings, context: KindContext) -> KindPlan:
        child.check_placeholders(settings.command, context, "command")
        child.check_placeholders([settings.measurements], context, "measurements")
        for criterion in context.criteria:
            _check_declared(criterion, settings.declares, context)
        if "exit" in settings.declares:
            context.error("declares.exit", "exit is measured always", "give the metric another name")
        built_in = tuple(
            _enough(criterion, settings.declares[criterion.metric]) for criterion in _own(context.criteria, settings)
        )
        asked = any(criterion.metric == "exit" for criterion in context.criteria)
        return KindPlan(settings=settings.model_dump(mode="json"), built_in=built_in if asked else (*built_in, _EXITED_WELL))

    def run(self, request: Request) -> GateResult:
        started = datetime.now(UTC)
        settings = CommandSettings.model_validate(request.gate.settings)
        command = [child.fill(part, request) for part in settings.command]
        request.evidence.mkdir(parents=True, exist_ok=True)
        log, path = request.evidence / "output.log", Path(request.root) / child.fill(settings.measurements, request)
        freshness = child.Freshness(request.evidence, [str(path)])
        ended = child.run(command, root=Path(request.root), log=log)
        problem, found = ended.problem, _exit(ended)
        if settings.declares and not problem:
            try:
                found += read(path, settings.declares, freshness)
            except BadFileError as error:
                problem = str(error)
        return GateResult(
            gate=request.gate.name,
            execution=Execution.FAILED_TO_RUN if problem else Execution.COMPLETED,
            started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=ended.seconds,
            measurements=found,
            findings=_findings(ended),
            exhibits=(child.tail(log, f"The last lines of {child.shown(command)[:80]}"),),
            summary=f"`{child.shown(command)[:200]}` ended with exit code {ended.code} after {ended.seconds:.1f} s.",
            reason=problem,
            steps=(f"run it by hand: {child.shown(command)}",),
            attempt=request.attempt,
        )


def read(path: Path, declares: Mapping[str, Declared], freshness: child.Freshness) -> tuple[Measurement, ...]:
    """The measurements in *path*, each with its sample count as `valid.samples.NAME`.

    Raises BadFileError when the file is missing, stale or too large, is not of the documented shape, or breaks a declaration.
    """
    _check_file(path, freshness)
    file = codec.read(path, MeasurementsFile)
    for measurement in file.measurements:
        _check(measurement, declares, path)
    found = file.measurements
    keys = Counter(measurement.key for measurement in found)
    twice = next((key for key, times in keys.items() if times > 1), None)
    if twice:
        raise BadFileError(f"{twice} is there twice", location=str(path))
    samples = [Measurement(f"{_SAMPLES}{m.metric}", m.n, Unit.COUNT, m.n, phase=m.phase, selector=m.selector) for m in found]
    return (*found, *samples)


def _check_file(path: Path, freshness: child.Freshness) -> None:
    if path in freshness.stale():
        raise BadFileError("the measurements are older than this run", location=str(path))
    if path not in freshness.fresh():
        raise BadFileError("the command did not write its measurements", location=str(path))
    if path.stat().st_size > LARGEST:
        raise BadFileError(f"the measurements are larger than {LARGEST // 2**20} MiB", location=str(path))


def _check(measurement: Measurement, declares: Mapping[str, Declared], path: Path) -> None:
    declared = declares.get(measurement.metric)
    problem = "is not declared" if declared is None else _broken(measurement, declared)
    if problem:
        hint = f"declared are: {', '.join(sorted(declares))}" if declared is None else ""
        raise BadFileError(f"{measurement.key} {problem}", location=str(path), hint=hint)


def _broken(measurement: Measurement, declared: Declared) -> str:
    """What of the declaration a measurement breaks, as the end of a sentence; empty when it keeps it."""
    interval = measurement.interval
    if measurement.unit is not declared.unit:
        return f"is in {measurement.unit}, and {declared.unit} is declared"
    if measurement.n < 1:
        return f"was measured over {measurement.n} samples"
    if declared.rule in _WITH_INTERVAL and interval is None:
        return f"has no interval, which a number of the rule {declared.rule} must carry"
    if interval is not None and not (interval.low <= measurement.value <= interval.high and 0 < interval.level < 1):
        return "does not lie in its interval, or the interval's level is not between 0 and 1"
    return ""


def _own(criteria: Sequence[Criterion], settings: CommandSettings) -> list[Criterion]:
    return [c for c in criteria if c.metric in settings.declares and settings.declares[c.metric].fewest() > 1]


def _check_declared(criterion: Criterion, declares: Mapping[str, Declared], context: KindContext) -> None:
    if criterion.metric == "exit":
        return
    declared = declares.get(criterion.metric)
    if declared is None:
        known = ", ".join(["exit", *sorted(declares)])
        context.error(f"criteria.{criterion.id}", f"the metric {criterion.metric!r} is not declared", f"declared are: {known}")
    elif declared.unit is not criterion.unit:
        context.error(
            f"criteria.{criterion.id}",
            f"the limit is in {criterion.unit}, and {criterion.metric} is declared in {declared.unit}",
            f"write the limit with its unit, such as {_EXAMPLE[declared.unit]}",
        )


_EXAMPLE = {
    Unit.SECONDS: "0 s",
    Unit.RATIO: "1 %",
    Unit.COUNT: "3",
    Unit.BYTES: "64 MiB",
    Unit.RATE: "50/s",
    Unit.FACTOR: "1.5x",
}


def _enough(criterion: Criterion, declared: Declared) -> Criterion:
    """The built-in criterion that *criterion* was measured over enough samples for the rule that the gate declares."""
    fewest = Comparison(Comparator.AT_LEAST, declared.fewest(), text=f"{declared.fewest():,}")
    summary = f"Samples of {criterion.id}, as many as the rule {declared.rule} needs."
    return Criterion(f"{_SAMPLES}{criterion.id}", Unit.COUNT, Rule.CENSUS, (fewest,), 1, built_in=True, summary=summary)


def _exit(ended: child.Ended) -> tuple[Measurement, ...]:
    return () if ended.problem else tuple(Measurement(name, ended.code, Unit.COUNT, 1) for name in ("exit", _EXIT))


def _findings(ended: child.Ended) -> tuple[Finding, ...]:
    if ended.code >= 128:
        return (Finding(Level.WARNING, f"the command was ended by signal {ended.code - 128}"),)
    return ()
