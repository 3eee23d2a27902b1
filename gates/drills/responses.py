"""Drills of the load gates: answers that come late, are refused, or are wrong, for a share of the requests (by the proxy)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gates.drills.limits import limit_of
from gates.model import Base, Drill, Sighting, Tree, Unit

SHARE = 0.05
BEYOND = 1.5
_SHARE = f"{SHARE:.0%}".replace("%", " %")

SUSTAINED = Base(
    name="sustained",
    gate="sustained",
    criteria=("latency.p99@steady", "errors.ratio"),
    scenario={"arrivals": {"rate": "300/s", "for": "4.5 s", "shape": "constant"}, "warmup": "1 s"},
    seconds=8.0,
)
SUBMISSIONS = Base(
    name="submissions",
    gate="sustained",
    criteria=("latency.p99@steady/submit_job",),
    scenario={"arrivals": {"rate": "360/s", "for": "5 s", "shape": "constant"}, "warmup": "1 s"},
    seconds=8.5,
)
# 0.1 % needs 3.7 / 0.1 % requests, or no error at all could not pass; of them 0.3 % are 11, and 11 can't be 0.1 %
STANDARD = Base(
    name="sustained-standard",
    gate="sustained",
    criteria=("errors.ratio",),
    scenario={"arrivals": {"rate": "300/s", "for": "13 s", "shape": "constant"}, "warmup": "1 s"},
    profile="standard",
    seconds=17.0,
)
BURST = Base(
    name="burst",
    gate="burst",
    criteria=("latency.p90@steady", "errors.ratio"),
    scenario={"arrivals": {"rate": "300/s", "for": "3 s", "shape": "constant"}},
    seconds=6.0,
)


def proxied(base: Base, **defect: Any) -> Callable[[Tree], Tree]:
    """Put a proxy with *defect* before the endpoints of *base*."""

    return lambda tree: tree.with_gate(base.gate, proxy=defect)


def late(base: Base, criterion: str, share: str, **only: str) -> Callable[[Tree], Tree]:
    """Hold answers back for 1.5 times the limit of *criterion*; *only* to requests of a method or path."""

    def seed(tree: Tree) -> Tree:
        by = limit_of(tree, base.gate, criterion, Unit.SECONDS) * BEYOND
        return tree.with_gate(base.gate, proxy={"delay": {"share": share, "by": f"{by!r} s"}, **only})

    return seed


def proxy_logs(kind: str) -> Callable[[Path, Path], Sighting]:
    """The proxies' own logs: how many answers passed through them, and to how many of them *kind* was done."""

    def look(gate: Path, _tree: Path) -> Sighting:
        logs = sorted((gate / "target").glob("*.jsonl"))
        passed, done = _counted([json.loads(line) for log in logs for line in log.read_text().splitlines()], kind)
        text = f"{len(logs)} proxies passed on {passed:,} answers and did {kind.replace('_', ' ')} to {done:,} of them"
        return Sighting(passed, done, text)

    return look


def _counted(lines: list[Mapping[str, Any]], kind: str) -> tuple[int, int]:
    each = Counter(line["kind"] for line in lines)
    passed = sum(int(line.get("forwarded", 0)) for line in lines if line["kind"] == "total")
    return max(passed, each[kind]), each[kind]


DRILLS = (
    Drill(
        "slow-p99",
        "One answer in twenty comes after 1.5 times the limit of p99.",
        SUSTAINED,
        "latency.p99@steady",
        late(SUSTAINED, "latency.p99@steady", _SHARE),
        proxy_logs("delay"),
        seconds=9.0,
    ),
    Drill(
        "errors-5-percent",
        "One request in twenty is refused with 503.",
        SUSTAINED,
        "errors.ratio",
        proxied(SUSTAINED, errors={"share": _SHARE, "status": 503}),
        proxy_logs("error"),
        seconds=9.0,
    ),
    Drill(
        "wrong-body-5-percent",
        "One answer in twenty is a 200 with another body.",
        SUSTAINED,
        "errors.ratio",
        proxied(SUSTAINED, wrong_body={"share": _SHARE}),
        proxy_logs("wrong_body"),
        seconds=9.0,
    ),
    Drill(
        "truncated-5-percent",
        "One answer in twenty ends in the middle of its body.",
        SUSTAINED,
        "errors.ratio",
        proxied(SUSTAINED, truncated={"share": _SHARE}),
        proxy_logs("truncated"),
        seconds=9.0,
    ),
    Drill(
        "errors-3-per-mille",
        "Three requests in a thousand are refused with 503: too few for the profile quick, enough for standard.",
        STANDARD,
        "errors.ratio",
        proxied(STANDARD, errors={"share": "0.3 %", "status": 503}),
        proxy_logs("error"),
        seconds=18.0,
    ),
    Drill(
        "slow-submissions",
        "One submission in twenty is answered after 1.5 times the limit of its flow's p99; reads are as fast as ever.",
        SUBMISSIONS,
        "latency.p99@steady/submit_job",
        late(SUBMISSIONS, "latency.p99@steady/submit_job", _SHARE, path="/mesh/submit"),
        proxy_logs("delay"),
        seconds=9.5,
    ),
    Drill(
        "errors-in-a-burst",
        "One request in twenty of a burst is refused with 503.",
        BURST,
        "errors.ratio",
        proxied(BURST, errors={"share": _SHARE, "status": 503}),
        proxy_logs("error"),
        seconds=7.0,
    ),
    Drill(
        "slow-burst",
        "One answer in five of a burst comes after 1.5 times the limit of p90.",
        BURST,
        "latency.p90@steady",
        late(BURST, "latency.p90@steady", "20 %"),
        proxy_logs("delay"),
        seconds=7.0,
    ),
)
