"""What a gate hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gates.model.exhibit import Exhibit
from gates.model.measurement import Measurement
from gates.model.words import Execution, Level


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
        absent: why a metric was not measured, by metric; said with the criterion that misses it.
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
    absent: Mapping[str, str] = field(default_factory=dict)
