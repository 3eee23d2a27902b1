"""Where runs lie: `.readiness/<run>/<gate>/...`, their names, the newest one, and which are kept."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gates import codec
from gates.errors import BadFileError, Exit, GatesError, UsageError

DIRECTORY = ".readiness"
LATEST = "latest"
KEPT = 20
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = frozenset({LATEST, "ledger.jsonl"})


def utc_now() -> datetime:
    """The wall clock, for display only; durations come from the monotonic clock."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """*moment* as ISO 8601 in UTC with `Z`, to the millisecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def repository_root(start: Path) -> Path:
    """The nearest folder at or above *start* that is a git tree or holds `workflows/readiness.yaml`; else *start* itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / ".git").exists() or (folder / "workflows" / "readiness.yaml").is_file():
            return folder
    return start


def spec_file(file: str, root: Path) -> Path:
    """The spec FILE as seen from here, or else from the root of the repository."""
    here = Path(file)
    return here if here.exists() or here.is_absolute() else root / file


def runs_root(root: Path, given: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds the runs and the ledger: *given* (--root), GATES_ROOT, or `.readiness` in *root*."""
    chosen = given or environ.get("GATES_ROOT")
    return Path(chosen).resolve() if chosen else root / DIRECTORY


def new_run_id(now: datetime, short: str, salt: Callable[[int], str]) -> str:
    """A run's name: UTC time, short commit and four hex digits of *salt* (`secrets.token_hex`)."""
    return f"{now.astimezone(UTC).strftime('%Y%m%dT%H%M%SZ')}-{short}-{salt(2)}"


def checked_run_id(run: str) -> str:
    """*run* when it can name a folder. Raises UsageError."""
    if run in _RESERVED or not _RUN.fullmatch(run):
        raise UsageError(
            f"{run!r} can't name a run; expected letters, digits, dots and dashes, such as 20261123T150405Z-3f9c2ab-1a2b"
        )
    return run


@dataclass(frozen=True, slots=True)
class GateFolder:
    """The files of one gate of a run."""

    path: Path

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def unfinished(self) -> Path:
        """There from the gate's start until its process was seen to end and its result was checked."""
        return self.path / ".unfinished"

    @property
    def invalid(self) -> Path:
        return self.path / "result.invalid.json"

    @property
    def output(self) -> Path:
        return self.path / "output.log"

    @property
    def evidence(self) -> Path:
        return self.path / "evidence"

    @property
    def heal(self) -> Path:
        return self.path / "heal"

    def attempt(self, number: int) -> Path:
        """Where an earlier attempt is kept."""
        return self.path / f"attempt-{number}"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run; its parent holds the ledger."""

    path: Path

    @property
    def run(self) -> str:
        return self.path.name

    @property
    def runs(self) -> Path:
        return self.path.parent

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def readiness(self) -> Path:
        return self.path / "readiness.json"

    @property
    def alive(self) -> Path:
        """Locked by the engine, or by the guardian after it, as long as one of them works on the run."""
        return self.path / ".alive"

    @property
    def engine(self) -> Path:
        """What an engine at work leaves for who has to tidy up after it; it is removed when the engine ends by itself."""
        return self.path / ".engine.json"

    @property
    def reserve(self) -> Path:
        """Space held back, so that the reasons can still be written when the disk is full."""
        return self.path / ".reserve"

    @property
    def signed(self) -> bool:
        return (self.path / "signoff").exists()

    def gate(self, name: str) -> GateFolder:
        return GateFolder(self.path / name)


def prepare(runs: Path) -> None:
    """Make the folder of runs, which ignores itself in git. Raises GatesError when it can't be made."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        ignore = runs / ".gitignore"
        if not ignore.exists():
            codec.replace(ignore, b"*\n")
    except OSError as error:
        raise GatesError(
            f"the folder of runs can't be used: {error.strerror or error}",
            location=str(runs),
            hint="free space or name another folder with --root",
            code=Exit.INCONCLUSIVE,
        ) from None


def all_runs(runs: Path) -> Iterator[RunFolder]:
    """Every run that has a plan, the oldest first."""
    if not runs.is_dir():
        return
    planned = [path for path in runs.iterdir() if not path.is_symlink() and (path / "plan.json").is_file()]
    yield from map(RunFolder, sorted(planned, key=lambda path: ((path / "plan.json").stat().st_mtime_ns, path.name)))


def set_latest(folder: RunFolder) -> None:
    """Let `latest` name *folder*, at once."""
    beside = folder.runs / f".latest.{os.getpid()}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.run)
    beside.replace(folder.runs / LATEST)


def find_run(runs: Path, run: str | None = None) -> RunFolder:
    """The run named *run*, a path to its folder, or the latest. Raises UsageError when it is not there."""
    if run is not None and run != LATEST:
        folder = Path(run).resolve() if "/" in run else runs / checked_run_id(run)
        if not (folder / "plan.json").is_file():
            raise UsageError(f"there is no run {run!r}", location=str(folder), hint=f"runs lie in {runs}")
        return RunFolder(folder)
    latest = runs / LATEST
    if (latest / "plan.json").is_file():
        return RunFolder(latest.resolve())
    if latest.is_symlink():
        raise BadFileError("the plan of the latest run is gone", location=str(latest.readlink()), hint="begin a new run")
    if any(all_runs(runs)):
        raise BadFileError("nothing says which run is the latest", location=str(latest), hint="name the run")
    raise UsageError("there is no run yet", location=str(runs), hint="`gates run` makes one")


def prune(runs: Path, busy: Callable[[RunFolder], bool], keep: int = KEPT) -> tuple[str, ...]:
    """Remove all but the newest *keep* runs, the signed ones and those that are *busy*; the names of what was removed."""
    removed = []
    for folder in list(all_runs(runs))[:-keep]:
        if not folder.signed and not busy(folder):
            shutil.rmtree(folder.path, ignore_errors=True)
            removed.append(folder.run)
    return tuple(removed)
