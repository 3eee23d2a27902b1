"""One trial of the kind `validation`: load, faults at their times, clients that retry, and what the target says at the end."""

from __future__ import annotations

import concurrent.futures
import gzip
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from threading import Event
from typing import TYPE_CHECKING, Any

from gates import codec, registry
from gates.faults import FAULTS, ways
from gates.faults.capability import works
from gates.faults.observation import Observation
from gates.faults.timeline import PlannedFault, play
from gates.faults.workshop import workshop
from gates.history.record import Recorder
from gates.kinds import invariants as invariant
from gates.kinds.honesty import Poll, Poller, vital
from gates.kinds.replay import Retrier, chosen
from gates.kinds.signals import Listener, Look
from gates.load.plan import LoadPlan
from gates.load.resource_exhibits import write_samples
from gates.load.sampler import Sampler, Taken
from gates.load.watching import Stretch, Watching, into
from gates.model import Fetch, Invariant, InvariantOutcome, LogTail, Operation, Request, Signals
from gates.target.error import TargetError

if TYPE_CHECKING:
    from gates.load.outcome import LoadOutcome
    from gates.target import RunningTarget

HISTORY = "history.jsonl.gz"
OBSERVATIONS = "observations.json"
ANSWERS = "invariants.json.gz"
# what a target raises that does not answer, or answers something else than its invariant expects
UNANSWERED = (OSError, LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What a trial is made of, all of it in the gate's settings.

    Attributes:
        load: the arrivals.
        faults: their timeline, without overlaps.
        invariants: names of what must hold.
        replay: the share of acknowledged operations that is sent again.
        error_budget: the share of operations that may go wrong on paths that no fault struck.
    """

    load: LoadPlan
    faults: tuple[PlannedFault, ...]
    invariants: tuple[str, ...]
    replay: float
    error_budget: float = 0.01


@dataclass(frozen=True, slots=True)
class Course:
    """How a trial went.

    Attributes:
        retries: the operations that were sent again after the faults.
        outcomes: of the invariants that could be checked; the worse of before and after the retries.
        problems: what could not be done, in sentences.
        deaths: exit codes of processes that ended though nobody asked, by name.
        polls: of the readiness of nodes that could not be ready for a while.
        looks: at the nodes' own metrics.
        settled: when nothing moved any more after load and faults, and whether it came to that; None when the target did not
            say, or was not asked.
        taken: samples of what the target's processes took of the machine under load.
    """

    load: LoadOutcome
    observations: tuple[Observation, ...]
    retries: tuple[Operation, ...]
    outcomes: Mapping[str, InvariantOutcome]
    problems: tuple[str, ...]
    deaths: Mapping[str, int]
    logs: tuple[LogTail, ...]
    polls: tuple[Poll, ...] = ()
    looks: tuple[Look, ...] = ()
    settled: tuple[float, bool] | None = None
    taken: Taken = Taken()


@dataclass(slots=True)
class _Trial:
    """A trial under way against *target*."""

    plan: TrialPlan
    target: RunningTarget
    invariants: Sequence[Invariant]
    request: Request
    fetch: Fetch
    signals: Signals | None = None
    pollers: tuple[Poller, ...] = ()
    listeners: tuple[Listener, ...] = ()
    settled: tuple[float, bool] | None = None
    taken: Taken = Taken()

    def run(self) -> Course:
        from gates.load.exhibits import write_evidence

        before, problems = self._before()
        with Recorder(self.request.evidence / HISTORY) as recorder:
            load, observations, clock = self._under_faults(recorder)
            codec.write(self.request.evidence / OBSERVATIONS, observations)
            write_samples(self.taken, self.request.evidence)
            write_evidence(load, self.request.evidence)
            middle = self._settled(clock, "after the faults", problems)
            retries = self._retries(load.operations, clock, load.given)
            recorder.add(retries)
        after = self._settled(clock, "after the retries", problems)
        states = {"before": before, "after_faults": middle, "after_retries": after}
        _keep(self.request.evidence / ANSWERS, {when: _shared(answers) for when, answers in states.items()})
        history = (*load.operations, *retries)
        found = [
            self._checked(history[: len(history) - hidden], before, answers, problems)
            for hidden, answers in ((len(retries), middle), (0, after))
            if before and answers
        ]
        polls = tuple(poll for poller in self.pollers for poll in poller.polls)
        deaths = self.target.died()
        logs = self.target.logs() if deaths or problems else ()
        looks = tuple(look for listener in self.listeners for look in listener.looks)
        said = tuple(dict.fromkeys(problems))
        outcomes = invariant.worst(found)
        return Course(load, observations, retries, outcomes, said, deaths, logs, polls, looks, self.settled, self.taken)

    def _before(self) -> tuple[Mapping[str, Any], list[str]]:
        try:
            return invariant.observe(self.invariants, self.fetch, tuple(self.target.endpoints)), []
        except UNANSWERED as error:
            return {}, [f"before the load the target did not answer what the invariants ask: {error}"]

    def _under_faults(self, recorder: Recorder) -> tuple[LoadOutcome, tuple[Observation, ...], Callable[[], float]]:
        """Load in a thread of its own, faults in this one. What clients saw is recorded also when this is interrupted."""
        from gates.load.engine import run_load

        stop, zero = Event(), Future[float]()
        with ThreadPoolExecutor(1, thread_name_prefix="load") as pool, Sampler(self.target.processes) as sampler:
            load = pool.submit(
                run_load,
                self.plan.load,
                self.target.endpoints,
                seed=self.request.seed,
                headers=self.target.headers,
                record=True,
                on_start=zero.set_result,
                on_second=Watching(self.plan.load, into(Path(self.request.folder)), self._stretches()),
                stop=stop,
            )
            load.add_done_callback(lambda _: stop.set())
            try:
                observations, clock = self._played(load, zero, stop)
            except BaseException:
                stop.set()
                raise
            finally:
                recorder.add(load.result().operations)
                for listener in self.listeners:
                    listener.finish()
        self.taken = sampler.taken(time.monotonic() - clock())
        return load.result(), observations, clock

    def _stretches(self) -> tuple[Stretch, ...]:
        return tuple(Stretch(f"{each.name} of {', '.join(each.nodes)}", each.start, each.end) for each in self.plan.faults)

    def _played(
        self, load: Future[LoadOutcome], zero: Future[float], stop: Event
    ) -> tuple[tuple[Observation, ...], Callable[[], float]]:
        either: list[Future[Any]] = [load, zero]
        concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)
        start = zero.result() if zero.done() else time.monotonic()

        def clock() -> float:
            return time.monotonic() - start

        self.pollers, self.listeners = tuple(self._pollers(clock)), tuple(self._listeners(clock))
        try:
            for thread in (*self.pollers, *self.listeners):
                thread.start()
            return play(self.plan.faults, self.target, FAULTS, clock=clock, stop=stop), clock
        finally:
            for poller in self.pollers:
                poller.finish()

    def _pollers(self, clock: Callable[[], float]) -> Iterator[Poller]:
        """One for every node that a fault keeps from being ready, where HTTP says whether it is."""
        struck = {name for fault in self.plan.faults if vital(fault) for name in fault.nodes}
        for name in sorted(struck & self.target.ready_paths.keys()):
            url = self.target.endpoints[name] + self.target.ready_paths[name]
            yield Poller(name, url, self.target.headers, clock)

    def _listeners(self, clock: Callable[[], float]) -> Iterator[Listener]:
        """One for every node, where somebody has said what its metrics mean."""
        if self.signals is not None:
            for name, url in self.target.endpoints.items():
                yield Listener(name, url, self.signals, self.target.headers, clock)

    def _settled(self, clock: Callable[[], float], when: str, problems: list[str]) -> Mapping[str, Any]:
        """What the target says once nothing moves any more; empty when it does not answer."""
        endpoints = tuple(self.target.endpoints)

        def on_rest(ended: bool) -> None:
            self.settled = self.settled or (clock(), ended)

        try:
            answers, settled = invariant.observe_settled(
                self.invariants, self.fetch, endpoints, clock=clock, sleep=time.sleep, on_rest=on_rest
            )
        except UNANSWERED as error:
            problems.append(f"{when} the target did not answer what the invariants ask: {error}")
            return {}
        if not settled:
            problems.append(f"{when} the target's state still moved when the time was up")
        return answers

    def _retries(
        self, history: Sequence[Operation], clock: Callable[[], float], given: Mapping[str, str]
    ) -> tuple[Operation, ...]:
        again = chosen(self.plan.load, history, self.plan.replay, Random(f"{self.request.seed}:replay"))
        retrier = Retrier(
            self.plan.load, self.target.endpoints, seed=self.request.seed, clock=clock, headers=self.target.headers, given=given
        )
        return retrier.again(again)

    def _checked(
        self, history: Sequence[Operation], before: Mapping[str, Any], after: Mapping[str, Any], problems: list[str]
    ) -> Mapping[str, InvariantOutcome]:
        try:
            return invariant.check(self.invariants, history, before, after)
        except UNANSWERED as error:
            problems.append(f"an invariant could not read what the target answered: {error!r}")
            return {}


def run_trial(plan: TrialPlan, request: Request, invariants: Sequence[Invariant]) -> Course:
    """Start the target, carry out *plan*, stop the target. Raises GatesError when it can't be started or loaded."""
    from gates.target import running

    assert request.gate.target is not None
    request.evidence.mkdir(parents=True, exist_ok=True)
    found = ways.chosen(plan.faults, FAULTS, request.gate.target.controls, works)
    if found.problems:
        raise TargetError("; ".join(found.problems), hint="`gates faults` says what works here")
    plan = replace(plan, faults=found.faults)
    folder = Path(request.folder)
    with (
        workshop(plan.faults, FAULTS, folder) as shop,
        running(request.gate.target, folder=folder, seed=request.seed, links=found.links, fit=shop.fitted) as target,
    ):
        fetch = invariant.fetcher(target.endpoints, target.headers)
        signals = registry.plugins(registry.SIGNALS).get(request.gate.target.preset)
        return _Trial(plan, target, invariants, request, fetch, signals).run()


def _shared(answers: Mapping[str, Any]) -> Mapping[str, Any]:
    """*answers* by invariant, where one that several invariants share stands once: the others say whose it is."""
    first = {id(answer): name for name, answer in reversed(list(answers.items()))}
    return {name: answer if first[id(answer)] == name else {"as": first[id(answer)]} for name, answer in answers.items()}


def _keep(path: Path, value: Any) -> None:
    """*value* as canonical JSON, packed: a state of many jobs is long and repeats itself."""
    codec.replace(path, gzip.compress(codec.dumps(value).encode(), mtime=0))
