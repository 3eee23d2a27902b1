"""Protocols of plug-ins, and the values that they exchange with the rooms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gates.model.exhibit import Exhibit
from gates.model.measurement import Allowance, Criterion, Measurement, MetricSpec
from gates.model.plan import Request, TargetPlan
from gates.model.result import Finding, GateResult

if TYPE_CHECKING:
    from socket import socket

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
    links: tuple[str, ...] = ()


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


CLIENTS = "clients"
"""The end of a link that is no node: whoever sends requests to the target."""
Pair = tuple[str, str]
"""From and to: what the first sends to the second, whichever of them opened the connection."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What becomes of the bytes that one end of a link sends to the other. The default lets all through at once.

    Attributes:
        cut: nothing passes; what a connection took on before is held, and arrives after the heal.
        latency, jitter: seconds that bytes are late, and by how much that varies at most, both ways; their order stays.
        rate: bytes a second of all connections of the link together; 0 for as many as come.
        slice, pause: writes of at most so many bytes, and seconds between two of them; 0 for no slicing.
        loss: the share of segments that are lost and sent again; on a TCP stream that is a stall, never a gap.
        buffer: bytes that a connection takes on before it stops reading; 0 for the usual.
    """

    cut: bool = False
    latency: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    slice: int = 0
    pause: float = 0.0
    loss: float = 0.0
    buffer: int = 0


class Links(Protocol):
    """The control `links` of a running target: every way between two nodes, and from clients to nodes (`clients`).

    *way* is what they are made of: `proxy`, or `namespace`. *pairs* holds both directions of every link, *opened* who opens
    connections to whom.
    """

    way: str
    pairs: frozenset[Pair]
    opened: tuple[Pair, ...]

    def shape(self, traffic: Mapping[Pair, Traffic]) -> None:
        """Let the given pairs carry their traffic like that from now on; a pair that is not given stays as it is."""
        ...

    def restore(self, pairs: Collection[Pair]) -> None:
        """Let everything through on *pairs* again, first of all what was held."""
        ...

    def disturb(self, pairs: Collection[Pair], how: str) -> None:
        """*how* is `reset`, `half-open` or `none`; struck are connections that the first end opened to the second.

        `reset`: open connections and new ones are ended by RST. `half-open`: open connections lead nowhere from now on, without
        a word to who opened them, and new ones are served. `none`: what leads nowhere is ended by RST, as a peer does that
        knows nothing of a connection, and new connections are served.
        """
        ...

    def dropped(self, pairs: Collection[Pair]) -> int | None:
        """Packets that were dropped on *pairs* by the kernel's own count; None where the way has no such count."""
        ...

    def connect(self, source: str, target: str, patience: float) -> socket:
        """A connection from *source* to *target* through the link, for probes. Raises OSError."""
        ...


class Target(Protocol):
    """A running target, as kinds see it; *headers* are what every request to it carries.

    *links* is None unless the target was started with links (`running(..., links="proxy")`).
    """

    endpoints: Mapping[str, str]
    controls: frozenset[str]
    headers: Mapping[str, str]
    links: Links | None

    def kill(self, name: str) -> None: ...
    def start(self, name: str) -> None: ...
    def is_running(self, name: str) -> bool: ...
    def data(self, name: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways to cause a fault.

    Attributes:
        name: as a scenario pins it: `way: proxy`.
        controls: of the target, that it needs.
        capabilities: of the machine, that it needs, by their names in `gates.faults.capability`.
        links: what the target's links must be made of, for faults of links.
        summary: one sentence; says so where it is another fault than the first way's.
    """

    name: str
    controls: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    links: str = ""
    summary: str = ""


class Fault(Protocol):
    """A fault (entry point `gates.faults`, by its key in a scenario).

    It is caused on entering `apply`, seen by an independent probe, and healed on leaving whatever happens. A scenario means the
    first of *ways*, or those that it names, and `apply` is told the one that was chosen. *settings* is a pydantic model; where
    it has a method `mentions`, that gives (place, name) for each endpoint that it names, else it has a field `node`. `nodes`
    gives the endpoints that it strikes.
    """

    name: str
    settings: type[Any]
    controls: tuple[str, ...]  # those of the first way
    ways: tuple[Way, ...]

    def nodes(self, settings: Mapping[str, Any]) -> tuple[str, ...]: ...

    def apply(
        self, target: Target, settings: Mapping[str, Any], *, clock: Callable[[], float], way: str
    ) -> AbstractContextManager[Any]: ...


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


@dataclass(frozen=True, slots=True)
class Signals:
    """What a target's own metrics say of a fault (entry point `gates.signals`, by the name of the target's preset).

    A series is written as Prometheus does, `icn_peer_state{peer="{node}",state="down"}`, with no more labels than matter;
    `{node}` stands for a node that a fault has struck.

    Attributes:
        path: where every node serves its metrics, in Prometheus' text format.
        noticed: series that are above 0 on another node once it has noticed that the struck one is not well.
        noticed_itself: those of the struck node itself.
        breaker_state: gauge with the labels `breaker` and `state` (`open`, `half_open`, `closed`), 1 for the present state.
        breaker_transitions: counter with the labels `breaker`, `before` and `after`.
        calls: counter, on other nodes, of requests that were sent to the struck one, retries included.
    """

    path: str
    noticed: tuple[str, ...] = ()
    noticed_itself: tuple[str, ...] = ()
    breaker_state: str = ""
    breaker_transitions: str = ""
    calls: str = ""


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
