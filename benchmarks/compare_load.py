"""The load engine beside wrk, hey and Locust: what a request costs, and who tells the truth about a stall.

    python benchmarks/compare_load.py [--rounds 7] [--seconds 3] [--requests 10000000] [--write docs]

nginx has one core and the clients share another, one after the other, round after round, so that a slow moment of the machine
hits all of them; ratios are of the same round. Without nginx, wrk, hey or Locust nothing is measured: what is missing is named.
`--write` renders load-comparison.md and load-comparison.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from load_clients import (
    Pass,
    Stalled,
    hey,
    locust,
    ours,
    stall_hey,
    stall_locust,
    stall_ours,
    stall_wrk,
    wrk,
)
from load_parts import METHODS, cores, hashes, in_process, memory, recording
from load_servers import CHANGING, STATIC, MissingPeerError, nginx, program, stalling
from load_tables import rendered

from gates.errors import GatesError
from gates.pipeline.lock import VARIABLE, MachineLock, lock_folder

NEEDED = {"nginx": "apt-get install nginx", "wrk": "apt-get install wrk", "hey": "apt-get install hey"}
LATENESS_ROUNDS = 3


def check_peers() -> dict[str, str]:
    """The version of each peer. Raises MissingPeerError."""
    absent = [(name, line) for name, line in NEEDED.items() if not _there(name)]
    if importlib.util.find_spec("locust") is None:
        absent.append(("locust", "pip install locust (./noxw -s compare_load does)"))
    if absent:
        names, lines = zip(*absent, strict=True)
        raise MissingPeerError(f"not installed: {', '.join(names)}", hint="; ".join(lines))
    return {
        "nginx": _said([program("nginx", ""), "-v"]).rpartition("/")[2],
        "wrk": _said([program("wrk", ""), "-v"]).split()[1],
        "hey": _debian("hey"),
        "locust": version("locust"),
        "uvloop": version("uvloop"),
        "httptools": version("httptools"),
        "hdrhistogram": version("hdrhistogram"),
    }


def _there(name: str) -> bool:
    try:
        program(name, "")
    except MissingPeerError:
        return False
    return True


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def _debian(package: str) -> str:
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def rounds(url: str, core: int, folder: Path, count: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Every client in turn, *count* times; a first turn warms up and is forgotten."""
    static, changing = url + STATIC, url + CHANGING
    clients: dict[str, Callable[[float], Pass]] = {
        "wrk": lambda length: wrk(core, static, length),
        "ours, bare": lambda length: ours(core, static, length, "bare", folder),
        "ours, everything": lambda length: ours(core, static, length, "everything", folder),
        "hey": lambda length: hey(core, static, length),
        "Locust FastHttpUser": lambda length: locust(core, static, length),
        "wrk, changing bodies": lambda length: wrk(core, changing, length),
        "ours, everything, changing bodies": lambda length: ours(core, changing, length, "changing", folder),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for number in range(count + 1):
        for name, client in clients.items():
            done = client(seconds if number else 1.0)
            if number:
                found[name].append({"cost": done.cost, "rate": done.rate, "requests": done.requests})
        _talk(f"round {number} of {count}")
    return found


def stalls(cores_: tuple[int, int], folder: Path) -> dict[str, dict[str, Any]]:
    """What each tool says of a server that stalls."""
    tools: dict[str, Callable[[int, str, Path], Stalled]] = {
        "ours": stall_ours,
        "wrk": stall_wrk,
        "hey": stall_hey,
        "Locust FastHttpUser": stall_locust,
    }
    found = {}
    with stalling(cores_[0]) as url:
        for name, tool in tools.items():
            _talk(f"the stall, {name}")
            said = tool(cores_[1], url, folder)
            found[name] = {"issued": said.issued, "valid": said.is_valid, **said.percentiles}
    return found


def punctuality(url: str, core: int) -> dict[str, list[dict[str, float]]]:
    """Lateness and processor time of each way to wait, in turns."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for _ in range(LATENESS_ROUNDS):
        for method in METHODS:
            found[method].append(in_process(core, "lateness", url, method, "3"))
    return found


def two_workers(folder: Path) -> float | None:
    """Requests a second of two generators over those of one, before a server with two cores; None where there are not four."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 4:
        return None
    with nginx(folder / "nginx-2", *there[:2]) as url, ThreadPoolExecutor() as pool:
        alone = ours(there[2], url + STATIC, 3, "everything", folder)
        both = pool.map(lambda core: ours(core, url + STATIC, 3, "everything", folder), there[2:4])
        return sum(each.rate for each in both) / alone.rate


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it will be written."""
    versions, there = check_peers(), cores()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)  # the worker of nginx is another user
        result: dict[str, Any] = {
            "machine": _machine(),
            "versions": versions,
            "seconds": options.seconds,
            "stall": stalls(there, folder),
        }
        with nginx(folder / "nginx", there[0]) as url:
            result["rounds"] = rounds(url, there[1], folder, options.rounds, options.seconds)
            _talk("lateness")
            result["lateness"] = punctuality(url, there[1])
            _talk(f"memory over {options.requests:,} requests")
            result["memory"] = memory(there[1], url, options.requests, folder)
        result["workers"] = two_workers(folder)
    _talk("recording and schedules")
    result["recording"] = recording(options.rounds)
    result["hashes"] = hashes()
    return result


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}


def _talk(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print, write: 0, or 2 when a peer is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--requests", type=int, default=10_000_000, help="of the measurement of memory")
    parser.add_argument("--write", type=Path, help="the folder for load-comparison.md and load-comparison.json")
    options = parser.parse_args()
    try:
        check_peers()
        lock = MachineLock(lock_folder(), os.environ.get(VARIABLE, ""))
        waiting = lambda holders: _talk(f"waiting for {', '.join(map(str, holders))}")  # noqa: E731
        with lock.hold(True, "compare_load", "compare_load", waiting=waiting):
            result = measured(options)
    except GatesError as error:
        _talk(f"error: {error}")
        return int(error.code)
    text = rendered(result)
    print(text, end="")
    if options.write:
        (options.write / "load-comparison.md").write_text(text, "utf-8")
        (options.write / "load-comparison.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
