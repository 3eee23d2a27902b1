"""The vocabulary of the pipeline: values that rooms hand to each other, and the protocols of plug-ins.

Values are frozen; numbers are in base units (seconds, bytes, ratios between 0 and 1). Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# --- words ------------------------------------------------------------------------------------------------------------


class Execution(StrEnum):
    """What became of a gate as a process."""

    COMPLETED = "completed"
    FAILED_TO_RUN = "failed_to_run"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    NOT_RUN = "not_run"


class Outcome(StrEnum):
    """What a criterion says of its measurement."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not_applicable"


class Disposition(StrEnum):
    """How an outcome enters the verdict."""

    COUNTED = "counted"
    ADVISORY = "advisory"
    WAIVED = "waived"
    QUARANTINED = "quarantined"


class Severity(StrEnum):
    """What the author of a criterion wants it to do: block, advise or only inform."""

    BLOCKING = "blocking"
    ADVISORY = "advisory"
    INFORMATIONAL = "informational"


class Verdict(StrEnum):
    """The whole."""

    READY = "ready"
    NOT_READY = "not_ready"
    INCONCLUSIVE = "inconclusive"


class Unit(StrEnum):
    """Base units; every measurement and limit is held in one of these."""

    SECONDS = "s"
    RATIO = "ratio"
    COUNT = "count"
    BYTES = "B"
    RATE = "/s"
    FACTOR = "x"


class Rule(StrEnum):
    """What kind of number a metric is; it decides the interval that it must carry and the fewest samples that may pass."""

    PERCENTILE = "percentile"
    RATIO = "ratio"
    CENSUS = "census"
    SINGLE = "single"
    SLOWDOWN = "slowdown"
    FACTOR = "factor"


class Comparator(StrEnum):
    """The right side of a limit."""

    BELOW = "below"
    AT_MOST = "at_most"
    ABOVE = "above"
    AT_LEAST = "at_least"
    EQUALS = "equals"


class Level(StrEnum):
    """How grave a finding is. Only ERROR keeps a run from READY."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


# --- measurements and criteria ----------------------------------------------------------------------------------------


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
        at_least: for census and factor, the fewest samples that may pass.
        phases: the phases it can be asked for (`steady`); empty means none.
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
class Criterion:
    """One or several comparisons over one measurement, with the fewest samples that may pass.

    Attributes:
        id: `metric[@phase][/selector]`, unique in its gate; selector `*` stands for every measurement of the metric.
        built_in: added by the kind (`valid.*`); never a failure, at worst inconclusive.
        machine: a built-in one whose rejection may be the machine's fault, so that the gate is tried once more.
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

    @property
    def metric(self) -> str:
        return split_criterion_id(self.id)[0]

    @property
    def phase(self) -> str:
        return split_criterion_id(self.id)[1]

    @property
    def selector(self) -> str:
        return split_criterion_id(self.id)[2]


# --- exhibits: all that the report draws ------------------------------------------------------------------------------


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


# --- what a gate hands back -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know. *location* is `file:line` where there is one."""

    level: Level
    message: str
    location: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that a verdict rests on; *path* is relative to the gate's folder, *size* in bytes."""

    path: str
    size: int
    sha256: str
    media_type: str


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate measured. It holds no verdict: only `judge` compares.

    Attributes:
        started: UTC, ISO 8601 with `Z`.
        seconds: wall-clock time of the gate process, without waiting for the machine lock.
        summary: Markdown, one or two sentences: what was done (planned, sent, pairs, samples).
        reason: why the execution is what it is, when it is not `completed`.
        steps: what to do when it is not green: commands to paste or sentences.
        attempt: 1, or 2 when the first was rejected because of the machine.
        expected: selectors that a `*` criterion must find, by metric; a missing one is no data.
    """

    gate: str
    execution: Execution
    started: str
    seconds: float
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    summary: str = ""
    reason: str = ""
    steps: tuple[str, ...] = ()
    attempt: int = 1
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# --- the plan ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit under test. *sha* is empty in a tree without git; *dirty* says whether the working tree differs."""

    sha: str = ""
    branch: str = ""
    subject: str = ""
    dirty: bool = False
    shallow: bool = False

    @property
    def short(self) -> str:
        return self.sha[:7] if self.sha else "nogit"


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """The system under test as resolved: *preset* and its JSON *settings*, endpoint names and available controls."""

    preset: str
    settings: Mapping[str, Any]
    endpoints: tuple[str, ...]
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedGate:
    """A gate as it will be executed.

    Attributes:
        settings: the kind's settings, resolved to plain JSON values; all that the gate process is given.
        limit: wall-clock limit in seconds; the process group is ended beyond it.
        budget: seconds that the gate is expected to take.
        needs: gates that must have passed, when they were executed in this run.
        measures: takes the machine lock alone.
        missing: controls or other preconditions that are not there; not empty means INCONCLUSIVE, by name, without running.
        not_applicable: a reason known at plan time that excuses the gate; empty when there is none.
        line: `file:line` of the gate in the spec.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    criteria: tuple[Criterion, ...]
    limit: float
    budget: float
    needs: tuple[str, ...] = ()
    measures: bool = False
    target: TargetPlan | None = None
    missing: tuple[str, ...] = ()
    not_applicable: str = ""
    summary: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that somebody relies on, bound to criteria as `gate:criterion`."""

    say: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How one earlier run of this commit ended: *verdict* is `ready`, `not_ready`, `inconclusive` or `abandoned`."""

    run: str
    verdict: str
    dirty: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What the ledger said when the plan was made. *previous* maps `gate:criterion` to the value of the last closed run.

    *proven* maps `gate:criterion` to the UTC time at which a drill last turned it red. *findings* holds a broken chain.
    """

    head: str = ""
    runs: tuple[RunRecord, ...] = ()
    previous: Mapping[str, float] = field(default_factory=dict)
    previous_run: str = ""
    proven: Mapping[str, str] = field(default_factory=dict)
    this_machine_only: bool = True
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was decided before the first gate started; written once, never changed.

    Attributes:
        created: UTC, ISO 8601 with `Z`.
        root: absolute path of the repository at run time; commands run there.
        spec: path of readiness.yaml relative to the root, and *spec_digest* its sha256.
        overrides: `PATH=VALUE` as given with --set.
        fingerprint: CPU model, cores, kernel, container limits, Python build, lock, benchmark source; `unknown` where unread.
        command: the form of the command that works where the run was started: `gates` or `./noxw gates`.
        budget: seconds that the profile allows for the whole run, 0 when it has none.
    """

    run: str
    created: str
    version: str
    root: str
    spec: str
    spec_digest: str
    profile: str
    seed: int
    commit: Commit
    fingerprint: Mapping[str, str]
    gates: tuple[PlannedGate, ...]
    claims: tuple[Claim, ...] = ()
    overrides: tuple[str, ...] = ()
    history: History = History()
    command: str = "gates"
    budget: float = 0.0
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """request.json: what a gate process is given. *folder* is the gate's own, absolute; files go to its `evidence`."""

    run: str
    root: str
    folder: str
    profile: str
    seed: int
    gate: PlannedGate
    commit: Commit
    fingerprint: Mapping[str, str]
    command: str = "gates"
    attempt: int = 1

    @property
    def evidence(self) -> Path:
        return Path(self.folder) / "evidence"


# --- the report -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CriterionReport:
    """A criterion, what was measured for it, and what that means. *reason* is one sentence with value, interval and limit."""

    criterion: Criterion
    outcome: Outcome
    disposition: Disposition
    reason: str
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True)
class GateReport:
    """A gate of the plan with its judged criteria. *result* is absent when there was no valid result; *reason* says why."""

    gate: PlannedGate
    execution: Execution
    outcome: Outcome
    reason: str
    criteria: tuple[CriterionReport, ...]
    result: GateResult | None = None
    earlier_attempts: tuple[GateResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimReport:
    """A claim and what its criteria say together."""

    claim: Claim
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """readiness.json: a pure function of the plan and the results.

    Attributes:
        headline: one sentence: the gate, the criterion, its value, interval and limit that decided.
        seconds: from the plan to the end of the last gate.
        findings: about the run itself (an edited plan, a broken ledger); an ERROR keeps it from READY.
    """

    plan: Plan
    verdict: Verdict
    headline: str
    gates: tuple[GateReport, ...]
    claims: tuple[ClaimReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    version: int = 1


# --- plug-ins ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Samples:
    """How many samples the plan gives a criterion, and what would give it *needed* ones, in words."""

    n: int
    advice: Callable[[int], str] = field(default=lambda needed: f"{needed} samples are needed")


@dataclass(frozen=True, slots=True)
class KindPlan:
    """What a kind makes of its settings before the run.

    Attributes:
        settings: resolved, plain JSON.
        built_in: the `valid.*` criteria that the kind adds.
        samples: planned samples by criterion id; an id that is not there is taken to have enough.
        controls: controls of the target that the gate needs ("kill", "start"); one that is not there makes it INCONCLUSIVE.
        seconds: how long it will take, 0 when unknown.
        problems: other reasons, known now, why it can't be measured here.
    """

    settings: Mapping[str, Any]
    built_in: tuple[Criterion, ...] = ()
    samples: Mapping[str, Samples] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    seconds: float = 0.0
    problems: tuple[str, ...] = ()


class KindContext(Protocol):
    """What `spec` offers a kind while planning."""

    root: Path
    profile: str
    target: TargetPlan | None
    criteria: tuple[Criterion, ...]

    def read(self, path: str, schema: type[T], *, setting: str) -> T:
        """The YAML file at *path* (relative to the root) validated as the pydantic model *schema*.

        Per-profile values are resolved; errors are reported at the file's own line, a missing file at *setting*'s line.
        """
        ...

    def error(self, setting: str, message: str, hint: str = "") -> None:
        """Report an error at the line of *setting* (dotted, `criteria.errors.ratio` for a criterion) in the spec."""
        ...

    def plugins(self, group: str) -> Mapping[str, Any]:
        """Plug-ins of an entry-point group (`gates.flows`, `gates.invariants`, `gates.drills`), by name."""
        ...


class Kind(Protocol):
    """A kind of gate (entry point `gates.kinds`). Its module imports with the base dependencies alone."""

    name: str
    summary: str
    measures: bool
    needs_target: bool
    settings: type[Any]  # a pydantic model, extra="forbid"
    metrics: tuple[MetricSpec, ...]

    def plan(self, settings: Any, context: KindContext) -> KindPlan:
        """Resolve the validated *settings*; cheap, no side effects."""
        ...

    def run(self, request: Request) -> GateResult:
        """Measure. Runs in the gate's own process, with the repository's root as working directory."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """How a started process shows that it is ready: one of an HTTP path that answers 2xx, a TCP port, a log line (regex)."""

    http: str = ""
    tcp: bool = False
    log: str = ""
    within: float = 30.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process of a target.

    `{port}` in *command* and *env* is its own free port, `{port:NAME}` another's, `{url:NAME}` its base URL, `{data}` its own
    data folder (survives a restart within the gate). *name* is also the endpoint's name.
    """

    name: str
    command: tuple[str, ...]
    ready: Ready
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetLayout:
    """What a preset resolves to: processes to start, or *urls* of what runs already (by endpoint name)."""

    processes: tuple[ProcessSpec, ...] = ()
    urls: Mapping[str, str] = field(default_factory=dict)
    controls: tuple[str, ...] = ()


class TargetPreset(Protocol):
    """A kind of target (entry point `gates.targets`)."""

    name: str
    settings: type[Any]  # a pydantic model, extra="forbid"

    def layout(self, settings: Any) -> TargetLayout:
        """Resolve validated *settings*; pure."""
        ...


class Target(Protocol):
    """A running target, as kinds see it."""

    endpoints: Mapping[str, str]
    controls: frozenset[str]

    def kill(self, name: str) -> None: ...
    def start(self, name: str) -> None: ...
    def is_running(self, name: str) -> bool: ...
    def data(self, name: str) -> Path: ...


class Fault(Protocol):
    """A fault: *cause* it, let an independent probe *observe* it, *heal* it whatever happens."""

    name: str
    controls: tuple[str, ...]

    def apply(self, target: Target, settings: Mapping[str, Any]) -> AbstractContextManager[Any]: ...


class Fetch(Protocol):
    """GET *path* from endpoint *name*; the decoded JSON body. Raises OSError when there is no answer."""

    def __call__(self, name: str, path: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Operation:
    """One client operation of a history. *status*: ok, fail (surely no effect) or unknown (may have had one).

    *invoked* and *completed* are monotonic seconds from the start of load; *key* is the idempotency key; *value* is what was
    asked for and *answer* what came back, both small JSON values.
    """

    process: int
    kind: str
    endpoint: str
    key: str
    status: str
    invoked: float
    completed: float
    code: int = 0
    value: Any = None
    answer: Any = None


@dataclass(frozen=True, slots=True)
class InvariantOutcome:
    """What an invariant found: census measurements, the arithmetic as a table, offenders as findings."""

    measurements: tuple[Measurement, ...]
    exhibits: tuple[Exhibit, ...] = ()
    findings: tuple[Finding, ...] = ()


class Invariant(Protocol):
    """A statement about the whole history (entry point `gates.invariants`)."""

    name: str
    summary: str
    metrics: tuple[MetricSpec, ...]

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """What the target says of itself; called before load and after all faults are healed. Plain JSON."""
        ...

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        ...
