"""The handlers of jobs and accounts over a real ledger on disk, with the rest of the node left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from gates.node import api_account, api_mesh, jobbook, ledger
from gates.node.context import ResilientRuntimeContext
from gates.node.errors import Refusal, StoreUnavailable
from gates.node.http import Call, Route
from gates.node.identity import Identity
from gates.node.metrics_mesh import MeshMetrics
from gates.node.metrics_runtime import RuntimeMetrics
from gates.node.storage import SqliteStorage

ALICE, BOB, CAROL = (Identity.from_seed(letter * 32).did for letter in (b"a", b"b", b"c"))
START = 1_000_000
ROUTES: dict[str, Route] = {f"{route.method} {route.path}": route for route in (*api_mesh.ROUTES, *api_account.ROUTES)}
ECHO = {"manifest_cid": "bafyjobmanifest", "spec_json": {"kind": {"Echo": {"payload": "hello"}}}, "cost_mana": 10}

Ask = Callable[..., Awaitable[tuple[int, Any]]]


class Lifecycle:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def offer(self, job: str) -> None:
        self.told.append(("take up", job))

    def cancel(self, job: str) -> None:
        self.told.append(("cancel", job))

    async def accept_receipt(self, receipt: Any) -> str:
        self.told.append(("receipt", receipt))
        return "bafyreceipt"


def made(folder: Path) -> Any:
    """A node whose account is ALICE's; BOB is at home here, CAROL on node-b."""
    store = SqliteStorage(folder / "ledger.db", (f"{ledger.TABLES};{jobbook.TABLES}",))
    store.open()
    metrics = RuntimeMetrics(CollectorRegistry())
    context = ResilientRuntimeContext(store, store, owner=ALICE, preset="testing", metrics=metrics, now=lambda: START)
    lifecycle = Lifecycle()
    context.receipts = lifecycle.accept_receipt
    return SimpleNamespace(
        ledger_store=store,
        context=context,
        settings=SimpleNamespace(grant=50),
        federation=SimpleNamespace(is_home=lambda did: did != CAROL, home=lambda did: "node-b" if did == CAROL else "node-a"),
        lifecycle=lifecycle,
        anchorer=SimpleNamespace(depth=0),
        metrics=SimpleNamespace(mesh=MeshMetrics(CollectorRegistry())),
        now=lambda: START,
    )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    node = made(tmp_path)
    yield node
    node.ledger_store.close()


def driven(node: Any, story: Callable[[Ask], Awaitable[None]]) -> None:
    """Run *story*, which asks *node*; ALICE has 100 mana."""

    async def ask(
        route: str, *, did: str = ALICE, body: Any = None, key: str | None = None, query: str = "", **path: str
    ) -> Any:
        path = {name.removesuffix("_in_path"): value for name, value in path.items()}
        headers = [(b"idempotency-key", key.encode())] if key else []
        scope = {"type": "http", "headers": headers, "path_params": path, "query_string": query.encode()}
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        call = Call(node, Request(scope), SimpleNamespace(did=did, kind="signature", peer=False), sent)
        try:
            answer = await ROUTES[route].handler(call)
        except Refusal as refusal:
            return refusal.code, dict(refusal.details)
        return answer.status_code, json.loads(bytes(answer.body))

    async def run() -> None:
        node.ledger_store.start()
        await node.ledger_store.write(lambda tx: ledger.establish(tx, ALICE, 100, 10_000, START))
        await story(ask)

    asyncio.run(run())


def test_a_submission_is_answered_with_a_job_that_is_taken_up(node: Any) -> None:
    """A repeated key is the same answer; another body under it is refused."""

    async def story(ask: Ask) -> None:
        code, first = await ask("POST /mesh/submit", body=ECHO, key="k")
        assert (code, first) == (200, {"job_id": jobbook.job_id(ALICE, "k")})
        assert await ask("POST /mesh/submit", body=ECHO, key="k") == (200, first)
        assert (await ask("POST /mesh/submit", body={**ECHO, "cost_mana": 11}, key="k"))[0] == 409
        assert node.lifecycle.told == 2 * [("take up", first["job_id"])]
        assert (await ask("GET /mesh/jobs/{job_id}", job_id=first["job_id"]))[1]["status"] == "Submitted"

    driven(node, story)


def test_forty_clients_with_one_key_make_one_job(node: Any) -> None:
    """All at once, all answered with it, and paid once."""

    async def story(ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("POST /mesh/submit", body=ECHO, key="k") for _ in range(40)))
        assert {json.dumps(answer) for answer in answers} == {json.dumps((200, {"job_id": jobbook.job_id(ALICE, "k")}))}
        assert set(node.lifecycle.told) == {("take up", jobbook.job_id(ALICE, "k"))}
        assert (await ask("GET /ledger/audit"))[1]["reserved"] == 10

    driven(node, story)


def test_what_cannot_be_paid_is_refused_beside_what_can(node: Any) -> None:
    """Of twenty jobs of ten mana each that are submitted at once to a hundred, ten are taken."""

    async def story(ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("POST /mesh/submit", body=ECHO, key=f"k{each}") for each in range(20)))
        assert sorted(code for code, _ in answers) == [200] * 10 + [402] * 10
        assert (await ask("GET /mesh/jobs", query="limit=100"))[1]["next"] is None
        audit = (await ask("GET /ledger/audit"))[1]
        assert (audit["balanced"], audit["balances"], audit["reserved"]) == (True, 0, 100)

    driven(node, story)


def test_a_job_whose_client_is_gone_before_the_answer_is_carried_out(node: Any) -> None:
    """What was written down is taken up, although nobody waits for the answer any more."""

    async def story(ask: Ask) -> None:
        asking = asyncio.create_task(ask("POST /mesh/submit", body=ECHO, key="k"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
        async with asyncio.timeout(5):
            while not node.lifecycle.told:
                await asyncio.sleep(0)
        assert node.lifecycle.told == [("take up", jobbook.job_id(ALICE, "k"))]

    driven(node, story)


def test_a_balance_is_shown_with_its_age_while_the_ledger_cannot_be_read(node: Any) -> None:
    """It says that it is stale; one that was never read is not made up."""

    def broken(_statement: str, _parameters: Any = ()) -> list[Any]:
        raise StoreUnavailable("gone")

    async def story(ask: Ask) -> None:
        fresh = (await asked(ask, "me"))[1]
        node.ledger_store.read = broken
        node.context._now = lambda: START + 2500
        assert await asked(ask, "me") == (200, {**fresh, "stale": True, "age_seconds": 2.5})
        with pytest.raises(StoreUnavailable):
            await asked(ask, BOB)

    driven(node, story)


def test_a_receipt_is_answered_with_the_cid_that_it_is_anchored_under(node: Any) -> None:
    """Whoever brings it; what is no JSON goes no further."""

    async def story(ask: Ask) -> None:
        answer = {"accepted": True, "receipt_cid": "bafyreceipt"}
        assert await ask("POST /mesh/receipts", did=BOB, body={"job_id": "j"}) == (200, answer)
        assert (await ask("POST /mesh/receipts", body=b"{"))[0] == 400
        assert node.lifecycle.told == [("receipt", {"job_id": "j"})]

    driven(node, story)


def test_another_home_is_named(node: Any) -> None:
    """A node without the authority over an account neither says nor moves its mana."""

    async def story(ask: Ask) -> None:
        assert await ask("POST /mesh/submit", did=CAROL, body=ECHO) == (421, {"home": "node-b"})
        assert await ask("POST /account/open", did=CAROL) == (421, {"home": "node-b"})
        assert await asked(ask, CAROL) == (421, {"home": "node-b"})

    driven(node, story)


def test_an_account_is_opened_with_a_grant_once(node: Any) -> None:
    """Before, its owner can pay nothing."""

    async def story(ask: Ask) -> None:
        assert (await ask("POST /mesh/submit", did=BOB, body=ECHO))[0] == 402
        assert (await asked(ask, BOB))[0] == 404
        assert [(await ask("POST /account/open", did=BOB))[1]["opened"] for _ in range(2)] == [True, False]
        assert (await ask("POST /mesh/submit", did=BOB, body=ECHO))[0] == 200
        assert (await ask("POST /account/open", did=BOB, body={"grant": 10**9}))[0] == 422
        assert (await ask("GET /ledger/audit"))[1]["minted"] == 150

    driven(node, story)


@pytest.mark.parametrize("did", ["did", "did:key", "x", "did:key:z6Mk\n", "", "you"])
def test_what_is_no_did_has_no_balance(node: Any, did: str) -> None:
    """It is a bad request; a DID that no account can have is not found."""

    async def story(ask: Ask) -> None:
        assert (await asked(ask, did))[0] == 400
        for unknown in ("did:icn:node-a", "did:key:z6MkNot", "did:web:example.org"):
            assert (await asked(ask, unknown))[0] == 404

    driven(node, story)


async def asked(ask: Ask, text: str) -> tuple[int, Any]:
    """Ask for the balance of what is in the path."""
    return await ask("GET /account/{did}/mana", did_in_path=text)


def test_mana_that_has_grown_is_shown(node: Any) -> None:
    """Balance and regenerated mana are those of the moment, and still add up."""

    async def story(ask: Ask) -> None:
        node.context._now = lambda: START + 3 * ledger.PERIOD_MS
        shown = (await asked(ask, "me"))[1]
        assert (shown["balance"], shown["regenerated"], shown["minted"], shown["burned"]) == (103, 3, 100, 0)

    driven(node, story)


def test_only_its_owner_cancels_a_job_and_only_before_it_has_ended(node: Any) -> None:
    """The mana comes back, whoever carries the job out is told, and a second cancel is the same answer."""

    async def story(ask: Ask) -> None:
        job = (await ask("POST /mesh/submit", body=ECHO, key="k"))[1]["job_id"]
        cancel = "POST /mesh/jobs/{job_id}/cancel"
        assert (await ask(cancel, did=BOB, job_id=job))[0] == 403
        assert (await ask(cancel, job_id="unknown"))[0] == 404
        assert await ask(cancel, job_id=job) == (200, {"job_id": job, "status": "Cancelled"})
        assert await ask(cancel, job_id=job) == (200, {"job_id": job, "status": "Cancelled"})
        assert node.lifecycle.told == [("take up", job), ("cancel", job), ("cancel", job)]
        assert (await asked(ask, "me"))[1]["balance"] == 100

    driven(node, story)


def test_jobs_are_listed_in_pages(node: Any) -> None:
    """`next` leads from page to page; what is no page is a bad request."""

    async def story(ask: Ask) -> None:
        for each in range(5):
            await ask("POST /mesh/submit", body=ECHO, key=f"k{each}")
        first = (await ask("GET /mesh/jobs", query="limit=3"))[1]
        second = (await ask("GET /mesh/jobs", query=f"after={first['next']}&limit=3"))[1]
        assert [job["number"] for job in first["jobs"] + second["jobs"]] == [1, 2, 3, 4, 5]
        assert second["next"] is None
        for wrong in ("after=-1", "limit=0", "limit=x", "after=9999999999999999999"):
            assert (await ask("GET /mesh/jobs", query=wrong))[0] == 400

    driven(node, story)


def test_every_family_moves(node: Any) -> None:
    """Each is updated by what it counts, or says what the database holds."""
    registry = CollectorRegistry()
    node.metrics.mesh = MeshMetrics(registry)

    async def story(ask: Ask) -> None:
        job = (await ask("POST /mesh/submit", body=ECHO, key="k"))[1]["job_id"]
        await ask("POST /mesh/submit", body=ECHO, key="k")
        await ask("POST /mesh/submit", body=b"{")
        await ask("GET /mesh/jobs/{job_id}", job_id=job)
        await ask("GET /mesh/jobs")
        await ask("POST /mesh/receipts", body={})
        await ask("POST /mesh/jobs/{job_id}/cancel", job_id=job)
        await ask("POST /account/open", did=BOB)
        await ask("POST /account/open", did=CAROL)
        await asked(ask, "me")
        await ask("GET /ledger/audit")
        node.metrics.mesh.refresh(node.ledger_store.read)

    driven(node, story)
    still = [family.name for family in registry.collect() if not any(each.value for each in family.samples)]
    assert still == []
    assert len(list(registry.collect())) >= 16
    assert registry.get_sample_value("icn_job_submissions_total", {"outcome": "repeated"}) == 1
    assert registry.get_sample_value("icn_job_refusals_total", {"code": "400"}) == 1
    assert registry.get_sample_value("icn_jobs", {"status": "Cancelled"}) == 1
    assert registry.get_sample_value("icn_mana", {"kind": "minted"}) == 150
