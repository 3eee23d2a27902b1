"""A pytest plug-in for a counting process: takes the place of pytest-benchmark's fixture, and counts what a call costs.

It runs beside the package of either tree, which may be this very package at another commit, so it and what it imports know
nothing of ours and are loaded under another name (`counts.PLUGIN`). COUNTS_FILE in the environment names the file to write.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import sqlite3.dbapi2
import sys
import time
from array import array
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from . import allocations, system_calls
from .naming import is_benchmark, name_of, unique

COUNTS_FILE = "GATES_COUNTS_FILE"
WARM = 100
CALLS = 25
TRACED_CALLS = 9
SECONDS = 0.15  # how long warming up or one series takes at most, for benchmarks whose calls are long
FEWEST = 5
_WIDTH = 6
SAME = 0.6  # the share of calls that must give the same number: now and then a table grows

Operation = Callable[[], object]
_statements = 0
_names: dict[str, str] = {}
"""By pytest's own name, ours."""
_book: dict[str, Any] = {"collected": {}, "counts": {}, "dropped": {}, "failed": {}, "unreadable": {}}


def _watched(connect: Callable[..., Any]) -> Callable[..., Any]:
    """*connect*, whose connections tell of every statement."""

    def connected(*arguments: Any, **named: Any) -> Any:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(_count_statement)
        return connection

    return connected


def _count_statement(_text: str) -> None:
    global _statements
    _statements += 1


def pytest_configure(config: pytest.Config) -> None:
    """Watch every database that is opened from here on; know the mark of pytest-benchmark, which is not loaded."""
    config.addinivalue_line("markers", "benchmark: of pytest-benchmark")
    config.addinivalue_line("markers", "unpinned: a benchmark that one CPU is not enough for")
    # an audit hook sees a connection before it can be told anything
    sqlite3.connect = sqlite3.dbapi2.connect = _watched(sqlite3.connect)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only benchmarks, by name; those that others are held against count nothing of interest, and are counted all the same."""
    items[:] = [item for item in items if is_benchmark(item)]
    identifiers = [item.nodeid for item in items]
    _names.update(zip(identifiers, unique([name_of(item) for item in items], identifiers), strict=True))
    _book["collected"] = {name: identifier for identifier, name in _names.items()}


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file that can't be collected; the others are counted all the same."""
    if report.failed:
        lines = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E  ")]
        _book["unreadable"][report.nodeid] = lines[0] if lines else report.longreprtext.strip()[-500:]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note a benchmark that failed, was skipped, or never called its fixture, by name."""
    outcome: Any = yield
    report, name = outcome.get_result(), _names[item.nodeid]
    if not report.passed and name not in _book["failed"]:
        _book["failed"][name] = call.excinfo.exconly() if call.excinfo else report.outcome
        _book["counts"].pop(name, None)
    elif report.when == "call" and report.passed and name not in _book["counts"]:
        _book["failed"][name] = "it never called its fixture"


def pytest_unconfigure() -> None:
    """Write down what was counted, and from where each module was imported: that says whose package it was."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    _book["modules"] = {name: os.path.realpath(file) for name, file in files.items() if isinstance(file, str)}
    Path(os.environ[COUNTS_FILE]).write_text(json.dumps(_book), encoding="utf-8")


@pytest.fixture
def benchmark(request: pytest.FixtureRequest) -> Counting:
    """What a benchmark calls with its operation."""
    return Counting(_names[request.node.nodeid])


class Counting:
    """The fixture `benchmark`, as pytest-benchmark's is called: `benchmark(f, *args)` and `benchmark.pedantic(f, ...)`."""

    def __init__(self, name: str) -> None:
        self.name = self.fullname = name
        self.group: str | None = None
        self.extra_info: dict[str, Any] = {}
        self.enabled = True
        self.disabled = False

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._count(function, lambda: (args, kwargs))

    def pedantic(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        **_rounds: Any,
    ) -> Any:
        def prepared() -> tuple[Sequence[Any], Mapping[str, Any]]:
            given = setup() if setup else None
            return given if given is not None else (args, kwargs or {})

        def torn_down(*given: Any, **named: Any) -> Any:
            try:
                return target(*given, **named)
            finally:
                if teardown:
                    teardown(*given, **named)

        return self._count(torn_down if teardown else target, prepared)

    def _count(self, function: Callable[..., Any], prepare: Callable[[], tuple[Sequence[Any], Mapping[str, Any]]]) -> Any:
        def once() -> Operation:
            args, kwargs = prepare()
            return lambda: function(*args, **kwargs)

        _repeated(once, WARM)
        gc.collect()
        gc.disable()
        try:
            _book["counts"][self.name], _book["dropped"][self.name] = _counts(once)
        finally:
            gc.enable()
        return once()()


def _repeated(once: Callable[[], Operation], times: int) -> int:
    """Perform the operation *times* times, or for as long as is allowed; how often that was."""
    until = time.monotonic() + SECONDS
    for done in range(times):
        if done >= FEWEST and time.monotonic() > until:
            return done
        once()()
    return times


def _counts(once: Callable[[], Operation]) -> tuple[dict[str, int], dict[str, str]]:
    """What a call costs, and of what is left out, why."""
    found: dict[str, list[list[int]]] = {}
    dropped: dict[str, str] = {}
    first, second = _series(once), _series(once)
    for metric in first:
        found[metric] = [first[metric], second[metric]]
    if allocations.unsupported():
        dropped |= dict.fromkeys(("allocations", "bytes"), allocations.unsupported())
    try:
        traced = [system_calls.count(_drawn(once, TRACED_CALLS), TRACED_CALLS) for _ in range(2)]
        found["system_calls"] = [list(each) for each in traced]
    except system_calls.Uncountable as error:
        dropped["system_calls"] = str(error)
    counts = {}
    for metric, series in found.items():
        number = _same(series)
        if number is None:
            seen = [each for one in series for each in one]
            dropped[metric] = f"not deterministic: {min(seen):,} to {max(seen):,} on repeat"
        else:
            counts[metric] = number
    return counts, dropped


def _drawn(once: Callable[[], Operation], times: int) -> Operation:
    """An operation that takes what was set up for it beforehand, so that setting up is not counted."""
    ready = [once() for _ in range(times)]

    def next_one() -> object:
        return ready.pop()()

    return next_one


def _series(once: Callable[[], Operation]) -> dict[str, list[int]]:
    """Blocks, bytes and statements of each of some calls, less what counting itself takes."""
    times, countable = _calls(once), not allocations.unsupported()
    with allocations.Counter() if countable else nullcontext() as counter:
        _noted(_empty, WARM, counter)  # so that counting itself has come to rest
        measured = _noted(once, times, counter)
        nothing = _noted(_empty, times, counter)
    found = {"statements": measured[2]}
    if countable:
        for metric, own, empty in zip(("allocations", "bytes"), measured, nothing, strict=False):
            by_itself = Tally(empty).most_common(1)[0][0]
            found[metric] = [each - by_itself for each in own]
    return found


def _calls(once: Callable[[], Operation]) -> int:
    started = time.monotonic()
    once()()
    each = time.monotonic() - started
    return max(FEWEST, min(CALLS, int(SECONDS / each) if each else CALLS))


def _nothing() -> None:
    """What counting takes by itself is seen by counting this."""


def _empty() -> Operation:
    return _nothing


def _noted(once: Callable[[], Operation], times: int, counter: allocations.Counter | None) -> tuple[list[int], ...]:
    """Blocks, bytes and statements of each of *times* operations, written where nothing has to be allocated for them."""
    book = array("q", bytes(8 * _WIDTH * times))
    for row in range(0, _WIDTH * times, _WIDTH):
        operation = once()
        book[row + 4] = _statements
        if counter is None:
            operation()
        else:
            counter.note(book, row)
            operation()
            counter.note(book, row + 2)
        book[row + 5] = _statements
    pairs = ((0, 2), (1, 3), (4, 5))
    return tuple([book[row + after] - book[row + before] for row in range(0, len(book), _WIDTH)] for before, after in pairs)


def _same(series: Sequence[Sequence[int]]) -> int | None:
    """The number that most calls of every series gave; None when there is no such one."""
    tops = [Tally(each).most_common(1)[0] for each in series]
    number = tops[0][0]
    agreed = all(top == number and times >= SAME * len(each) for (top, times), each in zip(tops, series, strict=True))
    return number if agreed else None
