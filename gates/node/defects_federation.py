"""Seeded defects of blocks, of governance, and of how a node lives with what is down.

What a defect changes is imported inside of it, so that nothing took over the sound one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from gates.node.defects_tell import Tell, struck

OVERSLEPT = 7.0
CLOSE_LOOK_MS = 50


# --- blocks -----------------------------------------------------------------------------------------------------------


def lost_outbox(tell: Tell) -> None:
    """Some blocks that a change decided on are not put into the outbox with it."""
    from gates.node import outbox
    from gates.node.cid import cid_of

    put = outbox.put

    def forget(tx: Any, data: bytes, codec: int, author: str) -> str:
        cid = cid_of(data, codec)
        if struck(cid):
            tell(cid)
            return cid
        return put(tx, data, codec, author)

    outbox.put = forget


def impatient_outbox(tell: Tell) -> None:
    """A node gives up the blocks that it could not anchor at the first try."""
    from gates.node.outbox import Anchorer

    move = Anchorer._move

    async def give_up(self: Anchorer, rows: list[Any]) -> int:
        try:
            return await move(self, rows)
        except Exception:
            numbers = [(row[0],) for row in rows]
            await self._ledger.write(lambda tx: tx.executemany("DELETE FROM outbox WHERE number = ?", numbers).rowcount)
            for row in rows:
                tell(row[1])
            return len(rows)

    Anchorer._move = give_up  # type: ignore[method-assign]


def skipped_block(tell: Tell) -> None:
    """Anti-entropy passes over some blocks that are missing."""
    from gates.node.sync import Sync

    missing = Sync._missing

    def pass_over(self: Sync, cids: Iterable[str]) -> list[str]:
        wanted = missing(self, cids)
        for cid in wanted:
            if struck(cid):
                tell(cid)
        return [cid for cid in wanted if not struck(cid)]

    Sync._missing = pass_over  # type: ignore[method-assign]


# --- governance -------------------------------------------------------------------------------------------------------


def double_vote(tell: Tell) -> None:
    """A home forgets that a member has voted, and signs another vote."""
    from gates.node import governance

    cast_before = governance.cast_before

    def forget(tx: Any, proposal: str, voter: str) -> None:
        if cast_before(tx, proposal, voter) is not None:
            tell(proposal)

    def keep_another(tx: Any, proposal: str, voter: str, block: bytes) -> None:
        tx.execute("INSERT OR REPLACE INTO votes_cast VALUES (?, ?, ?)", (proposal, voter, block))

    governance.cast_before = forget  # type: ignore[assignment]
    governance.keep_vote = keep_another  # type: ignore[assignment]


def wrong_tally(tell: Tell) -> None:
    """Votes against a proposal are counted as votes for it, on every node alike."""
    from gates.node import tally

    count = tally.tally

    def count_for(votes: Iterable[Any]) -> tally.Tally:
        known = list(votes)
        right = count(known)
        if right.no:
            tell(known[0].proposal)
        return tally.Tally(right.yes + right.no, 0, right.abstain)

    tally.tally = count_for


# --- how a node lives with what is down -------------------------------------------------------------------------------


def slow_restart(tell: Tell) -> None:
    """A node that finds a database of an earlier life takes seconds before it serves."""
    from gates.node.storage import SqliteStorage

    open_store = SqliteStorage.open

    def oversleep(self: SqliteStorage) -> None:
        if self.path.name == "ledger.db" and self.path.exists():
            tell("asleep")
            time.sleep(OVERSLEPT)
            tell("awake")
        open_store(self)

    SqliteStorage.open = oversleep  # type: ignore[method-assign]


def _refusing(tell: Tell, why: Callable[[Any], str]) -> None:
    """Refuse jobs while there is a reason *why* in the node."""
    from gates.node import api_mesh
    from gates.node.errors import StoreUnavailable

    submitted = api_mesh._submitted

    async def refuse(call: Any, submission: Any) -> Any:
        if reason := why(call.node):
            tell(submission.key)
            raise StoreUnavailable(reason)
        return await submitted(call, submission)

    api_mesh._submitted = refuse


def refuse_when_peer_down(tell: Tell) -> None:
    """A node refuses jobs while one of its peers does not answer: one failure takes the whole federation down."""
    from gates.node.settings import Settings

    made = Settings.__init__

    def closely(self: Settings, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **{**named, "peer_pace_ms": CLOSE_LOOK_MS})

    def why(node: Any) -> str:
        return "a peer does not answer" if len(node.federation.alive()) < len(node.federation.peers()) else ""

    Settings.__init__ = closely  # type: ignore[method-assign]
    _refusing(tell, why)


def blocks_before_jobs(tell: Tell) -> None:
    """A node refuses jobs while its block store takes no writes, though receipts could wait."""
    _refusing(tell, lambda node: "" if node.degradation.up["dag_write"] else "the block store takes no writes")


def ready_always_yes(tell: Tell) -> None:
    """A node that serves says that it is ready, whatever its probes found."""
    from gates.node import health

    answer = health.json_answer  # type: ignore[attr-defined]

    def yes(value: Any, code: int = 200, headers: Any = None) -> Any:
        if code == 503 and "ready" in value and value["started"] and not value["draining"]:
            tell("lied")
            return answer({**value, "ready": True}, 200, headers)
        return answer(value, code, headers)

    health.json_answer = yes  # type: ignore[attr-defined]
