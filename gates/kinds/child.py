"""A command of somebody's, run as a child of the gate process: templates, environment, output, and which files it wrote."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gates.model import KindContext, LogTail, Request

PLACEHOLDERS = ("evidence", "root", "python")
TAIL = 60
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f]")
_PLACEHOLDER = re.compile(r"(?<!\$)\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; 128 + the number when a signal ended it, so that no death looks like a small number.
        seconds: wall-clock time.
        problem: why it could not be started; empty when it ran.
    """

    code: int
    seconds: float
    problem: str = ""


def check_placeholders(parts: Sequence[str], context: KindContext, setting: str) -> None:
    """Report `{evidnce}` at its line. Other braces (awk, JSON) are the command's own business."""
    for part in parts:
        for name in _PLACEHOLDER.findall(part):
            close = difflib.get_close_matches(name, PLACEHOLDERS, n=1, cutoff=0.75)
            if close and name not in PLACEHOLDERS:
                context.error(setting, f"unknown placeholder {{{name}}} in {part!r}", f"did you mean {{{close[0]}}}?")


def fill(text: str, request: Request) -> str:
    """*text* with `{evidence}`, `{root}` and `{python}` filled in; every other brace stays as it is."""
    values = {"evidence": str(request.evidence), "root": request.root, "python": sys.executable}
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the running interpreter's folder first on PATH."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", os.defpath), **(extra or {})}


def pasteable(program: str, root: str) -> str:
    """*program* as a person in *root* can start it: by its path in the running interpreter's folder, when it lies there."""
    found = Path(sys.executable).parent / program
    if not found.is_file():
        return program
    return str(found.relative_to(root)) if found.is_relative_to(root) else str(found)


def run(command: Sequence[str], *, root: Path, log: Path, extra: Mapping[str, str] | None = None) -> Ended:
    """Run *command* in *root* to its end, both its streams into *log*; it stays in the gate's process group."""
    started, env = time.monotonic(), environment(extra)
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(  # noqa: S603 -- running the author's command is the purpose
                _on_path(command, env), cwd=root, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
            )
        except OSError as error:
            return Ended(127, time.monotonic() - started, _not_started(command[0], error))
        try:
            code = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
    return Ended(code if code >= 0 else 128 - code, time.monotonic() - started)


def _on_path(command: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The command with its program looked up in *env*'s PATH; Popen itself would look in ours."""
    import shutil

    found = shutil.which(command[0], path=env["PATH"]) if os.sep not in command[0] else None
    return [found or command[0], *command[1:]]


def _not_started(program: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"the program {program!r} is not there (looked in the folder of {sys.executable} and on PATH)"
    return f"the program {program!r} can't be started: {error.strerror or error}"


class Freshness:
    """Tells files that the command wrote from files that were there before it, by a mark and what was there."""

    def __init__(self, folder: Path, patterns: Sequence[str]) -> None:
        mark = folder / ".started"
        mark.touch()
        # the file system's own clock: the same that stamps what the command writes
        self._since = mark.stat().st_mtime_ns
        mark.unlink()
        self._patterns = tuple(patterns)
        self._before = {path: _stamp(path) for path in self._matching()}

    def fresh(self) -> tuple[Path, ...]:
        """Files that match and were written since."""
        return tuple(path for path in self._matching() if not self._is_stale(path))

    def stale(self) -> tuple[Path, ...]:
        """Files that match and are older than the run."""
        return tuple(path for path in self._matching() if self._is_stale(path))

    def _is_stale(self, path: Path) -> bool:
        return self._before.get(path) == _stamp(path) or path.stat().st_mtime_ns < self._since

    def _matching(self) -> list[Path]:
        import glob

        return [
            Path(name)
            for pattern in self._patterns
            for name in sorted(glob.glob(pattern, recursive=True))
            if Path(name).is_file()
        ]


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def tail(log: Path, title: str) -> LogTail:
    """The last lines of *log* without terminal escapes."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65536))
        text = file.read().decode("utf-8", "replace")
    lines = (_ESCAPES.sub("", line.rsplit("\r", 1)[-1])[:500] for line in text.replace("\r\n", "\n").split("\n"))
    return LogTail(title, tuple(lines)[-TAIL - 1 :] if not text.endswith("\n") else tuple(lines)[-TAIL - 1 : -1])


def shown(command: Sequence[str]) -> str:
    """*command* as one would paste it."""
    return shlex.join(command)
