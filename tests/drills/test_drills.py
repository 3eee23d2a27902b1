"""Drills: what they are made of, what is drawn, what counts as caught; and whole drills on a small repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gates import registry
from gates.cli.drill import exit_of
from gates.drills import responses, slowness, testing
from gates.drills.catalogue import fitting, flattened
from gates.drills.inner import _environment
from gates.drills.kind import DrillsKind, findings, measurements
from gates.drills.limits import limit_of
from gates.drills.performance import COLUMNS, Performed, Performer, sampled, seconds, table
from gates.drills.tree import build, fits, read_spec, write
from gates.errors import BadFileError, Exit, GatesError
from gates.model import Base, Drill, Finding, Level, Outcome, Sighting, Tree, Unit
from gates.node import drills as icn

ROOT = Path(__file__).parents[2]
SPEC: dict[str, Any] = {
    "version": 1,
    "target": {"federation": {"nodes": 3}},
    "profiles": {"quick": {"budget": "180 s"}},
    "gates": {
        "unit": {"kind": "tests", "budget": "20 s", "command": ["true"], "criteria": {"failed": {"at_most": 0}}},
        "sustained": {
            "kind": "load",
            "needs": ["unit"],
            "scenario": "s.yaml",
            "criteria": {"latency.p99@steady": {"below": {"quick": "200 ms", "full": "1 s"}}, "errors.ratio": {"below": "1 %"}},
        },
    },
    "claims": [{"say": "x", "by": ["unit:failed"]}],
}


def drill(name: str, base: str = "b", own: float = 2.0, control: float = 2.0) -> Drill:
    """A drill that costs so many seconds, and does nothing."""
    return Drill(name, "", Base(base, "unit", (), seconds=control), "failed", lambda tree: tree, _seen, seconds=own)


def _seen(_gate: Path, _tree: Path) -> Sighting:
    return Sighting(1, 1, "seen")


def performed(**facts: Any) -> Performed:
    """How a drill went, well unless *facts* say otherwise."""
    well: dict[str, Any] = {"reached": True, "triggered": True, "caught": True, "control": True}
    text = {"said": "failed is 1", "seen": "one failure", "trouble": "", "when": "2026-11-23T15:00:00Z"}
    return Performed(drill("d"), **(well | text | facts), tree=Path())


# --- what a drill runs on ---------------------------------------------------------------------------------------------


def test_an_inner_run_has_the_real_gate_with_the_real_limits(tmp_path: Path) -> None:
    """The criterion is kept exactly as it is; needs, budgets, claims and other gates stay outside."""
    (tmp_path / "s.yaml").write_text("{version: 1, arrivals: {rate: 100/s, for: 16 s}, warmup: 3 s, mix: {look: 1}}")
    tree = build(responses.SUSTAINED, SPEC, tmp_path)
    assert tree.gate("sustained")["criteria"] == SPEC["gates"]["sustained"]["criteria"]
    assert set(tree.spec) == {"version", "profiles", "gates", "target"}
    assert list(tree.spec["gates"]) == ["sustained"]
    assert "needs" not in tree.gate("sustained")
    scenario = yaml.safe_load(tree.files["s.yaml"])
    assert scenario["mix"] == {"look": 1}
    assert scenario["warmup"] == "1 s"


def test_defects_are_made_from_the_real_limit() -> None:
    """A p99 limit of 200 ms makes answers 300 ms late."""
    tree = Tree({"gates": {"sustained": SPEC["gates"]["sustained"]}})
    assert limit_of(tree, "sustained", "latency.p99@steady", Unit.SECONDS) == 0.2
    seeded = next(each for each in responses.DRILLS if each.name == "slow-p99").seed(tree)
    late = seeded.gate("sustained")["proxy"]["delay"]["by"]
    assert float(late.removesuffix(" s")) == pytest.approx(0.3)


def test_a_plain_call_is_timed_as_the_loop_of_a_benchmark_calls_it() -> None:
    """With arguments passed on, which costs as much again as the call: else three limits would hardly be one and a half."""
    plugin = slowness._PLUGIN.format(primitive="Retry", calls=1.0, file="unused.json")
    look = "seen = set()\ntimed(lambda *given, **named: seen.add((given, *named.items())), 1, by=2)\nprint(seen)"
    looked = subprocess.run([sys.executable, "-c", f"{plugin}\n{look}"], capture_output=True, text=True, check=True)
    assert looked.stdout.strip() == "{((1,), ('by', 2))}"


def test_a_criterion_without_an_upper_limit_can_not_be_broken_by_more() -> None:
    """It is said by name."""
    tree = Tree({"gates": {"g": {"criteria": {"throughput": {"at_least": "50/s"}}}}})
    with pytest.raises(BadFileError, match="g:throughput has no upper limit"):
        limit_of(tree, "g", "throughput", Unit.RATE)


def test_a_tree_is_written_with_its_spec_where_the_command_looks(tmp_path: Path) -> None:
    """What is written reads back as the same values."""
    tree = Tree(SPEC).with_file("a/b.txt", "text").with_gate("unit", command=["false"])
    write(tree, tmp_path)
    assert read_spec(tmp_path) == tree.spec
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    assert SPEC["gates"]["unit"]["command"] == ["true"]


@pytest.mark.parametrize(("content", "why"), [("[]", "no gates"), ("a: [", "not valid YAML")])
def test_a_spec_that_is_none_is_refused(tmp_path: Path, content: str, why: str) -> None:
    """With its place and what is wrong."""
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(BadFileError, match=why):
        read_spec(tmp_path, "x.yaml")


def test_only_drills_whose_gate_and_criteria_the_spec_has_are_offered() -> None:
    """Somebody else's spec without our gates gets none of our drills, and asking for one says what it needs."""
    drills = (*testing.DRILLS, *responses.DRILLS, *icn.DRILLS)
    assert fits(testing.SUITE, SPEC, ROOT)
    names = {each.name for each in fitting(drills, SPEC, ROOT)}
    assert names == {
        "failing-test",
        "collection-error",
        "deleted-result",
        "slow-p99",
        "errors-5-percent",
        "wrong-body-5-percent",
        "truncated-5-percent",
        "errors-3-per-mille",
    }
    with pytest.raises(GatesError, match="needs the gate 'crash'"):
        fitting(drills, SPEC, ROOT, ["double-charge"])
    with pytest.raises(GatesError, match="no drill 'nothing'"):
        fitting(drills, SPEC, ROOT, ["nothing"])


def test_a_drill_is_not_offered_where_its_files_are_not(tmp_path: Path) -> None:
    """Drills that copy our own tests do not fit a repository without them, and asking for one names the files."""
    copying = replace(drill("d"), base=Base("b", "unit", (), copies=("tests/ours",)))
    assert fitting([copying], SPEC, tmp_path) == ()
    with pytest.raises(GatesError, match="the files tests/ours"):
        fitting([copying], SPEC, tmp_path, ["d"])
    (tmp_path / "tests" / "ours").mkdir(parents=True)
    assert fitting([copying], SPEC, tmp_path) == (copying,)


def test_the_inner_run_inherits_the_lock_and_nothing_else_of_ours() -> None:
    """GATES_RUN would tie it to the outer run, GITHUB_ACTIONS would publish it; the machine lock must go on."""
    given = {"GATES_RUN": "r", "GITHUB_ACTIONS": "true", "PYTEST_ADDOPTS": "-x", "READINESS_LOCK": "alone r g", "PATH": "p"}
    assert _environment(given) == {"READINESS_LOCK": "alone r g", "PATH": "p"}


def test_every_installed_drill_has_its_own_name_and_a_gate_of_the_own_spec() -> None:
    """Whoever renames a gate or a criterion of readiness.yaml mends its drills."""
    drills = flattened(registry.plugins(registry.DRILLS))
    assert {each.name for each in drills} >= {"failing-test", "slow-benchmark", "slow-p99", "ack-before-durable"}
    assert fitting(drills, read_spec(ROOT), ROOT) == drills
    assert all(each.criterion in each.base.criteria or each.criterion.startswith("valid.") for each in drills)
    with pytest.raises(GatesError, match="two drills are called"):
        flattened({"a": [drill("x")], "b": [drill("x")]})


# --- the sample -------------------------------------------------------------------------------------------------------


def test_a_sample_fits_its_time_and_counts_a_shared_control_once() -> None:
    """Two drills of one base cost one control."""
    assert seconds([drill("a"), drill("b")]) == 6
    assert seconds([drill("a"), drill("b", base="c")]) == 8
    drills = [drill(name) for name in "abcdef"]
    for seed in range(20):
        chosen = sampled(drills, seed, most=None, within=8.0)
        assert len(chosen) == 3
        assert seconds(chosen) <= 8


def test_a_sample_is_decided_by_the_seed_and_reaches_every_drill() -> None:
    """The same seed draws the same; over many seeds everything comes up."""
    drills = [drill(name) for name in "abcdef"]
    assert sampled(drills, 5, most=2, within=None) == sampled(list(reversed(drills)), 5, most=2, within=None)
    drawn = {each.name for seed in range(60) for each in sampled(drills, seed, most=1, within=None)}
    assert drawn == set("abcdef")


def test_what_does_not_fit_is_passed_over_and_the_quickest_remains() -> None:
    """A sample is never empty."""
    drills = [drill("long", own=30), drill("short", base="c")]
    assert [each.name for each in sampled(drills, 1, most=None, within=10)] == ["short"]
    assert [each.name for each in sampled(drills, 1, most=None, within=1)] == ["short"]


# --- what counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({}, Exit.READY),
        ({"caught": False}, Exit.NOT_READY),
        ({"triggered": False, "trouble": "no effect"}, Exit.INCONCLUSIVE),
        ({"control": False, "trouble": "it failed"}, Exit.INCONCLUSIVE),
        ({"control": False, "caught": False, "trouble": "it failed"}, Exit.INCONCLUSIVE),
    ],
)
def test_only_a_triggered_defect_beside_a_sound_control_says_anything(facts: Mapping[str, Any], code: Exit) -> None:
    """Not caught is a missed defect only when it had its effect; else the drill proves nothing."""
    assert exit_of([performed(**facts)]) is code
    assert exit_of([performed(), performed(**facts)]) is code


def test_facts_are_counted_a_drill_and_together() -> None:
    """A blind gate is a missed drill with a warning; one that proves nothing is an error."""
    found = {each.key: each.value for each in measurements([performed(caught=False)])}
    assert found == {
        "reached/d": 1, "triggered/d": 1, "caught/d": 0, "control/d": 1,
        "reached": 1, "triggered": 1, "caught": 0, "control": 1, "missed": 1,
    }  # fmt: skip
    assert [each.level for each in findings([performed(caught=False)])] == [Level.WARNING]
    assert [each.level for each in findings([performed(reached=False, triggered=False, trouble="t")])] == [Level.ERROR]
    assert findings([performed()]) == ()


def test_the_table_has_the_columns_that_say_when_a_criterion_was_proven_red() -> None:
    """A defect without effect never counts as caught there."""
    assert table([performed()]).rows == (("d", "unit", "failed", "yes", "yes", "yes", "yes", "2026-11-23T15:00:00Z"),)
    assert dict(zip(COLUMNS, performed(triggered=False).row, strict=True))["caught"] == "no"


# --- probes -----------------------------------------------------------------------------------------------------------


def test_the_proxies_logs_say_how_many_answers_were_touched(tmp_path: Path) -> None:
    """Over all proxies: what passed and what was delayed; what was refused is something else."""
    (tmp_path / "target").mkdir()
    lines = [{"kind": "delay"}, {"kind": "error"}, {"kind": "total", "forwarded": 40}]
    for name in ("a", "b"):
        (tmp_path / "target" / f"proxy-{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    seen = responses.proxy_logs("delay")(tmp_path, tmp_path)
    assert (seen.reached, seen.triggered) == (80, 2)


def test_a_probe_without_traces_has_seen_nothing(tmp_path: Path) -> None:
    """No log, no file, no database: not reached."""
    probes = (
        next(each.probe for each in icn.DRILLS if each.name == "forget-keys"),
        responses.proxy_logs("delay"),
        slowness._slowed_calls,
        testing._failures_in_junit,
        testing._result_is_gone,
    )
    assert [(seen.reached, seen.triggered) for seen in (probe(tmp_path, tmp_path) for probe in probes)] == [(0, 0)] * 5


# --- whole drills -----------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one gate, on a machine that nobody else locks: nothing here is timed."""
    monkeypatch.setenv("READINESS_LOCK_FOLDER", str(tmp_path / "lock"))
    root = tmp_path / "repository"
    gates = {"unit": {"kind": "tests", "command": ["true"], "criteria": {"failed": {"at_most": 0}}}}
    write(Tree({"version": 1, "profiles": {"quick": {}}, "gates": gates}), root)
    return root


def perform(root: Path, one: Drill) -> Performed:
    scratch = root / "scratch"
    scratch.mkdir()
    return Performer(root, read_spec(root), scratch, 1, lambda: datetime.now(UTC)).perform(one)


FAILING = next(one for one in testing.DRILLS if one.name == "failing-test")
SUITE = [one for one in testing.DRILLS if one.base is testing.SUITE]


@pytest.mark.end_to_end
@pytest.mark.parametrize("one", SUITE, ids=lambda one: one.name)
def test_each_drill_of_the_suite_is_caught(repository: Path, one: Drill) -> None:
    """On the ordinary path, beside a control that passes."""
    found = perform(repository, one)
    assert found.well, found
    assert found.row[3:7] == ("yes",) * 4


@pytest.mark.end_to_end
def test_a_blind_criterion_is_a_missed_drill(repository: Path) -> None:
    """With a criterion that lets five failures pass, the seeded one is reached and triggered, and not caught."""
    blind = replace(
        FAILING, seed=lambda tree: FAILING.seed(tree).with_gate("unit", criteria={"failed": {"at_most": 5}})
    )  # fmt: skip
    found = perform(repository, blind)
    assert (found.triggered, found.control, found.caught, found.missed) == (True, True, False, True)


@pytest.mark.end_to_end
def test_red_by_another_criterion_is_not_caught(repository: Path) -> None:
    """A run that is NOT READY proves nothing of a criterion that passed in it."""
    both = {"failed": {"at_most": 0}, "cases": {"at_least": 1}}
    beside = replace(FAILING, criterion="cases", seed=lambda tree: FAILING.seed(tree).with_gate("unit", criteria=both))
    assert perform(repository, beside).missed


@pytest.mark.end_to_end
def test_a_defect_that_is_not_there_proves_nothing(repository: Path) -> None:
    """A seed that does nothing passes like its control; that is neither caught nor missed."""
    found = perform(repository, replace(FAILING, seed=lambda tree: tree))
    assert "not reached" in found.trouble
    assert not found.well
    assert not found.missed


@pytest.mark.end_to_end
def test_a_control_that_fails_proves_nothing(repository: Path) -> None:
    """When the gate is red without the defect, its red with the defect says nothing."""
    red = replace(testing.SUITE, files={"tests/test_red.py": "def test_red():\n    assert False\n"})
    found = perform(repository, replace(FAILING, base=red))
    assert "control run did not pass" in found.trouble
    assert found.caught
    assert not found.well
    assert not found.missed


@pytest.mark.end_to_end
def test_a_spec_that_does_not_run_proves_nothing(repository: Path) -> None:
    """An inner run that leaves no report is told with the last thing it said."""
    found = perform(repository, replace(FAILING, base=replace(testing.SUITE, settings={"nonsense": 1})))
    assert "left no report" in found.trouble
    assert not found.missed


def command(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GATES_")}
    line = [sys.executable, "-m", "gates", "drill", *arguments]
    return subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.end_to_end
def test_the_command_performs_drills_and_exits_0_when_all_are_caught(repository: Path) -> None:
    """The table is data on stdout, JSON on demand; nothing is left in the repository."""
    ended = command(repository, "failing-test", "deleted-result", "--json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)["drills"]
    assert [(row["drill"], row["caught"]) for row in rows] == [("failing-test", "yes"), ("deleted-result", "yes")]
    assert sorted(path.name for path in repository.iterdir()) == ["workflows"]


@pytest.mark.end_to_end
def test_the_command_lists_and_refuses_by_name(repository: Path) -> None:
    """--list performs nothing; an unknown name and a gate without drills are said."""
    listed = command(repository, "--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [
        "failing-test",
        "collection-error",
        "deleted-result",
    ]
    assert "there is no drill 'nothing'" in command(repository, "nothing").stderr
    assert command(repository, "--gate", "sustained").returncode == Exit.NOTHING_SELECTED


@pytest.mark.end_to_end
def test_the_gate_draws_drills_and_is_judged_by_them(repository: Path) -> None:
    """A run with a gate of kind drills is READY when what it drew was caught, and keeps the inner reports as evidence."""
    spec = dict(read_spec(repository))
    criteria = {"caught": {"at_least": 1}, "missed": {"at_most": 0}, "caught/*": {"at_least": 1}}
    own = {"kind": "drills", "sample": 1, "from": ["failing-test", "deleted-result"], "criteria": criteria}
    source = {
        "kind": "tests",
        "command": ["sh", "-c", "echo '<testsuite><testcase name=\"a\"/></testsuite>' > {evidence}/junit.xml"],
    }
    unit = {**source, "criteria": {"failed": {"at_most": 0}}}
    write(Tree({**spec, "gates": {"unit": unit, "drills": own}}), repository)
    line = [sys.executable, "-m", "gates", "run", "--json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GATES_")}
    ended = subprocess.run(line, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    gate = next(each for each in report["gates"] if each["gate"]["name"] == "drills")
    assert gate["outcome"] == Outcome.PASS
    kept = {piece["path"] for piece in gate["result"]["evidence"]}
    (name,) = gate["result"]["expected"]["caught"]
    assert kept == {"evidence/drills.json", f"evidence/{name}.readiness.json"}


def test_a_sample_of_nothing_is_an_error_of_the_spec(tmp_path: Path) -> None:
    """A gate of drills in a spec that no drill fits would prove nothing, and is refused."""
    from gates.spec import SpecErrors, resolve

    gates = {"drills": {"kind": "drills", "criteria": {"missed": {"at_most": 0}}}}
    write(Tree({"version": 1, "profiles": {"quick": {}}, "gates": gates}), tmp_path)
    groups: dict[str, dict[str, Any]] = {"gates.kinds": {"drills": DrillsKind()}, "gates.drills": {"t": testing.DRILLS}}
    with pytest.raises(SpecErrors, match="no drill that is installed fits"):
        resolve(
            tmp_path / "workflows/readiness.yaml", root=tmp_path, profile="quick", plugins=lambda group: groups.get(group, {})
        )


def test_a_finding_names_the_criterion_that_did_not_see() -> None:
    """With what the probe saw."""
    (found,) = findings([performed(caught=False)])
    assert found == Finding(Level.WARNING, "unit:failed did not catch d: failed is 1 (one failure)", "unit:failed")
