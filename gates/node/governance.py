"""Proposals, votes, closes and executions: what this node decides, each in one transaction of its ledger.

The home of a member takes the member's vote, and the home of a proposal, where it was made, closes and executes it. So each of
these is decided once, by one database, whatever is repeated, raced or cut off. What was decided goes out as a block in the same
transaction. `assembly` says what is known of the whole federation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gates.node import assembly, ballot, cid, ledger, tally
from gates.node.assembly import Assembly
from gates.node.ballot import OPEN, Close, Execution, Proposal
from gates.node.errors import Refusal
from gates.node.judging import State, nothing_to_do, overlaid
from gates.node.metrics_governance import GovernanceMetrics
from gates.node.motion import Motion
from gates.node.storage import Transaction
from gates.node.surroundings import Surroundings
from gates.node.tally import Vote

PROPOSAL_FEE, VOTE_FEE = 10, 1
DAG_TABLES = assembly.TABLES
T = TypeVar("T")
LEDGER_TABLES = """
CREATE TABLE IF NOT EXISTS proposals_made (
    id TEXT PRIMARY KEY, proposer TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL, document BLOB NOT NULL,
    UNIQUE (proposer, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS votes_cast (
    proposal TEXT NOT NULL, voter TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (proposal, voter)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions_made (
    proposal TEXT NOT NULL, type TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (proposal, type)) WITHOUT ROWID
"""


class Governance:
    """What this node decides, and what it can say of any proposal."""

    def __init__(self, around: Surroundings, known: Assembly, metrics: GovernanceMetrics) -> None:
        self.around, self.known, self.metrics = around, known, metrics

    # --- proposals ----------------------------------------------------------------------------------------------------

    async def submit(self, proposer: str, proposed: Motion, key: str | None = None) -> tuple[str, bool]:
        """The id of a proposal, and whether *key* had made it before; without a key, the same content is the same proposal.

        Raises Refusal: 402 without the mana for the fee, 404 without an account, 409 for a key used for other content, 421 when
        the proposer is at home elsewhere, 503 while the members are not all known. Raises FAILURES.
        """
        self._check_home(proposer)
        _, changes = self.known.membership(self.around.dag.read)
        used = key if key is not None else f"content:{proposed.content}"

        def change(tx: Transaction) -> tuple[str, bool]:
            made = _made(tx, proposer, used)
            if made is not None and made[1] != proposed.content:
                raise Refusal(409, "this idempotency key was used for another proposal")
            return (made[0], True) if made is not None else (self._propose(tx, proposer, proposed, used, changes), False)

        proposal_id, repeated = await self._write(change)
        self._count(self.metrics.proposals.labels(proposed.kind), "proposal", PROPOSAL_FEE, repeated)
        return proposal_id, repeated

    def _propose(self, tx: Transaction, proposer: str, proposed: Motion, key: str, changes: list[str]) -> str:
        now, me = self.around.now(), self.around.identity
        block = ballot.proposal_block(proposed, proposer, key, now, changes, me)
        if proposed.body is not None:
            self.around.outbox(tx, proposed.body, cid.RAW, me.did)
        proposal_id = self.around.outbox(tx, block, cid.DAG_CBOR, me.did)
        ledger.spend(tx, proposer, PROPOSAL_FEE, f"governance/proposal:{proposal_id}", now)
        tx.execute("INSERT INTO proposals_made VALUES (?, ?, ?, ?, ?)", (proposal_id, proposer, key, proposed.content, block))
        return proposal_id

    # --- votes --------------------------------------------------------------------------------------------------------

    async def vote(self, voter: str, proposal_id: str, option: str) -> tuple[Vote, bool]:
        """The vote of *voter*, and whether it was cast before.

        Raises Refusal: 402, 403 for who is no member, 404 for no such proposal, 409 after the end or another vote of this
        member, 421 when the voter is at home elsewhere, 503 while the members are not all known. Raises FAILURES.
        """
        self._check_home(voter)
        state = await self._found(proposal_id)
        members = self._electorate(state.proposal)

        def change(tx: Transaction) -> tuple[Vote, bool]:
            before = cast_before(tx, proposal_id, voter)
            if before is not None:
                return _same(before, option), True
            now = self.around.now()
            self._check_open(tx, state, voter, members, now)
            return self._cast(tx, proposal_id, voter, option, now), False

        vote, repeated = await self._write(change)
        self._count(self.metrics.votes.labels(option), "vote", VOTE_FEE, repeated)
        return vote, repeated

    def _check_open(self, tx: Transaction, state: State, voter: str, members: frozenset[str], now: int) -> None:
        proposal = state.proposal
        if voter not in members:
            raise Refusal(403, f"{voter} is no member that may vote on this proposal")
        if state.status != OPEN or _decision(tx, proposal.id, Close) is not None:
            raise Refusal(409, "the voting is closed")
        if now >= proposal.deadline:
            raise Refusal(409, "the voting has ended", deadline=proposal.deadline)

    def _cast(self, tx: Transaction, proposal_id: str, voter: str, option: str, now: int) -> Vote:
        me = self.around.identity
        block = ballot.vote_block(proposal_id, voter, option, now, me)
        name = self.around.outbox(tx, block, cid.DAG_CBOR, me.did)
        ledger.spend(tx, voter, VOTE_FEE, f"governance/vote:{name}", now)
        keep_vote(tx, proposal_id, voter, block)
        return Vote(name, proposal_id, voter, option, now, me.did)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def close(self, proposal_id: str) -> Close:
        """The close of a proposal, made now unless it was made before.

        Raises Refusal: 404, 409 while the voting is open, 421 when the proposal's home is another node. Raises FAILURES.
        """
        proposal = self._mine(proposal_id)
        before: Close | None = self._decided(proposal_id, Close)
        if before is not None:
            self.metrics.repeated.labels("close").inc()
            return before
        with self.metrics.closing.time():
            await self._gather(proposal_id)
            return await self._close(proposal, self._electorate(proposal))

    async def _close(self, proposal: Proposal, members: frozenset[str]) -> Close:
        sent = self.known.votes(self.around.dag.read, proposal.id)

        def change(tx: Transaction) -> Close:
            before: Close | None = _decision(tx, proposal.id, Close)
            return before if before is not None else self._end(tx, proposal, members, [*sent, *_cast_here(tx, proposal.id)])

        made = await self._write(change)
        self.metrics.closed.labels(made.status).inc()
        self.metrics.turnout.observe(made.tally.voters / max(1, len(members)))
        return made

    def _end(self, tx: Transaction, proposal: Proposal, members: frozenset[str], votes: list[Vote]) -> Close:
        now, counted = self.around.now(), tally.counting(votes, members, proposal.deadline)
        if now < proposal.deadline and len(counted) < len(members):
            missing = len(members) - len(counted)
            raise Refusal(
                409, f"the voting is open, and {missing} of {len(members)} members have not voted", deadline=proposal.deadline
            )
        sums = tally.tally(counted)
        status = tally.outcome(sums, proposal.quorum, proposal.threshold)
        block = ballot.close_block(proposal.id, [vote.cid for vote in counted], sums, status, now, self.around.identity)
        made = self._decide(tx, proposal.id, Close, block)
        assert isinstance(made, Close)
        return made

    async def execute(self, proposal_id: str) -> Execution:
        """The execution of an accepted proposal, made now unless it was made before.

        Raises Refusal: 404, 409 when it was not accepted, 421 when the proposal's home is another node. Raises FAILURES.
        """
        proposal = self._mine(proposal_id)
        members, _ = self.known.membership(self.around.dag.read)
        latest = self.known.latest(self.around.dag.read)
        reason = nothing_to_do(proposal, members)

        def change(tx: Transaction) -> tuple[Execution, bool]:
            before = _decision(tx, proposal_id, Execution)
            return (before, True) if before is not None else (self._execute(tx, proposal, reason, latest), False)

        made, repeated = await self._write(change)
        counter = (
            self.metrics.repeated.labels("execute") if repeated else self.metrics.executed.labels(proposal.kind, made.status)
        )
        counter.inc()
        return made

    def _execute(self, tx: Transaction, proposal: Proposal, reason: str, latest: int) -> Execution:
        close: Close | None = _decision(tx, proposal.id, Close)
        if close is None:
            raise Refusal(409, "the voting is not closed")
        if close.status != tally.ACCEPTED:
            raise Refusal(409, "the proposal was rejected")
        status = ballot.FAILED if reason else ballot.EXECUTED
        at = max(self.around.now(), latest + 1)  # later than every effect that is known here, whatever the clocks say
        block = ballot.execution_block(proposal.id, close.cid, status, reason, at, self.around.identity)
        made = self._decide(tx, proposal.id, Execution, block)
        assert isinstance(made, Execution)
        return made

    def _decide(self, tx: Transaction, proposal_id: str, kind: type, block: bytes) -> ballot.Record:
        self.around.outbox(tx, block, cid.DAG_CBOR, self.around.identity.did)
        tx.execute("INSERT INTO decisions_made VALUES (?, ?, ?)", (proposal_id, kind.__name__, block))
        return ballot.decoded(block)

    # --- what can be said ---------------------------------------------------------------------------------------------

    def state(self, proposal_id: str) -> State | None:
        """A proposal and how far it has come, with what was decided here and is not anchored yet."""
        cid.parse(proposal_id)
        state = self.known.state(self.around.dag.read, proposal_id)
        if state is None:
            rows = self.around.ledger.read("SELECT document FROM proposals_made WHERE id = ?", (proposal_id,))
            record = ballot.decoded(rows[0][0]) if rows else None
            state = State(0, record, OPEN, None, None) if isinstance(record, Proposal) else None
        if state is not None and state.execution is None and state.proposal.node == self.around.identity.did:
            close, execution = self._decided(proposal_id, Close), self._decided(proposal_id, Execution)
            return overlaid(state, close, execution)
        return state

    def votes(self, state: State) -> list[Vote]:
        """The votes that count, of those that are known here; after the close, those that it counted."""
        proposal = state.proposal
        here = [_vote(row[0]) for row in self.around.ledger.read(_VOTES_CAST, (proposal.id,))]
        votes = {vote.cid: vote for vote in [*self.known.votes(self.around.dag.read, proposal.id), *here]}
        if state.close is not None:
            return [votes[name] for name in state.close.votes if name in votes]
        members = self.known.electorate(self.around.dag.read, proposal) or frozenset()
        return tally.counting(votes.values(), members, proposal.deadline)

    async def blocks(self, proposal_id: str) -> list[bytes]:
        """What this node has of a proposal that another needs to decide: its block, and the votes that were cast here."""

        def change(tx: Transaction) -> list[Any]:  # behind all votes that wait for their commit, so that none is left out
            made = tx.execute("SELECT document FROM proposals_made WHERE id = ?", (proposal_id,)).fetchall()
            return made + tx.execute(_VOTES_CAST, (proposal_id,)).fetchall()

        found = [bytes(document) for (document,) in await self.around.ledger.write(change)]
        known = self.known.block(self.around.dag.read, proposal_id)
        return [known, *found] if known is not None and known not in found else found

    async def _write(self, change: Callable[[Transaction], T]) -> T:
        done = await self.around.ledger.write(change)
        self.around.wake()
        return done

    # --- inside -------------------------------------------------------------------------------------------------------

    def _check_home(self, did: str) -> None:
        home = self.around.roster.home(did)
        if home != self.around.roster.name:
            raise Refusal(421, f"{did} is at home on {home}", home=home)

    def _mine(self, proposal_id: str) -> Proposal:
        state = self.state(proposal_id)
        if state is None:
            raise Refusal(404, "no such proposal")
        if state.proposal.node != self.around.identity.did:
            home = self.around.roster.name_of(state.proposal.node)
            raise Refusal(421, f"only {home} closes and executes this proposal", home=home)
        return state.proposal

    async def _found(self, proposal_id: str) -> State:
        """The state of a proposal; the peers are asked for one that has not come here yet."""
        state = self.state(proposal_id)
        silent: list[str] = []
        if state is None:
            silent = await self._gather(proposal_id)
            state = self.state(proposal_id)
        if state is None and silent:
            raise Refusal(503, f"no such proposal here, and {', '.join(silent)} can't be asked", retry_after=1)
        if state is None:
            raise Refusal(404, "no such proposal")
        return state

    async def _gather(self, proposal_id: str) -> list[str]:
        """Take over what the peers have of a proposal; the names of those that can't be reached."""
        answers = await self.around.ask(proposal_id)
        for peer, blocks in answers.items():
            if blocks:
                await self.around.put(blocks)
            self.metrics.pulled.labels(peer).inc(len(blocks or ()))
        return sorted(peer for peer, blocks in answers.items() if blocks is None)

    def _electorate(self, proposal: Proposal) -> frozenset[str]:
        members = self.known.electorate(self.around.dag.read, proposal)
        if members is None:
            raise Refusal(503, "a change of the members that this proposal builds on is not known here yet", retry_after=1)
        return members

    def _decided(self, proposal_id: str, kind: type[Any]) -> Any:
        rows = self.around.ledger.read(_DECISION, (proposal_id, kind.__name__))
        return ballot.decoded(rows[0][0]) if rows else None

    def _count(self, counter: Any, operation: str, fee: int, repeated: bool) -> None:
        if repeated:
            self.metrics.repeated.labels(operation).inc()
            return
        counter.inc()
        self.metrics.fees.labels(operation).inc(fee)


_DECISION = "SELECT document FROM decisions_made WHERE proposal = ? AND type = ?"
_VOTES_CAST = "SELECT document FROM votes_cast WHERE proposal = ?"


def cast_before(tx: Transaction, proposal_id: str, voter: str) -> Vote | None:
    """The vote that this member cast on this proposal."""
    row = tx.execute("SELECT document FROM votes_cast WHERE proposal = ? AND voter = ?", (proposal_id, voter)).fetchone()
    return _vote(row[0]) if row else None


def keep_vote(tx: Transaction, proposal_id: str, voter: str, block: bytes) -> None:
    """Remember a vote. The primary key takes one of a member on a proposal."""
    tx.execute("INSERT INTO votes_cast VALUES (?, ?, ?)", (proposal_id, voter, block))


def _same(vote: Vote, option: str) -> Vote:
    if vote.option != option:
        raise Refusal(409, f"this member has voted {vote.option}, and a vote is not changed", vote_option=vote.option)
    return vote


def _vote(document: bytes) -> Vote:
    vote = ballot.decoded(document)
    assert isinstance(vote, Vote)
    return vote


def _cast_here(tx: Transaction, proposal_id: str) -> list[Vote]:
    return [_vote(document) for (document,) in tx.execute(_VOTES_CAST, (proposal_id,)).fetchall()]


def _made(tx: Transaction, proposer: str, key: str) -> tuple[str, str] | None:
    statement = "SELECT id, content FROM proposals_made WHERE proposer = ? AND key = ?"
    found: tuple[str, str] | None = tx.execute(statement, (proposer, key)).fetchone()
    return found


def _decision(tx: Transaction, proposal_id: str, kind: type[Any]) -> Any:
    row = tx.execute(_DECISION, (proposal_id, kind.__name__)).fetchone()
    return ballot.decoded(row[0]) if row else None
