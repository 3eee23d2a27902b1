"""What this machine lets us do. Every probe tries the real thing, on something of its own that it takes away again.

::

    works("cgroup-memory")      # "" when it works, else one sentence that says why not

A plug-in that needs something else puts its probe into `PROBES`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

from gates.errors import GatesError
from gates.faults import cgroups, shim
from gates.leftovers import held, unique

Probe = Callable[[], object]
"""Tries something; raises OSError, SubprocessError or GatesError with the reason why it does not work."""


@cache
def works(name: str) -> str:
    """Why the capability *name* is not there, in one sentence; empty when it is. Tried once a process."""
    if name not in PROBES:
        return f"nobody knows how to try {name!r}"
    try:
        PROBES[name]()
    except GatesError as error:
        return f"{name}: {error.message}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"{name}: {error}"
    return ""


def run(*command: str) -> str:
    """What *command* printed. Raises OSError with its own words when it is not there or fails."""
    if shutil.which(command[0]) is None:
        raise OSError(f"the program {command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise OSError(f"`{' '.join(command[:5])}` says: {said}")
    return done.stdout


# --- probes -----------------------------------------------------------------------------------------------------------


def _cgroup(controller: str) -> None:
    with cgroups.group((controller,), "probe") as group:
        group.limit(controller)
        group.free(controller)


def _tmpfs() -> None:
    _is_root()
    with tempfile.TemporaryDirectory() as folder:
        name = unique("probe")
        with held("mount", folder):
            run("mount", "-t", "tmpfs", "-o", "size=64k", name, folder)
            try:
                Path(folder, "full").write_bytes(bytes(1 << 20))
            except OSError:
                return
            raise OSError("a small tmpfs takes more than it holds")


def _user_namespace() -> None:
    inside = 'mount -t tmpfs -o size=64k gates-probe "$0" && umount "$0"'
    with tempfile.TemporaryDirectory() as folder:
        run("unshare", "--user", "--map-root-user", "--mount", "--fork", "sh", "-c", inside, folder)


def _preload() -> None:
    with tempfile.TemporaryDirectory() as folder:
        control = shim.Control.make(Path(folder, "control"), Path(folder))
        control.offset(3600.0)
        wrong = float(run_with(control, "import time; print(time.time())"))
        if not 3000 < wrong - _now() < 4200:
            raise OSError("a preloaded library does not change what Python is told")


def _held_writes() -> None:
    """The package that the reference node needs to hold writes back."""
    run(sys.executable, "-c", "import apsw; apsw.VFSFile")


def _process_limit() -> None:
    """A child that may have no process more can't fork; root may, whatever its limit."""
    code = "import os, resource; resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)); os.fork()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=False)
    if done.returncode == 0:
        raise OSError("the kernel does not limit the processes of this user")


def run_with(control: shim.Control, code: str) -> str:
    """What Python printed for *code* with the shim of *control* loaded."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **control.environment()},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout


def _now() -> float:
    import time

    return time.time()


def _is_root() -> None:
    if os.getuid() != 0:
        raise OSError("it needs root")


def _namespace() -> None:
    """Two network namespaces, a pair of interfaces between them, an address on each, and both come up."""
    _is_root()
    with ExitStack() as stack:
        one, other = (stack.enter_context(held("namespace", unique("probe"))) for _ in range(2))
        for name in (one, other):
            run("ip", "netns", "add", name)
        near, far = unique(), unique()
        run("ip", "-n", one, "link", "add", near, "type", "veth", "peer", "name", far, "netns", other)
        for place, interface in ((one, near), (other, far)):
            run("ip", "-n", place, "link", "set", interface, "up")


def _bridge() -> None:
    _is_root()
    with held("namespace", unique("probe")) as name:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "add", unique(), "type", "bridge")


def _rule(rule: str) -> None:
    """A rule of nft in a namespace of its own."""
    _is_root()
    with held("namespace", unique("probe")) as name:
        run("ip", "netns", "add", name)
        inside = ("ip", "netns", "exec", name, "nft")
        run(*inside, "add table inet gates-probe; add chain inet gates-probe in { type filter hook input priority 0; }")
        run(*inside, f"add rule inet gates-probe in {rule}")


def _discipline(*words: str) -> None:
    """A queueing discipline of tc on the loopback of a namespace of its own."""
    _is_root()
    with held("namespace", unique("probe")) as name:
        run("ip", "netns", "add", name)
        run("tc", "-n", name, "qdisc", "add", "dev", "lo", "root", *words)


PROBES: dict[str, Probe] = {
    "cgroup-memory": partial(_cgroup, "memory"),
    "cgroup-cpu": partial(_cgroup, "cpu"),
    "cgroup-pids": partial(_cgroup, "pids"),
    "tmpfs": _tmpfs,
    "user-namespace": _user_namespace,
    "preload": _preload,
    "held-writes": _held_writes,
    "process-limit": _process_limit,
    "namespace": _namespace,
    "bridge": _bridge,
    "nft": partial(_rule, "ip saddr 127.9.9.9 counter drop"),
    "nft-numgen": partial(_rule, "numgen random mod 100 < 30 counter drop"),
    "netem": partial(_discipline, "netem", "delay", "1ms"),
    "htb": partial(_discipline, "handle", "1:", "htb", "default", "1"),
    "tbf": partial(_discipline, "tbf", "rate", "8mbit", "burst", "32kb", "latency", "50ms"),
}
