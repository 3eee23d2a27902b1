"""Reading JUnit XML that somebody else's tool wrote: bounded, without entities, and counted case by case.

Only expat is used: what matters is refused while it is read, before it can grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

LARGEST = 64 * 2**20
DEEPEST = 64
_TEXT = 65536
_SUITES = ("testsuites", "testsuite")
_NOT_RUN = ("notrun", "disabled", "skipped")  # GoogleTest and others say so by the attribute `status` alone


class BadJUnitError(Exception):
    """The file can't be taken as evidence; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that failed: *message* is its first line, *text* the whole account (bounded), *file* and *line* if it says so."""

    name: str
    classname: str
    message: str
    text: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """What the cases of one or several files add up to. *passed* is what neither failed, erred nor was skipped.

    *unlisted* counts failures and errors that a suite's attributes declare beyond its cases; they are in *failed*. *missing*
    counts cases that a suite's attributes declare and the file does not hold.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    unlisted: int = 0
    missing: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def cases(self) -> int:
        return self.passed + self.failed + self.skipped

    @property
    def executed(self) -> int:
        return self.passed + self.failed


def read(paths: Iterable[Path]) -> Counted:
    """The cases of all *paths* together. Raises BadJUnitError naming the file that is unusable."""
    total = Counted()
    for path in paths:
        total = _add(total, _read_one(path))
    return total


def _add(a: Counted, b: Counted) -> Counted:
    return Counted(
        a.passed + b.passed,
        a.failed + b.failed,
        a.skipped + b.skipped,
        a.unlisted + b.unlisted,
        a.missing + b.missing,
        a.failures + b.failures,
    )


def _read_one(path: Path) -> Counted:
    try:
        if path.stat().st_size > LARGEST:
            raise BadJUnitError(f"{path.name} is larger than {LARGEST // 2**20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise BadJUnitError(f"{path.name} can't be read: {error.strerror or error}") from None
    if not content.strip():
        raise BadJUnitError(f"{path.name} is empty")
    try:
        return _Reader().read(content)
    except expat.ExpatError as error:
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise BadJUnitError(f"{path.name} is truncated or no XML ({expat.errors.messages[error.code]} at {where})") from None
    except BadJUnitError as error:
        raise BadJUnitError(f"{path.name} {error}") from None


@dataclass(slots=True)
class _Suite:
    """A suite that is being read: what it declares, and what it and the suites in it held so far."""

    declared: dict[str, str]
    cases: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Case:
    attributes: dict[str, str]
    outcome: str = "passed"
    message: str = ""
    text: list[str] = field(default_factory=list)


class _Reader:
    """One pass of expat over a file."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._suites: list[_Suite] = []
        self._case: _Case | None = None
        self._count = {"passed": 0, "failed": 0, "skipped": 0}
        self._unlisted = self._missing = 0
        self._failures: list[Failure] = []

    def read(self, content: bytes) -> Counted:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_declarations
        parser.EntityDeclHandler = _refuse_declarations
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(content, True)
        count = self._count
        failed = count["failed"] + self._unlisted
        return Counted(count["passed"], failed, count["skipped"], self._unlisted, self._missing, tuple(self._failures))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition("}")[2].rpartition(":")[2]
        if not self._path and name not in _SUITES:
            raise BadJUnitError(f"is no JUnit file: its root is <{name[:40]}>, not <testsuites> or <testsuite>")
        self._path.append(name)
        if len(self._path) > DEEPEST:
            raise BadJUnitError(f"is nested deeper than {DEEPEST} elements")
        if name in _SUITES:
            self._suites.append(_Suite(attributes))
        elif name == "testcase":
            self._case = _Case(attributes, "skipped" if attributes.get("status", "") in _NOT_RUN else "passed")
        elif self._case is not None and self._path[-2] == "testcase":
            self._outcome(self._case, name, attributes)

    def _outcome(self, case: _Case, name: str, attributes: dict[str, str]) -> None:
        if name in ("failure", "error"):
            case.outcome = "failed"
            case.message = case.message or attributes.get("message", "") or attributes.get("type", "")
        elif name in ("skipped", "disabled") and case.outcome == "passed":
            case.outcome = "skipped"

    def _characters(self, data: str) -> None:
        inside = self._case is not None and self._path[-1] in ("failure", "error")
        if inside and self._case is not None and sum(map(len, self._case.text)) < _TEXT:
            self._case.text.append(data[:_TEXT])

    def _end(self, _name: str) -> None:
        name = self._path.pop()
        if name == "testcase" and self._case is not None:
            self._finish(self._case)
            self._case = None
        elif name in _SUITES:
            self._close(self._suites.pop())

    def _finish(self, case: _Case) -> None:
        self._count[case.outcome] += 1
        if self._suites:
            self._suites[-1].cases += 1
            self._suites[-1].failed += case.outcome == "failed"
        if case.outcome == "failed":
            self._failures.append(_failure(case))

    def _close(self, suite: _Suite) -> None:
        """Hold a suite to what it says of itself. Outer ones sum up their inner ones, or not, as their tool likes."""
        unlisted = max(0, _number(suite.declared, "failures") + _number(suite.declared, "errors") - suite.failed)
        missing = max(0, _number(suite.declared, "tests") - suite.cases)
        self._unlisted += unlisted
        self._missing += missing
        if self._suites:
            self._suites[-1].cases += suite.cases + missing
            self._suites[-1].failed += suite.failed + unlisted


def _refuse_declarations(*_: object) -> None:
    raise BadJUnitError("declares a document type or entities, which no JUnit file needs; it is not read")


def _failure(case: _Case) -> Failure:
    text, get = "".join(case.text), case.attributes.get
    message = (_said_in(case.message, text) or case.message or text).strip().splitlines() or ["no message"]
    # pytest's xunit1 family counts lines from 0
    line = int(get("line", "")) + 1 if get("line", "").isdigit() else 0
    return Failure(get("name", ""), get("classname", ""), message[0][:300], text, get("file", ""), line)


def _said_in(message: str, text: str) -> str:
    """What went wrong, where pytest's message says only that something did and its text says what."""
    if not message.startswith(("collection failure", "failed on setup", "failed on teardown")):
        return ""
    said = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return said[-1] if said else ""


def _number(attributes: dict[str, str], name: str) -> int:
    text = attributes.get(name, "").strip()
    return int(text) if text.isdigit() and len(text) < 10 else 0
