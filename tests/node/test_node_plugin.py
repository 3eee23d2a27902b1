"""The node's plug-in: what the federation resolves to, and each invariant over good and bad histories."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gates.load.flows import Flow
from gates.model import Finding, InvariantOutcome, Operation, Table
from gates.node.plugin import (
    FLOWS,
    Federation,
    FederationSettings,
    ManaConserved,
    NoAcknowledgedJobLost,
    OneJobPerKey,
)


def submitted(key: str, status: str = "ok", endpoint: str = "node-a", job: str | None = None) -> Operation:
    """A client's submission of a job that costs 10."""
    answer = {"job_id": job or f"job-{key}"} if status == "ok" else None
    return Operation(0, "submit_job", endpoint, key, status, 0.0, 0.1, 200, {"cost_mana": 10}, answer)


def node(*keys: str, minted: int = 1000, balance: int | None = None, jobs: Any = None) -> dict[str, Any]:
    """What a node says of itself: a job of 10 mana for each of *keys*, unless told otherwise."""
    stored = jobs if jobs is not None else [[key, f"job-{key}", 10, "Completed"] for key in keys]
    return {"minted": minted, "balance": minted - 10 * len(keys) if balance is None else balance, "jobs": stored}


EMPTY = {"node-a": node(), "node-b": node()}
READ = Operation(0, "read_mana", "node-a", "r", "ok", 0.0, 0.1, 200, None, None)
HISTORY = [
    submitted("1"),
    submitted("2"),
    submitted("3", endpoint="node-b"),
    submitted("4", "unknown"),
    submitted("5", "fail"),
    READ,
]
GOOD = {"node-a": node("1", "2"), "node-b": node("3")}


def value(outcome: InvariantOutcome) -> tuple[str, float, int]:
    """The one measurement of *outcome*."""
    (measurement,) = outcome.measurements
    (exhibit,) = outcome.exhibits
    assert isinstance(exhibit, Table)
    assert bool(outcome.findings) == bool(measurement.value)
    assert all(isinstance(finding, Finding) for finding in outcome.findings)
    return measurement.metric, measurement.value, measurement.n


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        (GOOD, 0),
        ({"node-a": node("1", "2", "4"), "node-b": node("3")}, 0),
        ({"node-a": node("1"), "node-b": node("3")}, 1),
        ({"node-a": node("1", "2", "3"), "node-b": node()}, 1),
        ({"node-a": node("1", jobs=[["1", "job-1", 10, ""], ["2", "other", 10, ""]]), "node-b": node("3")}, 1),
        ({"node-a": node(), "node-b": node()}, 3),
        ({"node-a": node("1", "2")}, 1),
    ],
    ids=["all there", "an unknown one too", "one missing", "on another node", "under another id", "nothing", "a node is gone"],
)
def test_an_acknowledged_job_that_is_not_stored_is_lost(after: Any, lost: int) -> None:
    """Counted over the three acknowledged jobs; neither the unknown nor the refused one, nor a read, is promised."""
    assert value(NoAcknowledgedJobLost().check(HISTORY, EMPTY, after)) == ("acknowledged.lost", lost, 3)


@pytest.mark.parametrize(
    ("after", "duplicated"),
    [
        (GOOD, 0),
        ({"node-a": node("1", "2"), "node-b": node("3", "1")}, 1),
        ({"node-a": node("1", "2", "2"), "node-b": node("3")}, 1),
        ({"node-a": node("1", "2", "4", "4"), "node-b": node("3", "3", "3")}, 2),
    ],
    ids=["one each", "on two nodes", "twice on one", "an unknown one twice, and one thrice"],
)
def test_a_key_with_more_than_one_job_is_duplicated(after: Any, duplicated: int) -> None:
    """Counted over the keys that may have had an effect; a key that a client sent again counts once."""
    history = [*HISTORY, submitted("1")]
    assert value(OneJobPerKey().check(history, EMPTY, after)) == ("acknowledged.duplicated", duplicated, 4)


def test_a_job_under_a_key_that_nobody_sent_is_one_too_many() -> None:
    """A node that stores a repeated job under another key has duplicated it, even if paid; an earlier job is no surplus."""
    copied = {"node-a": node("1", "2", "1-again"), "node-b": node("3")}
    assert value(OneJobPerKey().check(HISTORY, EMPTY, copied)) == ("acknowledged.duplicated", 1, 4)
    assert value(OneJobPerKey().check(HISTORY, copied, copied)) == ("acknowledged.duplicated", 0, 4)


@pytest.mark.parametrize(
    ("before", "after", "imbalance", "jobs"),
    [
        (EMPTY, GOOD, 0, 3),
        ({"node-a": node("0"), "node-b": node()}, {"node-a": node("0", "1"), "node-b": node()}, 0, 1),
        (EMPTY, {"node-a": node("1", balance=980), "node-b": node("3")}, 10, 2),
        (EMPTY, {"node-a": node("1", balance=1000), "node-b": node("3", balance=980)}, 20, 2),
        (EMPTY, {"node-a": node("1", minted=2000, balance=1990), "node-b": node()}, 1000, 1),
        (EMPTY, {"node-a": node("1", "1", balance=980), "node-b": node()}, 10, 1),
    ],
    ids=["balanced", "with an earlier job", "charged twice", "errors don't cancel out", "minted again", "one id twice"],
)
def test_mana_that_does_not_add_up_is_summed(before: Any, after: Any, imbalance: int, jobs: int) -> None:
    """Minted is what is left plus the cost of distinct jobs, in all and since the load began, node by node."""
    assert value(ManaConserved().check(HISTORY, before, after)) == ("mana.imbalance", imbalance, jobs)


def test_observing_reads_every_page_of_every_node() -> None:
    """Jobs are collected page by page; the account is the node's own."""
    answers = {
        "/info": {"did": "did:icn:x", "minted_mana": 100},
        "/account/did:icn:x/mana": {"balance": 80},
        "/mesh/jobs?after=0": {
            "jobs": [{"idempotency_key": "a", "job_id": "1", "cost_mana": 10, "status": "Completed"}],
            "next": 7,
        },
        "/mesh/jobs?after=7": {
            "jobs": [{"idempotency_key": "b", "job_id": "2", "cost_mana": 10, "status": "Submitted"}],
            "next": None,
        },
    }
    observed = OneJobPerKey().observe(lambda name, path: answers[path], ["node-a", "node-b"])
    one = {"minted": 100, "balance": 80, "jobs": [["a", "1", 10, "Completed"], ["b", "2", 10, "Submitted"]]}
    assert observed == {"node-a": one, "node-b": one}


def test_a_node_that_does_not_answer_is_no_observation() -> None:
    """Silence is an error, never an empty account."""

    def fetch(name: str, path: str) -> Any:
        raise ConnectionRefusedError(name)

    with pytest.raises(OSError, match="node-a"):
        ManaConserved().observe(fetch, ["node-a"])


def test_a_federation_is_nodes_that_know_each_other() -> None:
    """Three by default; each is given the others' URLs, its own port and folder, and can be killed, started and paused."""
    layout = Federation().layout(FederationSettings())
    assert [process.name for process in layout.processes] == ["node-a", "node-b", "node-c"]
    command = layout.processes[1].command
    assert command[1:3] == ("-m", "gates.node")
    assert command[command.index("--peers") + 1] == "node-a={url:node-a},node-c={url:node-c}"
    assert {"{port}", "{data}", "node-b"} < set(command)
    assert layout.controls == ("kill", "start", "pause")


def test_a_defect_is_given_to_every_node() -> None:
    """The wrapper puts it in before the node starts; the node's own module stays as it is."""
    layout = Federation().layout(FederationSettings(nodes=2, defect="double-charge"))
    assert [process.command[2:5] for process in layout.processes] == [("gates.node.defects", "double-charge", "--")] * 2


@pytest.mark.parametrize("bad", [{"nodes": 0}, {"nodes": 11}, {"mana": -1}, {"defect": "none"}, {"size": 3}])
def test_a_federation_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    """Settings are checked where they are written."""
    with pytest.raises(ValidationError):
        FederationSettings.model_validate(bad)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_have_the_shape_of_flows(name: str) -> None:
    """Every flow of the plug-in is one that the load engine accepts."""
    assert Flow.model_validate(FLOWS[name]).summary
