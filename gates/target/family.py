"""A process and what it has started: a start script is not the server, and a server may have workers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path


def family(pid: int) -> list[int]:
    """*pid* and all that descend from it, parents before their children; *pid* alone where there is no /proc."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def freeze(pid: int) -> list[int]:
    """SIGSTOP to the whole family of *pid*, also to what it starts meanwhile; the family."""
    stopped: list[int] = []
    while fresh := [each for each in family(pid) if each not in stopped]:
        send(fresh, signal.SIGSTOP)
        stopped += fresh
    return stopped


def born(pids: Iterable[int]) -> dict[int, str]:
    """When the kernel says that each of *pids* was started, which tells it from a later process of the same id."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            found[pid] = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """*number* to those of *pids* that are there and ours."""
    for each in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, number)
