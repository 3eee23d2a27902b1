"""The recovery primitives against their Python peers: what a call costs, and who falls into which trap.

    python benchmarks/compare_recovery.py [--rounds 101] [--write docs/recovery]

All cases run in turn, round after round, so that a slow moment of the machine hits all of them; the figures are medians. A
peer that is not installed is left out and named. `--write` renders comparison.md and comparison.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Hashable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from recovery_cases import cases, no_sleep, no_sleep_async
from recovery_peers import BREAKERS, RETRIES, Operation
from recovery_tables import rendered

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CountWindow
from gates.recovery.conformance import check_all

Case = TypeVar("Case", bound=Hashable)

SAMPLE = 0.004
"""Seconds that one sample of one case takes."""


def looped(function: Operation, count: int) -> float:
    started = time.thread_time()
    for _ in range(count):
        try:
            function(1)
        except Exception:
            continue
    return (time.thread_time() - started) / count


async def looped_async(function: Operation, count: int) -> float:
    started = time.thread_time()
    for _ in range(count):
        try:
            await function(1)
        except Exception:
            continue
    return (time.thread_time() - started) / count


async def measured(operations: dict[Case, Operation], rounds: int) -> dict[Case, float]:
    """Median nanoseconds a call of every one of *operations*, in turn."""
    colour = {case: asyncio.iscoroutinefunction(function) for case, function in operations.items()}

    async def sample(case: Case, count: int) -> float:
        if colour[case]:
            return await looped_async(operations[case], count)
        return looped(operations[case], count)

    counts = {case: max(5, int(SAMPLE / await sample(case, 50))) for case in operations}
    samples: dict[Case, list[float]] = {case: [] for case in operations}
    for _ in range(rounds):
        for case in operations:
            gc.collect(0)
            gc.disable()
            samples[case].append(await sample(case, counts[case]))
            gc.enable()
    return {case: 1e9 * statistics.median(times) for case, times in samples.items()}


async def speed(tables: dict[str, dict[str, Operation]], rounds: int) -> dict[str, dict[str, float]]:
    """Every table, with all sleeping left out: what is measured is the library's work."""
    # All tables in every round: a short table by itself would be over before a slow moment of the machine is.
    operations = {(table, name): function for table, named in tables.items() for name, function in named.items()}
    sleeps = time.sleep, asyncio.sleep
    time.sleep, asyncio.sleep = no_sleep, no_sleep_async  # type: ignore[assignment]
    try:
        medians = await measured(operations, rounds)
    finally:
        time.sleep, asyncio.sleep = sleeps
    return {table: {name: medians[table, name] for name in named} for table, named in tables.items()}


def conformance(missing: set[str]) -> dict[str, dict[str, str]]:
    """What the conformance suite says about each implementation."""
    said = {}
    for kind in (*BREAKERS, *RETRIES):
        if kind.__name__ not in missing:
            adapter = kind()
            part = "retry" if kind in RETRIES else "breaker"
            said[f"{adapter.name} {part}"] = asyncio.run(check_all(adapter))
    return said


def size(window: CountWindow | None) -> float:
    """Bytes of one keyed breaker."""
    core = CircuitBreaker("first", CircuitBreakerConfig(window=window)).core
    names = [f"peer-{number}" for number in range(5000)]
    kept: list[CircuitBreaker | None] = [None] * len(names)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index, name in enumerate(names):
        kept[index] = CircuitBreaker(name, core=core)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / len(names)


def import_time() -> float:
    """Milliseconds to import the package in a fresh interpreter, the best of nine."""
    code = "import gates, time; t = time.perf_counter(); import gates.recovery; print(1000 * (time.perf_counter() - t))"
    with tempfile.TemporaryDirectory() as folder:
        # Compiled once, as an installed package is.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = {**inherited, "PYTHONPYCACHEPREFIX": folder}
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True, env=environment) for _ in range(9)]
    return min(float(run.stdout) for run in runs)


def versions() -> dict[str, str]:
    found = {}
    for name in ("tenacity", "stamina", "backoff", "hyx", "pybreaker", "aiobreaker", "purgatory", "circuitbreaker", "redress"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=101, help="how often every case is measured (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="the folder for comparison.md and comparison.json; the last one counts")
    options = parser.parse_args()
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)  # before half a minute of measuring, not after it
    logging.disable(logging.CRITICAL)
    missing: set[str] = set()
    tables = cases(missing)
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "rounds": options.rounds,
        "versions": versions(),
        "missing": sorted(missing),
        "speed": asyncio.run(speed(tables, options.rounds)),
        "bytes": {"none": size(None), "count": size(CountWindow())},
        "import_ms": import_time(),
        "conformance": conformance(missing),
    }
    sys.stdout.write(rendered(result))
    if missing:
        sys.stderr.write(f"not installed, so left out: {', '.join(sorted(missing))}\n")
    if options.write:
        (options.write / "comparison.md").write_text(rendered(result), "utf-8")
        (options.write / "comparison.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
