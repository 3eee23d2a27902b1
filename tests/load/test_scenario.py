"""Scenario files: what is right becomes a plan, what is wrong is told at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gates import codec
from gates.errors import BadFileError
from gates.load.flows import registered_flows
from gates.load.plan import LoadPlan
from gates.load.reading import read_scenario
from gates.load.scenario import changed
from gates.spec import SpecErrors, read_yaml

PING = {"ping": {"steps": [{"path": "/ping"}]}}
RIGHT = """
version: 1
arrivals: {rate: 120/min, for: {quick: 20 s, full: 5 min}}
warmup: 2 s
mix: {ping: 3, own: 1}
flows:
  own: {steps: [{method: POST, path: /own, body: {a: [1, "{n}"]}}]}
"""


class Files:
    """Reads scenarios from a folder."""

    def __init__(self, root: Path, flows: Any = PING) -> None:
        self.root = root
        self.flows = flows

    def read(self, path: str, schema: Any, *, setting: str) -> Any:
        return read_yaml(self.root / path, schema, "quick", root=self.root)

    def plugins(self, group: str) -> dict[str, Any]:
        assert group == "gates.flows"
        return {"test": self.flows}


def read(folder: Path, text: str, flows: Any = PING) -> LoadPlan:
    """The plan of the scenario *text*."""
    (folder / "scenario.yaml").write_text(text)
    return read_scenario("scenario.yaml", Files(folder, flows))[1]


def test_a_scenario_becomes_a_plan_of_plain_values(tmp_path: Path) -> None:
    """Quantities are in base units, choices are taken, flows are written out, and plan.json carries all of it unchanged."""
    plan = read(tmp_path, RIGHT)
    assert (plan.rate, plan.seconds, plan.warmup, plan.arrivals) == (2.0, 20.0, 2.0, 40)
    assert plan.phases == {"warmup": (0.0, 2.0), "steady": (2.0, 20.0)}
    assert plan.mix == {"ping": 3, "own": 1}
    assert plan.share("ping") == 0.75
    assert plan.flows["own"]["steps"][0]["body"] == {"a": [1, "{n}"]}
    assert codec.loads(codec.dumps(plan), LoadPlan) == plan


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("ping: 3", "pong: 3", 5, "unknown flow; did you mean 'ping'?"),
        ("ping: 3", "ping: 0", 5, "greater than or equal to 1"),
        ("ping: 3", "ping: 1.5", 5, "whole number"),
        ("{ping: 3, own: 1}", "{}", 5, "at least 1"),
        ("rate: 120/min", "rate: 0/s", 3, "greater than 0"),
        ("rate: 120/min", "rate: 1000000000/s", 3, "less than or equal to 200000"),
        ("rate: 120/min", "rate: 120", 3, "a unit is needed"),
        ("quick: 20 s", "quick: -20 s", 3, "greater than 0"),
        ("quick: 20 s", "quick: 2 s", 4, "the warm-up leaves nothing to measure"),
        ("{rate: 120/min,", "{rate: 120/min, shape: wavy,", 3, "expected 'constant'"),
        ("warmup: 2 s", "warmup: 2 s\nconections: 9", 5, "did you mean 'connections'?"),
        ("{n}", "{m}", 7, "undefined variable {m}; defined here: {endpoint}, {key}, {n}, {slot}, {uuid}"),
        ("path: /own", "path: own", 7, "match pattern"),
        ("method: POST", "method: HEAD", 7, "expected 'GET', 'POST'"),
        ("path: /own,", 'path: /own, headers: {A: "b\\nc"},', 7, "match pattern"),
        ("path: /own,", "path: /own, check: {json: {a: {typ: string}}},", 7, "did you mean 'type'?"),
        ("path: /own,", "path: /own, check: {json: {a: {matches: '['}}},", 7, "not a regular expression"),
        ("path: /own,", "path: /own, check: {status: 99},", 7, "100"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    """Every mistake has a place and says what was expected."""
    with pytest.raises(SpecErrors) as caught:
        read(tmp_path, RIGHT.replace(old, new))
    assert any(each.line == line and problem in f"{each.message}; {each.hint}" for each in caught.value.problems), caught.value


def test_a_capture_is_known_to_later_steps_only(tmp_path: Path) -> None:
    """Before it was captured it is undefined, also in the request of its own step; afterwards it is known."""
    steps = '[{path: "/a/{id}", capture: {id: id}}, {path: "/b/{id}", check: {json: {x: "{id}"}}}]'
    text = RIGHT.replace('[{method: POST, path: /own, body: {a: [1, "{n}"]}}]', steps)
    with pytest.raises(SpecErrors) as caught:
        read(tmp_path, text)
    assert [each.path for each in caught.value.problems] == ["flows.own.steps.0.path"]
    read(tmp_path, text.replace("/a/{id}", "/a"))


def test_flows_come_from_files_and_plug_ins_and_the_nearest_counts(tmp_path: Path) -> None:
    """A scenario's own flow comes before a file's, a file's before a plug-in's."""
    (tmp_path / "flows.yaml").write_text(
        "version: 1\nflows: {ping: {steps: [{path: /file}]}, more: {steps: [{path: /more}]}}\n"
    )
    text = RIGHT.replace("mix: {ping: 3, own: 1}", "flows_from: [flows.yaml]\nmix: {ping: 3, more: 1, own: 1}")
    plan = read(tmp_path, text, flows=lambda: {**PING, "own": {"steps": [{"path": "/plug-in"}]}})
    paths = {name: flow["steps"][0]["path"] for name, flow in plan.flows.items()}
    assert paths == {"ping": "/file", "more": "/more", "own": "/own"}


def test_a_plug_in_with_a_broken_flow_is_named() -> None:
    """The user of a plug-in learns whose fault it is."""
    with pytest.raises(BadFileError, match=r"flow 'bad' of plug-in 'theirs': steps.0.path"):
        registered_flows({"theirs": {"bad": {"steps": [{"path": "x"}]}}})


def test_the_project_s_own_scenarios_resolve_in_every_profile() -> None:
    """With the flows of the federation's plug-in."""
    from gates.registry import plugins

    root = Path(__file__).parents[2]
    flows = registered_flows(plugins("gates.flows"))
    for name in ("sustained-jobs", "burst-jobs"):
        plan = read_scenario(f"workflows/scenarios/{name}.yaml", Files(root, flows_as_given(flows)))[1]
        assert plan.share("submit_job") == 0.8


def flows_as_given(flows: Any) -> dict[str, Any]:
    """Definitions as a plug-in gives them."""
    return {name: flow.model_dump(mode="json", by_alias=True, exclude_unset=True) for name, flow in flows.items()}


def test_a_changed_plan_keeps_its_warm_up_unless_there_is_no_room(tmp_path: Path) -> None:
    """A shorter time shrinks it; a longer one leaves it."""
    plan = read(tmp_path, RIGHT)
    assert changed(plan, seconds=60).warmup == 2
    assert changed(plan, seconds=1).warmup == pytest.approx(0.1)
    assert changed(plan, rate=7, connections=3).rate == 7


def test_the_committed_schema_is_that_of_the_models() -> None:
    """When this fails: `gates schema scenario > docs/schema/scenario.schema.json`."""
    from click.testing import CliRunner

    from gates.cli.schema import schema_command

    committed = Path(__file__).parents[2] / "docs" / "schema" / "scenario.schema.json"
    assert CliRunner().invoke(schema_command, ["scenario"]).output == committed.read_text()
