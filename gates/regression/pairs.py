"""Pairs of processes: the base's and the candidate's suite in lock-step on one CPU, round against round.

What two processes share cancels: both run on one CPU, one right after the other, with one hash seed, and every benchmark of
the suite is measured in each pair. What they don't share is drawn anew for each pair: the hash seed, the memory layout (by the
kernel), who starts first, who goes first in each round (ABBA, the first letter by lot) and which CPU it is. So the pair is the
sample.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gates.regression.naming import alike, unique
from gates.regression.processes import Message, Side, Suite, Worker, WorkerError, end, start
from gates.regression.session import CONTROL, BenchmarkError, Rounds, Session, cpus
from gates.regression.values import Pair

CLOCK_STEP = 0.02
Clocks = Callable[[], tuple[float, float]]


class PairError(Exception):
    """No pair can be measured; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a side collected: benchmarks by name with their index, those not to be pinned, and files that can't be read.

    *identifiers* are pytest's own names of the same.
    """

    items: Mapping[str, int] = field(default_factory=dict)
    unpinned: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)

    def named_as(self, other: Collected) -> Collected:
        """The same benchmarks by the names that *other* has for them: a second one of a name has longer names on its side."""
        called = alike(self.identifiers, other.identifiers)
        return Collected(
            {called[name]: index for name, index in self.items.items()},
            frozenset(called[name] for name in self.unpinned),
            self.unreadable,
            {called[name]: identifier for name, identifier in self.identifiers.items()},
        )


@dataclass(slots=True)
class Runner:
    """Measures pairs of *base* and *candidate*, and keeps what it learned: how often to call, what is broken.

    Attributes:
        folder: where the processes' own output goes.
        parallel: which benchmarks to run on both sides at once, besides those marked `unpinned`.
        broken: by benchmark, why it is not measured any more.
        only_base: those of the broken that went well on the candidate.
        collected: by side, what the latest pair collected.
    """

    base: Side
    candidate: Side
    suite: Suite
    folder: Path
    rounds: Rounds = Rounds()
    parallel: Callable[[str], bool] = lambda name: False
    clocks: Clocks = lambda: (time.monotonic(), time.time())
    broken: dict[str, str] = field(default_factory=dict)
    only_base: set[str] = field(default_factory=set)
    collected: dict[str, Collected] = field(default_factory=dict)
    _calls: dict[str, float] = field(default_factory=dict)

    def measure(self, index: int, seed: int, wanted: Callable[[str], bool]) -> Pair:
        """Measure a pair of the benchmarks that are *wanted*; one that breaks its process is left out from then on.

        Raises PairError when a side does not come up, or collects nothing.
        """
        failed: dict[str, str] = {}
        while True:
            try:
                return self._attempt(index, seed, wanted, failed)
            except WorkerError as error:
                raise PairError(str(error)) from None
            except BenchmarkError as error:
                if error.name == CONTROL:
                    raise PairError(error.why) from None
                failed[error.name] = self._break(error)

    def _break(self, error: BenchmarkError) -> str:
        self.broken[error.name] = error.why
        if error.only_base:
            self.only_base.add(error.name)
        return error.why

    def names(self) -> tuple[str, ...]:
        """The benchmarks that both sides collected, in the candidate's order."""
        theirs = self.collected["base"].items
        return tuple(name for name in self.collected["candidate"].items if name in theirs)

    def is_parallel(self, name: str) -> bool:
        return self.parallel(name) or name in self.collected["candidate"].unpinned

    def _attempt(self, index: int, seed: int, wanted: Callable[[str], bool], failed: dict[str, str]) -> Pair:
        generator = random.Random(f"pair/{seed}")
        before = self.clocks()
        with self._workers(generator, seed) as (first, workers):
            self._collect(workers)
            self._check_origins_possible()
            session = Session(workers, self.rounds, cpus(generator), generator, self._calls)
            self._run(session, wanted, failed)
            self._check_origins(workers, any(name != CONTROL for name in session.logs))
        monotonic, wall = (after - earlier for after, earlier in zip(self.clocks(), before, strict=True))
        return Pair(
            index=index,
            seed=seed,
            first_started=first,
            logs=session.logs,
            cpu=session.cpu,
            clock_step=wall - monotonic,
            seconds=session.seconds,
            failed=failed,
        )

    @contextmanager
    def _workers(self, generator: random.Random, seed: int) -> Iterator[tuple[str, dict[str, Worker]]]:
        """Both processes, started in an order by lot; gone afterwards, in peace when all went well."""
        order = generator.sample([self.base, self.candidate], 2)
        others = {self.base.name: self.candidate, self.candidate.name: self.base}
        workers: dict[str, Worker] = {}
        grace = 0.0
        try:
            for side in order:
                log_file = self.folder / f"{side.name}.log"
                workers[side.name] = start(side, others[side.name], self.suite, log_file, hash_seed=1 + seed % (2**32 - 1))
            yield order[0].name, workers
            grace = 2.0
        finally:
            end(list(workers.values()), grace)

    def _collect(self, workers: Mapping[str, Worker]) -> None:
        for name, worker in workers.items():
            try:
                self.collected[name] = read_collected(worker.receive(self.rounds.patience))
            except WorkerError as error:
                raise PairError(f"{error} while it collected the benchmarks") from None
        self.collected["base"] = self.collected["base"].named_as(self.collected["candidate"])

    def _check_origins_possible(self) -> None:
        for name, found in self.collected.items():
            if not found.items:
                whys = "; ".join(f"{file}: {why}" for file, why in found.unreadable.items())
                raise PairError(f"the {name} has no benchmark in {', '.join(self.suite.paths)}{f': {whys}' if whys else ''}")

    def _run(self, session: Session, wanted: Callable[[str], bool], failed: dict[str, str]) -> None:
        names = [name for name in self.names() if wanted(name) and name not in self.broken]
        items = {side: [found.items[name] for name in names] for side, found in self.collected.items()}
        place = session.generator.randrange(len(names) + 1)
        for position, name in enumerate(names):
            if position == place:
                session.control()
            following = {side: each[position + 1] if position + 1 < len(each) else None for side, each in items.items()}
            told = {side: {"do": "test", "item": each[position], "next": following[side]} for side, each in items.items()}
            try:
                session.benchmark(name, told, at_once=self.is_parallel(name))
            except BenchmarkError as error:
                if error.fatal:
                    raise
                failed[name] = self._break(error)
        if place == len(names):
            session.control()

    def _check_origins(self, workers: Mapping[str, Worker], measured: bool) -> None:
        """Both sides prove that they measured their own tree: its modules came from it, and nothing from the other.

        A suite that imports them in its benchmarks has none where nothing was *measured*.
        """
        for name, worker in workers.items():
            worker.send(do="end")
            told = worker.receive(self.rounds.patience)
            if told["foreign"]:
                raise PairError(f"the process of the {name} did not measure its own tree: {'; '.join(told['foreign'][:3])}")
            if measured and not told["own"]:
                raise PairError(f"the benchmarks import nothing of the {name}'s tree, so they say nothing about it")


def read_collected(message: Message) -> Collected:
    """What a side collected, each benchmark by a name of its own."""
    entries = message["benchmarks"]
    names = unique([entry["name"] for entry in entries], [entry["id"] for entry in entries])
    unpinned = frozenset(name for name, entry in zip(names, entries, strict=True) if entry["unpinned"])
    identifiers = {name: entry["id"] for name, entry in zip(names, entries, strict=True)}
    return Collected({name: index for index, name in enumerate(names)}, unpinned, message["unreadable"], identifiers)
