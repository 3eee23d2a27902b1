"""The base of faults that strike one process of the target."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from gates.faults.cgroups import Group
from gates.fields import Settings
from gates.model import Way
from gates.target import RunningTarget, TargetError
from gates.target.family import family

_STOPPED, _GONE = ("T", "t"), ("", "Z", "X")


class NodeSettings(Settings):
    """`{node: node-b}`."""

    node: str


class NodeFault:
    """Strikes the process that its settings name."""

    name: ClassVar[str]
    ways: ClassVar[tuple[Way, ...]]
    settings: ClassVar[type[NodeSettings]] = NodeSettings

    @property
    def controls(self) -> tuple[str, ...]:
        """Those of the first way."""
        return self.ways[0].controls

    def nodes(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The endpoints that the fault strikes."""
        return (self.settings.model_validate(settings).node,)


def process_of(target: RunningTarget, node: str) -> int:
    """The id of the process of *node*. Raises TargetError when it does not run."""
    pid = target.processes().get(node, 0)
    if not pid:
        raise TargetError("its process does not run", location=node)
    return pid


def state(pid: int) -> str:
    """The letter of the state of *pid*, `T` when it is stopped; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


class Frozen:
    """Says whether the process *pid* and all that it has started are stopped, by the states that the kernel gives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._family: list[int] = []

    def __call__(self) -> bool:
        if state(self._pid) not in _STOPPED:
            self._family = []
            return False
        self._family = self._family or family(self._pid)  # who is stopped starts nothing
        return all(state(each) in (*_STOPPED, *_GONE) for each in self._family)


def limit_shown(pid: int, name: str) -> str:
    """The soft limit *name* of *pid* as the kernel shows it. Raises OSError when it is gone."""
    (line,) = (row for row in Path(f"/proc/{pid}/limits").read_text().splitlines() if row.startswith(name))
    return line.removeprefix(name).split()[0]


class Neighbour:
    """A Python process of ours beside the node, that runs *code*; it ends when it is told to, or when we are gone."""

    def __init__(self, code: str, *arguments: str, group: Group | None = None, env: Mapping[str, str] | None = None) -> None:
        command = (sys.executable, "-c", _LISTENING + code, *arguments)
        self._command = group.command(command) if group else command
        self._env = {**os.environ, **env} if env else None
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = b""

    def start(self) -> None:
        """Start it, and wait for its first line."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._env)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        os.set_blocking(self._process.stdout.fileno(), False)

    def lines(self) -> list[str]:
        """The whole lines that it has printed since the last look."""
        assert self._process is not None
        assert self._process.stdout is not None
        *whole, self._begun = (self._begun + (self._process.stdout.read() or b"")).split(b"\n")
        return [line.decode() for line in whole]

    def end(self) -> None:
        """Kill it; again is harmless."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Neighbour:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


_LISTENING = """
import os, sys, threading
def gone():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=gone, daemon=True).start()
print("started", flush=True)
"""
