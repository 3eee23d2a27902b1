"""Runs beside each other, runs within gates, and runs that several processes share."""

from __future__ import annotations

import json

import pytest

from .conftest import Repository, until

pytestmark = pytest.mark.end_to_end


def test_a_second_run_waits_and_says_for_whom(repository: Repository) -> None:
    """A measuring gate waits for another run's; the wait names run, pid and gate and does not count against its limit."""
    repository.spec(alone={"kind": "odd-alone", "do": "hang", "limit": "60 s"})
    first = repository.start("run")
    until(lambda: repository.hangs("alone"))
    run = repository.latest.name
    repository.spec(alone={"kind": "odd-alone", "limit": "2 s"})
    second = repository.start("run")
    until(lambda: "waits for the machine" in repository.said)
    assert f"run {run}, gate alone (pid {first.pid})" in repository.said
    assert not (repository.latest / "alone" / "request.json").exists()
    first.terminate()
    assert (first.wait(10), second.wait(20)) == (130, 0)
    assert not repository.left()


def test_a_measuring_gate_inside_one_that_shares_is_refused_by_name(repository: Repository) -> None:
    """It could never be granted, so it is refused at once; inside a gate that is alone it takes no lock and runs."""
    repository.spec(shares={"do": "inner"})
    assert repository.run() == 0
    log = (repository.latest / "shares" / "output.log").read_text()
    assert "the gate inner measures and must be alone on the machine, but it runs inside the gate shares of run" in log
    repository.spec(alone={"kind": "odd-alone", "do": "inner"})
    assert repository.run() == 0
    runs = repository.latest / "alone" / "runs"
    assert json.loads((runs / "latest" / "readiness.json").read_text())["verdict"] == "ready"
    assert len((runs / "ledger.jsonl").read_text().splitlines()) == 2
    assert not repository.left()


def test_several_processes_share_a_run_and_the_report_closes_it(repository: Repository) -> None:
    """As Nox does it: one plan, each process executes its gates and exits by them, `gates report` judges the whole."""
    repository.spec(
        one={}, two={"kind": "odd-alone", "do": "fail", "needs": ["one"]}, three={"kind": "odd-alone", "needs": ["two"]}
    )
    shared = {"environ": {"GATES_RUN": "shared"}}
    assert repository.run("run", "--only", "kind:odd", **shared) == 0
    assert repository.run("run", "--only", "two", **shared) == 1
    assert repository.run("run", "--only", "three", **shared) == 3
    assert repository.run("run", "--only", "one", **shared) == 2
    assert "already executed" in repository.said
    assert repository.run("run", "--profile", "full", "--only", "three", **shared) == 2
    assert "which was planned with quick" in repository.said
    assert len(repository.ledger()) == 1
    assert repository.run("report", **shared) == 1
    assert "because of a need: two failed" in repository.gate("three")["reason"]
    assert repository.run("run", "--only", "one", **shared) == 3
    assert "is closed" in repository.said
    assert len(repository.ledger()) == 2


def test_a_gate_runs_alone_without_its_needs_and_the_whole_is_inconclusive(repository: Repository) -> None:
    """`--only` narrows what is executed, never what is planned, so a partial run is not READY."""
    repository.spec(one={}, two={"needs": ["one"]})
    assert repository.run("run", "--only", "two") == 3
    assert (repository.gate("two")["outcome"], repository.gate("one")["outcome"]) == ("pass", "inconclusive")


def test_a_selection_that_matches_nothing_plans_nothing(repository: Repository) -> None:
    """Exit 5, the gates that there are, and no run."""
    repository.spec(one={})
    assert repository.run("run", "--only", "kind:load") == 5
    assert "one (kind:odd)" in repository.said
    assert not (repository.runs / "ledger.jsonl").exists()
