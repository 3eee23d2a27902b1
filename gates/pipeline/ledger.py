"""The ledger: a start and an end line a run, each with the digest of the line before, so that runs can't be shopped for."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gates import codec
from gates.errors import BadFileError, Exit, GatesError
from gates.model import Finding, Level

NAME = "ledger.jsonl"
START, END = "start", "end"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line. *before* is the sha256 of the line before, empty on the first; *own* that of the line itself without *own*, so
    that a change of the last line shows as well.

    A start holds commit, dirty flag and the digest of plan.json; an end holds the digests of what the gates left
    (*results*) and of readiness.json, and the verdict.
    """

    event: str
    run: str
    at: str
    before: str = ""
    commit: str = ""
    dirty: bool = False
    plan: str = ""
    results: str = ""
    report: str = ""
    verdict: str = ""
    own: str = ""

    def sealed(self) -> Entry:
        return replace(self, own=codec.digest(replace(self, own="")))


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read: *head* is the digest of the last line, *findings* name every line that does not fit."""

    entries: tuple[Entry, ...] = ()
    head: str = ""
    findings: tuple[Finding, ...] = ()
    present: bool = False

    def start(self, run: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.event == START and entry.run == run), None)

    def end(self, run: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.event == END and entry.run == run), None)


def _line_digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The file at *path*. Lines are only ever added, under a lock, and synced."""

    path: Path

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else of ours writes to the ledger meanwhile. Raises GatesError when it can't be opened."""
        try:
            descriptor = os.open(self.path.with_name(".ledger.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise GatesError(
                f"the ledger can't be locked: {error.strerror}", location=str(self.path), code=Exit.INCONCLUSIVE
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> Reading:
        """Every line that can be read; what does not fit is a finding, never an exception."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return Reading()
        except OSError as error:
            return Reading(findings=(self._finding(0, f"the ledger can't be read: {error.strerror}"),), present=True)
        return self._parse(content)

    def _parse(self, content: bytes) -> Reading:
        entries, findings, head = [], [], ""
        lines = content.split(b"\n")
        complete = lines.pop() == b""
        if not complete:
            lines = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            if number == len(lines) and not complete:
                findings.append(self._finding(number, "the last line of the ledger was cut off"))
            entry, problem = self._entry(line)
            if entry is not None:
                entries.append(entry)
            if problem:
                findings.append(self._finding(number, problem))
            elif entry is not None and entry.before != head:
                findings.append(self._finding(number, self._broken(number)))
            head = _line_digest(line)
        return Reading(tuple(entries), head, tuple(findings), present=True)

    def _entry(self, line: bytes) -> tuple[Entry | None, str]:
        try:
            entry = codec.loads(line.decode(), Entry)
        except (UnicodeDecodeError, BadFileError) as error:
            return None, f"the line can't be read: {getattr(error, 'message', error)}"
        if entry.event not in (START, END):
            return None, f"the line is neither a start nor an end but {entry.event!r}"
        held = json.loads(line)  # not the entry: we may know of more by now than the line holds
        unchanged = codec.digest({**held, "own": ""}) == entry.own and codec.dumps(held).encode() == line + b"\n"
        return entry, "" if unchanged else "the line was changed after it was written: its own digest differs"

    @staticmethod
    def _broken(number: int) -> str:
        if number == 1:
            return "the first line of the ledger refers to a line before it: lines were removed"
        what = f"line {number} does not follow from line {number - 1}"
        return f"the ledger's chain is broken: {what}, so a line was changed or removed"

    def _finding(self, number: int, message: str) -> Finding:
        where = f"{NAME}:{number}" if number else NAME
        runs = self.path.parent.name
        hint = f"what was recorded can't be trusted; keep it for reference and begin anew: mv {runs} {runs}.broken"
        return Finding(Level.ERROR, message, where, hint)

    def append(self, entry: Entry) -> None:
        """Add *entry*; call it with the ledger `held`. Raises GatesError, and leaves the file as it was, when it can't."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise GatesError(
                f"the ledger can't be written: {error.strerror}", location=str(self.path), code=Exit.INCONCLUSIVE
            ) from None
        size = os.fstat(descriptor).st_size
        try:
            begin = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
            os.lseek(descriptor, 0, os.SEEK_END)
            line = begin + codec.dumps(entry.sealed()).encode()
            if os.write(descriptor, line) != len(line):
                raise OSError("the disk is full")
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, size)
            raise GatesError(
                f"the ledger can't be written: {error.strerror or error}",
                location=str(self.path),
                hint="free some space and run again",
                code=Exit.INCONCLUSIVE,
            ) from None
        finally:
            os.close(descriptor)
