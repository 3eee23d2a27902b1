"""What faults need of a process before it is started: a group, a preloaded library, a small disk, an environment.

::

    with workshop(faults, FAULTS, folder) as shop, running(plan, folder=folder, fit=shop.fitted) as target:
        play(faults, target, ...)

A fault that needs something has a method `fit(shop, settings, way)`, which asks the workshop for it. A fault under way finds
what was made for it from the running process and the target's folders alone (`control_of`, `cgroups.of`).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gates.faults import cgroups
from gates.faults.capability import run
from gates.faults.node_fault import process_of
from gates.faults.shim import Control, is_loaded
from gates.faults.timeline import PlannedFault
from gates.leftovers import held, unique
from gates.model import ProcessSpec, TargetLayout
from gates.target.error import TargetError

FOLDER = "faults"


@dataclass(slots=True)
class Workshop:
    """Prepares the processes of a target whose files lie in *home*; all that it makes goes when the stack is closed.

    *disks* are the sizes in bytes of those that it has made, by node.
    """

    home: Path
    stack: ExitStack
    disks: dict[str, int] = field(default_factory=dict)
    _controllers: dict[str, set[str]] = field(default_factory=dict)
    _groups: dict[str, cgroups.Group] = field(default_factory=dict)
    _environments: dict[str, dict[str, str]] = field(default_factory=dict)
    _inside: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def group(self, node: str, controller: str) -> None:
        """Have *node* started in a group of its own, which *controller* can limit."""
        self._controllers.setdefault(node, set()).add(controller)

    def environment(self, node: str, variables: Mapping[str, str]) -> None:
        """Have *node* started with *variables*."""
        self._environments.setdefault(node, {}).update(variables)

    def shim(self, node: str) -> None:
        """Have *node* started with the library that `shim.Control` governs."""
        path = control_path(self.home, node)
        if not path.exists():
            self.environment(node, Control.make(path, self.data(node)).environment())

    def disk(self, node: str, size: int) -> None:
        """Let the data folder of *node* be a disk of its own, of *size* bytes; what lies on it is kept as files afterwards."""
        if self._is_first(node, size):
            self.stack.enter_context(_disk(self.data(node), size))

    def private_disk(self, node: str, size: int) -> None:
        """The same where only the node, and who looks through its eyes, sees the disk; it needs no rights."""
        if self._is_first(node, size):
            self._inside[node] = self.stack.enter_context(_private_disk(self.data(node), size))

    def _is_first(self, node: str, size: int) -> bool:
        """Whether *node* has no disk yet. Raises TargetError when it has one of another size."""
        first = node not in self.disks
        if self.disks.setdefault(node, size) != size:
            raise TargetError(
                "two faults ask for disks of different sizes", location=node, hint="let both ask for the same size"
            )
        return first

    def data(self, node: str) -> Path:
        """The data folder that *node* will have."""
        return self.home / "data" / node

    def make_groups(self) -> None:
        """Make the groups that were asked for, each once with all its controllers."""
        for node, controllers in self._controllers.items():
            self._groups[node] = self.stack.enter_context(cgroups.group(sorted(controllers), node))

    def fitted(self, layout: TargetLayout) -> TargetLayout:
        """*layout* with what was asked for."""
        return replace(layout, processes=tuple(map(self._fitted, layout.processes)))

    def _fitted(self, spec: ProcessSpec) -> ProcessSpec:
        group, variables = self._groups.get(spec.name), self._environments.get(spec.name, {})
        command = (*self._inside.get(spec.name, ()), *spec.command)
        command = group.command(command) if group else command
        return replace(spec, command=command, env={**spec.env, **variables})


@contextmanager
def workshop(faults: Sequence[PlannedFault], known: Mapping[str, Any], folder: Path) -> Iterator[Workshop]:
    """A workshop that has made what *faults* need, for a target in *folder*. Raises GatesError when something can't be made."""
    with ExitStack() as stack:
        shop = Workshop(folder.resolve() / "target", stack)
        (shop.home / FOLDER).mkdir(parents=True, exist_ok=True)
        try:
            for fault in faults:
                if hasattr(known[fault.name], "fit"):
                    known[fault.name].fit(shop, fault.settings, fault.way)
            shop.make_groups()
        except OSError as error:
            raise TargetError(f"what its faults need can't be made: {error}", location="target") from error
        yield shop


def control_path(home: Path, node: str) -> Path:
    """Where the control page of *node* lies."""
    return home / FOLDER / f"{node}.control"


def control_of(target: Any, node: str) -> Control:
    """The control page of a running *node*. Raises TargetError when it was not started with the library, or has not loaded it.

    A static program and one that drops the variable have not: a witness would be told what the node is not.
    """
    path = control_path(target.data(node).resolve().parents[1], node)
    if not path.exists():
        raise TargetError("it was not started with the library that this fault needs", location=node)
    if not is_loaded(process_of(target, node)):
        text = "its process has not loaded the library that this fault needs, as a program that is linked statically does not"
        raise TargetError(text, location=node)
    return Control(path)


def group_of(target: Any, node: str) -> cgroups.Group:
    """The group of a running *node*. Raises TargetError when it was started in none."""
    try:
        return cgroups.of(target.processes()[node])
    except (OSError, LookupError) as error:
        raise TargetError(f"it was not started in a group that this fault needs: {error}", location=node) from error


@contextmanager
def _private_disk(data: Path, size: int) -> Iterator[tuple[str, ...]]:
    """A disk in a user namespace that a process of ours holds; gives what a command must begin with to be inside."""
    data.mkdir(parents=True, exist_ok=True)
    inside = f'mount -t tmpfs -o size={size} {unique("disk")} "$0" && echo held && exec cat'
    command = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, str(data))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stderr is not None
            if holder.stdout.readline() != b"held\n":
                raise TargetError(f"its disk can't be made: {holder.stderr.read().decode().strip()}", location=data.name)
            entered = ("nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(holder.pid), "--")
            died_with = ("setpriv", "--pdeathsig", "KILL", "--")  # entering takes away who it dies with, and where it was
            yield (*entered, *died_with, "sh", "-c", 'cd "$0" && exec "$@"', str(Path.cwd()))
            with suppress(OSError, shutil.Error):
                shutil.copytree(f"/proc/{holder.pid}/root{data}", data, dirs_exist_ok=True)
        finally:
            holder.kill()


@contextmanager
def _disk(data: Path, size: int) -> Iterator[None]:
    data.mkdir(parents=True, exist_ok=True)
    name = unique("disk")
    with held("mount", str(data)):
        run("mount", "-t", "tmpfs", "-o", f"size={size}", name, str(data))
        yield
        kept = data.with_name(f"{data.name}.kept")
        with suppress(OSError, shutil.Error):  # the files are evidence; a disk with no room for them is no reason to fail
            shutil.copytree(data, kept)
    with suppress(OSError):
        shutil.copytree(kept, data, dirs_exist_ok=True)
        shutil.rmtree(kept)
