"""One side of a pair: a process that runs a pytest-benchmark suite on one tree, round by round as the coordinator says.

It is started as a file, not imported, because the tree that it measures may be this very project at another commit: so it
needs the standard library and pytest alone. Its standard input is a socket to the coordinator, over which both speak JSON, a
line a message. It takes the place of pytest-benchmark's fixture `benchmark`, and at the end it tells where the modules that it
measured came from.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Message = dict[str, Any]
_DEATH_SIGNAL, _KILL = 1, 9  # PR_SET_PDEATHSIG of <linux/prctl.h>, SIGKILL
MARKS = (
    "benchmark: settings of a benchmark, such as its group",
    "unpinned: a benchmark of threads, input or output, which one CPU would falsify",
)


class Line:
    """The socket to the coordinator. The process ends when nobody is at its other end."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)
        self._file = self._socket.makefile("rb")

    def send(self, **message: Any) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Message:
        text = self._file.readline()
        if not text:
            os._exit(0)
        found: Message = json.loads(text)
        return found


class Stats:
    """What tests ask of `benchmark.stats`: seconds a call, over this process's rounds."""

    def __init__(self) -> None:
        self.data: list[float] = []
        self.iterations = 1

    @property
    def stats(self) -> Stats:
        return self

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @property
    def rounds(self) -> int:
        return len(self.data)

    @property
    def min(self) -> float:
        return min(self.data)

    @property
    def max(self) -> float:
        return max(self.data)

    @property
    def total(self) -> float:
        return sum(self.data)

    @property
    def mean(self) -> float:
        return sum(self.data) / len(self.data)

    @property
    def median(self) -> float:
        import statistics

        return statistics.median(self.data)

    @property
    def stddev(self) -> float:
        import statistics

        return statistics.stdev(self.data) if len(self.data) > 1 else 0.0

    @property
    def ops(self) -> float:
        return 1 / self.mean


Timed = tuple[float, float]
"""Wall-clock seconds, and CPU seconds of this thread."""


class Calls:
    """A function with its arguments, called so many times between two looks at the clocks."""

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        self._function, self._arguments, self._keywords = function, arguments, keywords

    def once(self) -> Any:
        return self._function(*self._arguments, **self._keywords)

    def timed(self, times: int) -> Timed:
        function, arguments, keywords = self._function, self._arguments, self._keywords
        turns = range(times)
        busy, start = time.thread_time(), time.perf_counter()
        for _ in turns:
            function(*arguments, **keywords)
        return time.perf_counter() - start, time.thread_time() - busy


class Prepared:
    """The same for `benchmark.pedantic` with a setup or teardown, which stay outside of what is timed."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        keywords: Mapping[str, Any],
        setup: Callable[[], Any] | None,
        teardown: Callable[..., Any] | None,
    ) -> None:
        self._function, self._given, self._setup, self._teardown = function, (arguments, keywords), setup, teardown

    def once(self) -> Any:
        return self._call()[0]

    def timed(self, times: int) -> Timed:
        wall = busy = 0.0
        for _ in range(times):
            _, one, cpu = self._call()
            wall, busy = wall + one, busy + cpu
        return wall, busy

    def _call(self) -> tuple[Any, float, float]:
        arguments, keywords = self._arguments()
        busy, start = time.thread_time(), time.perf_counter()
        result = self._function(*arguments, **keywords)
        wall, cpu = time.perf_counter() - start, time.thread_time() - busy
        if self._teardown is not None:
            self._teardown(*arguments, **keywords)
        return result, wall, cpu

    def _arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        made = self._setup() if self._setup is not None else None
        if not made:
            return self._given
        if any(self._given):
            raise TypeError("Can't use `args` or `kwargs` if `setup` returns the arguments.")
        arguments, keywords = made
        return arguments, keywords


def undisturbed(calls: Calls | Prepared, times: int, parts: int) -> Timed:
    """The mean of a round of *parts* times *times* calls, a part.

    A part in which the kernel put another process on our CPU says nothing of ours: it is left out, and another one is measured,
    up to twice as many. When all were disturbed, all count. A part is never left out for being slow.
    """
    every, good = list[Timed](), list[Timed]()
    while len(good) < parts and len(every) < 2 * parts:
        before = switches()
        every.append(calls.timed(times))
        if switches() == before:
            good.append(every[-1])
    kept = good or every
    return sum(wall for wall, _ in kept) / len(kept), sum(busy for _, busy in kept) / len(kept)


def switches() -> int:
    """How often the kernel has taken the CPU away from this thread; always 0 where it does not say."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if hasattr(resource, "RUSAGE_THREAD") else 0


class Benchmark:
    """The fixture `benchmark`: what suites use of pytest-benchmark's, run in lock-step with the other side."""

    def __init__(self, line: Line, name: str, fullname: str = "", param: str | None = None, params: Any = None) -> None:
        self.name, self.fullname, self.param, self.params = name, fullname, param, params
        self.group: str | None = None
        self.extra_info: dict[str, Any] = {}
        self.has_error = self.skipped = self.disabled = False
        self.enabled = True
        self.stats: Stats | None = None
        self._line = line

    def __call__(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return self._serve(Calls(function, arguments, keywords))

    def pedantic(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        """How often is the coordinator's to say; setup and teardown go around every call."""
        if setup is None and teardown is None:
            return self._serve(Calls(target, args, kwargs or {}))
        return self._serve(Prepared(target, args, kwargs or {}, setup, teardown))

    def _serve(self, calls: Calls | Prepared) -> Any:
        if self.stats is not None:
            self.has_error = True
            raise RuntimeError("the fixture `benchmark` can be used only once in a test")
        self.stats = Stats()
        result = calls.once()
        self._line.send(at="ready")
        while (told := self._line.receive())["do"] == "run":
            self._round(calls, told)
        return result

    def _round(self, calls: Calls | Prepared, told: Message) -> None:
        times = told["times"]
        if "cpus" in told:
            pin(told["cpus"])
        gc.disable()
        try:
            if told["warm"]:
                calls.once()
            wall, busy = undisturbed(calls, times, told["parts"])
        finally:
            gc.enable()
        assert self.stats is not None
        self.stats.data.append(wall / times)
        self.stats.iterations = times
        self._line.send(at="ran", wall=wall, cpu=busy)


def control() -> int:
    """The control's work: the same on both sides, and nobody's package."""
    found: dict[str, int] = {}
    for number in range(40):
        word = f"{number % 8}:{number & 3}"
        found[word] = found.get(word, 0) + len(word) * number
    return sum(sorted(found.values()))


def pin(cpus: Sequence[int]) -> None:
    """Keep every thread of this process on *cpus*, where the system lets us."""
    if not hasattr(os, "sched_setaffinity"):
        return
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        threads = [0]
    for thread in threads:
        try:
            os.sched_setaffinity(thread, cpus)
        except ProcessLookupError:  # it ended meanwhile
            continue


class Plugin:
    """What pytest is told: our fixture, what was collected, and the coordinator's order instead of pytest's own loop."""

    def __init__(self, line: Line, told: Message) -> None:
        self._line, self._told = line, told
        self._items: list[Any] = []
        self._unreadable: dict[str, str] = {}
        self._outcome, self._why = "passed", ""

    def pytest_addhooks(self, pluginmanager: Any) -> None:
        """A conftest.py with hooks of pytest-benchmark is valid, though nobody calls them."""
        try:
            from pytest_benchmark import hookspec
        except ImportError:
            return
        pluginmanager.add_hookspecs(hookspec)

    def pytest_configure(self, config: Any) -> None:
        for mark in MARKS:
            config.addinivalue_line("markers", mark)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._unreadable[report.nodeid] = last_lines(report.longreprtext)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._outcome, self._why = "failed", last_lines(report.longreprtext)
        elif report.skipped and self._outcome == "passed":
            self._outcome, self._why = "skipped", last_lines(report.longreprtext)

    def pytest_runtestloop(self, session: Any) -> bool:
        self._items = [item for item in session.items if "benchmark" in getattr(item, "fixturenames", ())]
        self._line.send(at="collected", benchmarks=[described(item) for item in self._items], unreadable=self._unreadable)
        gc.collect()
        gc.freeze()
        while (told := self._line.receive())["do"] != "end":
            self._obey(told)
        self._line.send(at="origins", **origins(self._told))
        return True

    def _obey(self, told: Message) -> None:
        if told["do"] == "pin":
            pin(told["cpus"])
        elif told["do"] == "control":
            Benchmark(self._line, "control")(control)
            self._line.send(at="ended", outcome="passed", why="")
        elif told["do"] == "test":  # a late `enough` is for a test that has already failed
            self._test(self._items[told["item"]], self._items[told["next"]] if told["next"] is not None else None)

    def _test(self, item: Any, following: Any) -> None:
        self._outcome, self._why = "passed", ""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        self._line.send(at="ended", outcome=self._outcome, why=self._why)


def fixture(line: Line) -> Any:
    """The fixture `benchmark` in a plug-in of its own, made late because only then is pytest imported."""
    import pytest

    class Fixture:
        @pytest.fixture
        def benchmark(self, request: Any) -> Benchmark:
            item = request.node
            call = getattr(item, "callspec", None)
            made = Benchmark(line, item.name, item.nodeid, call.id if call else None, call.params if call else None)
            made.group = group_of(item)
            return made

    return Fixture()


def group_of(item: Any) -> str | None:
    """The group that a mark gives the benchmark."""
    mark = item.get_closest_marker("benchmark")
    found: str | None = mark.kwargs.get("group") if mark else None
    return found


def described(item: Any) -> Message:
    """What the coordinator needs to know of a benchmark."""
    group, short = group_of(item), item.name.removeprefix("test_")
    name = f"{group}.{short}" if group else short
    return {"name": name, "id": item.nodeid, "unpinned": item.get_closest_marker("unpinned") is not None}


def last_lines(text: str, count: int = 6) -> str:
    """The lines of a failure that say what is wrong: pytest's `E` lines, else the last ones."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E  ")]
    return "\n".join(errors[:count] or lines[-count:])


def origins(told: Message) -> Message:
    """Where the imported modules come from: how many of our tree, and which of our tree's names from anywhere else.

    Modules below the folder of the suite are the candidate's on both sides and prove nothing.
    """
    tree, other, names = os.path.realpath(told["tree"]), os.path.realpath(told["other"]), set(told["packages"])
    suite = os.path.realpath(os.path.join(tree, told["overlaid"] or "no such folder"))
    own, foreign = [], []
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        path = os.path.realpath(place) if isinstance(place, str) else ""
        if within(path, tree):
            if not within(path, suite) and os.path.basename(path) != "conftest.py":
                own.append(name)
        elif within(path, other) or (path and name.partition(".")[0] in names):
            foreign.append(f"{name} from {path}")
    return {"own": sorted(own), "foreign": sorted(foreign)}


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def die_with(parent: int) -> None:
    """Ask the kernel to end us when the coordinator ends (Linux); elsewhere the end of the line does, at its next message."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, _KILL)
    if os.getppid() != parent:
        os._exit(1)


def take_over_input() -> Line:
    """Move the socket away from standard input, where a benchmark might read."""
    number = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return Line(number)


def main() -> None:
    """Take the first message, run pytest as it says, and end."""
    line = take_over_input()
    told = line.receive()
    die_with(told["parent"])
    os.chdir(told["tree"])
    sys.path[:1] = told["paths"]  # instead of this file's own folder
    sys.argv[:] = ["pytest"]
    import pytest

    code = int(pytest.main(told["arguments"], plugins=[Plugin(line, told), fixture(line)]))
    line.send(at="over", code=code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
