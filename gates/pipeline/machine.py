"""What is tested and on what: the commit of the tree and the fingerprint of the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

from gates.model import Commit

UNKNOWN = "unknown"
LOCKS = ("constraints.txt", "uv.lock", "requirements.txt")


def read_commit(root: Path) -> Commit:
    """The commit checked out at *root*; an empty `Commit` in a tree without git, without a commit, or without the program."""
    head = _git(root, "log", "-1", "--format=%H%n%s", "--no-show-signature")
    if not head:
        return Commit()
    sha, _, subject = head.partition("\n")
    branch = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD") or ""
    changes = _git(root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
    shallow = _git(root, "rev-parse", "--is-shallow-repository") == "true"
    # a state that can't be read counts as dirty: nobody may take it for the commit
    return Commit(sha=sha, branch=branch, subject=subject.strip(), dirty=changes != "", shallow=shallow)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, without white space around it; None when it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def fingerprint(root: Path) -> dict[str, str]:
    """What a measured number depends on besides the code; a part that can't be read is `unknown`."""
    return {
        "cpu": _known(_cpu_model),
        "cores": _known(lambda: str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
        "kernel": _known(lambda: f"{platform.system()} {platform.release()}"),
        "memory limit": _known(lambda: _limit("memory.max", "memory/memory.limit_in_bytes")),
        "cpu limit": _known(lambda: _limit("cpu.max", "cpu/cpu.cfs_quota_us")),
        "python": _known(_python),
        "dependencies": _known(lambda: _digest(root, (root / name for name in LOCKS))),
        "benchmarks": _known(lambda: _digest(root, sorted((root / "benchmarks").rglob("*.py")))),
    }


def _known(read: Callable[[], str]) -> str:
    try:
        return read() or UNKNOWN
    except (OSError, ValueError, IndexError):
        return UNKNOWN


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    wanted = ("model name", "Model", "Hardware", "CPU part")
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return next((found[name] for name in wanted if name in found), platform.processor())


def _limit(second: str, first: str, mount: Path = Path("/sys/fs/cgroup")) -> str:
    """The limit of our cgroup: *second* names the file of version 2, *first* that of version 1."""
    own = Path("/proc/self/cgroup").read_text().splitlines()
    inside = next((line[3:].lstrip("/") for line in own if line.startswith("0::")), "")
    for path in (mount / inside / second, mount / second, mount / first):
        if path.is_file():
            return _readable_limit(path.read_text().strip())
    return "none"


def _readable_limit(text: str) -> str:
    # version 1 writes "no limit" as -1 or as the largest page-aligned number
    return "none" if text in ("-1", "max") or text.startswith("max ") or (text.isdigit() and int(text) > 1 << 60) else text


def _python() -> str:
    build = " ".join(platform.python_build())
    flags = hashlib.sha256(str(sysconfig.get_config_var("CONFIG_ARGS")).encode()).hexdigest()[:8]
    return f"{platform.python_implementation()} {platform.python_version()} ({build}, {sys.platform}, {flags})"


def _digest(root: Path, paths: Iterable[Path]) -> str:
    """sha256 over the names and contents of those *paths* that exist; empty when none does."""
    total, seen = hashlib.sha256(), False
    for path in paths:
        if path.is_file():
            seen = True
            total.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16] if seen else ""
