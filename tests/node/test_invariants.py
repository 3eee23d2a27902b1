"""Each invariant over what a sound federation says, and over what one says that broke it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from told import COMPLETED, COST, PRICE, Told

from gates.model import Finding, InvariantOutcome, Operation, Table
from gates.node import invariants as jobs
from gates.node import invariants_blocks as blocks
from gates.node import invariants_votes as votes
from gates.node import jobbook, observation, proof
from gates.node.cid import DAG_CBOR, cid_of, decode, encode
from gates.node.identity import Identity, signed
from gates.node.jobbook import job_id
from gates.node.tally import Tally

Bend = Callable[[Told], Any]
READ = Operation(0, "read_mana", "node-a", "r", "ok", 0.0, 0.1, 200, None, None)
BEFORE = Told().observed()


def submitted(key: str, status: str = "ok", endpoint: str = "node-a") -> Operation:
    """A client's submission of a job."""
    answer = {"job_id": job_id(Told().who[endpoint].did, key)} if status == "ok" else None
    return Operation(0, "submit_job", endpoint, key, status, 0.0, 0.1, 200, {"cost_mana": COST}, answer)


HISTORY = [
    submitted("1"),
    submitted("2"),
    submitted("3", endpoint="node-b"),
    submitted("4", "unknown"),
    submitted("5", "fail"),
    READ,
]


def told() -> Told:
    """Three jobs that ended, one of them cancelled, and a proposal that both nodes voted for."""
    sound = Told()
    sound.job("node-a", "1")
    sound.job("node-a", "2")
    sound.job("node-b", "3", history=("Submitted", "BiddingOpen", "Cancelled"))
    proposal = sound.proposal("node-a")
    sound.vote("node-a", proposal)
    sound.vote("node-b", proposal, "No")
    return sound


def value(invariant: jobs.OverFederation, after: Told, before: Any = BEFORE, history: Any = HISTORY) -> tuple[str, float, int]:
    """The one measurement of *invariant*; whatever is wrong is named in a finding, and shown in a table."""
    outcome: InvariantOutcome = invariant.check(history, before, after.observed())
    (measurement,) = outcome.measurements
    (exhibit,) = outcome.exhibits
    assert isinstance(exhibit, Table)
    assert all(len(row) == len(exhibit.columns) for row in exhibit.rows)
    assert bool(outcome.findings) == bool(measurement.value)
    assert all(isinstance(finding, Finding) for finding in outcome.findings)
    assert measurement.metric == invariant.metrics[0].name
    return measurement.metric, measurement.value, measurement.n


def all_of_them() -> list[jobs.OverFederation]:
    """One of each class of invariant that a module of ours defines."""
    modules = (jobs, blocks, votes)
    found = [thing for module in modules for thing in vars(module).values() if isinstance(thing, type)]
    return [thing() for thing in dict.fromkeys(found) if issubclass(thing, jobs.OverFederation) and hasattr(thing, "name")]


@pytest.mark.parametrize("invariant", all_of_them(), ids=lambda invariant: invariant.name)
def test_every_invariant_holds_for_a_sound_federation(invariant: jobs.OverFederation) -> None:
    """And has looked at something; they all ask one question, so that one answer serves all."""
    assert type(invariant).observe is jobs.OverFederation.observe
    metric, found, n = value(invariant, told())
    assert (found, n > 0) == (0, True), metric


def test_every_invariant_has_an_entry_point() -> None:
    """An invariant that nobody can name in a scenario would hold for nothing."""
    from gates import registry

    installed = {type(plugin).__name__ for plugin in registry.plugins(registry.INVARIANTS).values()}
    assert {type(invariant).__name__ for invariant in all_of_them()} <= installed


# --- what clients were promised ---------------------------------------------------------------------------------------


def without(name: str, *numbers: int) -> Bend:
    return lambda it: [it.nodes[name]["jobs"].pop(number) for number in sorted(numbers, reverse=True)]


def change(name: str, number: int, **fields: Any) -> Bend:
    return lambda it: it.nodes[name]["jobs"][number].update(fields)


def move(it: Told) -> None:
    it.nodes["node-b"]["jobs"].append(it.nodes["node-a"]["jobs"].pop())


@pytest.mark.parametrize(
    ("bend", "lost"),
    [
        (lambda it: it.job("node-a", "4"), 0),
        (without("node-a", 1), 1),
        (move, 1),
        (change("node-a", 1, id="other"), 1),
        (change("node-a", 1, key="other"), 1),
        (lambda it: it.nodes.pop("node-b"), 1),
        (lambda it: [node["jobs"].clear() for node in it.nodes.values()], 3),
    ],
    ids=["an unknown one too", "missing", "on another node", "another id", "another key", "a node is gone", "nothing"],
)
def test_an_acknowledged_job_that_is_not_stored_is_lost(bend: Bend, lost: int) -> None:
    """Counted over the three acknowledged jobs; neither the unknown nor the refused one, nor a read, is promised."""
    bend(after := told())
    assert value(jobs.NoAcknowledgedJobLost(), after) == ("acknowledged.lost", lost, 3)


@pytest.mark.parametrize(
    ("keys", "duplicated"),
    [((("node-b", "1"),), 1), ((("node-a", "2"),), 1), ((("node-a", "4"), ("node-a", "4"), ("node-b", "3")), 2)],
    ids=["on two nodes", "twice on one", "an unknown one twice, and one more"],
)
def test_a_key_with_more_than_one_job_is_duplicated(keys: tuple[tuple[str, str], ...], duplicated: int) -> None:
    """Counted over the keys that may have had an effect; a key that a client sent again counts once."""
    after = told()
    for name, key in keys:
        after.job(name, key)
    found = value(jobs.OneJobPerKey(), after, history=[*HISTORY, submitted("1")])
    assert found == ("acknowledged.duplicated", duplicated, 4)


def test_a_refused_key_with_two_jobs_is_duplicated_too() -> None:
    """That it was refused is no leave to do it twice."""
    after = told()
    for _ in range(2):
        after.job("node-a", "5")
    assert value(jobs.OneJobPerKey(), after) == ("acknowledged.duplicated", 1, 4)


def test_a_job_under_a_key_that_nobody_sent_is_one_too_many() -> None:
    """A node that stores a repeated job under another key has duplicated it, even if paid; an earlier job is no surplus."""
    after = told()
    after.job("node-a", "1-again")
    assert value(jobs.OneJobPerKey(), after) == ("acknowledged.duplicated", 1, 4)
    assert value(jobs.OneJobPerKey(), after, before=after.observed()) == ("acknowledged.duplicated", 0, 4)


# --- how jobs end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, len(COMPLETED)))
def test_a_job_that_has_not_ended_is_unfinished(number: int) -> None:
    """Whatever it waits for; its mana is still held, which is no imbalance."""
    after = told()
    after.job("node-b", "4", history=COMPLETED[:number])
    assert value(jobs.EveryJobEnds(), after) == ("jobs.unfinished", 1, 4)
    assert value(jobs.ManaConserved(), after)[1] == 0
    assert value(jobs.RefundedOnce(), after)[1] == 0


ROUNDS = ("Submitted", "BiddingOpen", "BiddingClosed", "Assigned", "BiddingOpen", "BiddingClosed", "Assigned", "Executing")


@pytest.mark.parametrize(
    ("history", "right"),
    [
        (COMPLETED, True),
        ((*ROUNDS, "Completed"), True),
        (("Submitted", "Failed"), True),
        (COMPLETED[1:], False),
        (("Submitted", "BiddingOpen", "Assigned", "Executing", "Completed"), False),
        ((*COMPLETED[:4], "Completed"), False),
        ((*COMPLETED, "Failed"), False),
        ((*COMPLETED[:3], "Cancelled", "Completed"), False),
        ((*COMPLETED[:5], "Executing", "Completed"), False),
        (("Submitted", "Lost"), False),
    ],
)
def test_an_illegal_history_is_found(history: tuple[str, ...], right: bool) -> None:
    """A skipped status, a missing beginning, a way out of an end, a repetition and an unknown status."""
    after = told()
    after.nodes["node-a"]["jobs"][0].update(history=[[status, step] for step, status in enumerate(history)], status=history[-1])
    assert value(jobs.LegalTransitions(), after) == ("transitions.illegal", int(not right), 3)


def test_a_history_that_does_not_end_where_the_job_is_or_runs_back_is_illegal() -> None:
    """The status that a node shows must be the last of the history, and time must not run back; none is no history."""
    after = told()
    first, second, third = (*after.nodes["node-a"]["jobs"], *after.nodes["node-b"]["jobs"])
    first["status"] = "Failed"
    second["history"][2][1] = 0
    third["history"] = []
    assert value(jobs.LegalTransitions(), after) == ("transitions.illegal", 3, 3)


def test_the_lifecycle_of_the_invariant_is_that_of_the_node() -> None:
    """Written down twice, so that a change of the node's own table does not pass unseen."""
    ends: dict[str, frozenset[str]] = {status: frozenset() for status in observation.FINAL}
    assert {**jobs.LEGAL, **ends} == dict(jobbook.LEGAL)


# --- mana -------------------------------------------------------------------------------------------------------------


def sums(name: str, **amounts: int) -> Bend:
    """Add *amounts* to the sums of *name*."""
    return lambda it: [it.nodes[name]["sums"].update({what: it.nodes[name]["sums"][what] + n}) for what, n in amounts.items()]


@pytest.mark.parametrize(
    ("bend", "imbalance", "refunds"),
    [
        (sums("node-a", burned=PRICE, balances=-PRICE), PRICE, PRICE),
        (sums("node-a", balances=COST), COST, COST),
        (sums("node-b", balances=COST, burned=-COST), COST, COST),
        (sums("node-a", balances=-COST, reserved=COST), COST, COST),
        (sums("node-a", minted=50, balances=50), 50, 0),
        (sums("node-a", regenerated=7, balances=7), 0, 0),
        (lambda it: [bend(it) for bend in (sums("node-a", balances=5), sums("node-b", balances=-5))], 10, 10),
        (change("node-a", 0, price=PRICE + 1), 1, 1),
        (lambda it: it.nodes["node-a"]["jobs"].append(it.nodes["node-a"]["jobs"][0]), 0, 0),
        (without("node-a", 0), PRICE, PRICE),
        (lambda it: it.blocks.pop(next(reversed(it.blocks))), 1, 1),
    ],
    ids=[
        "paid twice", "refunded twice", "refunded twice and hidden", "held for no job", "minted again", "grown",
        "errors don't cancel out", "another price", "one id twice", "a paid job is gone", "a vote is gone",
    ],
)  # fmt: skip
def test_mana_that_does_not_add_up_is_summed(bend: Bend, imbalance: int, refunds: int) -> None:
    """Recomputed from jobs and blocks, node by node; what was given back is told apart from what was minted."""
    bend(after := told())
    assert value(jobs.ManaConserved(), after)[1] == imbalance
    assert value(jobs.RefundedOnce(), after)[1] == refunds


def test_balances_below_nothing_are_an_imbalance_though_they_add_up() -> None:
    """More was spent, and is owed, than there ever was."""
    after = told()
    short = after.nodes["node-a"]["sums"]["balances"] + 40
    sums("node-a", regenerated=-short, balances=-short)(after)
    assert value(jobs.ManaConserved(), after)[1] == 40


def test_an_executed_allocation_accounts_for_what_it_minted() -> None:
    """Mana that was voted for is no imbalance once it was minted, and one while it was not."""
    from gates.node import ballot

    after = told()
    did = after.who["node-b"].did
    proposal = after.proposal("node-a", kind="BudgetAllocation", data={"did": did, "amount": 70, "purpose": ""}, key="b")
    close = after.close("node-a", proposal, [], Tally(0, 0, 0), "Rejected")
    assert value(jobs.ManaConserved(), after)[1] == 0
    after.block(ballot.execution_block(proposal, close, "Executed", "", 1, after.who["node-a"]))
    assert value(jobs.ManaConserved(), after)[1] == 70
    sums("node-b", minted=70, balances=70)(after)
    assert value(jobs.ManaConserved(), after)[1] == 0


def findings(invariant: jobs.OverFederation, after: Told, before: Any = BEFORE) -> tuple[list[float], str]:
    """The values that *invariant* measures, none when it can't say, and what it tells."""
    outcome = invariant.check(HISTORY, before, after.observed())
    return [each.value for each in outcome.measurements], " ".join(finding.message for finding in outcome.findings)


def opened(it: Told) -> None:
    """An account of its own grant was opened on node-b."""
    sums("node-b", accounts=1, minted=1000, balances=1000)(it)


def without_a_before(it: Told) -> Any:
    return {"nodes": {}, "blocks": {}}


def with_a_node_less(it: Told) -> Any:
    return {**BEFORE, "nodes": {"node-a": BEFORE["nodes"]["node-a"]}}


def with_accounts_opened(it: Told) -> Any:
    opened(it)
    return BEFORE


def with_an_account_opened_where_another_is_gone(it: Told) -> Any:
    sums("node-a", accounts=-1)(it)
    opened(it)
    return BEFORE


@pytest.mark.parametrize(
    "since",
    [without_a_before, with_a_node_less, with_accounts_opened, with_an_account_opened_where_another_is_gone],
    ids=lambda since: since.__name__,
)
def test_what_was_minted_beside_grants_is_unknown_and_no_zero(since: Callable[[Told], Any]) -> None:
    """An account comes with a grant, and what it was nobody signs: nothing is measured, so that no criterion passes."""
    before = since(after := told())
    measured, said = findings(jobs.ManaConserved(), after, before)
    assert measured == []
    assert "can't be told" in said


def test_an_imbalance_is_told_also_where_the_minted_is_unknown() -> None:
    """What is wrong for certain fails; that more may be wrong is said beside it."""
    opened(after := told())
    sums("node-a", balances=5)(after)
    measured, said = findings(jobs.ManaConserved(), after)
    assert measured == [5]
    assert "can't be told" in said
    assert "does not add up on: node-a" in said


def test_an_account_that_is_gone_with_its_mana_is_an_imbalance() -> None:
    """Fewer accounts are no reason not to look."""
    sums("node-b", accounts=-1, minted=-900, balances=-900)(after := told())
    assert findings(jobs.ManaConserved(), after)[0] == [900]


# --- receipts and blocks ----------------------------------------------------------------------------------------------


def forged(**fields: Any) -> Bend:
    """Replace the first receipt by one with other *fields*, signed with the wrong key where it says so."""

    def bend(it: Told) -> None:
        job = it.nodes["node-a"]["jobs"][0]
        document = decode(base64.b64decode(it.blocks.pop(job["receipt"])))
        document = {**document, **{name: content for name, content in fields.items() if name != "by"}}
        document.pop("signature")
        who = fields.get("by", it.who["node-a"])
        document = signed(document["type"], document, who) if who else {**document, "signature": b"\0" * 64}
        job["receipt"] = it.block(encode(document))

    return bend


STRANGER = Identity.from_seed(b"x" * 32)


def as_a_stranger(it: Told) -> None:
    forged(by=STRANGER, executor_did=STRANGER.did)(it)
    it.nodes["node-a"]["jobs"][0]["executor"] = STRANGER.did


@pytest.mark.parametrize(
    "bend",
    [
        forged(by=None),
        forged(by=STRANGER),
        as_a_stranger,
        forged(job_id="other"),
        forged(success=False),
        forged(result_cid=cid_of(b"other")),
        forged(type="icn/other"),
        change("node-a", 0, result="other"),
        change("node-a", 0, result_cid=cid_of(b"other")),
        change("node-a", 0, executor="did:key:zOther"),
        change("node-a", 0, receipt=None),
    ],
    ids=[
        "no signature", "another's signature", "of no node", "another job", "no success", "another result", "another type",
        "a result that it does not name", "a CID that it does not name", "another executor", "no receipt",
    ],
)  # fmt: skip
def test_a_receipt_that_does_not_hold_is_unverified(bend: Bend) -> None:
    """Signature, job, executor and result are checked here, whatever the node says."""
    bend(after := told())
    assert value(blocks.ReceiptsVerify(), after) == ("receipts.unverified", 1, 2)


def test_a_signature_of_another_kind_of_document_does_not_hold() -> None:
    """What was signed as a vote is no receipt."""
    it = told()
    job = it.nodes["node-a"]["jobs"][0]
    document = decode(base64.b64decode(it.blocks.pop(job["receipt"])))
    del document["signature"]
    job["receipt"] = it.block(encode(signed("icn/vote", document, it.who["node-a"])))
    assert value(blocks.ReceiptsVerify(), it)[1] == 1


def test_a_receipt_that_no_node_holds_is_not_counted_as_verified() -> None:
    """It is unknown whether it holds, so nothing is measured; one that was seen and does not hold fails all the same."""
    after = told()
    after.job("node-b", "5")
    lost = after.nodes["node-b"]["jobs"][1]
    del after.blocks[lost["receipt"]]
    measured, said = findings(blocks.ReceiptsVerify(), after)
    assert measured == []
    assert said == f"receipts that no node holds, so that nobody can verify them, by job: {lost['id']}"
    forged(by=None)(after)
    (measurement,) = blocks.ReceiptsVerify().check(HISTORY, BEFORE, after.observed()).measurements
    assert (measurement.value, measurement.n) == (1, 2)
    assert lost["id"] in findings(blocks.ReceiptsVerify(), after)[1]


def lacking(name: str, which: Callable[[Told], str]) -> Bend:
    return lambda it: it.nodes[name].update(cids=[cid for cid in sorted(it.blocks) if cid != which(it)])


def first_receipt(it: Told) -> str:
    found: str = it.nodes["node-a"]["jobs"][0]["receipt"]
    return found


@pytest.mark.parametrize(
    ("bend", "missing", "diverged"),
    [
        (lacking("node-b", first_receipt), 1, 1),
        (lambda it: it.blocks.pop(first_receipt(it)), 2, 0),
        (lacking("node-b", lambda it: next(reversed(it.blocks))), 0, 1),
        (lambda it: it.nodes["node-b"].update(root="other"), 0, 1),
        (lambda it: it.nodes["node-b"].update(damaged=[first_receipt(it)]), 0, 1),
    ],
    ids=["on one node only", "on no node", "a vote on one node only", "another root", "damaged"],
)
def test_a_block_that_is_not_everywhere_is_missing(bend: Bend, missing: int, diverged: int) -> None:
    """Receipts are due on every node; all blocks and the root must be the same."""
    bend(after := told())
    assert value(blocks.ReceiptsEverywhere(), after) == ("receipts.missing", missing, 4)
    assert value(blocks.RootsConverge(), after)[1] == diverged


# --- votes ------------------------------------------------------------------------------------------------------------


def proposal_of(it: Told) -> dict[str, Any]:
    found: dict[str, Any] = it.nodes["node-b"]["proposals"][0]
    return found


def test_a_second_vote_of_a_member_is_found_where_it_was_signed() -> None:
    """Even when no node counts it: the home broke its word by signing it."""
    after = told()
    after.vote("node-b", proposal_of(after)["id"], "Yes", at=1_000_001, shown=False)
    assert value(votes.OneVoteAMember(), after)[:2] == ("votes.duplicated", 1)


def test_a_vote_that_a_node_counts_twice_is_found() -> None:
    """In its list, and in the tally."""
    after = told()
    shown = proposal_of(after)
    shown["votes"].append(shown["votes"][0])
    shown["tally"]["yes"] += 1
    assert value(votes.OneVoteAMember(), after)[:2] == ("votes.duplicated", 1)
    assert value(votes.TalliesRight(), after) == ("tally.wrong", 1, 2)


@pytest.mark.parametrize(
    "bend",
    [
        lambda it: proposal_of(it)["tally"].update(yes=2),
        lambda it: proposal_of(it)["tally"].update(yes=0, no=2),
        lambda it: proposal_of(it).update(status="Accepted"),
        lambda it: it.nodes["node-b"]["proposals"].clear(),
    ],
    ids=["one more", "another option", "an outcome without a close", "not shown"],
)
def test_a_tally_that_the_votes_do_not_add_up_to_is_wrong(bend: Bend) -> None:
    """On the node that shows it; the other's is right."""
    bend(after := told())
    assert value(votes.TalliesRight(), after) == ("tally.wrong", 1, 2)


def late(it: Told) -> None:
    it.vote("node-b", it.proposal("node-a", key="late"), at=2_000_000)


def of_a_stranger(it: Told) -> None:
    it.who["node-x"] = STRANGER
    it.nodes["node-x"] = it._node("node-x")
    it.vote("node-x", it.proposal("node-a", key="stranger"))
    del it.nodes["node-x"]


def test_of_two_votes_of_a_member_one_counts() -> None:
    """The one with the lower CID, on every node: who shows that one has the right tally."""

    def again(at: int) -> float:
        after = told()
        after.vote("node-a", proposal_of(after)["id"], "No", at=at, shown=False)
        return value(votes.TalliesRight(), after)[1]

    assert {again(at) for at in range(1, 20)} == {0, 2}


@pytest.mark.parametrize("bend", [late, of_a_stranger])
def test_a_vote_that_does_not_count_and_was_counted_is_wrong(bend: Bend) -> None:
    """One that came after the deadline, and one of somebody who is no member."""
    bend(after := told())
    assert value(votes.TalliesRight(), after)[1] == 2


@pytest.mark.parametrize(
    ("counted", "status", "wrong"),
    [(("yes", "no"), "Accepted", 0), (("yes", "no"), "Executed", 0), (("yes", "no"), "Rejected", 2), (("yes",), "Accepted", 2)],
)
def test_a_close_follows_from_its_votes(counted: tuple[str, ...], status: str, wrong: int) -> None:
    """Half of the votes say yes, so it is accepted; and what nodes show are the votes that the close names."""
    after = told()
    shown = proposal_of(after)
    names = [vote["cid"] for vote in shown["votes"] if vote["option"].lower() in counted]
    after.close(
        "node-a",
        shown["id"],
        names,
        Tally(int("yes" in counted), int("no" in counted), 0),
        status.replace("Executed", "Accepted"),
    )
    for node in after.nodes.values():
        node["proposals"][0]["status"] = status
    assert value(votes.TalliesRight(), after)[1] == wrong


@pytest.mark.parametrize("gone", [True, False], ids=["no block", "a block that nobody signed"])
def test_a_proposal_that_is_shown_and_that_nobody_signed_is_wrong(gone: bool) -> None:
    """What a node shows without a block is looked at as well, on the nodes that show it."""
    after = told()
    second = after.proposal("node-a", key="second")
    block = decode(base64.b64decode(after.blocks.pop(second)))
    if not gone:
        after.block(encode({**block, "signature": bytes(64)}))
    del after.nodes["node-b"]["proposals"][1]
    assert value(votes.TalliesRight(), after) == ("tally.wrong", 1, 3)


EVEN = Tally(1, 1, 0)


def close_twice(it: Told, *, options: str = "yes no", sums: Tally = EVEN, status: str = "Accepted") -> None:
    """A sound close that all nodes show, and a second one after it or before it."""
    shown = proposal_of(it)
    names = {vote["option"].lower(): vote["cid"] for vote in shown["votes"]}
    it.close("node-a", shown["id"], list(names.values()), EVEN, "Accepted")
    it.close("node-a", shown["id"], [names[option] for option in options.split()], sums, status)
    for node in it.nodes.values():
        node["proposals"][0]["status"] = "Accepted"


@pytest.mark.parametrize(
    ("second", "wrong"),
    [
        ({}, 0),
        ({"status": "Rejected"}, 2),
        ({"sums": Tally(2, 0, 0)}, 2),
        ({"options": "no", "sums": Tally(0, 1, 0), "status": "Rejected"}, 2),
        ({"options": "no", "sums": Tally(0, 1, 0), "status": "Accepted"}, 2),
    ],
    ids=["the same", "another status", "another tally", "another outcome", "a status that does not follow"],
)
def test_every_close_of_a_proposal_must_follow_from_its_votes(second: dict[str, Any], wrong: int) -> None:
    """Whichever comes first by its CID: a home that closes twice in different ways has broken its word."""
    close_twice(after := told(), **second)
    assert value(votes.TalliesRight(), after)[1] == wrong


def test_a_close_by_another_node_than_the_proposals_home_is_wrong() -> None:
    """Only the home may close, so that there is one outcome."""
    after = told()
    shown = proposal_of(after)
    after.close("node-b", shown["id"], [vote["cid"] for vote in shown["votes"]], Tally(1, 1, 0), "Accepted")
    assert value(votes.TalliesRight(), after)[1] == 2


def test_members_change_by_what_a_proposal_builds_on() -> None:
    """An executed admission that a proposal names lets the admitted vote on it, and a removal takes the vote away."""
    from gates.node import ballot
    from gates.node.motion import Motion

    it = told()
    who, b = it.who["node-a"], it.who["node-b"].did
    changes = []
    for kind, did, at in (("MemberAdmission", STRANGER.did, 1), ("RemoveMember", b, 2)):
        proposed = it.proposal("node-a", kind=kind, data={"did": did}, key=kind)
        close = it.close("node-a", proposed, [], Tally(0, 0, 0), "Rejected")
        changes.append(it.block(ballot.execution_block(proposed, close, "Executed", "", at, who)))
    cid = it.block(ballot.proposal_block(Motion("GenericText", {"text": ""}, "x", 1), who.did, "k", 1, changes, who))
    for voter in (who, it.who["node-b"]):
        it.block(ballot.vote_block(cid, voter.did, "Yes", 1, voter))
    federation = observation.federation(it.observed())
    assert votes.members(federation, federation.blocks[cid]) == {who.did, STRANGER.did}
    assert [vote.document["voter"] for vote in votes.counting(federation, federation.blocks[cid])] == [who.did]
    assert votes.members(federation, federation.blocks[proposal_of(it)["id"]]) == {who.did, b}


@pytest.mark.parametrize(("quorum", "status"), [(0, "Accepted"), (1, "Accepted"), (2, "Rejected")])
def test_too_few_votes_decide_nothing(quorum: int, status: str) -> None:
    """One member voted, and said yes; nobody at all is never enough."""
    proposal = observation.Block("p", {"quorum": quorum, "threshold": 500_000}, sound=True)
    assert votes.outcome({"yes": 1, "no": 0, "abstain": 0}, proposal) == status
    assert votes.outcome({"yes": 0, "no": 0, "abstain": 0}, proposal) == "Rejected"


# --- what nodes are asked ---------------------------------------------------------------------------------------------


def answering(it: Told, name: str) -> dict[str, Any]:
    """What *name* answers to each path, over pages of two."""
    node = it.observed()["nodes"][name]
    names = dict(zip(observation._JOB, ("key", "id", "cost", "status", "price", "executor"), strict=False))
    jobs_of = [{theirs: job[number] for number, theirs in enumerate(observation._JOB)} for job in node["jobs"]]
    held = [{"cid": cid, "data": it.blocks[cid]} for cid in node["cids"]]
    assert len(names) == 6
    answers = {
        "/info": {"did": node["did"]},
        "/ledger/audit": node["sums"],
        "/dag/root": {"root": node["root"], "blocks": len(held)},
        "/mesh/jobs?after=0&limit=1000": {"jobs": jobs_of[:1], "next": 7},
        "/mesh/jobs?after=7&limit=1000": {"jobs": jobs_of[1:], "next": None},
        "/dag/blocks?after=0&limit=1000": {"blocks": held[:2], "next": 2},
        "/dag/blocks?after=2&limit=1000": {"blocks": held[2:], "next": None},
        "/governance/proposals?after=0&limit=1000": [{"proposal_id": p["id"], "number": 1} for p in node["proposals"]],
    }
    return answers | {f"/governance/proposal/{p['id']}": {"home": name, **p} for p in node["proposals"]}


def test_observing_reads_every_page_of_every_node() -> None:
    """Jobs, blocks and proposals are collected page by page, and blocks that nodes share stand once."""
    it = told()
    answers = {name: answering(it, name) for name in it.nodes}
    assert observation.observe(lambda name, path: answers[name][path], list(it.nodes)) == it.observed()


def test_a_block_with_other_bytes_than_its_cid_says_is_damaged() -> None:
    """The bytes are hashed here, whatever the node checked."""
    it = told()
    answers = {name: answering(it, name) for name in it.nodes}
    block = answers["node-b"]["/dag/blocks?after=0&limit=1000"]["blocks"][0]
    block["data"] = base64.b64encode(b"other").decode()
    observed = observation.observe(lambda name, path: answers[name][path], list(it.nodes))
    assert observed["nodes"]["node-b"]["damaged"] == [block["cid"]]
    assert block["cid"] not in observed["nodes"]["node-b"]["cids"]


def test_a_node_that_does_not_answer_is_no_observation() -> None:
    """Silence is an error, never an empty account."""

    def fetch(name: str, path: str) -> Any:
        raise ConnectionRefusedError(name)

    with pytest.raises(OSError, match="node-a"):
        jobs.ManaConserved().observe(fetch, ["node-a"])


@pytest.mark.parametrize(
    ("change", "rested"),
    [({}, True), ({"reserved": 10}, False), ({"outbox": 1}, False), ({"root": "other"}, False)],
    ids=["ended", "mana is held", "a block waits", "roots differ"],
)
def test_a_federation_is_at_rest_when_all_has_come_to_its_end(change: dict[str, Any], rested: bool) -> None:
    """Jobs hold mana until they end, blocks wait in the outbox, and nodes that differ still exchange blocks."""
    answers = {
        name: {"/ledger/audit": {"reserved": 0, "outbox": 0} | (change if name == "node-b" else {}), "/dag/root": {"root": "r"}}
        for name in ("node-a", "node-b")
    }
    answers["node-b"]["/dag/root"] |= {key: text for key, text in change.items() if key == "root"}
    looked, ended = jobs.EveryJobEnds().at_rest(lambda name, path: answers[name][path], ["node-a", "node-b"])
    assert ended is rested
    assert len(looked) == 2


# --- proofs -----------------------------------------------------------------------------------------------------------


def test_proofs_share_no_code_with_the_node_and_agree_with_it() -> None:
    """A CID, a link and a signature that the node made; and none of its modules is imported to check them."""
    who = Identity.from_seed(b"s" * 32)
    document = signed("icn/x", {"type": "icn/x", "n": 1, "text": "ü", "list": [True, None]}, who)
    data = encode(document)
    assert proof.cid_of(data, proof.DAG_CBOR) == cid_of(data, DAG_CBOR)
    assert proof.names(cid_of(data, DAG_CBOR), data)
    assert not proof.names(cid_of(data, DAG_CBOR), data + b"x")
    assert proof.document(data) == document
    assert proof.is_signed(document, who.did)
    assert not proof.is_signed({**document, "n": 2}, who.did)
    assert not proof.is_signed(document, STRANGER.did)
    assert proof.link(proof.binary(cid_of(data))) == cid_of(data)
    assert "import gates" not in (source := Path(proof.__file__).read_text())
    assert "from gates" not in source


@pytest.mark.parametrize("did", ["", "did:key:", "did:key:z0", "did:key:z6Mk", "did:web:a", None, 3])
def test_what_is_no_did_signs_nothing(did: Any) -> None:
    """Whatever a node shows as an executor."""
    document = signed("icn/x", {"type": "icn/x"}, STRANGER)
    assert not proof.is_signed(document, did)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", encode([1]), encode("x"), b"\xa1" * 50])
def test_bytes_that_are_no_map_are_an_empty_document(data: bytes) -> None:
    """A block of another kind proves nothing, and breaks nothing."""
    assert proof.document(data) == {}
    assert not proof.is_signed(proof.document(data), STRANGER.did)
