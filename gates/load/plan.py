"""A load as it will be run: plain values that go into plan.json and from there to the gate process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Arrivals, what they do, and how.

    Attributes:
        rate: arrivals a second.
        seconds: how long arrivals come, with the warm-up.
        warmup: for how long of that the phase is `warmup`; then it is `steady`.
        connections: the most that are open at once, over all endpoints.
        timeout: after how many seconds an answer is given up; also how long the end is waited for.
        mix: weight of each flow.
        flows: definitions of the flows of the mix in the shape of `gates.load.flows`, as plain JSON.
        shape: of the arrivals; `constant`.
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

    @property
    def arrivals(self) -> int:
        """How many requests are planned."""
        return int(self.rate * self.seconds + 1e-9)

    @property
    def phases(self) -> dict[str, tuple[float, float]]:
        """From and to of each phase, in seconds of intended start."""
        warmup = {"warmup": (0.0, self.warmup)} if self.warmup else {}
        return {**warmup, "steady": (self.warmup, self.seconds)}

    def share(self, flow: str) -> float:
        """The part of the arrivals that *flow* gets; an empty name stands for all."""
        return self.mix.get(flow, 0) / sum(self.mix.values()) if flow else 1.0
