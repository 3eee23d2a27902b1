"""Drills of the scenarios beyond the main job: a spike, governance, larger federations, a soak and the way to the knee."""

from __future__ import annotations

from collections.abc import Callable

from gates.drills.responses import BEYOND, late, proxied, proxy_logs
from gates.model import Base, Drill, Tree, Unit
from gates.quantity import parse

SPIKE = Base(
    name="spike",
    gate="spike",
    criteria=("latency.p90@spike", "latency.p95@after", "errors.ratio"),
    settings={"stop": {"after": "never"}},  # a run that ends itself for the one has nothing to say of the other
    scenario={
        "arrivals": {"shape": "spike", "base": "60/s", "peak": "300/s", "at": "1.5 s", "length": "3 s", "for": "10 s"},
        "warmup": "1 s",
    },
    seconds=14.0,
)
GOVERNANCE_LOAD = Base(
    name="governance-load",
    gate="governance-load",
    criteria=("latency.p99@steady", "errors.ratio@steady"),
    scenario={"arrivals": {"rate": "80/s", "for": "15 s"}, "warmup": "1.5 s"},
    seconds=19.0,
)
FEDERATION = Base(
    name="federation",
    gate="federation-5",
    criteria=("latency.p99@steady", "errors.ratio"),
    scenario={"arrivals": {"rate": "80/s", "for": "14.5 s"}, "warmup": "1.5 s"},
    seconds=20.0,
)
MEMORY = Base(
    name="memory",
    gate="memory",
    criteria=("errors.ratio",),
    scenario={"arrivals": {"rate": "50/s", "for": "9 s"}, "warmup": "1 s"},
    seconds=13.0,
)
STALE = Base(
    name="stale",
    gate="soak",
    criteria=("errors.ratio",),
    scenario={"arrivals": {"shape": "soak", "rate": "300/s", "for": "13 s"}, "warmup": "1 s"},
    seconds=17.0,
)
# Seven stalls: with fewer a resample of the seconds may hold too few of them for a p99 that is surely above its limit.
# One connection an endpoint, and so one request in a stall that has been sent: the service time of all others is as ever.
STALLED = Base(
    name="stalled",
    gate="soak",
    criteria=("latency.p99@steady",),
    scenario={"arrivals": {"shape": "soak", "rate": "40/s", "for": "142 s"}, "warmup": "2 s", "connections": 3},
    seconds=147.0,
)
KNEE = Base(
    name="knee",
    gate="knee",
    criteria=("knee.rate",),
    scenario={
        "arrivals": {
            "shape": "steps",
            "steps": [{"rate": "50/s", "for": "5 s"}, {"rate": "100/s", "for": "4 s"}, {"rate": "200/s", "for": "4 s"}],
        },
        "warmup": "1 s",
    },
    seconds=19.0,
)
_FIVE, _FIFTH = "5 %", "20 %"


def _refused(name: str, base: Base, criterion: str, summary: str) -> Drill:
    """One request in twenty is refused with 503."""
    seed = proxied(base, errors={"share": _FIVE, "status": 503})
    return Drill(name, summary, base, criterion, seed, proxy_logs("error"), seconds=base.seconds + 1.0)


def _slow(name: str, base: Base, criterion: str, share: str, summary: str, **only: str) -> Drill:
    """A share of the answers comes after 1.5 times the limit of *criterion*."""
    seed = late(base, criterion, share, **only)
    return Drill(name, summary, base, criterion, seed, proxy_logs("delay"), seconds=base.seconds + 2.0)


def _beyond_the_objective() -> Callable[[Tree], Tree]:
    """Hold every answer back for 1.5 times the objective of the knee."""

    def seed(tree: Tree) -> Tree:
        by = parse(tree.gate(KNEE.gate)["knee"]["latency.p95"], Unit.SECONDS) * BEYOND
        return tree.with_gate(KNEE.gate, proxy={"delay": {"share": "100 %", "by": f"{by!r} s"}})

    return seed


DRILLS = (
    _slow("slow-spike", SPIKE, "latency.p90@spike", _FIFTH, "One answer in five comes late, while a spike lasts and after it."),
    _slow("slow-after-spike", SPIKE, "latency.p95@after", _FIFTH, "After a spike one answer in five still comes late."),
    _refused("errors-in-a-spike", SPIKE, "errors.ratio", "One request in twenty is refused, in a spike and around it."),
    _slow(
        "slow-governance",
        GOVERNANCE_LOAD,
        "latency.p99@steady",
        _FIVE,
        "One answer in twenty about proposals and votes comes late.",
        path="/governance",
    ),
    _refused(
        "errors-in-governance", GOVERNANCE_LOAD, "errors.ratio@steady", "One request in twenty about governance is refused."
    ),
    _slow("slow-federation", FEDERATION, "latency.p99@steady", _FIVE, "One answer in twenty of a federation comes late."),
    _refused("errors-in-a-federation", FEDERATION, "errors.ratio", "One request in twenty to a federation is refused."),
    Drill(
        "mistaken-large-bodies",
        "One request in twenty, whatever its size, is answered with 500 instead of a refusal.",
        MEMORY,
        "errors.ratio",
        proxied(MEMORY, errors={"share": _FIVE, "status": 500}),
        proxy_logs("error"),
        seconds=14.0,
    ),
    Drill(
        "stale-bodies",
        "One block in twenty that is read back is the one that was read before.",
        STALE,
        "errors.ratio",
        proxied(STALE, stale={"share": _FIVE}, path="/dag/get"),
        proxy_logs("stale"),
        seconds=18.0,
    ),
    Drill(
        "stall",
        "Nothing is answered for 1 s in every 20 s: half of what the clients see, and next to nothing of what the wire shows.",
        STALLED,
        "latency.p99@steady",
        proxied(STALLED, stall={"every": "20 s", "for": "1 s"}),
        proxy_logs("stall"),
        seconds=148.0,
    ),
    Drill(
        "early-knee",
        "Every answer comes later than the objective allows, at the lowest rate already.",
        KNEE,
        "knee.rate",
        _beyond_the_objective(),
        proxy_logs("delay"),
        seconds=21.0,
    ),
)
