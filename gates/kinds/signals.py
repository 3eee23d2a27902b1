"""What a target's own metrics told during a trial: when a fault was noticed, what breakers did, who called the dead.

Every node is asked five times a second, so times are known to a fifth of a second.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from gates.faults.observation import Observation
from gates.model import Signals

PERIOD = 0.2
PATIENCE = 1.0
_SERIES = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?(?:\s+(\S+))?")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_OPEN_STATES = ("open", "half_open")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float = 0.0

    def has(self, wanted: Sample) -> bool:
        """Whether this is of the *wanted* name, with all of its labels."""
        return self.name == wanted.name and wanted.labels.items() <= self.labels.items()


@dataclass(frozen=True, slots=True)
class Look:
    """What *node* told at *when*, in seconds from the start of load; only metrics that a `Signals` names."""

    node: str
    when: float
    samples: tuple[Sample, ...]

    def total(self, wanted: Sample) -> float:
        """The sum of all samples that are as *wanted*."""
        return sum(sample.value for sample in self.samples if sample.has(wanted))


def parsed(line: str) -> Sample | None:
    """One line of the text format, or a series without a value; None for what is neither."""
    match = _SERIES.fullmatch(line.strip())
    if match is None:
        return None
    name, labels, value = match.groups()
    try:
        return Sample(name, dict(_LABEL.findall(labels or "")), float(value or 0))
    except ValueError:
        return None


class Listener(threading.Thread):
    """Asks *node* at *url* for its metrics until `finish`; times are of *clock*. A node that does not answer tells nothing."""

    def __init__(self, node: str, url: str, signals: Signals, headers: Mapping[str, str], clock: Callable[[], float]) -> None:
        super().__init__(name=f"metrics-{node}", daemon=True)
        self._node, self._parts, self._headers, self._clock = node, urlsplit(url), dict(headers), clock
        self._path = self._parts.path.rstrip("/") + signals.path
        self._names = tuple(_names(signals))
        self._finish = threading.Event()
        self.looks: list[Look] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=PATIENCE)
        try:
            while not self._finish.wait(PERIOD):
                try:
                    self._look(connection)
                except (OSError, http.client.HTTPException):
                    connection.close()
        finally:
            connection.close()

    def _look(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", self._path, headers=self._headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        if answer.status == 200:
            samples = (parsed(line) for line in text.splitlines() if line.startswith(self._names))
            told = tuple(sample for sample in samples if sample is not None and sample.value)
            self.looks.append(Look(self._node, self._clock(), told))

    def finish(self) -> None:
        """End the thread."""
        self._finish.set()
        self.join()


def _names(signals: Signals) -> Iterator[str]:
    for series in (*signals.noticed, *signals.noticed_itself, signals.calls):
        if series:
            yield series.partition("{")[0]
    yield from filter(None, (signals.breaker_state, signals.breaker_transitions))


# --- when it was noticed ----------------------------------------------------------------------------------------------


def noticed(looks: Sequence[Look], signals: Signals, fault: Observation) -> float | None:
    """Seconds from when *fault* was caused until a node's metrics first told of it; None when none did.

    Who told of it before has noticed something else, and counts again when it has stopped.
    """
    if fault.caused is None:
        return None
    series = [(_filled(text, node), False) for text in signals.noticed for node in fault.nodes]
    series += [(_filled(text, node), True) for text in signals.noticed_itself for node in fault.nodes]
    end = fault.seen_end if fault.seen_end is not None else float("inf")
    telling: set[str] = set()
    for look in sorted(looks, key=lambda look: look.when):
        of_struck = look.node in fault.nodes
        if not any(look.total(wanted) > 0 for wanted, itself in series if itself is of_struck):
            telling.discard(look.node)
        elif look.when < fault.asked_start:
            telling.add(look.node)
        elif look.node not in telling and look.when <= end:
            return max(0.0, look.when - fault.caused)
    return None


def _filled(series: str, node: str) -> Sample:
    found = parsed(series.replace("{node}", node))
    assert found is not None, f"{series} is no series"
    return found


# --- breakers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A breaker of *node* that opened: when that was first seen, whether it was half open, since when it is closed."""

    node: str
    breaker: str
    opened: float
    probed: bool
    closed: float | None


def breakers(looks: Sequence[Look], signals: Signals) -> tuple[Opened, ...]:
    """Every breaker that was seen to open, by its node; a node that was started anew has new breakers."""
    found = []
    for node in dict.fromkeys(look.node for look in looks):
        lives = _lives([look for look in looks if look.node == node], signals)
        for number, life in enumerate(lives, start=1):
            names = {sample.labels.get("breaker", "") for look in life for sample in look.samples}
            every = (_opened(node, name, life, signals, anew=number > 1) for name in sorted(names - {""}))
            # one that was open when its process ended is gone, and neither closed nor stuck
            found += [each for each in every if each is not None and (each.closed is not None or number == len(lives))]
    return tuple(found)


def _lives(looks: Sequence[Look], signals: Signals) -> list[list[Look]]:
    """The looks at one node, cut where its counters fell back: there it was started anew."""
    lives: list[list[Look]] = [list(looks[:1])]
    every = Sample(signals.breaker_transitions, {})
    for before, after in pairwise(looks):
        if after.total(every) < before.total(every):
            lives.append([])
        lives[-1].append(after)
    return lives


def _opened(node: str, name: str, life: Sequence[Look], signals: Signals, *, anew: bool) -> Opened | None:
    def changed(look: Look, state: str) -> float:
        return look.total(Sample(signals.breaker_transitions, {"breaker": name, "after": state}))

    first, probes = (0.0 if anew else changed(life[0], state) for state in ("open", "half_open"))
    opening = next((look for look in life if changed(look, "open") > first), None)
    if opening is None:
        return None
    probed = changed(life[-1], "half_open") > probes
    closed: float | None = None
    for look in life[life.index(opening) :]:
        is_open = any(look.total(Sample(signals.breaker_state, {"breaker": name, "state": state})) for state in _OPEN_STATES)
        closed = None if is_open else look.when if closed is None else closed
    return Opened(node, name, opening.when, probed, closed)


# --- load on the dead -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests that others sent to struck nodes, and for how many seconds of watching: before the fault, and during it."""

    before: float
    seconds_before: float
    during: float
    seconds_during: float


def calls(looks: Sequence[Look], signals: Signals, faults: Iterable[Observation], since: float) -> Calls:
    """What the counters of the nodes that were not struck say; *since* is when the load was warm."""
    sums = [0.0, 0.0, 0.0, 0.0]
    if not signals.calls:
        return Calls(*sums)
    faults = tuple(faults)
    first = min((fault.asked_start for fault in faults), default=since)
    for fault in faults:
        if fault.seen_start is None or fault.healing is None:
            continue
        spans = ((since, first), (fault.seen_start, fault.healing))
        for node in {look.node for look in looks} - set(fault.nodes):
            for place, (start, end) in enumerate(spans):
                within = [look for look in looks if look.node == node and start <= look.when <= end]
                if len(within) > 1:
                    counted = [sum(look.total(_filled(signals.calls, struck)) for struck in fault.nodes) for look in within]
                    sums[2 * place] += max(0.0, counted[-1] - counted[0])
                    sums[2 * place + 1] += within[-1].when - within[0].when
    return Calls(*sums)
