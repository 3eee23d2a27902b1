"""The plan of a run, and what each gate process is given of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gates.model.measurement import Criterion
from gates.model.result import Finding


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
        excused: criteria that don't apply though the gate does, by id, each with the reason that was known at plan time.
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
    excused: Mapping[str, str] = field(default_factory=dict)


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
    """What the ledger said when the plan was made. *previous* maps `gate:metric@phase/selector` to what the last closed run
    measured.

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
