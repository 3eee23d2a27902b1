"""The order of gates, and which need keeps one from running."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from gates.model import Execution, GateReport, GateResult, Outcome, PlannedGate
from gates.pipeline.runner import gate_environment
from gates.pipeline.schedule import in_order, startable


def gate(name: str, *needs: str, measures: bool = False) -> PlannedGate:
    return PlannedGate(name, "odd", {}, (), limit=60, budget=1, needs=needs, measures=measures)


def report(gate: PlannedGate, outcome: Outcome = Outcome.PASS) -> GateReport:
    return GateReport(gate, Execution.COMPLETED, outcome, "", (), GateResult(gate.name, Execution.COMPLETED, "", 0.0))


def skipped(gate: PlannedGate, reason: str) -> GateReport:
    return GateReport(gate, Execution.NOT_RUN, Outcome.INCONCLUSIVE, reason, ())


def test_a_need_that_did_not_pass_stops_all_that_follows() -> None:
    """The gate is not run, and neither is what needs it."""
    gates = [gate("a"), gate("b", "a"), gate("c", "b"), gate("d")]
    found = in_order(gates, lambda g: report(g, Outcome.FAIL if g.name == "a" else Outcome.PASS), skipped, {}, beside=2)
    assert found["b"].reason == "not run because of a need: a failed"
    assert found["c"].reason == "not run because of a need: b is inconclusive"
    assert found["d"].outcome is Outcome.PASS


def test_a_need_that_was_not_selected_stops_nothing_unless_it_ran_before() -> None:
    """`-s load` alone runs; a need that an earlier process of the run saw fail does stop it."""
    alone = in_order([gate("b", "a")], report, skipped, {}, beside=2)
    assert alone["b"].outcome is Outcome.PASS
    before = {"a": report(gate("a"), Outcome.FAIL)}
    assert in_order([gate("b", "a")], report, skipped, before, beside=2)["b"].execution is Execution.NOT_RUN


def test_others_run_beside_each_other() -> None:
    """Two gates that do not measure meet."""
    meeting = threading.Barrier(2, timeout=10)

    def run(each: PlannedGate) -> GateReport:
        meeting.wait()
        return report(each)

    assert len(in_order([gate("a"), gate("b")], run, skipped, {}, beside=2)) == 2


@given(st.lists(st.booleans(), max_size=8), st.lists(st.booleans(), max_size=4), st.integers(1, 4))
def test_what_measures_is_always_alone(waiting: list[bool], running: list[bool], beside: int) -> None:
    """Whatever waits and runs: never two measurements, never one beside anything, never more than allowed."""
    running = running[:1] if any(running) else running
    wait = [gate(f"w{n}", measures=measures) for n, measures in enumerate(waiting)]
    run = [gate(f"r{n}", measures=measures) for n, measures in enumerate(running)]
    chosen = startable(wait, run, beside)
    together = [*run, *chosen]
    assert len(together) == 1 or not any(g.measures for g in together)
    assert len(chosen) <= max(1, beside - len(run))
    assert chosen or not wait or run, "something always starts when nothing runs"


def test_gates_that_are_asked_to_stop_are_not_begun() -> None:
    """Everything that has not begun is recorded as such."""
    found = in_order([gate("a")], report, skipped, {}, beside=1, asked_to_stop=lambda: True)
    assert found["a"].reason == "the run was ended before this gate began"


def test_trees_nest_in_the_environment_of_a_gate() -> None:
    """An outer run's guardian finds the processes of an inner one."""
    inner = gate_environment({"READINESS_TREE": "outer", "GATES_RUN": "x", "CI": "1"}, token="inner", inherit="alone r g")
    assert (inner["READINESS_TREE"], inner["READINESS_LOCK"], inner["CI"]) == ("outer:inner", "alone r g", "1")
    assert "GATES_RUN" not in inner
