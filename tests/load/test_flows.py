"""What a flow may say besides its requests: rows of feeds, pauses, large bodies, tags, a set-up, or all of it in Python."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from odd_server import connections_of, odd_server
from test_engine import load, run

from gates import registry
from gates.errors import BadFileError
from gates.load.arrival import Arrival
from gates.load.engine import LoadError, run_load
from gates.load.failure import Failure
from gates.load.feeds import read_table
from gates.load.flows import registered_flows
from gates.load.measure import measurements
from gates.load.outcome import Health
from gates.load.plan import Feed, LoadPlan
from gates.load.program import Program
from gates.load.schedule import Turns, schedule
from gates.load.tally import grid
from gates.load.tally_recorder import TallyRecorder
from gates.load.variables import Variables

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


# --- feeds ------------------------------------------------------------------------------------------------------------


def feeding(folder: Path, order: str, *, rows: int = 7, mix: dict[str, int] | None = None) -> LoadPlan:
    """A plan whose flow `do` uses the feed `users` of so many rows."""
    file = folder / "users.csv"
    file.write_text("name,age\n" + "".join(f"user {n},{n + 20}\n" for n in range(rows)))
    plan = load({"path": "/echo", "body": {"name": "{users.name}"}})
    table = read_table(file, "users.csv")
    return replace(
        plan,
        mix=mix or {"do": 1},
        flows={"do": plan.flows["do"], "other": {"steps": [{"path": "/right"}]}},
        feeds={"users": Feed("users.csv", order, rows)},
        files={"users.csv": table.sha256},
    )


def taken(plan: LoadPlan, folder: Path, seed: int = 1) -> list[str]:
    """The names that the arrivals of `do` take, in order."""
    variables = Variables(plan, seed=seed, root=folder)
    arrivals = schedule(plan, ["main"], seed=seed)
    return [variables.row("users", n)["name"] for n, flow in enumerate(arrivals.flow) if arrivals.flows[flow] == "do"]


def test_in_turn_goes_round_the_rows_by_the_arrivals_that_use_them(tmp_path: Path) -> None:
    """Arrivals of other flows take none: no row is left out and none comes twice in a round."""
    names = [f"user {n}" for n in range(7)]
    plan = feeding(tmp_path, "in_turn", mix={"do": 1, "other": 3})
    assert taken(replace(plan, seconds=0.4), tmp_path) == [names[k % 7] for k in range(40)]


def test_random_rows_come_alike_often_and_again_for_the_same_seed(tmp_path: Path) -> None:
    """Each of seven rows in about a seventh of 2,000 arrivals."""
    plan = replace(feeding(tmp_path, "random"), seconds=5.0)
    found = taken(plan, tmp_path)
    assert found == taken(plan, tmp_path)
    assert found != taken(plan, tmp_path, seed=2)
    assert all(count == pytest.approx(2000 / 7, rel=0.25) for count in Counter(found).values())


def test_once_uses_every_row_at_most_once_and_fails_before_it_runs_out(tmp_path: Path) -> None:
    """Twenty arrivals and twenty rows are enough; one row less is told before anything is sent."""
    assert len(set(taken(feeding(tmp_path, "once", rows=20), tmp_path))) == 20
    with pytest.raises(BadFileError, match="feed 'users': 20 arrivals take a row each, and users.csv has 19"):
        taken(feeding(tmp_path, "once", rows=19), tmp_path)


def test_a_turn_is_how_many_came_before_across_blocks_and_for_any_flows() -> None:
    """Counted in the whole schedule, also in the second block."""
    plan = LoadPlan("", "", 1000.0, 150.0, 0, 1, 1, {"a": 3, "b": 2, "c": 5}, {"a": {}, "b": {}, "c": {}})
    flow = schedule(plan, ["x"], seed=4).flow
    mine = np.isin(flow, [0, 2])
    before = np.cumsum(mine) - mine
    turns = Turns(plan, ["a", "c"], seed=4)
    chosen = [0, 1, 77, 65_529, 65_530, 65_531, 140_000, 149_999]
    assert [turns.of(n) for n in chosen] == before[chosen].tolist()


def test_a_feed_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    """Its rows are part of what was planned."""
    plan = feeding(tmp_path, "in_turn")
    (tmp_path / "users.csv").write_text("name\nnobody\n")
    with pytest.raises(BadFileError, match="users.csv: the file has changed since the run was planned"):
        Variables(plan, seed=1, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "place", "problem"),
    [
        ("a.csv", "name\n", "a.csv", "no row in it"),
        ("a.csv", "name,age\nann\n", "a.csv:2:1", "expected 2 values as in the header"),
        ("a.jsonl", '{"name": "a", "age": 1}\n{"name": "b"}\n', "a.jsonl:2:1", "this row has no 'age'"),
        ("a.jsonl", '{"id": 1, "name": "\\ud800"}\n', "a.jsonl:1:11", "half of a surrogate pair"),
    ],
)
def test_what_is_wrong_with_a_feed_is_told_at_its_line(tmp_path: Path, name: str, text: str, place: str, problem: str) -> None:
    """As of a recording."""
    (tmp_path / name).write_text(text)
    with pytest.raises(BadFileError) as caught:
        read_table(tmp_path / name, name)
    assert caught.value.location == place
    assert problem in caught.value.message


def test_rows_are_filled_in_and_sent(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server echoes the row's name, and the check compares it with the row."""
    monkeypatch.chdir(tmp_path)
    plan = feeding(tmp_path, "in_turn")
    flow = {
        "steps": [{"path": "/echo", "method": "POST", "body": {"n": "{users.name}"}, "check": {"json": {"n": "{users.name}"}}}]
    }
    outcome = run_load(replace(plan, flows={"do": flow}), {"main": url}, seed=1)
    assert outcome.failures == {}


# --- think time -------------------------------------------------------------------------------------------------------

THINKING = (
    {"path": "/right"},
    {"path": "/right", "think": "60 ms"},
    {"path": "/right", "think": {"from": "0 ms", "to": "20 ms"}},
)


def test_time_to_think_is_no_latency_and_still_time(url: str) -> None:
    """The journey takes more than 60 ms, of which the measured pauses are taken off: what is left are three answers."""
    outcome = run(url, *THINKING, rate=100, seconds=0.1, record=True)
    assert outcome.failures == {}
    took = outcome.completed - outcome.intended
    assert outcome.thought is not None
    assert (outcome.thought >= 0.055).all()
    assert np.allclose(outcome.latency, took - outcome.thought)
    assert (outcome.latency < took - 0.05).all()
    assert all(each.completed - each.invoked > 0.055 for each in outcome.operations)
    measured = {each.key: each.value for each in measurements(outcome, phases={}, seed=1)}
    assert measured["latency.max"] == pytest.approx(float(outcome.latency.max()))


def test_counts_alone_leave_out_what_was_thought_as_well() -> None:
    """A long run keeps no rows: of an arrival of 700 ms in which its user thought for 500 ms, 200 ms are latency."""
    arrivals = schedule(load({"path": "/"}), ["main"], seed=1)
    recorder = TallyRecorder(arrivals, 10.0, grid(1.0, {}, arrivals.flows, arrivals.endpoints))
    recorder.dispatched[0] = recorder.sent[0] = 10.0
    recorder.think(0, 0.5)
    recorder.finish(0, 10.7, Failure.NONE, 200)
    tally = recorder.outcome(1, 11.0, Health(0.1, None, 0.0, "timerfd"), stopped=True)
    assert tally.select().latency.quantile(0.5) == pytest.approx(0.2, rel=0.01)
    assert tally.select().service.quantile(0.5) == pytest.approx(0.2, rel=0.01)


def test_pauses_are_drawn_from_the_seed_within_their_bounds() -> None:
    """Different for each arrival, the same for the same seed."""
    flow = {"steps": list(THINKING)}
    program = Program("do", flow, "main", "http://x", seed=1)
    drawn = [program.thought(n, 2) for n in range(200)]
    assert program.thought(5, 1) == pytest.approx(0.06)
    assert drawn == [Program("do", flow, "main", "http://x", seed=1).thought(n, 2) for n in range(200)]
    assert 0 <= min(drawn) < 0.002 < 0.018 < max(drawn) <= 0.02


def test_a_connection_that_closes_while_the_user_thinks_ends_the_arrival(url: str) -> None:
    """Each arrival is accounted for at once, not after the pause."""
    outcome = run(url, {"path": "/last"}, {"path": "/right", "think": "50 ms"}, seconds=0.02)
    assert outcome.failures == {Failure.CLOSED: 8}


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("body", "size"), [({"fill": "1 MiB"}, 1_048_576), ({"body_file": "b.bin"}, 70_000), ({"body": "x{n}"}, 2)]
)
def test_large_bodies_files_and_chunks_arrive_whole(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], size: int, chunked: bool
) -> None:
    """The server says how many bytes it got, and how they were framed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.bin").write_bytes(bytes(70_000))
    check = {"json": {"size": size, "chunked": chunked}}
    outcome = run(
        url, {"method": "POST", "path": "/size", "chunked": chunked, "check": check, **body}, seconds=0.01, timeout=10
    )
    assert outcome.failures == {}
    assert outcome.right.sum() == 4


# --- set-up and teardown ----------------------------------------------------------------------------------------------

SETUP = {"steps": [{"method": "POST", "path": "/echo", "body": {"token": "t-1"}, "capture": {"token": "token"}}]}


def test_the_set_up_runs_once_and_what_it_captured_is_known_to_every_flow(url: str) -> None:
    """In the load and in the teardown."""
    step = {"method": "POST", "path": "/echo", "body": {"a": "{setup.token}"}, "check": {"json": {"a": "t-1"}}}
    plan = replace(load(step), setup=SETUP, teardown={"steps": [step]})
    outcome = run_load(plan, {"main": url}, seed=1)
    assert (outcome.failures, outcome.given, outcome.problems) == ({}, {"token": "t-1"}, ())


def test_a_set_up_that_fails_is_no_load_and_a_teardown_that_fails_leaves_what_was_measured(url: str) -> None:
    """The first is an error with its step, the second a problem beside the outcome."""
    refused = {"steps": [{"path": "/right"}, {"path": "/refused"}]}
    with pytest.raises(LoadError, match="set-up, step 2: expected status 2xx, got 503"):
        run_load(replace(load({"path": "/right"}), setup=refused), {"main": url}, seed=1)
    outcome = run_load(replace(load({"path": "/right"}), teardown=refused), {"main": url}, seed=1)
    assert outcome.right.all()
    assert outcome.problems[0].startswith("teardown, step 2: expected status 2xx, got 503")


def test_who_is_given_what_was_captured_runs_no_set_up(url: str) -> None:
    """A worker of many: the set-up ran once, elsewhere."""
    step = {"method": "POST", "path": "/echo", "body": "{setup.token}", "check": {"body_contains": "t-9"}}
    plan = replace(load(step), setup={"steps": [{"path": "/refused"}]})
    assert run_load(plan, {"main": url}, seed=1, given={"token": "t-9"}).failures == {}


# --- Python -----------------------------------------------------------------------------------------------------------


async def look(client: httpx.AsyncClient, arrival: Arrival) -> None:
    """Asks twice and looks at the answer."""
    answer = await client.post("/echo", json={"key": arrival.key, "n": arrival.number})
    assert answer.json()["key"] == arrival.key
    arrival.value, arrival.answer = {"n": arrival.number}, {"status": (await client.get("/right")).status_code}


async def wrong(client: httpx.AsyncClient, arrival: Arrival) -> None:
    """Goes wrong in a way of its own for each arrival."""
    if arrival.number == 0:
        (await client.get("/refused")).raise_for_status()
    if arrival.number == 1:
        raise AssertionError("no proposal is open")
    if arrival.number == 2:
        await client.get("/truncated")
    if arrival.number == 3:
        await client.get("/closed")
    if arrival.number == 4:
        raise KeyError("id")
    if arrival.number == 5:
        await client.get("/silent")
    if arrival.number == 6:
        await client.get("/garbage")


def in_python(monkeypatch: pytest.MonkeyPatch, function: Any, **more: Any) -> LoadPlan:
    """A plan of one flow in Python."""
    monkeypatch.setattr(registry, "plugins", lambda group: {"mine": {"do": function}} if group == registry.FLOWS else {})
    return replace(load({"path": "/"}, **more), flows={"do": {"python": "mine:do"}})


def test_a_flow_in_python_is_measured_as_any_other_over_few_connections(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each user has one connection; every arrival is accounted for, and a history holds what the flow says."""
    before = connections_of(url)
    plan = in_python(monkeypatch, look, rate=50, seconds=0.4, timeout=10, connections=4)
    outcome = run_load(plan, {"main": url}, seed=1, record=True)
    assert outcome.failures == {}
    assert outcome.due == 20
    assert (outcome.sent >= outcome.dispatched).all()
    assert (outcome.completed > outcome.sent).all()
    assert connections_of(url) - before <= 4
    assert outcome.operations[7].value == {"n": 7}
    assert outcome.operations[7].answer == {"status": 200}
    assert len({each.key for each in outcome.operations}) == 20


def test_what_goes_wrong_in_python_has_its_class_and_its_words(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An assertion is a wrong body, a raised status a wrong status, and the transport's errors are told apart."""
    outcome = run_load(in_python(monkeypatch, wrong, rate=80, seconds=0.1, timeout=2), {"main": url}, seed=1)
    kinds = [Failure(value).name for value in outcome.failure]
    assert kinds == ["STATUS", "BODY", "TRUNCATED", "CLOSED", "BODY", "TIMEOUT", "GARBAGE", "NONE"]
    assert outcome.code[0] == 503
    assert set(outcome.examples[Failure.BODY]) == {"do on main: no proposal is open", "do on main: KeyError: 'id'"}


def test_a_dead_port_is_refused_in_python_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a list of steps."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        outcome = run_load(in_python(monkeypatch, look, seconds=0.01, timeout=5), {"main": url}, seed=1)
    assert outcome.failures == {Failure.REFUSED: 4}


async def sleeper(client: httpx.AsyncClient, arrival: Arrival) -> None:
    """Never ends."""
    await asyncio.sleep(3600)


def test_nothing_in_python_outlives_the_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a user times out, what waits for one was never sent."""
    plan = in_python(monkeypatch, sleeper, rate=400, seconds=0.02, timeout=0.1, connections=2)
    outcome = run_load(plan, {"main": url}, seed=1)
    assert set(outcome.failures) <= {Failure.TIMEOUT, Failure.UNSENT}
    assert sum(outcome.failures.values()) == 8


def test_python_and_steps_share_a_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their weights, each counted by its own name and by its tag."""
    plan = in_python(monkeypatch, look, rate=100, seconds=0.2, timeout=10)
    both = {"do": {"python": "mine:do", "tags": ["logic"]}, "plain": {"steps": [{"path": "/right"}], "tags": ["read", "logic"]}}
    plan = replace(plan, mix={"do": 1, "plain": 3}, flows=both)
    outcome = run_load(plan, {"main": url}, seed=1)
    assert outcome.failures == {}
    counts = {
        each.key: each.n for each in measurements(outcome, phases={}, seed=1, tags=plan.tags) if each.metric == "requests.count"
    }
    assert counts == {
        "requests.count": 20, "requests.count/do": 5, "requests.count/plain": 15,
        "requests.count/tag:logic": 20, "requests.count/tag:read": 15,
    }  # fmt: skip


def test_plug_ins_give_coroutine_functions_alone_or_by_name() -> None:
    """The first line of the docstring is the summary."""
    found = registered_flows({"see-it": look, "more": {"wrong": wrong, "plain": {"steps": [{"path": "/"}]}}})
    assert {name: getattr(flow, "python", None) for name, flow in found.items()} == {
        "see_it": "see-it", "wrong": "more:wrong", "plain": None,
    }  # fmt: skip
    assert found["see_it"].summary == "Asks twice and looks at the answer."
