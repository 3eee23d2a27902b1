"""State machines over HTTP against a live federation: mana, jobs and governance, each against a small model."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from federation_process import Federation, Node, running_federation
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from waiting import await_that

from gates.node.identity import Identity

pytestmark = pytest.mark.end_to_end
EXAMPLES = int(os.environ.get("NODE_EXAMPLES", "4"))
GRANT = 1000
LEGAL = {
    "Submitted": {"BiddingOpen", "Cancelled", "Failed"},
    "BiddingOpen": {"BiddingClosed", "Cancelled", "Failed"},
    "BiddingClosed": {"Assigned", "Cancelled", "Failed"},
    "Assigned": {"Executing", "BiddingOpen", "Cancelled", "Failed"},
    "Executing": {"Completed", "Failed", "Cancelled", "BiddingOpen"},
}
FINAL = {"Completed", "Failed", "Cancelled"}
LIVE = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
costs = st.one_of(st.integers(1, 400), st.just(1000))


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Three nodes for all machines of this module, which each use clients and keys of their own."""
    with running_federation(tmp_path_factory.mktemp("machines"), 3) as running:
        yield running


@dataclass
class Client:
    """A client with a key of its own, and what the model knows of its account."""

    identity: Identity = field(default_factory=lambda: Identity.from_seed(secrets.token_bytes(32)))
    open: bool = False
    jobs: dict[str, Sent] = field(default_factory=dict)


@dataclass
class Sent:
    """A job that was acknowledged."""

    job: str
    key: str
    cost: int
    price: int | None = None
    history: list[Any] = field(default_factory=list)

    @property
    def most(self) -> int:
        """The most mana that it may hold or have burned."""
        return self.cost if self.price is None else self.price

    @property
    def least(self) -> int:
        return 0 if self.price is None else self.price


def seen(node: Node, sent: Sent) -> str:
    """The job's status now; checks that its history is legal, and goes on from what was seen before."""
    job = node.job(sent.job)
    history = job["history"]
    assert history[: len(sent.history)] == sent.history
    statuses = [status for status, _ in history]
    assert statuses[0] == "Submitted"
    assert all(after in LEGAL[before] for before, after in zip(statuses, statuses[1:], strict=False)), statuses
    assert [at for _, at in history] == sorted(at for _, at in history)
    assert job["status"] == statuses[-1]
    sent.history = history
    if job["status"] in FINAL:
        sent.price = job["price_mana"] if job["status"] == "Completed" else 0
        assert sent.price is not None
        assert 0 <= sent.price <= sent.cost
        assert bool(job["receipt_cid"]) == (job["status"] == "Completed")
    return str(job["status"])


def final(node: Node, sent: Sent) -> bool:
    """Whether the job has ended."""
    return seen(node, sent) in FINAL


class Mana(RuleBasedStateMachine):
    """Clients open accounts, submit, repeat and cancel; their mana is never more or less than the model allows."""

    federation: Federation
    clients = Bundle("clients")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Client] = []

    @rule(target=clients)
    def arrive(self) -> Client:
        self.all.append(Client())
        return self.all[-1]

    @rule(client=clients)
    def open(self, client: Client) -> None:
        """An account is opened once, at its home; elsewhere the client is told where."""
        home = self.federation.home(client.identity)
        for node in self.federation:
            code, answer = node.ask("POST", "/account/open", {}, signer=client.identity)
            assert (code == 200) == (node is home), (code, answer)
            if node is not home:
                assert (code, answer["home"]) == (421, home.name)
        client.open = True

    @rule(target=jobs, client=clients, cost=costs)
    def submit(self, client: Client, cost: int) -> Any:
        """What can surely be paid is taken, what surely can't is 402."""
        home, key = self.federation.home(client.identity), secrets.token_hex(6)
        code, answer = home.submit(key, signer=client.identity, cost=cost)
        low, high = self.bounds(client)
        assert code in ((200, 402) if client.open else (402, 404)), answer
        assert code != 402 or cost > low
        assert code != 200 or cost <= high
        if code != 200:
            return multiple()
        client.jobs[answer["job_id"]] = Sent(answer["job_id"], key, cost)
        return client, client.jobs[answer["job_id"]]

    @rule(job=jobs)
    def repeat(self, job: tuple[Client, Sent]) -> None:
        """The same key is the same job, and with another body a conflict; neither costs anything."""
        client, sent = job
        home = self.federation.home(client.identity)
        assert home.submit(sent.key, signer=client.identity, cost=sent.cost) == (200, {"job_id": sent.job})
        assert home.submit(sent.key, signer=client.identity, cost=sent.cost + 1)[0] in (
            (409, 422) if sent.cost == 1000 else (409,)
        )

    @rule(job=jobs)
    def cancel(self, job: tuple[Client, Sent]) -> None:
        """A job that is not final can be cancelled, by its owner alone."""
        client, sent = job
        home = self.federation.home(client.identity)
        stranger = Identity.from_seed(secrets.token_bytes(32))
        assert home.ask("POST", f"/mesh/jobs/{sent.job}/cancel", {}, signer=stranger)[0] in (403, 404)
        code, answer = home.ask("POST", f"/mesh/jobs/{sent.job}/cancel", {}, signer=client.identity)
        status = seen(home, sent)
        assert (code, status) == (200, "Cancelled") or (code == 409 and status in FINAL), (code, answer, status)

    @rule(client=clients)
    def look(self, client: Client) -> None:
        """The balance is between what must be left and what can be left, and the ledger adds up on every node."""
        home = self.federation.home(client.identity)
        low, high = self.bounds(client)
        code, account = home.ask("GET", f"/account/{client.identity.did}/mana", signer=client.identity)
        assert code == (200 if client.open else 404)
        if client.open:
            assert low <= account["balance"] <= high, (low, account, high)
        for node in self.federation:
            adds_up(node)

    def bounds(self, client: Client) -> tuple[int, int]:
        """The least and the most that the balance can be; it grows by at most 20 in a minute."""
        if not client.open:
            return 0, 0
        least = GRANT - sum(sent.most for sent in client.jobs.values())
        return least, GRANT - sum(sent.least for sent in client.jobs.values()) + 40

    def teardown(self) -> None:
        """When all jobs are final nothing is reserved, and what is gone is what was paid."""
        for client in self.all:
            home = self.federation.home(client.identity)
            for sent in client.jobs.values():
                await_that(partial(final, home, sent), f"{sent.job} is final")
            if client.open:
                account = home.good("GET", f"/account/{client.identity.did}/mana", signer=client.identity)
                paid = sum(sent.price or 0 for sent in client.jobs.values())
                assert account["reserved"] == 0
                assert GRANT - paid <= account["balance"] <= GRANT - paid + 40


def adds_up(node: Node) -> None:
    """Minted + regenerated - burned = balances + reserved."""
    audit = node.good("GET", "/ledger/audit")
    assert audit["minted"] + audit["regenerated"] - audit["burned"] == audit["balances"] + audit["reserved"], audit


class Jobs(RuleBasedStateMachine):
    """Jobs of every kind go their legal ways to one final status, whatever is asked of them on the way."""

    federation: Federation
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[Node, Sent]] = []

    @rule(target=sent, at=st.integers(0, 2), what=st.sampled_from(["echo", "cpu", "never"]))
    def submit(self, at: int, what: str) -> tuple[Node, Sent]:
        node, key = list(self.federation)[at], secrets.token_hex(6)
        spec: dict[str, Any] = {"kind": {"Echo": {"payload": key}}}
        if what == "cpu":
            spec = {"kind": {"Cpu": {"iterations": 1000, "seed": 7}}}
        if what == "never":  # no node has as much
            spec["required_resources"] = {"memory_mb": 10**9}
        code, answer = node.submit(key, spec=spec)
        assert code == 200, answer
        self.all.append((node, Sent(answer["job_id"], key, 10)))
        return self.all[-1]

    @rule(job=sent)
    def look(self, job: tuple[Node, Sent]) -> None:
        seen(*job)

    @rule(job=consumes(sent))
    def cancel(self, job: tuple[Node, Sent]) -> None:
        """Cancelled is final, and what was final before stays as it was."""
        node, sent = job
        code, answer = node.ask("POST", f"/mesh/jobs/{sent.job}/cancel", {})
        status = seen(node, sent)
        assert (code, status) == (200, "Cancelled") or (code == 409 and status in FINAL), (code, answer, status)

    @rule(job=sent)
    def forge(self, job: tuple[Node, Sent]) -> None:
        """A receipt that nobody was asked for, or that is not signed by the executor, changes nothing."""
        node, sent = job
        stranger = Identity.from_seed(secrets.token_bytes(32))
        receipt = {
            "job_id": sent.job,
            "executor_did": stranger.did,
            "result_cid": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
            "cpu_ms": 1,
            "success": True,
            "signature_hex": stranger.sign(b"anything").hex(),
        }
        code, _ = node.ask("POST", "/mesh/receipts", receipt)
        assert code in (403, 409, 422)
        seen(node, sent)

    def teardown(self) -> None:
        for node, sent in self.all:
            await_that(partial(final, node, sent), f"{sent.job} is final")
        for node in self.federation:
            adds_up(node)


@dataclass
class Motion:
    """A proposal and the votes that were taken."""

    id: str
    home: Node
    votes: dict[str, str] = field(default_factory=dict)
    closed: str = ""
    executed: bool = False


class Governing(RuleBasedStateMachine):
    """Members propose, vote, vote again, close and execute on any node; every node comes to the model's tally."""

    federation: Federation
    motions = Bundle("motions")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Motion] = []

    @initialize()
    def members(self) -> None:
        self.nodes = list(self.federation)

    @rule(target=motions, at=st.integers(0, 2), threshold=st.sampled_from([0.3, 0.5, 0.7]), quorum=st.integers(1, 3))
    def propose(self, at: int, threshold: float, quorum: int) -> Motion:
        body = {
            "proposal": {"type": "GenericText", "data": {"text": secrets.token_hex(4)}},
            "description": "a motion",
            "duration_secs": 3600,
            "quorum": quorum,
            "threshold": threshold,
        }
        made = self.nodes[at].good("POST", "/governance/submit", body)
        motion = Motion(made, self.nodes[at])
        motion_state[made] = (quorum, threshold)
        self.all.append(motion)
        return motion

    @rule(motion=motions, at=st.integers(0, 2), option=st.sampled_from(["Yes", "No", "Abstain"]))
    def vote(self, motion: Motion, at: int, option: str) -> None:
        """One vote a member: the same again is the same answer, another one is a conflict."""
        node = self.nodes[at]
        code, answer = node.ask("POST", "/governance/vote", {"proposal_id": motion.id, "vote_option": option})
        before = motion.votes.get(node.name)
        if before is not None:
            assert code == (200 if before == option else 409), answer
        elif motion.closed:
            assert code == 409, answer
        else:
            assert code == 200, answer
            motion.votes[node.name] = option

    @rule(motion=motions)
    def outsider(self, motion: Motion) -> None:
        """Who is no member has no vote."""
        stranger = Identity.from_seed(secrets.token_bytes(32))
        home = self.federation.home(stranger)
        home.good("POST", "/account/open", {}, signer=stranger)
        code, answer = home.ask("POST", "/governance/vote", {"proposal_id": motion.id, "vote_option": "Yes"}, signer=stranger)
        assert code in ((403, 409) if motion.closed else (403,)), answer

    @rule(motion=motions, at=st.integers(0, 2))
    def close(self, motion: Motion, at: int) -> None:
        """Only its home closes a proposal, and only when the voting is over."""
        node = self.nodes[at]
        code, answer = node.ask("POST", "/governance/close", {"proposal_id": motion.id})
        if node is not motion.home:
            assert code in (404, 421), answer  # it may not have come here yet
        elif len(motion.votes) < 3 and not motion.closed:
            assert code == 409, answer
        else:
            assert code == 200, answer
            assert {name: answer[name] for name in ("yes", "no", "abstain")} == counted(motion)
            motion.closed = answer["status"]
            assert motion.closed == ("Accepted" if carried(motion) else "Rejected") or motion.executed

    @rule(motion=motions)
    def execute(self, motion: Motion) -> None:
        """What was accepted is executed, once and for all; nothing else is."""
        code, answer = motion.home.ask("POST", "/governance/execute", {"proposal_id": motion.id})
        if motion.closed and carried(motion):
            assert (code, answer["executed"]) == (200, True)
            motion.executed = True
        else:
            assert code == 409, answer

    @invariant()
    def home_agrees(self) -> None:
        """The home of a proposal never shows votes that were not cast."""
        for motion in self.all:
            shown = motion.home.good("GET", f"/governance/proposal/{motion.id}")
            assert sum(shown["tally"].values()) <= len(motion.votes)

    def teardown(self) -> None:
        """Every node comes to the same votes, tally and status."""
        for motion in self.all:
            for node in self.federation:
                await_that(partial(agrees, node, motion), f"{node.name} agrees on {motion}")


def agrees(node: Node, motion: Motion) -> bool:
    """Whether *node* shows the tally and the status of the model."""
    wanted = "Executed" if motion.executed else motion.closed or "VotingOpen"
    return state(node, motion) == (counted(motion), wanted)


motion_state: dict[str, tuple[int, float]] = {}


def state(node: Node, motion: Motion) -> tuple[dict[str, int], str] | None:
    """Tally and status as *node* shows them; None while it does not know the proposal."""
    code, shown = node.ask("GET", f"/governance/proposal/{motion.id}")
    return (shown["tally"], shown["status"]) if code == 200 else None


def counted(motion: Motion) -> dict[str, int]:
    """The model's tally."""
    options = list(motion.votes.values())
    return {"yes": options.count("Yes"), "no": options.count("No"), "abstain": options.count("Abstain")}


def carried(motion: Motion) -> bool:
    """Enough votes, and enough of them yes."""
    quorum, threshold = motion_state[motion.id]
    options = list(motion.votes.values())
    return len(options) >= quorum and options.count("Yes") >= threshold * len(options)


@pytest.mark.parametrize("machine", [Mana, Jobs, Governing], ids=["mana", "jobs", "governance"])
def test_a_live_federation_does_what_the_model_allows(machine: type[Any], federation: Federation) -> None:
    """Whatever clients do in whatever order, over HTTP, against three real processes."""
    machine.federation = federation
    run_state_machine_as_test(machine, settings=LIVE)


def test_machines_find_their_federation(federation: Federation, tmp_path: Path) -> None:
    """The fixture is what the machines need: three nodes that are ready, with DIDs of their own."""
    assert len({node.did for node in federation}) == 3
    assert tmp_path.exists()
