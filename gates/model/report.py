"""The report: a pure function of the plan and the results."""

from __future__ import annotations

from dataclasses import dataclass

from gates.model.measurement import Criterion, Measurement
from gates.model.plan import Claim, Plan, PlannedGate
from gates.model.result import Finding, GateResult
from gates.model.words import Disposition, Execution, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class CriterionReport:
    """A criterion, what was measured for it, and what that means. *reason* is one sentence with value, interval and limit.

    *outcomes* says it of each measurement by itself, in their order; empty when nothing was measured.
    """

    criterion: Criterion
    outcome: Outcome
    disposition: Disposition
    reason: str
    measurements: tuple[Measurement, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


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
