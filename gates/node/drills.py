"""Drills that only ICN can have: nodes that break their promises. Reached by the entry point `gates.drills`."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gates.model import Base, Drill, Sighting, Tree

CRASH = Base(
    name="crash",
    gate="crash",
    criteria=("acknowledged.lost", "acknowledged.duplicated", "mana.imbalance", "unavailable@fault/healthy"),
    scenario={
        "arrivals": {"rate": "200/s", "for": "5 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "30 %", "for": "40 %", "crash": {"node": "node-b"}}],
    },
    seconds=8.0,
)
# a recovery that does not come is a breach only once it was watched for longer than its limit
RECOVERY = Base(
    name="recovery",
    gate="crash",
    criteria=("recovery.time",),
    scenario={
        "arrivals": {"rate": "60/s", "for": "9 s"},
        "warmup": "0.5 s",
        "faults": [{"at": "10 %", "for": "5 %", "crash": {"node": "node-b"}}],
    },
    seconds=12.0,
)


def _with_defect(name: str) -> Callable[[Tree], Tree]:
    """The same federation, with a defect in every node."""

    def seed(tree: Tree) -> Tree:
        return tree.with_target(federation={**tree.spec["target"]["federation"], "defect": name})

    return seed


@dataclass(frozen=True, slots=True)
class _Node:
    """What a node left on disk: the keys that its defect struck, the keys of its jobs, and its mana."""

    struck: tuple[str, ...]
    stored: tuple[str, ...]
    minted: int
    balance: int
    cost: int


def _nodes(gate: Path) -> Iterator[_Node]:
    """Every node's files, read directly: the answers of a defective node prove nothing."""
    for database in sorted(gate.rglob("node.db")):
        told = database.with_name("defect.jsonl")
        struck = tuple(json.loads(line)["key"] for line in told.read_text().splitlines()) if told.exists() else ()
        with _opened(database) as connection:
            jobs = connection.execute("SELECT key, cost FROM jobs").fetchall()
            minted, balance = connection.execute("SELECT SUM(minted), SUM(balance) FROM accounts").fetchone()
        yield _Node(struck, tuple(key for key, _ in jobs), minted, balance, sum(cost for _, cost in jobs))


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection:
        yield connection


def _acknowledged_and_gone(gate: Path, _tree: Path) -> Sighting:
    nodes = list(_nodes(gate))
    struck = sum(len(node.struck) for node in nodes)
    gone = sum(len(set(node.struck) - set(node.stored)) for node in nodes)
    return Sighting(struck, gone, f"{struck:,} jobs were acknowledged too early, and the databases lack {gone:,} of them")


def _charged_and_unaccounted(gate: Path, _tree: Path) -> Sighting:
    nodes = list(_nodes(gate))
    struck = sum(len(node.struck) for node in nodes)
    missing = sum(abs(node.minted - node.balance - node.cost) for node in nodes)
    return Sighting(
        struck, missing, f"{struck:,} repeated keys were charged again, and {missing:,} mana of the databases is missing"
    )


def _stored_twice(gate: Path, _tree: Path) -> Sighting:
    nodes = list(_nodes(gate))
    struck = sum(len(node.struck) for node in nodes)
    twice = sum(len(node.stored) - len(set(node.stored)) for node in nodes)
    return Sighting(struck, twice, f"{struck:,} keys were forgotten, and the databases hold {twice:,} jobs beyond one a key")


def _overslept(gate: Path, _tree: Path) -> Sighting:
    """The defect's own log, which the node wrote by its own clock: from falling asleep to waking up."""
    told = [[json.loads(line) for line in log.read_text().splitlines()] for log in sorted(gate.rglob("defect.jsonl"))]
    asleep = [line["time"] for lines in told for line in lines if line["key"] == "asleep"]
    awake = [line["time"] for lines in told for line in lines if line["key"] == "awake"]
    longest = max((late - early for early, late in zip(asleep, awake, strict=False)), default=0.0)
    return Sighting(len(asleep), len(awake), f"{len(asleep)} restarts were held up, the longest for {longest:.1f} s")


def _refused_though_sound(gate: Path, _tree: Path) -> Sighting:
    """What the nodes say that they refused, and which of those clients saw refused, by the recorded history."""
    struck = {key for node in _nodes(gate) for key in node.struck}
    with gzip.open(gate / "evidence" / "history.jsonl.gz", "rt", encoding="utf-8") as file:
        fields, *lines = [json.loads(line) for line in file]
    operations = [dict(zip(fields["fields"], line, strict=True)) for line in lines if isinstance(line, list)]
    seen = sum(operation["key"] in struck and operation["code"] == 503 for operation in operations)
    return Sighting(
        len(struck), seen, f"nodes refused {len(struck):,} jobs because of a peer, and clients were told so {seen:,} times"
    )


DRILLS = (
    Drill(
        "ack-before-durable",
        "Nodes acknowledge a job before it is synced, and one of them is killed.",
        CRASH,
        "acknowledged.lost",
        _with_defect("ack-before-durable"),
        _acknowledged_and_gone,
        seconds=8.0,
    ),
    Drill(
        "double-charge",
        "Nodes charge a repeated key again.",
        CRASH,
        "mana.imbalance",
        _with_defect("double-charge"),
        _charged_and_unaccounted,
        seconds=8.0,
    ),
    Drill(
        "forget-keys",
        "Nodes forget which keys they know, and make a second job.",
        CRASH,
        "acknowledged.duplicated",
        _with_defect("forget-keys"),
        _stored_twice,
        seconds=8.0,
    ),
    Drill(
        "refuse-when-peer-down",
        "Nodes refuse jobs while a peer does not answer, so that one failure takes all of them down.",
        CRASH,
        "unavailable@fault/healthy",
        _with_defect("refuse-when-peer-down"),
        _refused_though_sound,
        seconds=8.0,
    ),
    Drill(
        "slow-restart",
        "A node that starts again takes seven seconds before it serves.",
        RECOVERY,
        "recovery.time",
        _with_defect("slow-restart"),
        _overslept,
        seconds=15.0,
    ),
)
