"""Control groups of a run, of version 1 and 2: below our own group, so that no outer limit is escaped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gates.leftovers import PREFIX, held, unique

PERIOD_US = 100_000
WIDE_OPEN = {
    (1, "memory"): ("memory.limit_in_bytes", "-1"),
    (2, "memory"): ("memory.max", "max"),
    (1, "cpu"): ("cpu.cfs_quota_us", "-1"),
    (2, "cpu"): ("cpu.max", f"max {PERIOD_US}"),
    (1, "pids"): ("pids.max", "max"),
    (2, "pids"): ("pids.max", "max"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a controller's group lies, and of which version it is."""

    version: int
    path: Path


@dataclass(frozen=True, slots=True)
class Group:
    """A group of ours in the hierarchy of each of its controllers."""

    places: Mapping[str, Place]

    def command(self, command: Sequence[str]) -> tuple[str, ...]:
        """*command* in the group from its first instruction on."""
        paths = dict.fromkeys(str(place.path / "cgroup.procs") for place in self.places.values())
        enter = " && ".join(f"echo $$ > '{path}'" for path in paths)
        return ("/bin/sh", "-c", f'{enter} && exec "$@"', "gates-cgroup", *command)

    def limit(self, controller: str, value: float | None = None) -> None:
        """Allow *value*: bytes of memory, processors' time as a share of one, or processes; None tries what is allowed now."""
        name, wide = WIDE_OPEN[self.places[controller].version, controller]
        if value is None:
            text = wide
        elif controller == "cpu":
            quota = str(max(1000, int(value * PERIOD_US)))
            text = quota if self.places[controller].version == 1 else f"{quota} {PERIOD_US}"
        else:
            text = str(int(value))
        self._write(controller, name, text)

    def free(self, controller: str) -> None:
        """Allow everything again."""
        self.limit(controller)

    def limited(self, controller: str) -> bool:
        """Whether the kernel says that there is a limit."""
        name, _ = WIDE_OPEN[self.places[controller].version, controller]
        said = self.read(controller, name).split()[0]
        return said not in ("max", "-1") and int(said) < 1 << 60

    def memory(self) -> int:
        """Bytes that the group uses now."""
        version = self.places["memory"].version
        return int(self.read("memory", "memory.usage_in_bytes" if version == 1 else "memory.current"))

    def count(self, what: str) -> int:
        """One of the kernel's counters: `oom` kills, `reclaimed` at the limit, `throttled` periods, refused `forks`."""
        controller, first, second = {
            "oom": ("memory", ("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")),
            "reclaimed": ("memory", ("memory.failcnt", ""), ("memory.events", "max")),
            "throttled": ("cpu", ("cpu.stat", "nr_throttled"), ("cpu.stat", "nr_throttled")),
            "forks": ("pids", ("pids.events", "max"), ("pids.events", "max")),
        }[what]
        file, key = first if self.places[controller].version == 1 else second
        text = self.read(controller, file)
        if not key:
            return int(text)
        return next((int(line.split()[1]) for line in text.splitlines() if line.split()[:1] == [key]), 0)

    def members(self) -> list[int]:
        """Ids of the processes in it."""
        place = next(iter(self.places.values()))
        return [int(line) for line in (place.path / "cgroup.procs").read_text().split()]

    def read(self, controller: str, name: str) -> str:
        """The file *name* of the group."""
        return (self.places[controller].path / name).read_text()

    def _write(self, controller: str, name: str, text: str) -> None:
        (self.places[controller].path / name).write_text(text)


COUNTED = {"reclaimed": "memory", "oom": "memory", "throttled": "cpu", "forks": "pids"}


class Rising:
    """Says whether the kernel has counted more of *what* since the last look; None while there is a limit and it may yet.

    Before the first rise there is none: a limit that nothing comes to shows no fault.
    """

    def __init__(self, group: Group, what: str) -> None:
        self._group, self._what = group, what
        self._first = self._last = group.count(what)

    def __call__(self) -> bool | None:
        count = self._group.count(self._what)
        if count > self._last:
            self._last = count
            return True
        return None if self.gained and self._group.limited(COUNTED[self._what]) else False

    @property
    def gained(self) -> int:
        """By how much it rose in all."""
        return self._last - self._first


@contextmanager
def group(controllers: Sequence[str], part: str) -> Iterator[Group]:
    """A group of ours for *controllers*, gone afterwards. Raises OSError when this machine does not let us."""
    name = unique(part)
    with ExitStack() as stack:
        places: dict[str, Place] = {}
        for controller in controllers:
            version, parent = stack.enter_context(_parent(controller))
            path = parent / name
            if all(place.path != path for place in places.values()):
                stack.enter_context(held("cgroup", str(path)))
                path.mkdir()
            if version == 2 and not (path / WIDE_OPEN[2, controller][0]).exists():
                raise OSError(f"the controller {controller} is not delegated to {parent}")
            places[controller] = Place(version, path)
        yield Group(places)


def of(pid: int) -> Group:
    """The group of ours that the process *pid* is in. Raises OSError when it is in none."""
    mounts, places = _mounts(), {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, names, own = line.split(":", 2)
        if own.rpartition("/")[2].startswith(PREFIX):
            for name in ("memory", "cpu", "pids") if number == "0" else names.split(","):
                root = mounts["" if number == "0" else name]
                places[name] = Place(2 if number == "0" else 1, root / own.lstrip("/"))
    if not places:
        raise OSError(f"the process {pid} is in no group of ours")
    return Group(places)


@contextmanager
def _parent(controller: str) -> Iterator[tuple[int, Path]]:
    """The version of *controller*'s hierarchy, and the group in it below which ours can lie."""
    mounts, own = _mounts(), _own_groups()
    if controller in own:
        if controller not in mounts:
            raise OSError(f"the hierarchy of {controller} is not mounted")
        yield 1, _below(mounts[controller], own[controller])
        return
    if "" not in mounts or controller not in (mounts[""] / "cgroup.controllers").read_text().split():
        raise OSError(f"no cgroup hierarchy has the controller {controller}")
    with _delegating(mounts[""], own.get("", "/"), controller) as path:
        yield 2, path


def _own_groups() -> dict[str, str]:
    """Our own group by controller; that of the unified hierarchy by an empty name."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return {name: path for _, names, path in lines for name in names.split(",")}


def _below(root: Path, own: str) -> Path:
    path = root / own.lstrip("/")
    return path if path.is_dir() else root  # in a container our own path may be that of the host


@contextmanager
def _delegating(root: Path, own: str, controller: str) -> Iterator[Path]:
    """The nearest group at or above our own that hands *controller* on to groups below it, made to do so where we may.

    A group of version 2 that holds processes can't hand anything on, so ours often lies beside our own group.
    """
    for place in _upwards(_below(root, own), root):
        handed = place / "cgroup.subtree_control"
        if controller in handed.read_text().split() and os.access(place, os.W_OK):
            yield place
            return
        try:
            handed.write_text(f"+{controller}")
        except OSError:
            continue
        try:
            yield place
        finally:
            with suppress(OSError):  # somebody else may have begun to use it
                handed.write_text(f"-{controller}")
        return
    raise OSError(f"no group at or above {own} hands the controller {controller} on to us")


def _upwards(path: Path, root: Path) -> Iterator[Path]:
    while True:
        yield path
        if path == root:
            return
        path = path.parent


def _mounts() -> dict[str, Path]:
    """Where the hierarchy of each controller is mounted; the unified one by an empty name."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        path = Path(before.split()[4])
        names = {"cgroup": options.split(","), "cgroup2": [""]}.get(kind, [])
        for name in names:
            found.setdefault(name, path)
    return found
