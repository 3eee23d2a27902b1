"""What a node's defect left on disk: the probes of the drills.

They read databases and logs directly, because the answers of a defective node prove nothing.
"""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates.model import Sighting

WITHOUT_SIGNATURE = b"\x58\x40" + bytes(64)
"""64 zero bytes as DAG-CBOR writes them."""
Probe = Callable[[Path, Path], Sighting]


@dataclass(frozen=True, slots=True)
class _Node:
    """A node's data folder."""

    folder: Path

    @property
    def struck(self) -> tuple[str, ...]:
        """Whom its defect says to have struck."""
        return tuple(line["key"] for line in self.told())

    def told(self) -> list[dict[str, Any]]:
        """The lines of the defect's own log."""
        log = self.folder / "defect.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def ledger(self, query: str) -> list[Any]:
        """Rows of the ledger's database."""
        return _rows(self.folder / "ledger.db", query)

    def dag(self, query: str) -> list[Any]:
        """Rows of the block store."""
        return _rows(self.folder / "dag.db", query)

    def blocks(self) -> set[bytes]:
        """Digests of the blocks that it holds."""
        return {bytes(key)[:32] for (key,) in self.dag("SELECT key FROM blocks")}


def _rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def _nodes(gate: Path) -> list[_Node]:
    return [_Node(database.parent) for database in sorted(gate.rglob("ledger.db"))]


def _struck(nodes: Sequence[_Node]) -> int:
    return sum(len(node.struck) for node in nodes)


def _operations(gate: Path) -> Iterator[dict[str, Any]]:
    """What clients saw, by the recorded history."""
    with gzip.open(gate / "evidence" / "history.jsonl.gz", "rt", encoding="utf-8") as file:
        fields, *lines = [json.loads(line) for line in file]
    return (dict(zip(fields["fields"], line, strict=True)) for line in lines if isinstance(line, list))


# --- probes -----------------------------------------------------------------------------------------------------------

Count = Callable[[_Node], int]


def counted(count: Count, text: str) -> Probe:
    """A probe that sums *count* over the nodes; *text* says it with `{struck}` and `{found}`."""

    def look(gate: Path, _tree: Path) -> Sighting:
        nodes = _nodes(gate)
        struck, found = _struck(nodes), sum(count(node) for node in nodes)
        return Sighting(struck, found, text.format(struck=f"{struck:,}", found=f"{found:,}"))

    return look


def lost(node: _Node) -> int:
    stored = {key for (key,) in node.ledger("SELECT key FROM jobs")}
    return len(set(node.struck) - stored)


def burned_for_no_job(node: _Node) -> int:
    """Mana that was burned for no completed job."""
    ((burned,),) = node.ledger("SELECT coalesce(sum(burned), 0) FROM accounts")
    ((price,),) = node.ledger("SELECT coalesce(sum(price), 0) FROM jobs WHERE status = 'Completed'")
    return abs(int(burned) - int(price))


def burned_for_no_vote(node: _Node) -> int:
    """Mana that was burned for no proposal and no vote of this node's members."""
    ((burned,),) = node.ledger("SELECT coalesce(sum(burned), 0) FROM accounts")
    ((proposals,),) = node.ledger("SELECT count(*) FROM proposals_made")
    ((votes,),) = node.ledger("SELECT count(*) FROM votes_cast")
    return abs(int(burned) - 10 * int(proposals) - int(votes))


def repeated_keys(node: _Node) -> int:
    """Keys with more than one job."""
    return int(node.ledger("SELECT count(*) FROM (SELECT 1 FROM jobs GROUP BY owner, key HAVING count(*) > 1)")[0][0])


def apart(node: _Node) -> int:
    """How far a ledger is from adding up."""
    query = "SELECT coalesce(sum(minted + regenerated - burned), 0), coalesce(sum(balance + reserved), 0) FROM accounts"
    ((income, there),) = node.ledger(query)
    return abs(int(income) - int(there))


def jumps(node: _Node) -> int:
    """Transitions from open bidding straight to an assignment."""
    query = (
        "SELECT count(*) FROM job_events a JOIN job_events b ON b.job = a.job AND b.sequence = a.sequence + 1"
        " WHERE a.status = 'BiddingOpen' AND b.status = 'Assigned'"
    )
    return int(node.ledger(query)[0][0])


def without_end(node: _Node) -> int:
    return int(node.ledger("SELECT count(*) FROM jobs WHERE status NOT IN ('Completed', 'Failed', 'Cancelled')")[0][0])


def unsigned(node: _Node) -> int:
    return sum(WITHOUT_SIGNATURE in bytes(data) for (data,) in node.dag("SELECT data FROM blocks"))


def double_votes(node: _Node) -> int:
    query = "SELECT count(*) FROM (SELECT 1 FROM votes GROUP BY proposal, voter HAVING count(*) > 1)"
    return int(node.dag(query)[0][0])


def against(node: _Node) -> int:
    """Proposals of which the votes say No, and the log says that they were counted otherwise."""
    proposals = {proposal for (proposal,) in node.dag("SELECT DISTINCT proposal FROM votes WHERE option = 'No'")}
    return len(proposals & set(node.struck))


def receipts_missing(gate: Path, _tree: Path) -> Sighting:
    """Receipts that the ledgers name, and that not every block store holds."""
    nodes = _nodes(gate)
    held = [node.blocks() for node in nodes]
    query = "SELECT receipt_cid FROM jobs WHERE status = 'Completed'"
    due = [_digest(cid) for node in nodes for (cid,) in node.ledger(query)]
    missing = sum(any(digest not in blocks for blocks in held) for digest in due)
    struck = _struck(nodes)
    return Sighting(
        struck, missing, f"{struck:,} blocks were dropped, and {missing:,} of {len(due):,} receipts are not everywhere"
    )


def blocks_apart(gate: Path, _tree: Path) -> Sighting:
    """Blocks that some block store holds and another does not."""
    nodes = _nodes(gate)
    held = [node.blocks() for node in nodes]
    apart = set[bytes]().union(*held) - set[bytes].intersection(*held) if held else set()
    struck = _struck(nodes)
    return Sighting(struck, len(apart), f"blocks were passed over {struck:,} times, and {len(apart):,} are not on every node")


def _digest(cid: str) -> bytes:
    text = cid[1:].upper()
    return base64.b32decode(text + "=" * (-len(text) % 8))[-32:]


def overslept(gate: Path, _tree: Path) -> Sighting:
    """The defect's own log, which the node wrote by its own clock: from falling asleep to waking up."""
    told = [node.told() for node in _nodes(gate)]
    asleep = [line["time"] for lines in told for line in lines if line["key"] == "asleep"]
    awake = [line["time"] for lines in told for line in lines if line["key"] == "awake"]
    longest = max((late - early for early, late in zip(asleep, awake, strict=False)), default=0.0)
    return Sighting(len(asleep), len(awake), f"{len(asleep)} restarts were held up, the longest for {longest:.1f} s")


def refused(why: str) -> Probe:
    """What the nodes say that they refused, and which of those clients saw refused, by the recorded history."""

    def look(gate: Path, _tree: Path) -> Sighting:
        struck = {key for node in _nodes(gate) for key in node.struck}
        seen = sum(operation["key"] in struck and operation["code"] == 503 for operation in _operations(gate))
        text = f"nodes refused {len(struck):,} jobs because {why}, and clients were told so {seen:,} times"
        return Sighting(len(struck), seen, text)

    return look


def lies(gate: Path, _tree: Path) -> Sighting:
    """How often a node's own probes failed and it said yes, beside the lock that another process saw."""
    struck = _struck(_nodes(gate))
    file = gate / "evidence" / "observations.json"
    locks = [each for each in json.loads(file.read_text()) if each["seen_start"] is not None] if file.exists() else []
    text = f"{struck:,} times nodes said that they are ready although their probes failed; {len(locks)} locks were seen"
    return Sighting(struck, struck if locks else 0, text)


def told(what: str) -> Probe:
    """How often the defect did something, by its own log, while the recorded faults lasted or after them."""

    def look(gate: Path, _tree: Path) -> Sighting:
        struck = _struck(_nodes(gate))
        faults = [each for each in _observations(gate) if each["seen_start"] is not None]
        text = f"nodes say {struck:,} times that they {what}; {len(faults)} faults were seen"
        return Sighting(struck, struck if faults else 0, text)

    return look


def refused_after_the_heal(gate: Path, _tree: Path) -> Sighting:
    """Refusals that clients were given more than two seconds after every fault was seen over, by the recorded history."""
    struck = _struck(_nodes(gate))
    over = max((each["seen_end"] or float("inf") for each in _observations(gate)), default=float("inf"))
    late = sum(each["code"] == 503 and each["invoked"] > over + 2.0 for each in _operations(gate))
    return Sighting(
        struck, late, f"nodes say {struck:,} times that they refused; clients were, {late:,} times, 2 s after the heal"
    )


def old_answers(gate: Path, _tree: Path) -> Sighting:
    """Answers of which the recorded history has an age."""
    struck = _struck(_nodes(gate))
    aged = sum("age" in (each["answer"] or {}) for each in _operations(gate))
    return Sighting(struck, aged, f"nodes told old balances {struck:,} times, and {aged:,} answers to clients have an age")


def lost_at_the_cut(gate: Path, _tree: Path) -> Sighting:
    """Jobs that a client got an id for, by the recorded history, and whose key no ledger has."""
    nodes = _nodes(gate)
    stored = {key for node in nodes for (key,) in node.ledger("SELECT key FROM jobs")}
    promised = {each["key"] for each in _operations(gate) if each["kind"] == "submit_job" and each["status"] == "ok"}
    lost = len(promised - stored)
    text = f"{_struck(nodes)} databases were opened to commit without a sync, and {lost:,} acknowledged jobs are in none"
    return Sighting(_struck(nodes), lost, text)


def refused_curtly(gate: Path, _tree: Path) -> Sighting:
    """Refusals of which the recorded history has no time to come again."""
    struck = _struck(_nodes(gate))
    curt = sum(each["code"] == 503 and "retry_after" not in (each["answer"] or {}) for each in _operations(gate))
    return Sighting(struck, curt, f"nodes left out Retry-After {struck:,} times, and {curt:,} refusals of clients have none")


def _observations(gate: Path) -> list[dict[str, Any]]:
    file = gate / "evidence" / "observations.json"
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return found


def grown(by: int, text: str) -> Probe:
    """A probe of a node that grows: what its defect told of its own process, from the first time to the last.

    It is reached by every line, and triggered in each node that grew by more than *by*; *text* says it with `{struck}` and
    `{found}`, the largest growth.
    """

    def look(gate: Path, _tree: Path) -> Sighting:
        nodes = [[int(key) for key in node.struck] for node in _nodes(gate)]
        growths = [told[-1] - told[0] for told in nodes if told]
        struck, found = sum(map(len, nodes)), max(growths, default=0)
        return Sighting(struck, sum(each > by for each in growths), text.format(struck=f"{struck:,}", found=f"{found:,}"))

    return look
