"""What one part of a gate hands back; the gate's result is all parts together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gates.model import Exhibit, Finding, Measurement


@dataclass(frozen=True, slots=True)
class Part:
    """Measurements with what belongs to them, as in `GateResult`."""

    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    steps: tuple[str, ...] = ()
    summary: str = ""
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


def together(parts: Iterable[Part]) -> Part:
    """All of *parts* in their order."""
    every = tuple(parts)
    return Part(
        measurements=tuple(one for part in every for one in part.measurements),
        findings=tuple(one for part in every for one in part.findings),
        exhibits=tuple(one for part in every for one in part.exhibits),
        steps=tuple(one for part in every for one in part.steps),
        summary=" ".join(part.summary for part in every if part.summary),
        expected={metric: names for part in every for metric, names in part.expected.items()},
        absent={metric: why for part in every for metric, why in part.absent.items()},
    )
