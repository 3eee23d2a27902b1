"""The order of gates: after what they need, beside each other when nothing measures, alone when something does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter
from queue import Empty, SimpleQueue
from threading import Thread

from gates.model import GateReport, Outcome, PlannedGate

Run = Callable[[PlannedGate], GateReport]


def in_order(
    gates: Sequence[PlannedGate],
    run: Run,
    skip: Callable[[PlannedGate, str], GateReport],
    before: Mapping[str, GateReport],
    *,
    beside: int,
    asked_to_stop: Callable[[], bool] = lambda: False,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, GateReport]:
    """Run *gates* and give their reports by name.

    *before* holds reports of gates that this run executed earlier. A need that neither these nor *gates* hold does not stop a
    gate; one that did not pass does: the gate is *skip*ped with the reason. At most *beside* gates run at once; *tick* is
    called several times a second.
    """
    names = {gate.name: gate for gate in gates}
    order = TopologicalSorter({gate.name: [need for need in gate.needs if need in names] for gate in gates})
    order.prepare()
    waiting: list[PlannedGate] = []
    running: dict[str, PlannedGate] = {}
    done: dict[str, GateReport] = dict(before)
    ended: SimpleQueue[tuple[str, GateReport | BaseException]] = SimpleQueue()
    while order.is_active():
        waiting += [names[name] for name in order.get_ready()]
        for gate in startable(waiting, list(running.values()), beside):
            waiting.remove(gate)
            reason = blocked(gate, done, asked_to_stop())
            if reason:
                ended.put((gate.name, skip(gate, reason)))
            else:
                Thread(target=_report, args=(run, gate, ended), name=gate.name, daemon=True).start()
            running[gate.name] = gate
        name, report = _next(ended, tick)
        if isinstance(report, BaseException):
            raise report
        del running[name]
        done[name] = report
        order.done(name)
    return {name: done[name] for name in names}


def startable(waiting: Sequence[PlannedGate], running: Sequence[PlannedGate], beside: int) -> list[PlannedGate]:
    """Which of the *waiting* may start now: others first, beside each other; one that measures only when nothing runs."""
    if any(gate.measures for gate in running):
        return []
    others = [gate for gate in waiting if not gate.measures]
    if others or running:
        return others[: max(0, beside - len(running))]
    return list(waiting[:1])


def blocked(gate: PlannedGate, done: Mapping[str, GateReport], stopping: bool) -> str:
    """Why *gate* can't be run; empty when it can."""
    if stopping:
        return "the run was ended before this gate began"
    if gate.missing:
        return f"not measurable here: {'; '.join(gate.missing)}"
    reports = [done[need] for need in gate.needs if need in done]
    unmet = [report for report in reports if report.outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE)]
    if unmet:
        whys = "; ".join(
            f"{report.gate.name} {'failed' if report.outcome is Outcome.FAIL else 'is inconclusive'}" for report in unmet
        )
        return f"not run because of a need: {whys}"
    return ""


def _report(run: Run, gate: PlannedGate, ended: SimpleQueue[tuple[str, GateReport | BaseException]]) -> None:
    try:
        ended.put((gate.name, run(gate)))
    except BaseException as error:
        ended.put((gate.name, error))


def _next(
    ended: SimpleQueue[tuple[str, GateReport | BaseException]], tick: Callable[[], None]
) -> tuple[str, GateReport | BaseException]:
    while True:
        try:
            return ended.get(timeout=0.2)
        except Empty:
            tick()
