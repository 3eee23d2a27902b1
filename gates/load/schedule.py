"""When each request starts and what it does: one seeded array, the same for the same seed, whoever runs it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gates.load.plan import LoadPlan


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals in order of time.

    Attributes:
        intended: seconds from the start of load, float64.
        flow: index into *flows*, int16.
        endpoint: index into *endpoints*, int16.
    """

    intended: NDArray[np.float64]
    flow: NDArray[np.int16]
    endpoint: NDArray[np.int16]
    flows: tuple[str, ...]
    endpoints: tuple[str, ...]

    @property
    def hash(self) -> str:
        """sha256 of the arrivals, in hex."""
        found = hashlib.sha256(repr((self.flows, self.endpoints)).encode())
        for column in (self.intended, self.flow, self.endpoint):
            found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()


def schedule(plan: LoadPlan, endpoints: Sequence[str], *, seed: int) -> Schedule:
    """The arrivals of *plan* over *endpoints*.

    Flows keep their weights in every stretch of sum-of-weights arrivals, in a seeded order within it, so that each phase has
    the samples that were planned; endpoints take turns.
    """
    count = plan.arrivals
    flows = tuple(plan.mix)
    return Schedule(
        intended=np.arange(count, dtype=np.float64) / plan.rate,
        flow=_chosen(plan.mix, count, np.random.default_rng(seed)),
        endpoint=_endpoints(plan, flows, endpoints, count, seed),
        flows=flows,
        endpoints=tuple(endpoints),
    )


def _chosen(mix: Mapping[str, int], count: int, generator: np.random.Generator) -> NDArray[np.int16]:
    weights = np.array(list(mix.values()), dtype=np.int64)
    weights //= math.gcd(*weights.tolist())
    stretch = np.repeat(np.arange(len(weights), dtype=np.int16), weights)
    rows = -(-count // len(stretch))
    return generator.permuted(np.tile(stretch, (rows, 1)), axis=1).reshape(-1)[:count].astype(np.int16)


def _endpoints(plan: LoadPlan, flows: Sequence[str], names: Sequence[str], count: int, seed: int) -> NDArray[np.int16]:
    turns = (np.arange(count) % len(names)).astype(np.int16)
    fixed = {index: _fixed(plan.flows[flow], names) for index, flow in enumerate(flows)}
    if all(endpoint < 0 for endpoint in fixed.values()):
        return turns
    chosen = _chosen(plan.mix, count, np.random.default_rng(seed))
    for index, endpoint in fixed.items():
        if endpoint >= 0:
            turns[chosen == index] = endpoint
    return turns


def _fixed(definition: Any, names: Sequence[str]) -> int:
    wanted = definition.get("endpoint", "any")
    return -1 if wanted == "any" else list(names).index(wanted)
