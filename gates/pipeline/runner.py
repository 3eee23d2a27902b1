"""One gate as a process of its own: start it, watch its limit, end everything it started, and take its result."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gates import codec, leftovers
from gates.errors import GatesError
from gates.model import (
    Execution,
    Finding,
    GateReport,
    GateResult,
    Level,
    LogTail,
    MetricSpec,
    Outcome,
    Plan,
    PlannedGate,
    Request,
    Unit,
)
from gates.pipeline import lock, tree
from gates.pipeline.folder import RunFolder, stamp, utc_now
from gates.pipeline.gate_process import load_kind
from gates.pipeline.lock import Holder, LockCancelledError, MachineLock
from gates.pipeline.progress import Progress
from gates.pipeline.results import keep_attempt, left_result, log_tail, set_aside, undeclared, without_result
from gates.pipeline.stop import Stop
from gates.quantity import show

STRIPPED = ("GATES_", "GITHUB_", "RUNNER_", "ACTIONS_", "INPUT_", "NOX_")
JUMP = 1.0  # seconds between wall clock and monotonic clock that count as a jump
GRACE = 3.0
TURN = 0.01
LAST = 1.0
"""Of the grace, in seconds, what those have at least that a gate leaves behind."""
ENDED = (Execution.COMPLETED, Execution.STOPPED)
"""Gates that came to their end by themselves."""


def gate_environment(environ: Mapping[str, str], *, token: str, inherit: str) -> dict[str, str]:
    """What a gate's processes see: ours without the variables of the pipeline and of the CI step, `CI` kept."""
    kept = {name: value for name, value in environ.items() if not name.startswith(STRIPPED)}
    here = str(Path(sys.executable).parent)
    return kept | {
        "PATH": os.pathsep.join([here, environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        tree.VARIABLE: tree.nested(token, environ.get(tree.VARIABLE, "")),
        lock.VARIABLE: inherit,
    }


def catalogue(kind: str) -> Sequence[MetricSpec]:
    """The metrics that *kind* declares."""
    metrics: Sequence[MetricSpec] = load_kind(kind).metrics
    return metrics


@dataclass(frozen=True, slots=True)
class Ended:
    """How a gate process ended: its exit code, or what ended it."""

    code: int
    seconds: float
    execution: Execution = Execution.COMPLETED
    reason: str = ""
    left: tuple[str, ...] = ()
    jump: float = 0.0
    undone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Runner:
    """Executes gates of *plan* in *folder*.

    Attributes:
        token: marks every process of this engine; those of a gate carry the gate's own token as well.
        stop: says when the run is to end.
        told: is given the pid of each gate process, for the guardian.
    """

    plan: Plan
    folder: RunFolder
    machine: MachineLock
    token: str
    stop: Stop
    progress: Progress
    told: Callable[[str], None] = lambda line: None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    metrics: Callable[[str], Sequence[MetricSpec]] = catalogue

    def run(self, gate: PlannedGate) -> GateReport:
        """Run *gate*, a second time when only the machine was at fault, and judge it; its result lies in its folder."""
        from gates.pipeline.judge import judge_gate

        report = judge_gate(gate, self._attempt(gate, 1))
        if machine_at_fault(report) and not self.stop.asked:
            first = report.result
            keep_attempt(self.folder.gate(gate.name), 1)
            report = judge_gate(gate, self._attempt(gate, 2), (first,) if first else ())
        self.progress.finished(report)
        return report

    def not_run(self, gate: PlannedGate, reason: str, execution: Execution = Execution.NOT_RUN) -> GateReport:
        """Record that *gate* is not run, and why."""
        from gates.pipeline.judge import judge_gate

        result = without_result(gate, execution, reason, started=stamp(utc_now()))
        report = judge_gate(gate, self._record(gate, result))
        self.progress.finished(report)
        return report

    def _attempt(self, gate: PlannedGate, attempt: int) -> GateResult | str:
        started = stamp(utc_now())
        try:
            waiting = lambda holders: self.progress.waiting(gate, _whom(holders))  # noqa: E731
            with self.machine.hold(
                gate.measures, self.plan.run, gate.name, waiting=waiting, cancelled=lambda: self.stop.asked
            ) as held:
                started = stamp(utc_now())
                self._request(gate, attempt)
                self.progress.started(gate, attempt)
                result = self._take(gate, self._process(gate, held), started, attempt)
        except LockCancelledError as error:
            result = without_result(gate, Execution.CANCELLED, error.message, started=started, attempt=attempt)
        except GatesError as error:
            result = without_result(gate, Execution.NOT_RUN, str(error), started=started, attempt=attempt)
        except OSError as error:
            reason = self._disk(error)
            result = without_result(gate, Execution.FAILED_TO_RUN, reason, started=started, attempt=attempt)
        return self._record(gate, result)

    def _request(self, gate: PlannedGate, attempt: int) -> None:
        place = self.folder.gate(gate.name)
        place.evidence.mkdir(parents=True, exist_ok=True)
        place.unfinished.touch()
        plan = self.plan
        folder = str(place.path.resolve())
        request = Request(
            plan.run, plan.root, folder, plan.profile, plan.seed, gate, plan.commit, plan.fingerprint, plan.command, attempt
        )
        codec.write(place.request, request)

    def _process(self, gate: PlannedGate, held: lock.Held) -> Ended:
        place, token = self.folder.gate(gate.name), f"{self.token}.{gate.name}"
        environment = gate_environment(self.environ, token=tree.nested(token, self.token), inherit=held.inherit)
        with place.output.open("wb") as output:
            process = tree.start(
                [sys.executable, "-m", "gates", "_gate", str(place.path.resolve())],
                cwd=self.plan.root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=held.descriptors,
            )  # fmt: skip
        self.told(f"began {process.pid}")
        begin, wall = time.monotonic(), time.time()
        execution, reason = self._watch(gate, process, begin + gate.limit)
        grace = self._told_to_end(process) if reason else GRACE
        left = tree.end(token, (process.pid,), grace=0.0 if self.stop.hurried else grace)
        code = process.wait()
        self.told(f"ended {process.pid}")
        seconds = time.monotonic() - begin
        strays = tuple(f"{stray.name} (pid {stray.pid})" for stray in left) if execution is Execution.COMPLETED else ()
        return Ended(code, seconds, execution, reason, strays, time.time() - wall - seconds, _undone())

    def _watch(self, gate: PlannedGate, process: subprocess.Popen[bytes], deadline: float) -> tuple[Execution, str]:
        """Wait for the end of *process*, the limit or the end of the run, whichever comes first."""
        if _wait(process, self.stop.descriptor, deadline):
            return Execution.COMPLETED, ""
        if self.stop.asked:
            return Execution.CANCELLED, self.stop.reason
        return Execution.TIMED_OUT, f"it took longer than its limit of {show(gate.limit, Unit.SECONDS)} and was ended"

    def _told_to_end(self, process: subprocess.Popen[bytes]) -> float:
        """Tell the gate alone that it is to end: it keeps what it measured while its target is still there. The grace left."""
        patience = time.monotonic() + GRACE
        process.terminate()
        while process.poll() is None and not self.stop.hurried and time.monotonic() < patience:
            time.sleep(TURN)
        return max(LAST, patience - time.monotonic())

    def _take(self, gate: PlannedGate, ended: Ended, started: str, attempt: int) -> GateResult:
        place = self.folder.gate(gate.name)
        found = left_result(place, gate)
        problem = self._problem(gate, found, ended.code)
        reason = ended.reason or problem
        if isinstance(found, str) or problem or (ended.reason and not _kept(found)):
            set_aside(place)
            execution = ended.execution if ended.reason else Execution.FAILED_TO_RUN
            result = without_result(
                gate, execution, reason, started=started, seconds=ended.seconds, attempt=attempt, log=place.output
            )
            return replace(result, findings=(*result.findings, *_observed(ended)))
        if ended.reason:
            found = replace(found, execution=ended.execution, reason=f"{ended.reason}, {found.reason}")
        exhibits = found.exhibits
        if found.execution not in ENDED and not any(isinstance(exhibit, LogTail) for exhibit in exhibits):
            tail = log_tail(place.output)
            exhibits += (tail,) if tail else ()
        findings = (*found.findings, *_observed(ended))
        return replace(
            found, started=started, seconds=round(ended.seconds, 3), attempt=attempt, findings=findings, exhibits=exhibits
        )

    def _problem(self, gate: PlannedGate, found: GateResult | str, code: int) -> str:
        full = os.statvfs(self.folder.path).f_bavail == 0
        if code != 0:
            how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
            what = "the run folder has no space left; " if full else ""
            last = log_tail(self.folder.gate(gate.name).output, 1)
            said = f" ({last.lines[-1].strip()[:200]})" if isinstance(found, str) and last else ""
            return f"{what}its process {how}{said}" + (f", and {found}" if isinstance(found, str) else "")
        if isinstance(found, str):
            return f"{found}, though its process ended well"
        try:
            metric = undeclared(found, self.metrics(gate.kind), gate)
        except GatesError as error:
            return str(error)
        return f"it measured {metric!r}, which the kind {gate.kind} does not declare" if metric else ""

    def _record(self, gate: PlannedGate, result: GateResult) -> GateResult | str:
        place = self.folder.gate(gate.name)
        for last_try in (False, True):
            try:
                place.path.mkdir(parents=True, exist_ok=True)
                codec.write(place.result, result)
                place.unfinished.unlink(missing_ok=True)
                return result
            except OSError as error:
                reason = self._disk(error)
                if last_try:
                    break
                self.folder.reserve.unlink(missing_ok=True)
        return f"{result.reason}; {reason}".lstrip("; ")

    def _disk(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            self.folder.reserve.unlink(missing_ok=True)
            return f"the run folder has no space left ({self.folder.path}); what was written is kept"
        return f"the run folder can't be written: {error}"


def machine_at_fault(report: GateReport) -> bool:
    """Whether nothing failed and a built-in criterion that the machine may have spoiled is inconclusive."""
    result = report.result
    if result is None or result.execution is not Execution.COMPLETED or any(c.outcome is Outcome.FAIL for c in report.criteria):
        return False
    return any(c.criterion.machine and c.outcome is Outcome.INCONCLUSIVE and c.measurements for c in report.criteria)


def _kept(result: GateResult) -> bool:
    """Whether a gate that was told to end says itself that *result* is what it had until then."""
    return result.execution is Execution.CANCELLED and bool(result.measurements)


def _whom(holders: Sequence[Holder]) -> str:
    return " and ".join(map(str, holders))


def _undone() -> tuple[str, ...]:
    """Undo what dead processes have left outside of themselves, such as mounts and cgroups."""
    try:
        return tuple(f"{each.leftover} ({each.problem or 'undone'})" for each in leftovers.clean())
    except (GatesError, OSError) as error:
        return (f"it can't be told: {error}",)


def _observed(ended: Ended) -> list[Finding]:
    found = []
    if ended.left:
        message = f"processes that it left running were ended: {', '.join(ended.left[:5])}"
        found.append(Finding(Level.WARNING, message))
    if ended.undone:
        found.append(Finding(Level.WARNING, f"what it left outside of its processes: {', '.join(ended.undone[:5])}"))
    if abs(ended.jump) > JUMP:
        message = f"the wall clock jumped by {ended.jump:+.1f} s meanwhile; durations come from the monotonic clock"
        found.append(Finding(Level.WARNING, message))
    return found


def _wait(process: subprocess.Popen[bytes], stop: int, deadline: float) -> bool:
    """Whether *process* ended before the *deadline* and before *stop* became readable."""
    if not hasattr(os, "pidfd_open"):
        return _wait_without_descriptor(process, stop, deadline)
    watched = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.register(stop, select.POLLIN | select.POLLHUP)
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]
        return watched in ready
    finally:
        os.close(watched)


def _wait_without_descriptor(process: subprocess.Popen[bytes], stop: int, deadline: float) -> bool:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return True
        if select.select([stop], [], [], 0.02)[0]:
            return False
    return process.poll() is not None
