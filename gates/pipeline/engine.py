"""The engine: executes the selected gates of a planned run, guarded, and so that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from gates.errors import Exit, GatesError, NothingSelectedError, most_important
from gates.model import Execution, GateReport, GateResult, Outcome, Plan, PlannedGate
from gates.pipeline import lock, tree
from gates.pipeline.alive import EngineNote, working
from gates.pipeline.folder import RunFolder
from gates.pipeline.guardian import guarded, tidy
from gates.pipeline.lock import MachineLock, lock_folder
from gates.pipeline.progress import Progress, Silence
from gates.pipeline.results import read_result
from gates.pipeline.runner import Runner
from gates.pipeline.schedule import in_order
from gates.pipeline.stop import Stop


def select(plan: Plan, only: Sequence[str]) -> tuple[PlannedGate, ...]:
    """The gates of *plan* that *only* names, as `GATE` or `kind:KIND`; all when it names none.

    Raises NothingSelectedError when a selector matches no gate.
    """
    if not only:
        return plan.gates
    chosen: set[str] = set()
    for selector in only:
        matching = {gate.name for gate in plan.gates if selector in (gate.name, f"kind:{gate.kind}")}
        if not matching:
            names = ", ".join(f"{gate.name} (kind:{gate.kind})" for gate in plan.gates)
            raise NothingSelectedError(f"--only {selector} matches no gate of this plan", hint=f"it has {names}")
        chosen |= matching
    return tuple(gate for gate in plan.gates if gate.name in chosen)


@dataclass(frozen=True, slots=True)
class Engine:
    """Executes gates of the run in *folder*."""

    plan: Plan
    folder: RunFolder
    progress: Progress = field(default_factory=Silence)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def execute(self, gates: Sequence[PlannedGate]) -> tuple[dict[str, GateReport], bool]:
        """Execute *gates*; their reports by name, and whether the run was interrupted.

        Raises GatesError when another process works on the run.
        """
        applicable = [gate for gate in gates if not gate.not_applicable]
        token = f"{self.plan.run}.{secrets.token_hex(6)}"
        note = EngineNote(os.getpid(), token, tuple(gate.name for gate in applicable))
        tree.adopt_orphans()
        with working(self.folder):
            self._refuse_killed()
            self._refuse_executed(applicable)
            with _stoppable() as stop, guarded(self.folder, note, self.environ) as guard:
                try:
                    return self._run(applicable, self._runner(token, stop, guard.tell)), stop.asked
                finally:
                    tree.end(token, grace=0.5)
                    tree.end_adopted()

    def _runner(self, token: str, stop: Stop, told: Callable[[str], None]) -> Runner:
        machine = MachineLock(lock_folder(self.environ), self.environ.get(lock.VARIABLE, ""))
        return Runner(self.plan, self.folder, machine, token, stop, self.progress, told, self.environ)

    def _run(self, gates: Sequence[PlannedGate], runner: Runner) -> dict[str, GateReport]:
        def run(gate: PlannedGate) -> GateReport:
            if gate.measures:
                tree.end_adopted()  # nothing else runs now, so these are strays of gates that have ended
            return runner.run(gate)

        def skip(gate: PlannedGate, reason: str) -> GateReport:
            return runner.not_run(gate, reason, Execution.CANCELLED if runner.stop.asked else Execution.NOT_RUN)

        before = self._executed_before({gate.name for gate in gates})
        beside = os.cpu_count() or 1
        return in_order(gates, run, skip, before, beside=beside, asked_to_stop=lambda: runner.stop.asked, tick=tree.reap)

    def _executed_before(self, now: set[str]) -> dict[str, GateReport]:
        """What earlier engines of this run found, for gates that need it."""
        from gates.pipeline.judge import judge_gate

        there = [gate for gate in self.plan.gates if gate.name not in now and self.folder.gate(gate.name).path.is_dir()]
        return {gate.name: judge_gate(gate, read_result(self.folder.gate(gate.name), gate)) for gate in there}

    def _refuse_killed(self) -> None:
        """Close a run whose engine was killed, should its guardian not have come to it yet, rather than go on with it."""
        if self.folder.engine.exists():
            tidy(self.folder)
            raise GatesError(
                f"the run {self.folder.run} had been killed; it is closed as inconclusive now",
                hint="begin a new run",
                code=Exit.INCONCLUSIVE,
            )

    def _refuse_executed(self, gates: Sequence[PlannedGate]) -> None:
        """Refuse gates that this run has executed already: infrastructure may be retried, a verdict never."""
        for gate in gates:
            place = self.folder.gate(gate.name)
            if place.result.exists() and self._earlier_counts(gate):
                raise GatesError(
                    f"the gate {gate.name} was already executed in the run {self.folder.run}",
                    location=str(place.path),
                    hint="a verdict is not retried; begin a new run",
                )

    def _earlier_counts(self, gate: PlannedGate) -> bool:
        result = read_result(self.folder.gate(gate.name), gate)
        return not (isinstance(result, GateResult) and result.execution is Execution.NOT_RUN)


@contextlib.contextmanager
def _stoppable() -> Iterator[Stop]:
    """Turn the signals that end a run into a request to stop, instead of an exception at any point."""
    stop = Stop()
    words = {
        signal.SIGINT: "it was interrupted (Ctrl-C)",
        signal.SIGTERM: "the run was terminated",
        signal.SIGHUP: "the terminal was closed",
    }

    def ask(number: int, frame: FrameType | None) -> None:
        stop.ask(words[signal.Signals(number)])

    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del words[signal.SIGHUP]  # started with nohup
    before = {number: signal.signal(number, ask) for number in words}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


def exit_of_gates(reports: Mapping[str, GateReport]) -> Exit:
    """The exit code of these gates by themselves: what their counted criteria say."""
    codes = {Outcome.FAIL: Exit.NOT_READY, Outcome.INCONCLUSIVE: Exit.INCONCLUSIVE}
    return most_important(codes.get(report.outcome, Exit.READY) for report in reports.values())
