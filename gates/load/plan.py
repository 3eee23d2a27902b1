"""A load as it will be run: plain values that go into plan.json and from there to the gate process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gates.load.curve import Curve, Piece, curve

TAG = "tag:"
EVEN, EXPONENTIAL = "even", "exponential"


@dataclass(frozen=True, slots=True)
class Replay:
    """Arrivals that were recorded.

    Attributes:
        file: its path from the repository's root.
        sha256: of its content when the plan was made, in hex.
        count: how many of its arrivals come.
        speed: how many times as fast they come as they were recorded.
        flows: whether it says which flow each of them is.
    """

    file: str
    sha256: str
    count: int
    speed: float
    flows: bool


@dataclass(frozen=True, slots=True)
class Feed:
    """A table that arrivals take rows of: its path from the repository's root, the order, and how many rows it has."""

    file: str
    order: str
    rows: int


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Arrivals, what they do, and how.

    Attributes:
        rate: arrivals a second, on average over all the time.
        seconds: how long arrivals come, with the warm-up.
        warmup: for how long of that the phase is `warmup`; then it is `steady`.
        connections: the most that are open at once, over all endpoints.
        timeout: after how many seconds an answer is given up; also how long the end is waited for.
        mix: weight of each flow.
        flows: definitions of the flows of the mix in the shape of `gates.load.flows`, as plain JSON.
        shape: of the arrivals; a word of `gates.load.arrivals`.
        pieces: the rate over time, again and again until the time is over; without any it is always *rate*.
        gaps: `even` over the curve, or `exponential`: a Poisson process with just as many arrivals.
        stretches: from and to of parts that have a name, in seconds; each is a phase once the warm-up is over.
        replay: arrivals that were recorded take the place of the curve.
        pacing: how arrivals are woken up for: `timer`, or `spin` with a core of its own.
        ca: path of the authorities that a target's certificate may be signed by; empty for those of the system.
        feeds: tables of data, by name.
        files: sha256 in hex of every file of data, by its path from the repository's root, when the plan was made.
        setup, teardown: flows that run once, before and after the load; what the set-up captures is `{setup.NAME}` in all.
    """

    scenario: str
    summary: str
    rate: float
    seconds: float
    warmup: float
    connections: int
    timeout: float
    mix: Mapping[str, int]
    flows: Mapping[str, Any]
    shape: str = "constant"
    pieces: tuple[Piece, ...] = ()
    gaps: str = EVEN
    stretches: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    replay: Replay | None = None
    pacing: str = "timer"
    ca: str = ""
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    setup: Mapping[str, Any] | None = None
    teardown: Mapping[str, Any] | None = None

    @property
    def curve(self) -> Curve:
        """The rate over time; that of a replay is its mean."""
        return curve(self.pieces or (Piece(self.seconds, self.rate, self.rate),), self.seconds)

    @property
    def arrivals(self) -> int:
        """How many requests are planned."""
        return self.replay.count if self.replay else self.curve.count

    @property
    def phases(self) -> dict[str, tuple[float, float]]:
        """From and to of each phase, in seconds of intended start."""
        warmup = {"warmup": (0.0, self.warmup)} if self.warmup else {}
        named = {name: (max(start, self.warmup), end) for name, (start, end) in self.stretches.items() if end > self.warmup}
        return {**warmup, "steady": (self.warmup, self.seconds), **named}

    @property
    def tags(self) -> dict[str, tuple[str, ...]]:
        """The flows that have each tag."""
        found: dict[str, tuple[str, ...]] = {}
        for flow in self.mix:
            for tag in self.flows[flow].get("tags", ()):
                found[tag] = (*found.get(tag, ()), flow)
        return found

    def chosen(self, selector: str) -> tuple[str, ...]:
        """The flows that *selector* means: the name of one, `tag:NAME`, or empty for all."""
        if selector.startswith(TAG):
            return self.tags.get(selector.removeprefix(TAG), ())
        return (selector,) if selector else tuple(self.mix)

    def share(self, selector: str) -> float:
        """The part of the arrivals that go to what *selector* means."""
        return sum(self.mix.get(flow, 0) for flow in self.chosen(selector)) / sum(self.mix.values())
