"""What a run has made outside of its own processes, written down before it is made, so that a dead run's can be undone.

::

    with held("namespace", unique("node-a")) as name:      # noted in the registry
        subprocess.run(["ip", "netns", "add", name], check=True)
        ...
    # undone, and taken out of the registry

Every thing is a file with one JSON line in a folder of the user's: taking it out is an unlink, which works on a full disk too.
An entry names its owner by process id, start time and boot. `clean` undoes the entries whose owner is dead, in the reverse of
the order in which they were made; the next run, `gates faults clean` and the guardian of a killed run call it.

| kind | name | detail |
|---|---|---|
| `namespace` | of a network namespace | |
| `link` | of a network interface | `namespace` where it is not the machine's own |
| `nft` | of a table | `family`, else inet; `namespace` as above |
| `cgroup` | path of a cgroup; what runs in it is killed | |
| `mount` | path of a mount whose source begins with `gates-`; the folder stays | |
| `file`, `folder` | path | |
| `process` | id of a process of its own session | `started` in clock ticks since boot |
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gates.errors import Exit, GatesError

PLACE = "READINESS_STATE_FOLDER"
PREFIX = "gates-"
PATIENCE = 3.0
_numbers = itertools.count(1)


class LeftoverError(GatesError):
    """Something of a fault that can't be written down, or can't be undone."""

    code = Exit.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Owner:
    """A process for good: a later one of the same id started at another tick, or after another boot."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The owner that the process *pid* is."""
        return cls(pid, started(pid), boot())

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self.boot == boot() and self.started != 0 and started(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing in the registry: see the table above; *order* grows with the time at which it was written down."""

    kind: str
    name: str
    detail: Mapping[str, str]
    owner: Owner
    order: int
    path: Path = field(compare=False)

    def __str__(self) -> str:
        place = f" in {self.detail['namespace']}" if "namespace" in self.detail else ""
        return f"{self.kind} {self.name}{place}"


def boot() -> str:
    """What tells this boot of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started(pid: int) -> int:
    """When *pid* started, in clock ticks since boot; 0 when it is gone or only waits to be reaped."""
    try:
        _, _, tail = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return 0
    state, *rest = tail.split()
    return 0 if state in "ZX" else int(rest[18])


def unique(part: str = "") -> str:
    """A name that nobody else on this machine gives: `gates-PID-N-part`."""
    return "-".join(filter(None, (f"{PREFIX}{os.getpid()}", str(next(_numbers)), part)))


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The registry's folder: the same for every session of a user, so it does not follow TMPDIR."""
    return _home(environ) / "leftovers"


def own_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of what we keep from run to run, made and only ours to write. Raises LeftoverError."""
    return _made(_home(environ))


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get(PLACE) or f"/tmp/readiness-gates-{os.getuid()}")


# --- the registry -----------------------------------------------------------------------------------------------------


def add(kind: str, name: str, *, folder: Path | None = None, **detail: str) -> Leftover:
    """Write down that *kind* *name* is about to be made by this process. Raises LeftoverError when it can't be."""
    if kind not in UNDO:
        raise LeftoverError(f"nobody knows how to undo a {kind!r}; there is {', '.join(UNDO)}")
    place = _made(folder or own_folder() / "leftovers")
    owner, order = Owner.of(os.getpid()), time.time_ns()
    path = place / f"{order}-{os.getpid()}-{next(_numbers)}.json"
    line = json.dumps({"kind": kind, "name": name, "detail": detail, "owner": asdict(owner), "order": order}) + "\n"
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("x") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise LeftoverError(
            f"{kind} {name} can't be written down, so it is not made: {error.strerror}", location=str(place)
        ) from error
    return Leftover(kind, name, detail, owner, order, path)


def undo(leftover: Leftover) -> None:
    """Undo it, whether or not it was made, and take it out. Raises LeftoverError when it is still there."""
    try:
        UNDO[leftover.kind](leftover)
    except (OSError, subprocess.SubprocessError) as error:
        raise LeftoverError(f"{leftover} can't be undone: {error}", hint=f"its entry is {leftover.path}") from error
    leftover.path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(kind: str, name: str, *, folder: Path | None = None, **detail: str) -> Iterator[str]:
    """Write *kind* *name* down for as long as the body has it, and undo it afterwards, whatever happens; gives the name."""
    leftover = add(kind, name, folder=folder, **detail)
    try:
        yield name
    finally:
        undo(leftover)


def entries(folder: Path | None = None) -> tuple[Leftover, ...]:
    """Everything in the registry, the oldest first; what can't be read is passed over."""
    place = folder or state_folder()
    if not place.is_dir():
        return ()
    if folder is None:
        _check(place.parent)  # whoever may write there could put another folder in its place
    _check(place)
    found = [entry for entry in map(_read, sorted(place.glob("*.json"))) if entry is not None]
    return tuple(sorted(found, key=lambda entry: entry.order))


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of an entry whose owner is dead; *problem* is empty when it was undone."""

    leftover: Leftover
    problem: str = ""


def clean(folder: Path | None = None) -> tuple[Cleaned, ...]:
    """Undo all entries whose owner is dead, the youngest first. What can't be undone stays in the registry."""
    place = folder or state_folder()
    if not place.is_dir():
        return ()
    with _alone(place):
        _sweep(place)
        dead = [entry for entry in entries(folder) if not entry.owner.lives]
        return tuple(_cleaned(entry) for entry in reversed(dead))


def _cleaned(entry: Leftover) -> Cleaned:
    try:
        if entry.owner.boot == boot() or entry.kind in ("file", "folder"):  # a reboot has undone the rest
            undo(entry)
        entry.path.unlink(missing_ok=True)
    except LeftoverError as error:
        return Cleaned(entry, error.message)
    return Cleaned(entry)


def _sweep(place: Path) -> None:
    """Remove notes that were never finished: who was killed while it wrote has made nothing yet."""
    for path in place.glob("*-*-*.new"):
        pid = path.stem.split("-")[1]
        if pid.isdigit() and not started(int(pid)):
            path.unlink(missing_ok=True)


def _read(path: Path) -> Leftover | None:
    try:
        raw = json.loads(path.read_text())
        detail = {str(key): str(value) for key, value in raw["detail"].items()}
        owner = Owner(**raw["owner"])
        return Leftover(raw["kind"], raw["name"], detail, owner, raw["order"], path) if raw["kind"] in UNDO else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _made(place: Path) -> Path:
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LeftoverError(f"our own folder can't be made: {error.strerror}", location=str(place)) from error
    _check(place)
    return place


def _check(place: Path) -> None:
    """What is undone is done with our rights: nobody else may write the list."""
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise LeftoverError(
            "it is not a folder that only we can write",
            location=str(place),
            hint=f"remove it, or name another one by {PLACE}",
        )


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    _check(place)
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)  # itself: a full disk has no room for a file to lock
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- how each kind is undone ------------------------------------------------------------------------------------------


def _own(name: str) -> str:
    """*name*, which must be one that we give: an entry never touches what others made."""
    if not Path(name).name.startswith(PREFIX):
        raise OSError(f"its name does not begin with {PREFIX!r}")
    return name


def _run(*command: str) -> str:
    """Run *command*; what it complained about, empty when it ended well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


def _within(leftover: Leftover) -> tuple[str, ...]:
    namespace = leftover.detail.get("namespace")
    return ("ip", "netns", "exec", namespace) if namespace else ()


def _gone_with_its_namespace(leftover: Leftover) -> bool:
    namespace = leftover.detail.get("namespace")
    return bool(namespace) and not Path("/run/netns", str(namespace)).exists()


def _namespace(leftover: Leftover) -> None:
    name = _own(leftover.name)
    if Path("/run/netns", name).exists() and (said := _run("ip", "netns", "delete", name)):
        raise OSError(said)


def _link(leftover: Leftover) -> None:
    name = _own(leftover.name)
    if _gone_with_its_namespace(leftover) or _run(*_within(leftover), "ip", "link", "show", name):
        return
    if (said := _run(*_within(leftover), "ip", "link", "delete", name)) and "Cannot find" not in said:
        raise OSError(said)


def _nft(leftover: Leftover) -> None:
    name = _own(leftover.name)
    table = ("table", leftover.detail.get("family", "inet"), name)
    if _gone_with_its_namespace(leftover) or _run(*_within(leftover), "nft", "list", *table):
        return
    if said := _run(*_within(leftover), "nft", "delete", *table):
        raise OSError(said)


def _cgroup(leftover: Leftover) -> None:
    path = Path(_own(leftover.name))
    deadline = time.monotonic() + PATIENCE
    while path.is_dir():
        for pid in _members(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            try:
                path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(0.01)


def _members(path: Path) -> list[int]:
    try:
        return [int(line) for line in (path / "cgroup.procs").read_text().split() if int(line) != os.getpid()]
    except (OSError, ValueError):
        return []


def mounted(path: str, process: int | str = "self") -> str:
    """The source of what is mounted at *path* as *process* sees it, empty when nothing is."""
    for line in reversed(Path(f"/proc/{process}/mountinfo").read_text().splitlines()):
        before, _, after = line.partition(" - ")
        if before.split()[4].encode().decode("unicode_escape") == path:
            return after.split()[1]
    return ""


def _mount(leftover: Leftover) -> None:
    while source := mounted(leftover.name):
        if not source.startswith(PREFIX):
            return
        if said := _run("umount", "--lazy", leftover.name):
            raise OSError(said)


def _file(leftover: Leftover) -> None:
    Path(leftover.name).unlink(missing_ok=True)


def _folder(leftover: Leftover) -> None:
    path = Path(_own(leftover.name))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _process(leftover: Leftover) -> None:
    pid = int(leftover.name)
    if started(pid) == int(leftover.detail["started"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


UNDO: Mapping[str, Callable[[Leftover], None]] = {
    "namespace": _namespace,
    "link": _link,
    "nft": _nft,
    "cgroup": _cgroup,
    "mount": _mount,
    "file": _file,
    "folder": _folder,
    "process": _process,
}
