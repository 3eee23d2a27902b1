"""Protocols of plug-ins, and the values that they exchange with the rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gates.model.exhibit import Exhibit
from gates.model.measurement import Allowance, Criterion, Measurement, MetricSpec
from gates.model.plan import Request, TargetPlan
from gates.model.result import Finding, GateResult

T = TypeVar("T")


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
        not_applicable: by criterion id, why the plan already knows that it does not apply; a kind excuses only what nobody
            could measure (the first commit has no base), never what is merely missing.
        allowances: by criterion id, accepted regressions by which its limits are raised.
    """

    settings: Mapping[str, Any]
    built_in: tuple[Criterion, ...] = ()
    samples: Mapping[str, Samples] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    allowances: Mapping[str, tuple[Allowance, ...]] = field(default_factory=dict)


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
    data folder (survives a restart within the gate). *name* is also the endpoint's name. *port* fixes the port; 0 finds a free
    one. A *proxy* stands before the endpoint that its name ends in and is none itself.
    """

    name: str
    command: tuple[str, ...]
    ready: Ready
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class TargetLayout:
    """What a preset resolves to: processes to start, or *urls* of what runs already (by endpoint name).

    *headers* go with every request to the target: those of a load, of readiness and of invariants. `{env:NAME}` in a value is
    the environment variable NAME of the gate process, so that a secret stands in no plan and no report.
    """

    processes: tuple[ProcessSpec, ...] = ()
    urls: Mapping[str, str] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class TargetPreset(Protocol):
    """A kind of target (entry point `gates.targets`)."""

    name: str
    settings: type[Any]  # a pydantic model, extra="forbid"

    def layout(self, settings: Any) -> TargetLayout:
        """Resolve validated *settings*; pure."""
        ...


class Target(Protocol):
    """A running target, as kinds see it; *headers* are what every request to it carries."""

    endpoints: Mapping[str, str]
    controls: frozenset[str]
    headers: Mapping[str, str]

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

    # It may also have `at_rest(fetch, endpoints) -> tuple[Any, bool]`: a cheap answer that stands still when the target does,
    # and whether everything has come to its end; then the target is observed once, when it is at rest, or `within` seconds
    # (an attribute) after the last request. Without it, the target is observed until two answers in a row are the same.

    def observe(self, fetch: Fetch, endpoints: Sequence[str]) -> Any:
        """What the target says of itself; called before load and after all faults are healed. Plain JSON."""
        ...

    def check(self, history: Sequence[Operation], before: Any, after: Any) -> InvariantOutcome:
        """Compare; pure."""
        ...
