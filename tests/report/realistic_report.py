"""A report as a real run would make it: nine gates, one fails, one is inconclusive, every type of exhibit.

The numbers are made up from a seed; the verdicts are not: the judge gives them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import replace

from gates.model import (
    Claim,
    Commit,
    Comparator,
    Comparison,
    Criterion,
    Evidence,
    Execution,
    Exhibit,
    Finding,
    GateResult,
    History,
    Interval,
    IntervalRow,
    Intervals,
    Level,
    Limit,
    Line,
    LogTail,
    Measurement,
    Plan,
    PlannedGate,
    Quantiles,
    Report,
    Rule,
    RunRecord,
    Series,
    Severity,
    Table,
    Unit,
    Window,
    split_criterion_id,
)
from gates.pipeline.judge import judge
from gates.quantity import show

SUBJECT = "breaker: count slow calls in the window"
CREATED = "2026-11-23T15:04:05.000Z"


def criterion(
    id_: str, comparator: Comparator, limit: float, unit: Unit, rule: Rule, *, text: str = "", built_in: bool = False,
    severity: Severity = Severity.BLOCKING, minimum: int = 1,
) -> Criterion:  # fmt: skip
    """A criterion with one comparison."""
    shown = text or show(limit, unit)
    return Criterion(id_, unit, rule, (Comparison(comparator, limit, text=shown),), minimum, severity, built_in, built_in)


def below(id_: str, limit: float, unit: Unit = Unit.SECONDS, rule: Rule = Rule.PERCENTILE, **more: object) -> Criterion:
    """`{below: limit}`."""
    return criterion(id_, Comparator.BELOW, limit, unit, rule, **more)  # type: ignore[arg-type]


def at_most(id_: str, limit: float, **more: object) -> Criterion:
    """`{at_most: limit}` over a census."""
    return criterion(id_, Comparator.AT_MOST, limit, Unit.COUNT, Rule.CENSUS, **more)  # type: ignore[arg-type]


def measured(
    key: str, value: float, unit: Unit = Unit.SECONDS, n: int = 1, spread: tuple[float, float] | None = None, method: str = ""
) -> Measurement:
    """A measurement by its key, with an interval when *spread* gives one."""
    metric, phase, selector = split_criterion_id(key)
    interval = Interval(*spread, 0.95, method or "order statistics") if spread else None
    return Measurement(metric, value, unit, n, interval, phase, selector)


def evidence(name: str, size: int, media_type: str = "application/json") -> Evidence:
    """An evidence file with a digest."""
    return Evidence(f"evidence/{name}", size, hashlib.sha256(name.encode()).hexdigest(), media_type)


def latencies(seed: int, seconds: int, middle: float, fault: tuple[int, int] | None = None, factor: float = 6.0) -> Line:
    """A noisy line that rises during *fault*."""
    noise = random.Random(seed)
    inside = lambda t: fault is not None and fault[0] <= t < fault[1]  # noqa: E731
    points = tuple((float(t), middle * (factor if inside(t) else 1) * noise.uniform(0.82, 1.2)) for t in range(seconds + 1))
    return Line("p99" if seed % 2 else "p50", points)


def planned(name: str, kind: str, *criteria: Criterion, budget: float, line: int, **more: object) -> PlannedGate:
    """A gate of the plan."""
    measures = kind != "tests"
    where = f"workflows/readiness.yaml:{line}"
    return PlannedGate(name, kind, {}, criteria, budget * 4, budget, measures=measures, line=where, **more)  # type: ignore[arg-type]


def finished(name: str, offset: int, seconds: float, summary: str, *measurements: Measurement, **more: object) -> GateResult:
    """A result of a gate that completed."""
    started = f"2026-11-23T15:{4 + (5 + offset) // 60:02d}:{(5 + offset) % 60:02d}.000Z"
    return GateResult(name, Execution.COMPLETED, started, seconds, measurements, summary=summary, **more)  # type: ignore[arg-type]


def valid() -> tuple[Criterion, ...]:
    """What a load gate checks of itself."""
    return (
        below("valid.unsent", 0.001, Unit.RATIO, Rule.RATIO, built_in=True),
        below("valid.lateness", 0.025, Unit.SECONDS, Rule.PERCENTILE, built_in=True),
    )


def valid_measured(n: int) -> tuple[Measurement, ...]:
    """A generator that kept up."""
    return (
        measured("valid.unsent", 0.0, Unit.RATIO, 10 * n, (0.0, 3.7 / (10 * n)), "clopper-pearson"),
        measured("valid.lateness", 0.0004, Unit.SECONDS, n, (0.0003, 0.0006)),
    )


def unit_gate() -> tuple[PlannedGate, GateResult]:
    """Tests that all pass."""
    passed = criterion("passed", Comparator.AT_LEAST, 1, Unit.COUNT, Rule.CENSUS)
    gate = planned("unit", "tests", at_most("failed", 0), passed, budget=20, line=8, summary="The project's own tests.")
    result = finished(
        "unit", 0, 17.4, "`pytest -q` ran 1,204 tests; 0 were skipped.",
        measured("failed", 0, Unit.COUNT, 1204), measured("passed", 1204, Unit.COUNT, 1204),
        evidence=(evidence("junit.xml", 214_332, "application/xml"),),
    )  # fmt: skip
    return gate, result


ROWS = (
    ("breaker.call.closed", 3.81, 3.62, 4.02),
    ("breaker.call.window", 1.42, 1.36, 1.49),
    ("breaker.reject.open", 0.61, 0.58, 0.66),
    ("retry.success", 1.18, 1.12, 1.25),
    ("retry.two_failures", 2.02, 1.91, 2.17),
    ("policy.fused", 2.41, 2.19, 3.08),
)


def primitives_gate() -> tuple[PlannedGate, GateResult]:
    """Benchmarks, one of which is too slow."""
    gate = planned(
        "primitives", "benchmarks", *(below(f"ratio/{row[0]}", 3.0, Unit.FACTOR, Rule.FACTOR) for row in ROWS),
        budget=45, line=14, summary="What a call through the recovery primitives costs.",
    )  # fmt: skip
    limits = (Limit("limit 3x", 3.0), Limit("usual", 2.0, True))
    rows = (*(IntervalRow(*row) for row in ROWS), IntervalRow("calibration", 1.0, 0.98, 1.03, control=True))
    result = finished(
        "primitives", 18, 41.2, "7 benchmarks, 30 rounds each, as ratios to a calibration loop in the same process.",
        *(measured(f"ratio/{n}", v, Unit.FACTOR, 30, (low, high), "bootstrap") for n, v, low, high in ROWS),
        exhibits=(Intervals("Times the calibration loop", Unit.FACTOR, rows, limits),),
        evidence=(evidence("benchmarks.json", 48_112),),
        steps=("pytest benchmarks/recovery -k breaker_call_closed --benchmark-only", f"suspect: 3f9c2ab {SUBJECT}"),
    )  # fmt: skip
    return gate, result


def load_gate(name: str, offset: int, p99: float, limit: float, line: int) -> tuple[PlannedGate, GateResult]:
    """A load run with a phase, a quantile curve and a table of flows."""
    gate = planned(
        name, "load", below("latency.p99@steady", limit, text=show(limit, Unit.SECONDS), minimum=1000),
        below("errors.ratio", 0.01, Unit.RATIO, Rule.RATIO, text="1 %"),
        below("latency.max", limit * 4, rule=Rule.SINGLE, severity=Severity.ADVISORY), *valid(),
        budget=25, line=line, needs=("unit",),
        summary="Jobs at a **constant** rate, timed from the moment they should have been sent.",
    )  # fmt: skip
    curve = tuple((q, p99 * (0.18 + 0.82 * q**40)) for q in (0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999))
    exhibits: tuple[Exhibit, ...] = (
        Series(
            "Latency from the intended send time", Unit.SECONDS, (latencies(1, 16, p99 * 0.9), latencies(2, 16, p99 * 0.25)),
            (Limit(f"p99 < {show(limit, Unit.SECONDS)} (steady)", limit),),
            (Window("warm-up", 0, 3), Window("steady", 3, 16)), True,
        ),
        Quantiles("Latency by quantile", Unit.SECONDS, (Line("all", curve),), (Limit("p99 limit", limit),)),
        Table("Flows", ("flow", "sent", "errors", "p50", "p99"),
              (("submit_job", "1,280", "0", show(p99 / 4, Unit.SECONDS), show(p99, Unit.SECONDS)),
               ("read_mana", "320", "0", "4 ms", "11 ms"))),
    )  # fmt: skip
    result = finished(
        name, offset, 19.8, "100 jobs/s, open loop: 1,600 planned, 1,600 sent, lateness p99 0.4 ms.",
        measured("latency.p99@steady", p99, n=1300, spread=(p99 * 0.92, p99 * 1.11)),
        measured("errors.ratio", 0.0, Unit.RATIO, 1600, (0.0, 0.0023), "clopper-pearson"),
        measured("latency.max", limit * 4.4, n=1), *valid_measured(1600),
        exhibits=exhibits,
        evidence=(evidence("latency.hdr", 18_220, "application/octet-stream"), evidence("operations.jsonl", 402_118)),
    )  # fmt: skip
    return gate, result


def partition_gate() -> tuple[PlannedGate, GateResult]:
    """A fault that was asked for, seen and healed."""
    gate = planned(
        "partition", "validation", below("recovery.time", 5.0, rule=Rule.SINGLE), at_most("unavailable@fault/healthy", 1),
        at_most("acknowledged.lost", 0, minimum=200), *valid(), budget=60, line=41, needs=("sustained",),
    )  # fmt: skip
    sums = Table(
        "Mana adds up", ("minted", "balances", "reserved", "burned", "difference"), (("30,000", "24,118", "220", "5,662", "0"),)
    )
    shown = Series(
        "Latency while node-a is cut off", Unit.SECONDS,
        (latencies(3, 60, 0.038, (20, 32)), latencies(4, 60, 0.011, (20, 32), 3)), (Limit("p99 < 250 ms (steady)", 0.25),),
        (Window("before", 0, 20), Window("cut node-a", 19.9, 32), Window("recovery", 32.1, 60),
         Window("node-a | node-b, node-c", 20.1, 32.1, True),
         Window("recovered 2.1 s after heal", 34.1, 34.1)), True,
    )  # fmt: skip
    result = finished(
        "partition", 130, 61.5, "50 jobs/s: 3,000 planned, 3,000 sent. `node-a` was cut off from the others for 12 s.",
        measured("recovery.time", 2.1), measured("unavailable@fault/healthy", 0, Unit.COUNT, 981),
        measured("acknowledged.lost", 0, Unit.COUNT, 2981), *valid_measured(3000), exhibits=(shown, sums),
        evidence=(evidence("history.jsonl", 1_402_118), evidence("probe.json", 4_211)),
    )  # fmt: skip
    return gate, result


def crash_gate() -> tuple[PlannedGate, GateResult]:
    """A fault that nobody saw, which makes the gate inconclusive."""
    seen = criterion("valid.fault", Comparator.AT_LEAST, 1, Unit.COUNT, Rule.CENSUS, built_in=True)
    gate = planned(
        "crash", "validation", at_most("acknowledged.lost", 0, minimum=200), seen, budget=40, line=52, needs=("sustained",)
    )
    result = finished(
        "crash", 195, 22.0, "Node `node-b` was to be killed at 7 s; the probe saw it answer all the time.",
        measured("acknowledged.lost", 0, Unit.COUNT, 1480), measured("valid.fault", 0, Unit.COUNT, 1),
        findings=(Finding(Level.WARNING, "node-b answered during the whole fault window", "node-b", "see its log below"),),
        exhibits=(LogTail("Last lines of node-b", ("INFO:     Started server process [4711]", "INFO:     Uvicorn running on http://127.0.0.1:40213")),),
        evidence=(evidence("node-b.log", 9_118, "text/plain"),), steps=("gates faults clean",),
    )  # fmt: skip
    return gate, result


def accounts_gate() -> tuple[PlannedGate, GateResult]:
    """One criterion over several measurements."""
    gate = planned("accounts", "command", at_most("mana.imbalance/*", 0), budget=10, line=60)
    names = ("node-a", "node-b", "node-c")
    result = finished(
        "accounts", 220, 3.1, "The balances of three nodes were added up.",
        *(measured(f"mana.imbalance/{name}", 0, Unit.COUNT, 400) for name in names), expected={"mana.imbalance": names},
    )  # fmt: skip
    return gate, result


def alerts_gate() -> tuple[PlannedGate, GateResult]:
    """A gate whose first attempt the machine spoilt."""
    gate = planned("alerts", "command", below("alert.delay", 30.0, rule=Rule.SINGLE), budget=30, line=66)
    return gate, finished("alerts", 224, 14.9, "37 alerts were provoked.", measured("alert.delay", 1.3), attempt=2)


def drills_gate() -> tuple[PlannedGate, GateResult]:
    """Seeded defects, all caught."""
    names = {
        "slow-node": ("sustained", "latency.p99@steady"),
        "failing-test": ("unit", "failed"),
        "lost-jobs": ("crash", "acknowledged.lost"),
    }
    criteria = [
        criterion(f"{m}/*", Comparator.AT_LEAST, 1, Unit.COUNT, Rule.CENSUS) for m in ("reached", "triggered", "caught")
    ]
    gate = planned("drills", "drills", *criteria, budget=20, line=70)
    columns = ("drill", "gate", "criterion", "reached", "triggered", "caught", "control", "when")
    rows = tuple((n, g, c, "yes", "yes", "yes", "yes", "2026-11-23T15:08:30Z") for n, (g, c) in names.items())
    result = finished(
        "drills", 240, 18.8, "3 of 11 drills, drawn by the run's seed.",
        *(measured(f"{m}/{name}", 1, Unit.COUNT, 1) for m in ("reached", "triggered", "caught") for name in names),
        exhibits=(Table("drills", columns, rows),), expected={m: tuple(names) for m in ("reached", "triggered", "caught")},
    )  # fmt: skip
    return gate, result


HISTORY = History(
    head="9f" * 32,
    runs=(RunRecord("20261123T141000Z-3f9c2ab-77aa", "not_ready"), RunRecord("20261123T143000Z-3f9c2ab-12cd", "abandoned")),
    previous={"sustained:latency.p99@steady": 0.0421, "burst:latency.p99@steady": 0.140, "partition:recovery.time": 2.28,
              "unit:passed": 1204, "primitives:ratio/breaker.call.closed": 3.52},
    previous_run="20261122T210000Z-91d07e1-0a0b",
    proven={"partition:recovery.time": "2026-11-17T03:00:00Z", "primitives:ratio/breaker.call.closed": "2026-11-21T03:00:00Z"},
)  # fmt: skip


def plan(gates: tuple[PlannedGate, ...]) -> Plan:
    """The plan of the realistic run."""
    fingerprint = {
        "cpu": "AMD EPYC 7B13",
        "cores": "2",
        "kernel": "6.1.0-28-amd64",
        "python": "CPython 3.11.2",
        "memory": "unknown",
    }
    claims = (
        Claim("Circuit breakers prevent cascade failures", ("partition:recovery.time", "partition:unavailable@fault/healthy")),
        Claim("No acknowledged job is ever lost", ("crash:acknowledged.lost", "partition:acknowledged.lost")),
        Claim("The recovery primitives are cheap", ("primitives:ratio/breaker.call.closed",)),
    )
    commit = Commit("3f9c2ab" + "0" * 33, "main", SUBJECT, dirty=True)
    return Plan(
        "20261123T150405Z-3f9c2ab-5c1e", CREATED, "0.1.0", "/srv/project", "workflows/readiness.yaml", "ab" * 32,
        "standard", 42, commit, fingerprint, gates, claims, ("gates.burst.limit=60 s",), HISTORY, "./noxw gates", 1200.0,
    )  # fmt: skip


def parts() -> tuple[Plan, Mapping[str, GateResult], Mapping[str, tuple[GateResult, ...]]]:
    """Plan, results and earlier attempts, ready to be changed and judged."""
    pairs = (
        unit_gate(), primitives_gate(), load_gate("sustained", 62, 0.041, 0.25, 22), load_gate("burst", 84, 0.143, 0.4, 31),
        partition_gate(), crash_gate(), accounts_gate(), alerts_gate(), drills_gate(),
    )  # fmt: skip
    first = replace(
        alerts_gate()[1],
        attempt=1,
        reason="the hypervisor took 18 % of the processor",
        measurements=(measured("alert.delay", 40.0),),
    )
    return plan(tuple(gate for gate, _ in pairs)), {gate.name: result for gate, result in pairs}, {"alerts": (first,)}


def report() -> Report:
    """The judged whole: NOT READY."""
    findings = (Finding(Level.WARNING, "the working tree differs from the commit", hint="commit, then run again"),)
    return judge(*parts(), findings)


def ready_report() -> Report:
    """The same run with nothing wrong."""
    whole, results, attempts = parts()
    good = {"primitives", "crash"}
    gates = tuple(gate for gate in whole.gates if gate.name not in good)
    claims = whole.claims[:1]
    return judge(replace(whole, gates=gates, claims=claims), {n: r for n, r in results.items() if n not in good}, attempts)
