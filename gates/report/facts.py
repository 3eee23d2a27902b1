"""The strip of facts under the verdict, and what to do about a gate."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from gates import codec
from gates.model import Disposition, GateReport, Outcome, Report, Unit
from gates.quantity import show
from gates.report import reading
from gates.report.prose import clean

_SPEC = "workflows/readiness.yaml"  # what `gates run` takes when it is given no file
_MACHINE = ("cpu", "cores")


@dataclass(frozen=True, slots=True)
class Fact:
    """A label and what it says; *aside* is said in a lower voice."""

    label: str
    value: str
    aside: str = ""


def facts(report: Report) -> tuple[Fact, ...]:
    """What a person wants to know beside the verdict, in the order of reading."""
    plan = report.plan
    shown = [
        _commit(report),
        Fact("profile", plan.profile, _overrides(len(plan.overrides))),
        Fact("started", reading.clock(plan.created)),
        Fact("took", _seconds(report.seconds), f"of {_seconds(plan.budget)}" if plan.budget else ""),
        Fact("machine", machine(report), fingerprint(report)),
        Fact("waivers", str(reading.dispositions(report, Disposition.WAIVED))),
        _proven(report),
        Fact("runs of this commit", reading.runs(report), "this machine only" if plan.history.this_machine_only else ""),
    ]
    if quarantined := reading.dispositions(report, Disposition.QUARANTINED):
        shown.insert(6, Fact("quarantined", str(quarantined)))
    return tuple(shown)


def _commit(report: Report) -> Fact:
    commit = report.plan.commit
    state = [f"on {commit.branch}"] if commit.branch else []
    state += ["with uncommitted changes"] if commit.dirty else []
    state += ["shallow clone"] if commit.shallow else []
    return Fact("commit", commit.short, ", ".join(state))


def _overrides(count: int) -> str:
    return f"with {count} override{'s' if count > 1 else ''}" if count else ""


def _proven(report: Report) -> Fact:
    known, gates = reading.proven_gates(report), reading.provable(report)
    return Fact("gates proven red", f"{sum(gate.gate.name in known for gate in gates)} of {len(gates)}")


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return show(round(seconds, 1), Unit.SECONDS)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def machine(report: Report) -> str:
    """CPU model and cores, as far as they could be read."""
    known = report.plan.fingerprint
    parts = [
        f"{known[key]} cores" if key == "cores" else known[key] for key in _MACHINE if known.get(key, "unknown") != "unknown"
    ]
    return " · ".join(parts) or "unknown"


def fingerprint(report: Report) -> str:
    """Four hex digits that tell one machine and build from another."""
    return codec.digest({clean(key): clean(value) for key, value in report.plan.fingerprint.items()})[:4]


def what_to_do(report: Report, gate: GateReport) -> tuple[tuple[str, str], ...]:
    """Label and line, to read or to paste: the gate's own steps, how to have it explained, how to run only it again."""
    command, name = report.plan.command, gate.gate.name
    lines = [("what to do" if index == 0 else "", step) for index, step in enumerate(gate.result.steps if gate.result else ())]
    worst = [c for c in reading.worst_criteria_first(gate.criteria) if c.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)]
    if worst:  # quoted: a shell takes `slowdown/*` for files
        lines.append(("explain it", f"{command} explain {shlex.quote(f'{name}:{worst[0].criterion.id}')} {report.plan.run}"))
    lines.append(("run again", run_again(report, gate)))
    return tuple(lines)


def run_again(report: Report, gate: GateReport) -> str:
    """The command that executes *gate* alone, with the spec, profile and overrides of this run."""
    plan = report.plan
    words = [] if plan.spec == _SPEC else [plan.spec]
    words += ["--profile", plan.profile, *(word for override in plan.overrides for word in ("--set", override))]
    return f"{plan.command} run {shlex.join([*words, '--only', gate.gate.name])}"
