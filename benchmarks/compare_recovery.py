"""The recovery primitives against their Python peers: what a call costs, and who falls into which trap.

    python benchmarks/compare_recovery.py [--rounds 15] [--write docs/recovery]

All cases of one table run in turn, round after round, so that a slow moment of the machine hits all of them; the figures are
medians. A peer that is not installed is left out and named. `--write` renders comparison.md and comparison.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
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
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recovery_peers import BREAKERS, LONG, RETRIES, Operation

from gates.recovery import (
    Bulkhead,
    CircuitBreaker,
    CircuitBreakerConfig,
    Constant,
    CountWindow,
    Exponential,
    Policy,
    Retry,
    RetryBudget,
    TimeLimit,
    TimeWindow,
)
from gates.recovery.conformance import BREAKER_TRAPS, RETRY_CHECKS, check_all

SAMPLE = 0.004
"""Seconds that one sample of one case takes."""

TARGETS = {
    ("sync success", "gates.recovery breaker"): 50,
    ("sync success", "gates.recovery breaker, count window"): 90,
    ("sync success", "gates.recovery breaker, time window"): 130,
    ("sync success", "gates.recovery breaker, time window and slow calls"): 200,
    ("sync success", "gates.recovery retry"): 30,
    ("sync success", "gates.recovery retry + breaker + budget"): 100,
    ("async success", "gates.recovery breaker"): 110,
    ("async success", "gates.recovery retry"): 110,
    ("async success", "gates.recovery retry + breaker + budget + bulkhead"): 200,
    ("async success", "gates.recovery time limit"): 1000,
    ("sync rejection", "gates.recovery"): 140,
    ("async rejection", "gates.recovery"): 140,
    ("sync two failures", "gates.recovery retry"): 1400,
    ("async two failures", "gates.recovery retry"): 1800,
    ("sync two failures", "gates.recovery retry, zero delay"): 1500,
    ("async two failures", "gates.recovery retry, zero delay"): 1500,
    ("sync asking", "gates.recovery try_acquire()"): 60,
}
"""Nanoseconds: added to the bare call, for two failures in all."""

FLOOR = (
    "the target is the whole time of a prototype without classification, Retry-After, history, deadline, budget or events; "
    "ours asks every error for its own outcome and for `retry_after` (35 ns each), looks for a deadline and a budget further "
    "out, draws the jitter and keeps the error for the history: about 300 ns a failure, beside a pause of milliseconds; the "
    "column *added* is the library's part"
)
WHY = {
    ("sync success", "gates.recovery breaker, time window and slow calls"): (
        "a duration is two readings of the clock, about 35 ns each, where the window alone needs one; over the time window's "
        "figure there is only a subtraction and a comparison; the target leaves no room for a noisy machine"
    ),
    ("sync two failures", "gates.recovery retry"): FLOOR,
    ("sync two failures", "gates.recovery retry, zero delay"): FLOOR,
    ("async two failures", "gates.recovery retry"): FLOOR,
    ("async two failures", "gates.recovery retry, zero delay"): (
        f"{FLOOR}; three awaited calls by hand take two thirds of the target already"
    ),
    ("sync asking", "gates.recovery try_acquire()"): (
        "asking is a call of a Python method, the reading of a clock that may be anybody's, and a comparison"
    ),
}
"""Why a target is missed, where it is."""

TOTALS = ("sync two failures", "async two failures")


class Unavailable(ConnectionError):
    """The operation's own failure."""


class ConnectionLost(Exception):  # noqa: N818 - a peer classifies errors by their names
    """A plain error, without what OSError adds."""


def answer(value: int) -> int:
    return value


async def answer_async(value: int) -> int:
    return value


def broken(value: int) -> int:
    raise Unavailable


async def broken_async(value: int) -> int:
    raise Unavailable


def failing_twice() -> Operation:
    fails = itertools.cycle((True, True, False)).__next__

    def operation(value: int) -> int:
        if fails():
            raise ConnectionLost
        return value

    return operation


def failing_twice_async() -> Operation:
    fails = itertools.cycle((True, True, False)).__next__

    async def operation(value: int) -> int:
        if fails():
            raise ConnectionLost
        return value

    return operation


def thrice(operation: Operation) -> Operation:
    """Two failures and an answer, by hand."""

    def call(value: int) -> Any:
        for _ in range(3):
            try:
                return operation(value)
            except ConnectionLost:
                continue
        return None

    return call


def thrice_async(operation: Operation) -> Operation:
    """Two failures and an answer, by hand."""

    async def call(value: int) -> Any:
        for _ in range(3):
            try:
                return await operation(value)
            except ConnectionLost:
                continue
        return None

    return call


def no_sleep(seconds: float) -> None:
    return


async def no_sleep_async(seconds: float, result: object = None) -> None:
    return


def ours() -> dict[str, dict[str, Operation]]:
    """Our own cases beside those that peers have, too."""
    time_window = CircuitBreakerConfig(window=TimeWindow(60))
    slow = CircuitBreakerConfig(window=TimeWindow(60, slow_call_duration=10))
    listened = CircuitBreaker("listened")
    listened.listen(lambda event: None)
    own_sleep: Any = {"sleep": no_sleep, "sleep_async": no_sleep_async}
    budget = RetryBudget()
    fused = Policy(Retry(budget=budget), CircuitBreaker("fused"))
    fused_async = Policy(Retry(budget=budget), CircuitBreaker("fused"), Bulkhead(10))
    return {
        "sync success": {
            "gates.recovery breaker, count window": CircuitBreaker(config=CircuitBreakerConfig(window=CountWindow()))(answer),
            "gates.recovery breaker, time window": CircuitBreaker(config=time_window)(answer),
            "gates.recovery breaker, time window and slow calls": CircuitBreaker(config=slow)(answer),
            "gates.recovery retry + breaker + budget": fused(answer),
            "gates.recovery breaker with a listener": listened(answer),
        },
        "async success": {
            "gates.recovery retry + breaker + budget + bulkhead": fused_async(answer_async),
            "gates.recovery time limit": TimeLimit(10)(answer_async),
            "asyncio.timeout": timed(answer_async),
        },
        "sync two failures": {
            "gates.recovery retry": Retry(4, Exponential(), **own_sleep)(failing_twice()),
            "gates.recovery retry, zero delay": Retry(4, Constant(0))(failing_twice()),
        },
        "async two failures": {
            "gates.recovery retry": Retry(4, Exponential(), **own_sleep)(failing_twice_async()),
            "gates.recovery retry, zero delay": Retry(4, Constant(0))(failing_twice_async()),
        },
    }


def asking() -> dict[str, Operation]:
    """Asking an open breaker for a permit, without an error; the bare call asks nothing."""
    breaker = CircuitBreaker("open", CircuitBreakerConfig(1, LONG))
    breaker.acquire().failed(Unavailable())
    ask = breaker.try_acquire
    return {"bare": lambda value: None, "gates.recovery try_acquire()": lambda value: ask()}


def timed(function: Operation) -> Operation:
    async def call(value: int) -> Any:
        async with asyncio.timeout(10):
            return await function(value)

    return call


def cases(missing: set[str]) -> dict[str, dict[str, Operation]]:
    """The tables: what is measured, by name, the bare call first."""
    tables: dict[str, dict[str, Operation]] = {
        "sync success": {"bare": answer},
        "async success": {"bare": answer_async},
        "sync rejection": {"bare": broken},
        "async rejection": {"bare": broken_async},
        "sync two failures": {"bare": thrice(failing_twice())},
        "async two failures": {"bare": thrice_async(failing_twice_async())},
        "sync asking": asking(),
    }
    for kind in BREAKERS:
        try:
            adapter = kind()
            add_breaker(tables, adapter)
        except ImportError:
            missing.add(kind.__name__)
    for retries in RETRIES:
        try:
            add_retry(tables, retries())
        except ImportError:
            missing.add(retries.__name__)
    for table, own in ours().items():
        tables[table].update(own)
    return tables


def add_breaker(tables: dict[str, dict[str, Operation]], adapter: Any) -> None:
    label = "gates.recovery breaker" if adapter.name == "gates.recovery" else adapter.name
    colours = {"hyx": ("async",), "pybreaker": ("sync",)}.get(adapter.name, ("sync", "async"))
    for colour in colours:
        good, bad = (answer, broken) if colour == "sync" else (answer_async, broken_async)
        name = label if adapter.name != "hyx" else "hyx breaker"
        tables[f"{colour} success"][name] = adapter.guard(adapter.make(5, LONG), good)
        rejecting = adapter.guard(adapter.make(1, LONG), bad)
        try:
            asyncio.run(awaited(rejecting)) if colour == "async" else rejecting(1)
        except Exception:
            tables[f"{colour} rejection"][adapter.name] = rejecting


async def awaited(function: Callable[[int], Awaitable[Any]]) -> Any:
    return await function(1)


def add_retry(tables: dict[str, dict[str, Operation]], adapter: Any) -> None:
    colours = ("async",) if adapter.name == "hyx" else ("sync", "async")
    for colour in colours:
        good = answer if colour == "sync" else answer_async
        bad = failing_twice() if colour == "sync" else failing_twice_async()
        tables[f"{colour} success"][f"{adapter.name} retry"] = adapter.retried(good, 4, 0.001)
        if adapter.name != "gates.recovery":
            tables[f"{colour} two failures"][f"{adapter.name} retry"] = adapter.retried(bad, 4, 0.001)


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


async def measured(table: dict[str, Operation], rounds: int) -> dict[str, float]:
    """Median nanoseconds a call of every case of *table*, in turn."""
    colour = {name: asyncio.iscoroutinefunction(function) for name, function in table.items()}

    async def sample(name: str, count: int) -> float:
        if colour[name]:
            return await looped_async(table[name], count)
        return looped(table[name], count)

    counts = {name: max(5, int(SAMPLE / await sample(name, 50))) for name in table}
    samples: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(rounds):
        for name in table:
            gc.collect(0)
            gc.disable()
            samples[name].append(await sample(name, counts[name]))
            gc.enable()
    return {name: 1e9 * statistics.median(times) for name, times in samples.items()}


async def speed(tables: dict[str, dict[str, Operation]], rounds: int) -> dict[str, dict[str, float]]:
    """Every table, with all sleeping left out: what is measured is the library's work."""
    sleeps = time.sleep, asyncio.sleep
    time.sleep, asyncio.sleep = no_sleep, no_sleep_async  # type: ignore[assignment]
    try:
        return {name: await measured(table, rounds) for name, table in tables.items()}
    finally:
        time.sleep, asyncio.sleep = sleeps


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


def is_met(table: str, name: str, measured_: dict[str, float]) -> bool:
    """Whether a case of a table holds its target: the added time, for two failures of the whole."""
    held = measured_[name] if table in TOTALS else measured_[name] - measured_["bare"]
    return held <= TARGETS[table, name]


def reasons(speed_: dict[str, dict[str, float]]) -> list[str]:
    """A line for every target that is missed, with its reason."""
    missed = [key for key in TARGETS if key[1] in speed_.get(key[0], {}) and not is_met(*key, speed_[key[0]])]
    said = [f"- {table}, {name}: {WHY.get((table, name), 'not known; to be looked into')}." for table, name in missed]
    return ["### Targets that are missed, and why", "", *said] if said else ["Every target is met."]


def rendered(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    peers = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        "# Comparison with the peers",
        "",
        f"Measured by `benchmarks/compare_recovery.py` on Python {result['python']}: {result['rounds']} rounds of all cases,",
        "one after the other in each; the figures are medians of the processor time, all sleeping left out.",
        f"Peers: {peers}.",
        "",
        "## What a call costs",
        "",
        "Nanoseconds a call; *added* is over the bare call of the same run. Targets are of the added time; for two failures,",
        "of the whole.",
    ]
    for table, cases_ in result["speed"].items():
        lines += ["", f"### {table.capitalize()}", "", "| case | ns | added | target | |", "|---|---:|---:|---:|---|"]
        for name, nanoseconds in cases_.items():
            added = nanoseconds - cases_["bare"]
            target = TARGETS.get((table, name))
            mark = "" if target is None else ("met" if is_met(table, name, cases_) else "**missed**")
            lines.append(f"| {name} | {nanoseconds:.0f} | {added:.0f} | {target or ''} | {mark} |")
    lines += [
        "",
        *reasons(result["speed"]),
        "",
        "A listener costs what telling every outcome costs; without one nothing is spent.",
    ]
    bytes_, milliseconds = result["bytes"], result["import_ms"]
    lines += [
        "",
        "## Size and import",
        "",
        "| what | measured | target |",
        "|---|---:|---:|",
        f"| bytes a keyed breaker | {bytes_['none']:.0f} | 120 |",
        f"| bytes a keyed breaker with a window of 100 calls | {bytes_['count']:.0f} | 240 |",
        f"| import, ms | {milliseconds:.1f} | 5 |",
        "",
        "## Who falls into which trap",
        "",
        "What the conformance suite of `gates.recovery.conformance` says; empty is as it should be.",
        "",
        "| implementation | of the traps | where it falls |",
        "|---|---|---|",
    ]
    traps = {check.__name__ for check in (*BREAKER_TRAPS, *RETRY_CHECKS)}
    for name, said in result["conformance"].items():
        trapped = {check: sentence for check, sentence in said.items() if check in traps}
        fallen = "; ".join(sentence for sentence in trapped.values() if sentence)
        lines.append(f"| {name} | {sum(not sentence for sentence in trapped.values())} of {len(trapped)} | {fallen} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", type=Path, help="the folder for comparison.md and comparison.json")
    options = parser.parse_args()
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
