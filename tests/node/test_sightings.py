"""What the probes of the node's drills see on disk: the defect where it is, and nothing where it is not."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gates.model import Sighting
from gates.node import schema, sightings
from gates.node.cid import Cid, cid_of, parse
from gates.node.drills import DRILLS

CID = cid_of(b"receipt", 0x71)


class Folder:
    """A gate's folder with two nodes, as a run leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("node-a", "node-b"):
            folder = root / "target" / "data" / name
            folder.mkdir(parents=True)
            for database, scripts in (("ledger", schema.LEDGER_MIGRATIONS), ("dag", schema.DAG_MIGRATIONS)):
                with closing(sqlite3.connect(folder / f"{database}.db")) as connection:
                    connection.execute("PRAGMA synchronous = OFF")
                    for script in scripts:
                        connection.executescript(script)

    def do(self, database: str, statement: str, *values: Any, name: str = "node-a") -> None:
        """Change a database of a node, whatever its checks say."""
        path = self.root / "target" / "data" / name / f"{database}.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(statement, values)

    def job(self, number: int, key: str = "k", status: str = "Completed", receipt: str = CID) -> None:
        columns = (
            "number, id, owner, key, content, cost, status, events, executor, price, receipt_cid, submitted_at, updated_at"
        )
        row = (number, f"id-{number}", "o", key, "c", 10, status, 1, "e", 4, receipt, 0, 0)
        self.do("ledger", f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * len(row))})", *row)

    def account(self, burned: int, balance: int = 0) -> None:
        row = ("o", 100, burned, balance, 0, 0, 0)
        self.do(
            "ledger",
            "INSERT INTO accounts (did, minted, burned, balance, reserved, capacity, settled_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *row,
        )

    def block(self, cid: str = CID, data: bytes = b"x", name: str = "node-a") -> None:
        found = parse(cid)
        assert isinstance(found, Cid)
        key = found.digest + bytes((found.codec,))
        self.do("dag", "INSERT INTO blocks (key, author, at, data) VALUES (?, '', 0, ?)", key, data, name=name)

    def vote(self, cid: str, option: str = "Yes") -> None:
        self.do("dag", "INSERT INTO votes VALUES (?, 'p', 'v', ?, 0, 'n')", cid, option)

    def event(self, sequence: int, status: str) -> None:
        self.do("ledger", "INSERT INTO job_events VALUES (1, ?, ?, 0)", sequence, status)

    def tell(self, *keys: str, at: float = 0.0) -> None:
        lines = [json.dumps({"defect": "d", "time": at + step, "key": key}) for step, key in enumerate(keys)]
        (self.root / "target" / "data" / "node-a" / "defect.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def seen(self, drill: str) -> Sighting:
        """What the probe of *drill* sees here."""
        return next(each for each in DRILLS if each.name == drill).probe(self.root, self.root)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty one."""
    return Folder(tmp_path)


Do = Callable[[Folder], Any]
WITHOUT = bytes.fromhex("a1697369676e6174757265") + sightings.WITHOUT_SIGNATURE


@pytest.mark.parametrize(
    ("drill", "sound", "defective", "triggered"),
    [
        ("ack-before-durable", lambda it: it.job(1, "told"), lambda it: it.tell("gone"), 1),
        ("double-charge", lambda it: (it.job(1), it.account(burned=4)), lambda it: it.account(burned=14), 14),
        ("forget-keys", lambda it: it.job(1), lambda it: (it.job(1), it.job(2)), 1),
        ("stuck-job", lambda it: it.job(1), lambda it: it.job(1, status="Executing"), 1),
        (
            "illegal-transition",
            lambda it: (it.event(1, "BiddingOpen"), it.event(2, "BiddingClosed"), it.event(3, "Assigned")),
            lambda it: (it.event(1, "BiddingOpen"), it.event(2, "Assigned")),
            1,
        ),
        ("double-refund", lambda it: it.account(burned=4, balance=96), lambda it: it.account(burned=4, balance=106), 10),
        ("unverified-receipt", lambda it: it.block(data=b"\x58\x40" + bytes(63) + b"x"), lambda it: it.block(data=WITHOUT), 1),
        (
            "lost-outbox",
            lambda it: (it.job(1), it.block(), it.block(name="node-b")),
            lambda it: (it.job(1), it.block()),
            1,
        ),
        ("skipped-block", lambda it: (it.block(), it.block(name="node-b")), lambda it: it.block(), 1),
        ("double-vote", lambda it: it.vote("a"), lambda it: (it.vote("a"), it.vote("b")), 1),
        ("wrong-tally", lambda it: it.vote("a"), lambda it: (it.vote("a", "No"), it.tell("p")), 1),
        ("double-spend-on-retry", lambda it: it.account(burned=0), lambda it: it.account(burned=3), 3),
        ("slow-restart", lambda it: it.tell(), lambda it: it.tell("asleep", "awake"), 1),
    ],
)
def test_a_probe_sees_the_defect_and_nothing_without_it(
    tmp_path: Path, drill: str, sound: Do, defective: Do, triggered: int
) -> None:
    """Counted in the databases, whatever the defect's own log says."""
    for place, make, expected in (("sound", sound, 0), ("defective", defective, triggered)):
        it = Folder(tmp_path / place)
        make(it)
        assert it.seen(drill).triggered == expected


def test_what_a_defect_struck_is_read_from_its_own_log(folder: Folder) -> None:
    """Without a line, the defect was not reached."""
    assert folder.seen("double-charge").reached == 0
    folder.tell("a", "b")
    sighting = folder.seen("double-charge")
    assert sighting.reached == 2
    assert sighting.text.startswith("2 repeated keys")


def test_a_refusal_counts_when_a_client_was_told(folder: Folder) -> None:
    """By the recorded history: 503, under a key that a node says to have refused."""
    folder.tell("a", "b", "c")
    lines = [{"fields": ["key", "code"]}, ["a", 503], ["b", 200], ["z", 503], {"end": 3}]
    (folder.root / "evidence").mkdir()
    with gzip.open(folder.root / "evidence" / "history.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    for drill in ("refuse-when-peer-down", "blocks-before-jobs"):
        sighting = folder.seen(drill)
        assert (sighting.reached, sighting.triggered) == (3, 1)


@pytest.mark.parametrize(("seen_start", "triggered"), [(1.0, 2), (None, 0)])
def test_a_lie_needs_a_lock_that_somebody_saw(folder: Folder, seen_start: float | None, triggered: int) -> None:
    """A node whose probes failed for another reason has not shown what the drill is about."""
    folder.tell("lied", "lied")
    (folder.root / "evidence").mkdir()
    (folder.root / "evidence" / "observations.json").write_text(json.dumps([{"seen_start": seen_start}]))
    sighting = folder.seen("ready-always-yes")
    assert (sighting.reached, sighting.triggered) == (2, triggered)


def test_every_defect_can_be_put_in() -> None:
    """What each of them changes is there to be changed, and the node can still be put together."""
    code = "from gates.node.defects import DEFECTS\nfor put_in in DEFECTS.values(): put_in(print)\nimport gates.node.__main__"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


@pytest.mark.parametrize("arguments", [[], ["none", "--"], ["double-vote"], ["double-vote", "--name"]])
def test_an_unknown_defect_is_refused(arguments: list[str]) -> None:
    """With the names that there are; no node is started."""
    from gates.node.defects import main

    assert main(arguments) == 2


def test_growth_is_what_a_node_told_of_itself_from_first_to_last(folder: Folder) -> None:
    """Beyond the bound it is triggered; a node that told nothing has not been reached."""
    look = sightings.grown(50, "{struck} and {found}")
    assert look(folder.root, folder.root) == Sighting(0, 0, "0 and 0")
    folder.tell("100", "130", "140")
    assert look(folder.root, folder.root) == Sighting(3, 0, "3 and 40")
    folder.tell("100", "130", "1300")
    assert look(folder.root, folder.root) == Sighting(3, 1, "3 and 1,200")
