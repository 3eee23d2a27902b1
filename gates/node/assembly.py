"""What a node knows of the federation's governance: an index over its blocks, the same in whatever order they came.

A block that is wrong by itself, or by what is known here already, is refused. One that can't be judged yet (a vote whose
proposal is still on its way) is kept and judged when the rest is there: a proposal's status and the effects that stand depend
on nothing but the set of blocks. Nothing here decides; a node decides in its ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gates.node import ballot, motion
from gates.node.ballot import OPEN, Close, Execution, Proposal
from gates.node.dag import Block, Projector
from gates.node.errors import Refusal
from gates.node.judging import Effect, Page, State, check_close, check_vote, last_of_each, members_after
from gates.node.ledger import Read, reading
from gates.node.storage import Transaction
from gates.node.surroundings import Roster
from gates.node.tally import ACCEPTED, Vote

TABLES = """
CREATE TABLE IF NOT EXISTS proposals (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, node TEXT NOT NULL, document BLOB NOT NULL, status TEXT NOT NULL,
    close TEXT, execution TEXT);
CREATE INDEX IF NOT EXISTS proposals_by_status ON proposals (status, node);
CREATE TABLE IF NOT EXISTS proposal_changes (
    change TEXT NOT NULL, proposal TEXT NOT NULL, PRIMARY KEY (change, proposal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS votes (
    cid TEXT PRIMARY KEY, proposal TEXT NOT NULL, voter TEXT NOT NULL, option TEXT NOT NULL, at INTEGER NOT NULL,
    node TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS votes_by_proposal ON votes (proposal);
CREATE TABLE IF NOT EXISTS decisions (
    cid TEXT PRIMARY KEY, proposal TEXT NOT NULL, type TEXT NOT NULL, document BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS decisions_by_proposal ON decisions (proposal);
CREATE TABLE IF NOT EXISTS effects (
    number INTEGER PRIMARY KEY, cid TEXT NOT NULL UNIQUE, proposal TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
    value INTEGER NOT NULL, at INTEGER NOT NULL)
"""

Told = Callable[[str, str], None]


class Assembly:
    """The index, as functions over a transaction or a read of `dag.db`.

    Args:
        roster: who the nodes are; until every founding node's DID is known, no block can be judged.
        told: type and outcome (`indexed` or `refused`) of every block.
    """

    def __init__(self, roster: Roster, told: Told = lambda *_: None) -> None:
        self._roster = roster
        self._told = told
        self._index: Mapping[type, Callable[[Transaction, Any, bytes], None]] = {
            Proposal: self._index_proposal,
            Vote: self._index_vote,
            Close: self._index_decision,
            Execution: self._index_decision,
        }

    # --- blocks in ----------------------------------------------------------------------------------------------------

    def project(self, tx: Transaction, block: Block) -> None:
        """Index a block. Raises Refusal with 422 when it is not valid, and 503 while the founding nodes are not all known."""
        try:
            record = ballot.read_block(block.cid, block.document)
            self._check_node(record.node)
            self._index[type(record)](tx, record, block.data)
        except Refusal:
            self._told(block.type, "refused")
            raise
        self._told(block.type, "indexed")

    def projectors(self) -> dict[str, Projector]:
        """What indexes the blocks of each type."""
        return dict.fromkeys(ballot.TYPES, self.project)

    def _check_node(self, did: str) -> None:
        self._founding()
        if self._roster.name_of(did) is None:
            raise Refusal(422, f"node: {did} is no node of this federation")

    def _founding(self) -> frozenset[str]:
        founding = self._roster.founding()
        if founding is None:
            raise Refusal(503, "the founding members are not all known yet", retry_after=1)
        return founding

    def _check_home(self, did: str, node: str) -> None:
        home = self._roster.home(did)
        if self._roster.name_of(node) != home:
            raise Refusal(422, f"node: expected {home}, the home of {did}")

    def _index_proposal(self, tx: Transaction, proposal: Proposal, data: bytes) -> None:
        self._check_home(proposal.proposer, proposal.node)
        statement = "INSERT INTO proposals (id, node, document, status) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        tx.execute(statement, (proposal.id, proposal.node, data, OPEN))
        rows = [(change, proposal.id) for change in proposal.changes]
        tx.executemany("INSERT INTO proposal_changes VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
        self._settle(tx, proposal.id)

    def _index_vote(self, tx: Transaction, vote: Vote, _data: bytes) -> None:
        self._check_home(vote.voter, vote.node)
        proposal, members = self._judged_by(reading(tx), vote.proposal)
        if proposal is not None and members is not None:
            check_vote(vote, proposal, members)
        row = (vote.cid, vote.proposal, vote.voter, vote.option, vote.at, vote.node)
        tx.execute("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        self._settle(tx, vote.proposal)

    def _index_decision(self, tx: Transaction, decision: Close | Execution, data: bytes) -> None:
        if isinstance(decision, Close):
            self._judge_close(reading(tx), decision)
        else:
            self._judge_execution(reading(tx), decision)
        row = (decision.cid, decision.proposal, type(decision).__name__, data)
        tx.execute("INSERT INTO decisions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        self._settle(tx, decision.proposal)

    # --- judging ------------------------------------------------------------------------------------------------------

    def _judged_by(self, read: Read, proposal_id: str) -> tuple[Proposal | None, frozenset[str] | None]:
        proposal = self.proposal(read, proposal_id)
        return proposal, None if proposal is None else self.electorate(read, proposal)

    def electorate(self, read: Read, proposal: Proposal) -> frozenset[str] | None:
        """Who may vote on *proposal*; None while a change of the members that it names is not known here."""
        named = [self._effect_of(read, change) for change in proposal.changes]
        if any(effect is None for effect in named):
            return None
        return members_after(self._founding(), [effect for effect in named if effect is not None])

    def _effect_of(self, read: Read, execution: str) -> Effect | None:
        rows = read("SELECT * FROM effects WHERE cid = ?", (execution,))
        return Effect(*rows[0]) if rows else None

    def _judge_close(self, read: Read, close: Close) -> bool:
        """Whether *close* stands; False while that can't be told. Raises Refusal when it is wrong."""
        proposal, members = self._judged_by(read, close.proposal)
        if proposal is None:
            return False
        if close.node != proposal.node:
            raise Refusal(422, "node: only the proposal's home may close it")
        known = {vote.cid: vote for vote in self.votes(read, close.proposal)}
        if members is None or not known.keys() >= set(close.votes):
            return False
        check_close(close, proposal, members, [known[cid] for cid in close.votes])
        return True

    def _judge_execution(self, read: Read, execution: Execution) -> bool:
        """As `_judge_close`, for an execution."""
        proposal = self.proposal(read, execution.proposal)
        if proposal is None:
            return False
        if execution.node != proposal.node:
            raise Refusal(422, "node: only the proposal's home may execute it")
        rows = read("SELECT document FROM decisions WHERE cid = ? AND type = 'Close'", (execution.close,))
        close = ballot.decoded(rows[0][0]) if rows else None
        if not isinstance(close, Close) or not self._judge_close(read, close):
            return False
        if close.proposal != execution.proposal or close.status != ACCEPTED:
            raise Refusal(422, "close: expected the one that accepted this proposal")
        return True

    def _settle(self, tx: Transaction, proposal_id: str) -> None:
        """Work out the status of a proposal and the effects of its execution anew from the blocks that are here."""
        decisions = self._decisions(reading(tx), proposal_id)
        closes = [each for each in decisions if isinstance(each, Close) and self._stands(tx, each)]
        executions = [each for each in decisions if isinstance(each, Execution) and self._stands(tx, each)]
        if not closes:
            return
        status = executions[0].status if executions else closes[0].status
        statement = "UPDATE proposals SET status = ?, close = ?, execution = ? WHERE id = ?"
        tx.execute(statement, (status, closes[0].cid, executions[0].cid if executions else None, proposal_id))
        for execution in executions:
            self._take_effect(tx, execution)

    def _stands(self, tx: Transaction, decision: Close | Execution) -> bool:
        with suppress(Refusal):  # it came before what shows that it is wrong; no other node acts on it either
            if isinstance(decision, Close):
                return self._judge_close(reading(tx), decision)
            return self._judge_execution(reading(tx), decision)
        return False

    def _take_effect(self, tx: Transaction, execution: Execution) -> None:
        proposal = self.proposal(reading(tx), execution.proposal)
        if proposal is None or execution.status != ballot.EXECUTED:
            return
        row = (execution.cid, proposal.id, proposal.kind, *motion.subject(proposal.kind, proposal.data), execution.at)
        statement = (
            "INSERT INTO effects (cid, proposal, kind, subject, value, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        if tx.execute(statement, row).rowcount == 1:
            rows = tx.execute("SELECT proposal FROM proposal_changes WHERE change = ?", (execution.cid,)).fetchall()
            for (waiting,) in rows:
                self._settle(tx, waiting)

    # --- what is known ------------------------------------------------------------------------------------------------

    def proposal(self, read: Read, proposal_id: str) -> Proposal | None:
        """The proposal of this id."""
        rows = read("SELECT document FROM proposals WHERE id = ?", (proposal_id,))
        record = ballot.decoded(rows[0][0]) if rows else None
        return record if isinstance(record, Proposal) else None

    def block(self, read: Read, proposal_id: str) -> bytes | None:
        """The block of the proposal of this id."""
        rows = read("SELECT document FROM proposals WHERE id = ?", (proposal_id,))
        return bytes(rows[0][0]) if rows else None

    def votes(self, read: Read, proposal_id: str) -> list[Vote]:
        """All votes on a proposal that are here, those that do not count among them."""
        return [Vote(*row) for row in read("SELECT * FROM votes WHERE proposal = ? ORDER BY cid", (proposal_id,))]

    def state(self, read: Read, proposal_id: str) -> State | None:
        """A proposal and how far it has come."""
        rows = read("SELECT number, document, status, close, execution FROM proposals WHERE id = ?", (proposal_id,))
        return self._state(read, *rows[0]) if rows else None

    def states(self, read: Read, page: Page) -> list[State]:
        """The proposals of *page*, in the order in which they came, or the other way round."""
        wanted = {"status": page.status, "node": page.node, f"number {'<' if page.newest else '>'}": page.after or None}
        conditions = [name if name.endswith(("<", ">")) else f"{name} =" for name, value in wanted.items() if value is not None]
        where = f"WHERE {' AND '.join(f'{each} ?' for each in conditions)}" if conditions else ""
        order = "DESC" if page.newest else "ASC"
        statement = f"SELECT number, document, status, NULL, NULL FROM proposals {where} ORDER BY number {order} LIMIT ?"
        values = [value for value in wanted.values() if value is not None]
        return [self._state(read, *row) for row in read(statement, (*values, page.limit))]

    def _state(self, read: Read, number: int, document: bytes, status: str, close: str | None, execution: str | None) -> State:
        proposal = ballot.decoded(document)
        assert isinstance(proposal, Proposal)
        decisions = {each.cid: each for each in self._decisions(read, proposal.id)} if close else {}
        ended, executed = decisions.get(close or ""), decisions.get(execution or "")
        return State(
            number,
            proposal,
            status,
            ended if isinstance(ended, Close) else None,
            executed if isinstance(executed, Execution) else None,
        )

    def _decisions(self, read: Read, proposal_id: str) -> list[Close | Execution]:
        rows = read("SELECT document FROM decisions WHERE proposal = ? ORDER BY cid", (proposal_id,))
        records = [ballot.decoded(document) for (document,) in rows]
        return [record for record in records if isinstance(record, (Close, Execution))]

    def effects(self, read: Read, after: int = 0, limit: int = -1) -> list[Effect]:
        """The effects behind the number *after*, in the order in which they came."""
        return [Effect(*row) for row in read("SELECT * FROM effects WHERE number > ? ORDER BY number LIMIT ?", (after, limit))]

    def membership(self, read: Read) -> tuple[frozenset[str], list[str]]:
        """The members now, and the executions that made them differ from the founding ones."""
        kinds = (motion.ADMISSION, motion.REMOVAL)
        rows = read("SELECT * FROM effects WHERE kind IN (?, ?)", kinds)
        latest = last_of_each([Effect(*row) for row in rows])
        return members_after(self._founding(), latest.values()), [effect.cid for effect in latest.values()]

    def parameters(self, read: Read) -> dict[str, int]:
        """The parameters that proposals have set, and their values."""
        rows = read("SELECT * FROM effects WHERE kind = ?", (motion.PARAMETER,))
        return {name: effect.value for name, effect in last_of_each([Effect(*row) for row in rows]).items()}

    def latest(self, read: Read) -> int:
        """The time of the newest effect; one that is to come after all that are known here must be later."""
        newest: int = read("SELECT coalesce(max(at), 0) FROM effects", ())[0][0]
        return newest
