"""Measurements, and the criteria that they are judged by."""

from __future__ import annotations

from dataclasses import dataclass

from gates.model.words import Comparator, Rule, Severity, Unit


@dataclass(frozen=True, slots=True)
class Interval:
    """An uncertainty: *low* to *high* at confidence *level* (0.95), got by *method* ("clopper-pearson", ...)."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number that a gate measured, in a base unit, over *n* samples."""

    metric: str
    value: float
    unit: Unit
    n: int
    interval: Interval | None = None
    phase: str = ""
    selector: str = ""

    @property
    def key(self) -> str:
        """`metric[@phase][/selector]`, unique in a gate's result."""
        return criterion_id(self.metric, self.phase, self.selector)


def criterion_id(metric: str, phase: str = "", selector: str = "") -> str:
    """The id of a criterion over *metric*: `metric[@phase][/selector]`."""
    return metric + (f"@{phase}" if phase else "") + (f"/{selector}" if selector else "")


def split_criterion_id(text: str) -> tuple[str, str, str]:
    """The metric, phase and selector in *text*; the inverse of `criterion_id`."""
    head, _, selector = text.partition("/")
    metric, _, phase = head.partition("@")
    return metric, phase, selector


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric of a kind's catalogue.

    Attributes:
        name: `latency.p99`, `errors.ratio`; a trailing `*` stands for names that only the run knows (`command` kinds).
        unit: the base unit of its values.
        rule: decides interval and fewest samples.
        summary: one sentence for people.
        quantile: for percentiles, 0.99 and so on.
        at_least: for census, single and factor, the fewest samples that may pass.
        phases: the phases it can be asked for (`steady`); empty means none, and with a `*` among them the kind knows of more.
        selectors: whether `/selector` is meaningful.
    """

    name: str
    unit: Unit
    rule: Rule
    summary: str
    quantile: float = 0.0
    at_least: int = 1
    phases: tuple[str, ...] = ()
    selectors: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A limit in base units and its right side.

    *fail_beyond* is the second margin of `{below: 5 %, fail_above: 2 %}`: the criterion fails when the whole interval lies
    beyond it. Without it the criterion fails when the whole interval lies on the wrong side of *limit*. *text* is the limit
    as the author wrote it.
    """

    comparator: Comparator
    limit: float
    fail_beyond: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of a criterion are raised *by* so much for *selector*, for a *reason* that somebody gave."""

    selector: str
    by: float
    reason: str


@dataclass(frozen=True, slots=True)
class Criterion:
    """One or several comparisons over one measurement, with the fewest samples that may pass.

    Attributes:
        id: `metric[@phase][/selector]`, unique in its gate; selector `*` stands for every measurement of the metric.
        built_in: added by the kind (`valid.*`); never a failure, at worst inconclusive.
        machine: a built-in one whose rejection may be the machine's fault, so that the gate is tried once more.
        allowances: accepted regressions, by which limits are raised.
    """

    id: str
    unit: Unit
    rule: Rule
    comparisons: tuple[Comparison, ...]
    minimum: int
    severity: Severity = Severity.BLOCKING
    built_in: bool = False
    machine: bool = False
    summary: str = ""
    allowances: tuple[Allowance, ...] = ()

    @property
    def metric(self) -> str:
        return split_criterion_id(self.id)[0]

    @property
    def phase(self) -> str:
        return split_criterion_id(self.id)[1]

    @property
    def selector(self) -> str:
        return split_criterion_id(self.id)[2]
