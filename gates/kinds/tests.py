"""The kind `tests`: any command that writes JUnit XML. The file and the exit code must tell the same story."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from gates.fields import Settings
from gates.kinds import child, junit
from gates.model import (
    Execution,
    Finding,
    GateResult,
    KindContext,
    KindPlan,
    Level,
    Measurement,
    MetricSpec,
    Request,
    Rule,
    Unit,
)

LISTED = 20
_PYTEST_CODES = {
    2: "it was interrupted, or a file could not be collected",
    3: "it had an internal error",
    4: "it was called wrongly",
    5: "it collected no tests",
}
_PLACE = re.compile(r"^(?:E\s+)?\s*(?:File \")?([^\s:\"]+\.\w+)(?::|\", line )(\d+)", re.MULTILINE)


class TestsSettings(Settings):
    """What a gate of the kind `tests` can set."""

    __test__ = False

    command: list[str] = Field(
        min_length=1, description="the command and its arguments; {evidence}, {root}, {python} are filled in"
    )
    junit: str = Field("{evidence}/junit.xml", min_length=1, description="where the command writes JUnit XML; may be a glob")


@dataclass(frozen=True, slots=True)
class _Story:
    """What the exit code makes of the counts: is the file to be believed, and if not, why."""

    passed_counts: bool = True
    failed_counts: bool = True
    contradiction: str = ""


class TestsKind:
    """Runs a test command and counts the cases in what it wrote; the exit code must agree."""

    __test__ = False

    name = "tests"
    summary = "Any command that writes JUnit XML: passed, failed, skipped, counted case by case."
    measures = False
    needs_target = False
    settings = TestsSettings
    metrics = (
        MetricSpec("failed", Unit.COUNT, Rule.CENSUS, "Tests that failed or could not be collected, set up or torn down."),
        MetricSpec("passed", Unit.COUNT, Rule.CENSUS, "Tests that passed."),
        MetricSpec("skipped", Unit.COUNT, Rule.CENSUS, "Tests that were skipped."),
        MetricSpec("cases", Unit.COUNT, Rule.CENSUS, "All tests in the file."),
        MetricSpec("duration", Unit.SECONDS, Rule.SINGLE, "How long the command took."),
    )

    def plan(self, settings: TestsSettings, context: KindContext) -> KindPlan:
        child.check_placeholders(settings.command, context, "command")
        child.check_placeholders([settings.junit], context, "junit")
        return KindPlan(settings=settings.model_dump(mode="json"))

    def run(self, request: Request) -> GateResult:
        started = datetime.now(UTC)
        command = [child.fill(part, request) for part in request.gate.settings["command"]]
        request.evidence.mkdir(parents=True, exist_ok=True)
        log, root = request.evidence / "output.log", Path(request.root)
        freshness = child.Freshness(request.evidence, [str(root / child.fill(request.gate.settings["junit"], request))])
        ended = child.run(command, root=root, log=log)
        account = _Account(request, command, ended, freshness, started)
        return account.result(log)


@dataclass(frozen=True, slots=True)
class _Account:
    """Everything known after the command ended, and what follows from it."""

    request: Request
    command: Sequence[str]
    ended: child.Ended
    freshness: child.Freshness
    started: datetime

    def result(self, log: Path) -> GateResult:
        files, stale = self.freshness.fresh(), self.freshness.stale()
        try:
            counted = self._counted(files, stale)
        except junit.BadJUnitError as problem:
            return self._finished(log, str(problem), steps=self._again())
        story = judge_story(counted, self.ended.code, is_pytest=_pytest_prefix(self.command) is not None)
        findings = [Finding(Level.ERROR, story.contradiction)] if story.contradiction else []
        findings += [_stale_finding(path) for path in stale] + self._failures(counted)
        reason = "" if story.failed_counts else story.contradiction
        return self._finished(
            log,
            reason,
            measurements=self._measurements(counted, story),
            findings=tuple(findings),
            steps=self._steps(counted),
            summary=_summary(counted),
        )

    def _counted(self, files: Sequence[Path], stale: Sequence[Path]) -> junit.Counted:
        if self.ended.problem:
            raise junit.BadJUnitError(self.ended.problem)
        if not files:
            where = child.fill(self.request.gate.settings["junit"], self.request)
            what = f"is older than this run ({stale[0].name})" if stale else "was not written"
            raise junit.BadJUnitError(f"the JUnit file {where} {what}; the command ended with exit code {self.ended.code}")
        counted = junit.read(files)
        self._keep(files)
        if counted.cases == 0:
            raise junit.BadJUnitError(f"no tests were run: {files[0].name} holds none (exit code {self.ended.code})")
        if counted.missing:
            raise junit.BadJUnitError(f"{files[0].name} declares {counted.missing} more tests than it holds")
        return counted

    def _keep(self, files: Sequence[Path]) -> None:
        """Copy files that were written elsewhere into the evidence, which is all that a later reader has."""
        for number, path in enumerate(files, 1):
            if self.request.evidence.resolve() not in path.resolve().parents:
                shutil.copyfile(path, self.request.evidence / f"junit-{number:03}-{path.name}")

    def _finished(self, log: Path, reason: str, **more: object) -> GateResult:
        return GateResult(
            gate=self.request.gate.name,
            execution=Execution.FAILED_TO_RUN if reason else Execution.COMPLETED,
            started=self.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=self.ended.seconds,
            reason=reason,
            exhibits=(child.tail(log, f"The last lines of {child.shown(self.command)[:80]}"),),
            attempt=self.request.attempt,
            **more,  # type: ignore[arg-type]
        )

    def _measurements(self, counted: junit.Counted, story: _Story) -> tuple[Measurement, ...]:
        found = [
            Measurement("skipped", counted.skipped, Unit.COUNT, counted.cases),
            Measurement("cases", counted.cases, Unit.COUNT, counted.cases),
            Measurement("duration", self.ended.seconds, Unit.SECONDS, 1),
        ]
        if story.failed_counts:
            found.insert(0, Measurement("failed", counted.failed, Unit.COUNT, counted.executed))
        if story.passed_counts:
            found.insert(1, Measurement("passed", counted.passed, Unit.COUNT, counted.executed))
        return tuple(found)

    def _failures(self, counted: junit.Counted) -> list[Finding]:
        root = Path(self.request.root)
        listed = [_failure_finding(failure, root) for failure in counted.failures[:LISTED]]
        rest = counted.failed - len(listed)
        if rest:
            listed.append(Finding(Level.WARNING, f"{rest} more failed; they are in the JUnit file"))
        return listed

    def _steps(self, counted: junit.Counted) -> tuple[str, ...]:
        prefix = _pytest_prefix(self.command)
        ids = [case_id(failure, Path(self.request.root)) for failure in counted.failures[:3]]
        if prefix and all(ids) and ids:
            return tuple(child.shown([*self._started(prefix), test]) for test in ids)
        return self._again()

    def _again(self) -> tuple[str, ...]:
        return (f"run it by hand: {child.shown(self._started(self.command))}",)

    def _started(self, command: Sequence[str]) -> list[str]:
        return [child.pasteable(command[0], self.request.root), *command[1:]]


def judge_story(counted: junit.Counted, code: int, *, is_pytest: bool) -> _Story:
    """What an exit code makes of the counts. A failure is believed whatever the code; a success only with code 0."""
    odd = is_pytest and code in _PYTEST_CODES
    meaning = f" ({_PYTEST_CODES[code]})" if odd else ""
    if counted.failed and code == 0:
        return _Story(False, True, f"the command ended with exit code 0 though tests failed ({counted.failed})")
    if counted.failed and (odd or code >= 128):
        return _Story(False, True, f"the command ended with exit code {code}{meaning}: not every test was run")
    if not counted.failed and code != 0:
        return _Story(False, False, f"the command ended with exit code {code}{meaning} though no test in its file failed")
    return _Story()


def _summary(counted: junit.Counted) -> str:
    skipped = f", {counted.skipped:,} skipped" if counted.skipped else ""
    return f"{counted.executed:,} tests executed: {counted.passed:,} passed, {counted.failed:,} failed{skipped}."


def _stale_finding(path: Path) -> Finding:
    return Finding(Level.WARNING, f"{path.name} is older than this run and was not counted", str(path))


def _failure_finding(failure: junit.Failure, root: Path) -> Finding:
    name = ".".join(part for part in (failure.classname, failure.name) if part) or "a test without a name"
    # a warning: how many failures are too many is the criterion's to say
    return Finding(Level.WARNING, f"{name}: {failure.message}", _location(failure, root))


def _location(failure: junit.Failure, root: Path) -> str:
    """`file:line` of the failure: the innermost place in its text that lies in the repository, else what the case says."""
    for file, line in reversed(_PLACE.findall(failure.text)):
        path = root / file
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return f"{path.resolve().relative_to(root.resolve())}:{line}"
    return f"{failure.file}:{failure.line}" if failure.file and failure.line else failure.file


def _pytest_prefix(command: Sequence[str]) -> list[str] | None:
    """The part of *command* that starts pytest (`pytest`, `python -m pytest`); None when it is something else."""
    for index, part in enumerate(command[:4]):
        if Path(part).name in ("pytest", "py.test"):
            return list(command[: index + 1])
    return None


def case_id(failure: junit.Failure, root: Path) -> str:
    """pytest's own id of a failed case, when its file can be found: `tests/a/test_b.py::Class::name[1]`."""
    parts = (failure.classname or failure.name).split(".")
    for length in range(len(parts), 0, -1):
        file = "/".join(parts[:length]) + ".py"
        if (root / file).is_file():
            inside = [*parts[length:], *([failure.name] if failure.classname else [])]
            return "::".join([file, *inside])
    return ""
