"""Scenario files: what is right becomes a plan, what is wrong is told at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gates import codec
from gates.errors import BadFileError
from gates.load.flows import Flow, registered_flows
from gates.load.plan import LoadPlan
from gates.load.reading import read_scenario
from gates.load.scenario import ChangeError, changed
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
        ("{rate: 120/min,", "{rate: 120/min, shape: spik,", 3, "unknown shape; did you mean 'spike'?"),
        ("{rate: 120/min,", "{rate: 120/min, shape: 7,", 3, "expected 'constant'"),
        ("{rate: 120/min,", "{rate: 120/min, base: 1/s,", 3, "unknown key"),
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


SHAPES = [
    ("ramp, from: 0/s, to: 0/s, for: 5 s", "a ramp from 0 to 0 has no request"),
    ("ramp, from: 1/s, to: 9/s, for: -5 s", "greater than 0"),
    ("ramp, from: 1/s, for: 5 s", "to is missing"),
    ("ramp, from: 1/s, to: 1000000000/s, for: 5 s", "less than or equal to 200000"),
    ("ramp, from: 0/s, to: 200000/s, for: 1 d", "requests; expected at most 20,000,000"),
    ("steps, steps: []", "at least 1 item"),
    ("steps, steps: [{rate: 5/s}]", "for is missing"),
    ("steps, steps: [{rate: 5/s, for: 5 s, name: steady}]", "the name of another phase"),
    ("steps, steps: [{rate: 5/s, for: 5 s, name: a}, {rate: 6/s, for: 5 s, name: a}]", "another step has this name"),
    ("steps, steps: [{rate: 5/s, for: 5 s, nam: a}]", "did you mean 'name'?"),
    ("steps, steps: [{rate: 0/s, for: 5 s}]", "no request at all comes"),
    ("burst, base: 1/s, peak: 9/s, length: 2 s, period: 2 s, for: 9 s", "a burst must be shorter than the period of 2 s"),
    ("burst, base: 1/s, peak: 9/s, length: 2 s, period: 12 s, for: 9 s", "no burst comes in 9 s"),
    ("burst, base: 1/s, peak: 9/s, length: 1 us, period: 2 us, for: 9 s", "more than 100,000 changes of the rate"),
    ("burst, base: 1/s, peak: 0/s, length: 2 s, period: 3 s, for: 9 s", "greater than 0"),
    ("spike, base: 1/s, peak: 9/s, at: 5 s, length: 5 s, for: 9 s", "the spike ends at 10 s, after the load"),
    ("poisson, rate: 0/s, for: 9 s", "greater than 0"),
    ("poisson, rate: 9/s, for: 9 s, gaps: even", "expected 'exponential'"),
    ("soak, rate: 9/s, for: 2 d", "less than or equal to 86400"),
    ("replay, file: none.csv", "none.csv: the file is not there"),
    ("replay, file: there.csv, speed: 0", "greater than 0"),
    ("replay, file: there.csv, for: 1 h", "the recording lasts 6 s at this speed; expected at most that, or no `for`"),
    ("replay, file: there.csv, rate: 5/s", "unknown key"),
    ("replay, file: other.csv", "the recording has the flow 'pang', which the mix does not have; did you mean 'ping'?"),
    ("replay, file: wrong.csv", "wrong.csv:3:1: this arrival comes before the one above it"),
]


@pytest.mark.parametrize(("arrivals", "problem"), SHAPES)
def test_every_shape_says_what_is_wrong_with_it(tmp_path: Path, arrivals: str, problem: str) -> None:
    """At the line of the arrivals, or in the recording at the recording's."""
    (tmp_path / "there.csv").write_text("at\n0\n2\n4\n")
    (tmp_path / "other.csv").write_text("at,flow\n0,pang\n9,ping\n")
    (tmp_path / "wrong.csv").write_text("at\n7\n1\n")
    with pytest.raises(BadFileError) as caught:
        read(tmp_path, RIGHT.replace("{rate: 120/min, for: {quick: 20 s, full: 5 min}}", f"{{shape: {arrivals}}}"))
    if isinstance(caught.value, SpecErrors):
        assert any(each.line == 3 and problem in f"{each.message}; {each.hint}" for each in caught.value.problems), caught.value
    else:
        assert problem in str(caught.value)


def shaped(folder: Path, arrivals: str, warmup: str = "0 s") -> LoadPlan:
    """The plan of a scenario with *arrivals*."""
    text = RIGHT.replace("{rate: 120/min, for: {quick: 20 s, full: 5 min}}", f"{{shape: {arrivals}}}")
    return read(folder, text.replace("warmup: 2 s", f"warmup: {warmup}"))


def test_steps_choose_by_profile_in_every_key_and_their_names_are_phases(tmp_path: Path) -> None:
    """A phase begins once the warm-up is over; `rate` of the plan is the average."""
    plan = shaped(
        tmp_path,
        "steps, steps: [{name: low, rate: {quick: 10/s, full: 99/s}, for: 4 s}, {rate: 20/s, for: {quick: 4 s, full: 1 h}}]",
        "1 s",
    )
    assert (plan.rate, plan.seconds, plan.arrivals) == (15, 8, 120)
    assert plan.phases == {"warmup": (0, 1), "steady": (1, 8), "low": (1, 4)}
    assert codec.loads(codec.dumps(plan), LoadPlan) == plan


@pytest.mark.parametrize(
    ("arrivals", "count", "phases"),
    [
        ("ramp, from: 0/s, to: 20/s, for: 10 s", 100, {"steady"}),
        ("burst, base: 2/s, peak: 50/s, length: 1 s, period: 5 s, for: 20 s", 4 * 58, {"steady"}),
        ("spike, base: 2/s, peak: 50/s, at: 5 s, length: 2 s, for: 10 s", 116, {"steady", "spike", "after"}),
        ("poisson, rate: 10/s, for: 10 s", 100, {"steady"}),
        ("soak, rate: 10/s, for: 30 s", 300, {"steady", "first", "last"}),
    ],
)
def test_every_shape_has_its_count_and_its_phases(tmp_path: Path, arrivals: str, count: int, phases: set[str]) -> None:
    """And another average rate or another time stretches all of it."""
    plan = shaped(tmp_path, arrivals)
    assert plan.arrivals == count
    assert set(plan.phases) == phases
    assert changed(plan, rate=plan.rate * 3).arrivals == pytest.approx(3 * count, abs=1)
    longer = changed(plan, seconds=plan.seconds * 2)
    assert longer.arrivals == pytest.approx(2 * count, abs=1)
    assert longer.phases == {name: (start * 2, end * 2) for name, (start, end) in plan.phases.items()}


def test_too_high_a_peak_is_no_change_that_can_be_made(tmp_path: Path) -> None:
    """The average may be low, the engine's limit is not."""
    plan = shaped(tmp_path, "spike, base: 2/s, peak: 5000/s, at: 5 s, length: 1 s, for: 10 s")
    with pytest.raises(ChangeError, match="rate: beyond 200,000 requests a second"):
        changed(plan, rate=plan.rate * 100)


def test_a_recording_s_flows_take_the_place_of_the_weights(tmp_path: Path) -> None:
    """`for` keeps the beginning; neither the rate nor the time of a recording can be changed from outside."""
    (tmp_path / "a.csv").write_text("at,flow\n0,ping\n1,ping\n2,own\n30,own\n")
    plan = shaped(tmp_path, "replay, file: a.csv, for: 5 s, speed: 0.5")
    assert (plan.arrivals, plan.seconds, plan.mix) == (3, 5, {"ping": 2, "own": 1})
    with pytest.raises(ChangeError, match="rate: a replay has a rate and a time of its own"):
        changed(plan, rate=1)


FED = RIGHT.replace("path: /own", "path: '/own/{users.name}'") + "feeds: {users: {file: users.csv, order: once}}\n"
STEP = 'body: {a: [1, "{n}"]}'


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("users.name", "users.nam", 7, "users.csv has no column 'nam'; did you mean 'name'?"),
        ("users.name", "user.name", 7, "no feed 'user'; did you mean 'users'?"),
        ("users.name", "setup.token", 7, "the set-up captures nothing"),
        ("order: once", "order: twice", 8, "expected 'in_turn', 'random' or 'once'"),
        ("file: users.csv, ", "", 8, "file is missing"),
        ("{users: {file", "{setup: {file", 8, "setup stands for what the set-up captured"),
        ("rate: 120/min", "rate: 12/s", 8, "60 arrivals take a row each, and users.csv has 50"),
        (STEP, STEP + ", think: 1 s", 7, "the first step comes when the arrival does"),
        (STEP, STEP + "}, {path: /a, think: -1 s", 7, "greater than or equal to 0"),
        (STEP, STEP + "}, {path: /a, think: {from: 2 s, to: 1 s}", 7, "expected at least `from`"),
        (STEP, STEP + ", body_file: a.bin", 7, "there is body already; one body is sent"),
        (STEP, "fill: 1 GiB", 7, "less than or equal to 268435456"),
        (STEP, "chunked: true", 7, "there is no body to send in chunks"),
        ("own: {steps", "own: {tags: [a b], steps", 7, "match pattern"),
        ("feeds:", "setup: {steps: [{path: '/{users.name}'}]}\nfeeds:", 8, "what runs once takes no row of a feed"),
    ],
)
def test_what_is_wrong_with_a_flow_is_told_at_its_line(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    """Feeds, pauses, bodies and tags."""
    (tmp_path / "users.csv").write_text("name\n" + "ann\n" * 50)
    with pytest.raises(SpecErrors) as caught:
        read(tmp_path, FED.replace(old, new))
    assert any(each.line == line and problem in f"{each.message}; {each.hint}" for each in caught.value.problems), caught.value


def test_the_rows_of_a_feed_are_enough_or_the_change_is_refused(tmp_path: Path) -> None:
    """Ten arrivals of forty use it; five times the rate is as many as there are rows, and one more second is too much."""
    (tmp_path / "users.csv").write_text("name\n" + "ann\n" * 50)
    plan = read(tmp_path, FED)
    assert (plan.feeds["users"].rows, set(plan.files)) == (50, {"users.csv"})
    assert changed(plan, rate=10).arrivals == 200
    with pytest.raises(ChangeError, match="feed 'users': 51 arrivals take a row each"):
        changed(plan, rate=10.2)
    assert codec.loads(codec.dumps(plan), LoadPlan) == plan


@pytest.mark.parametrize(
    ("old", "new", "key", "at"),
    [
        ("", "", "feeds.users.file", "users.csv"),
        ("{rate: 120/min, for: {quick: 20 s, full: 5 min}}", "{shape: replay, file: old.csv}", "arrivals.file", "old.csv"),
        (STEP, "body_file: a.bin", "flows.own.steps.0.body_file", "a.bin"),
        ("feeds:", "setup: {steps: [{path: /, body_file: a.bin}]}\nfeeds:", "setup.steps.0.body_file", "a.bin"),
        ("feeds:", "teardown: {steps: [{path: /, body_file: a.bin}]}\nfeeds:", "teardown.steps.0.body_file", "a.bin"),
        ("ping: 3", "sent: 3", "mix.sent", "sent: 3"),
    ],
)
def test_a_file_that_is_not_there_is_told_at_the_key_that_names_it(
    tmp_path: Path, old: str, new: str, key: str, at: str
) -> None:
    """With file, line and column of the scenario, and what to do; all of them at once."""
    text = FED.replace(old, new)
    with pytest.raises(SpecErrors) as caught:
        read(tmp_path, text, flows={"sent": {"steps": [{"path": "/", "body_file": "a.bin"}]}, **PING})
    told = {each.location: str(each) for each in caught.value.problems}
    before = text[: text.index(at)]
    found = told[f"scenario.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"]
    assert f"{key}: {'a.bin' if at == 'sent: 3' else at}: the file is not there; check the path" in found
    assert any("users.csv: the file is not there" in each for each in told.values())


def test_a_file_that_can_not_be_read_is_told_at_the_key_that_names_it(tmp_path: Path) -> None:
    """A folder is no file of rows."""
    (tmp_path / "users.csv").mkdir()
    with pytest.raises(SpecErrors, match=r"scenario.yaml:8:23: .*the file can't be read: Is a directory"):
        read(tmp_path, FED)


def test_files_that_a_flow_sends_are_in_the_plan_by_their_digest(tmp_path: Path) -> None:
    """So that a run of the plan sends what was planned."""
    text = RIGHT.replace(STEP, "body_file: big.bin, chunked: true")
    (tmp_path / "big.bin").write_bytes(b"123")
    assert list(read(tmp_path, text).files) == ["big.bin"]


async def in_python(client: Any, arrival: Any) -> None:
    """Does something."""


def test_a_flow_in_python_is_planned_by_name_and_refused_at_a_rate_that_httpx_can_not_hold(tmp_path: Path) -> None:
    """At the line of the mix: before anything runs, and also when the rate is raised from outside."""
    flows = {"ping": in_python}
    plan = read(tmp_path, RIGHT, flows=flows)
    assert plan.flows["ping"] == {"python": "test:ping", "summary": "Does something.", "tags": []}
    with pytest.raises(SpecErrors, match="750 arrivals a second of flows in Python, which httpx can't hold") as caught:
        read(tmp_path, RIGHT.replace("120/min", "1000/s"), flows=flows)
    assert caught.value.problems[0].line == 5
    with pytest.raises(ChangeError, match="in Python"):
        changed(plan, rate=1000)


def test_pauses_and_sizes_stay_what_they_were_in_the_plan(tmp_path: Path) -> None:
    """plan.json holds them with their units, so that they are read again as they were written."""
    text = RIGHT.replace(STEP + "}", "fill: 2 KiB}, {path: /b, think: {from: 100 ms, to: 2 s}}")
    steps = Flow.model_validate(codec.loads(codec.dumps(read(tmp_path, text)), LoadPlan).flows["own"]).steps
    assert (steps[0].fill, steps[1].thought) == (2048, (0.1, 2.0))


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
