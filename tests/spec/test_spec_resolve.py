"""A spec becomes a plan, or every problem at once, each with its place and what to do."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gates.errors import GatesError, UsageError
from gates.model import Comparator, Comparison, Level, MetricSpec, Rule, Severity, Unit
from gates.spec import yaml
from gates.spec.criteria import fewest_samples

Change = Callable[[str, str], str]

# --- what is right ----------------------------------------------------------------------------------------------------


def test_gates_come_after_what_they_need(bench: Any, spec: str) -> None:
    """The order of the plan is topological, whatever the order of the file."""
    assert [gate.name for gate in bench.resolve(spec).gates] == ["unit", "sustained"]


def test_without_needs_the_order_of_the_file_stays(bench: Any, changed: Change) -> None:
    """Nothing is sorted by name."""
    assert [gate.name for gate in bench.resolve(changed("    needs: [unit]\n", "")).gates] == ["sustained", "unit"]


def test_a_planned_gate_holds_all_that_its_process_needs(bench: Any, spec: str) -> None:
    """Settings from the scenario, the target, needs, limit and line are in the plan."""
    sustained = bench.resolve(spec).gates[1]
    assert sustained.settings == {"rate": 100.0, "duration": 13.0}
    assert (sustained.limit, sustained.budget, sustained.needs, sustained.measures) == (60.0, 13.0, ("unit",), True)
    assert sustained.target.endpoints == ("node-0", "node-1", "node-2")
    assert sustained.line == "readiness.yaml:5"


def test_criteria_carry_unit_limit_text_and_fewest_samples(bench: Any, spec: str) -> None:
    """Limits are in base units; the samples follow from the rule; the kind's own criteria come last."""
    latency, errors, late = bench.resolve(spec).gates[1].criteria
    assert (latency.id, latency.unit, latency.minimum) == ("latency.p99@steady", Unit.SECONDS, 1000)
    assert (latency.comparisons[0].comparator, latency.comparisons[0].limit) == (Comparator.BELOW, 0.25)
    assert latency.comparisons[0].text == "250 ms"
    assert (errors.unit, errors.minimum) == (Unit.RATIO, 370)
    assert late.built_in


def test_the_limit_follows_from_the_expected_time(bench: Any, changed: Change) -> None:
    """Four times the kind's estimate or the author's budget, and at least a minute."""
    assert bench.resolve(SPEC_LIMITS).gates[0].limit == 80.0
    assert bench.resolve(changed("    kind: check\n", "    kind: check\n    budget: 1 min\n")).gates[0].limit == 240.0
    assert bench.resolve(changed("    kind: check\n", "    kind: check\n    limit: 30 s\n")).gates[0].limit == 30.0


@pytest.mark.parametrize(("quantile", "fewest"), [(0.5, 20), (0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10_000)])
def test_a_percentile_needs_ten_samples_beyond_it(quantile: float, fewest: int) -> None:
    """Exactly as many: rounding of floating point asks for none more."""
    assert fewest_samples(MetricSpec("p", Unit.SECONDS, Rule.PERCENTILE, "", quantile=quantile), ()) == fewest


@pytest.mark.parametrize(
    ("comparator", "limit", "fewest"),
    [(Comparator.BELOW, 0.01, 370), (Comparator.AT_MOST, 0.001, 3700), (Comparator.AT_LEAST, 0.99, 370)],
)
def test_a_ratio_needs_so_many_that_zero_errors_could_pass(comparator: Comparator, limit: float, fewest: int) -> None:
    """3.7 over the limit, or over what an availability leaves."""
    assert fewest_samples(MetricSpec("r", Unit.RATIO, Rule.RATIO, ""), [Comparison(comparator, limit)]) == fewest


@pytest.mark.parametrize(
    ("rule", "at_least", "fewest"), [(Rule.CENSUS, 200, 200), (Rule.FACTOR, 5, 5), (Rule.SINGLE, 1, 1), (Rule.SLOWDOWN, 1, 12)]
)
def test_other_numbers_need_what_their_rule_says(rule: Rule, at_least: int, fewest: int) -> None:
    """A census and a factor what their metric asks for, a slowdown twelve pairs, a single time itself."""
    assert fewest_samples(MetricSpec("m", Unit.COUNT, rule, "", at_least=at_least), ()) == fewest


SPEC_LIMITS = "version: 1\ngates: {unit: {kind: check, command: [x], criteria: {failed: {at_most: 0}}}}\n"


def test_the_digest_is_that_of_the_bytes(bench: Any, spec: str) -> None:
    """Anyone can compare it with sha256sum."""
    assert bench.resolve(spec).digest == hashlib.sha256(spec.encode()).hexdigest()


@pytest.mark.parametrize(
    ("profile", "limit", "budget", "require"),
    [
        ("quick", 0.25, 180.0, ()),
        ("standard", 0.25, 1200.0, ()),
        ("full", 0.2, 0.0, ()),
        ("release", 0.25, 1200.0, ("approvals",)),
    ],
)
def test_a_profile_takes_its_value_or_the_next_lower_one(
    bench: Any, spec: str, profile: str, limit: float, budget: float, require: tuple[str, ...]
) -> None:
    """standard falls back to quick; release takes the values and the budget of the profile that it names."""
    resolved = bench.resolve(spec, profile)
    sustained = next(gate for gate in resolved.gates if gate.name == "sustained")
    assert sustained.criteria[0].comparisons[0].limit == limit
    assert (resolved.budget, resolved.require, resolved.profile) == (budget, require, profile)


def test_a_profile_below_all_that_are_given_takes_the_lowest(bench: Any, changed: Change) -> None:
    """quick takes standard's value when quick has none."""
    text = changed("{quick: 250 ms, full: 200 ms}", "{full: 200 ms, standard: 1 s}")
    assert bench.resolve(text, "quick").gates[1].criteria[0].comparisons[0].limit == 1.0


def test_a_gate_of_other_profiles_is_not_planned(bench: Any, spec: str) -> None:
    """`profiles: [full]` keeps the soak out of quick and in full."""
    assert bench.resolve(spec, "quick").elsewhere == ("soak",)
    assert "soak" in [gate.name for gate in bench.resolve(spec, "full").gates]


def test_a_need_of_another_profile_is_bridged(bench: Any, changed: Change) -> None:
    """What is not run here is waited for by waiting for what it needs itself."""
    text = changed("    needs: [unit]\n", "    needs: [soak]\n").replace(
        "    profiles: [full]\n", "    profiles: [full]\n    needs: [unit]\n"
    )
    assert bench.resolve(text, "quick").gates[1].needs == ("unit",)
    assert next(gate for gate in bench.resolve(text, "full").gates if gate.name == "sustained").needs == ("soak",)


def test_a_missing_control_is_named_and_no_error(bench: Any, changed: Change) -> None:
    """The gate is planned, and will be inconclusive by name."""
    sustained = bench.resolve(changed("{ring: {nodes: 3}}", "{place: 'http://x'}")).gates[1]
    assert sustained.missing == ("control 'kill' of the target",)
    assert sustained.target.endpoints == ("main",)


def test_a_gate_may_have_a_target_of_its_own(bench: Any, changed: Change) -> None:
    """It replaces that of the spec."""
    resolved = bench.resolve(changed("    scenario:", "    target: {ring: {nodes: 1}}\n    scenario:"))
    assert resolved.gates[1].target.endpoints == ("node-0",)


def test_a_target_may_be_its_name_alone(bench: Any, changed: Change) -> None:
    """A preset whose settings all have defaults needs no braces."""
    assert bench.resolve(changed("{ring: {nodes: 3}}", "ring")).gates[1].target.settings == {"nodes": 3}


def test_a_list_under_one_id_holds_several_comparisons(bench: Any, changed: Change) -> None:
    """They make one criterion with one severity; two margins go into one comparison."""
    text = changed("{failed: {at_most: 0}", "{duration: [{below: 5 s, fail_above: 2 s}, {above: 1 ms, severity: advisory}]")
    criterion = bench.resolve(text.replace("unit:*", "unit:duration")).gates[0].criteria[0]
    assert [each.limit for each in criterion.comparisons] == [5.0, 0.001]
    assert criterion.comparisons[0].fail_beyond == 2.0
    assert criterion.severity is Severity.ADVISORY


def test_a_metric_that_only_the_run_knows_takes_the_unit_of_its_limit(bench: Any, changed: Change) -> None:
    """`custom.*` stands for any name; 5 ms makes it a time and 5 a count."""
    text = changed("{failed: {at_most: 0}", "{custom.wait: {below: 5 ms}, custom.rows: {below: 5}")
    assert [each.unit for each in bench.resolve(text).gates[0].criteria[:2]] == [Unit.SECONDS, Unit.COUNT]


def test_wildcards_of_a_claim_are_written_out(bench: Any, spec: str) -> None:
    """The plan names every criterion that a claim rests on."""
    assert bench.resolve(spec).claims[0].by == ("unit:failed", "unit:passed", "sustained:latency.p99@steady")


def test_a_claim_on_a_gate_of_another_profile_is_kept_and_noted(bench: Any, changed: Change) -> None:
    """It is not applicable here, and the plan says so."""
    text = changed('by: ["unit:*", sustained:latency.p99@steady]', "by: [soak:latency.p99]")
    resolved = bench.resolve(text)
    assert resolved.claims[0].by == ("soak:latency.p99",)
    assert resolved.findings[0].level is Level.NOTE
    assert "not applicable" in resolved.findings[0].message


# --- what is wrong ----------------------------------------------------------------------------------------------------

WRONG = [
    ("kind: check", "kind: chek", "13:11: gates.unit.kind: unknown kind 'chek'", "did you mean 'check'?"),
    ("needs: [unit]", "needs: [unti]", "7:13: gates.sustained.needs.0: there is no gate 'unti'", "did you mean 'unit'?"),
    ("{failed:", "{faild:", "15:16: gates.unit.criteria.faild: unknown metric 'faild'", "did you mean 'failed'?"),
    ("p99@steady:", "p99@stedy:", "10:7: gates.sustained.criteria.latency.p99@stedy: unknown phase", "did you mean 'steady'?"),
    ("errors.ratio:", "errors.ratio@steady:", "errors.ratio has no phases", ""),
    ("errors.ratio:", "errors.ratio/node-a:", "errors.ratio has no selectors", "write errors.ratio"),
    ("errors.ratio:", "errors.ratio/:", "not the id of a criterion", "metric[@phase][/selector]"),
    ("{at_most: 0}", "{at_mots: 0}", "15:25: gates.unit.criteria.failed.at_mots: unknown key", "did you mean 'at_most'?"),
    ("{at_most: 0}", "{}", "no limit; expected one of below, at_most, above, at_least, equals", ""),
    ("{at_most: 0}", "3", "expected a mapping or a list (got 3)", ""),
    ("{at_most: 0}", "[]", "an empty list", ""),
    ("{at_most: 0}", "{at_most: 5 s}", "gates.unit.criteria.failed.at_most: 's' is a unit of another kind", "at_most: 5 s"),
    ("{at_most: 0}", "{at_most: 010}", "a number that begins with 0 could be octal", ""),
    ("{at_most: 0}", "{at_most: on}", "expected a number such as 0, 200 (got 'on')", ""),
    ("{at_most: 0}", "{at_most: -1}", "failed is never negative", ""),
    ("{at_least: 1}", "{at_least: 0}", "passed is always at least 0", ""),
    ("{at_most: 0}", "{at_most: 0, severity: blokcing}", "expected 'blocking', 'advisory' or 'informational'", "'blocking'?"),
    ("{at_most: 0}", "{at_most: 0, fail_below: 1}", "fail_below goes with above or at_least", ""),
    ("{at_most: 0}", "[{at_most: 0, severity: advisory}, {at_most: 1, severity: blocking}]", "one severity", ""),
    ("{below: 1 %}", "{below: 1}", "11:29: gates.sustained.criteria.errors.ratio.below: a unit is needed", ""),
    ("{below: 1 %}", "{at_most: 0 %}", "no number of samples can decide errors.ratio", ""),
    (
        "{below: 1 %}",
        "{below: 0.1 %}",
        "errors.ratio needs 3,700 samples, and the profile quick gives it 1,300",
        "a rate of 285/s would do",
    ),
    ("{below: 1 %}", "{equals: 1 %}", "errors.ratio carries an interval, which equals nothing", ""),
    (
        "{below: 1 %}",
        "{below: {quick: 1 %, ful: 2 %}}",
        "errors.ratio.below: expected text",
        "a choice by profile has no other",
    ),
    (
        "command: [pytest, -q]",
        "command: [x, 3]",
        "14:18: gates.unit.command.1: expected text (got 3)",
        'quote it when it is text: "3"',
    ),
    (
        "errors.ratio: {below: 1 %}",
        "valid.late: {below: 1 s}",
        "gates.sustained.criteria.valid.late: valid.late is built in",
        "remove it",
    ),
    ("command: [pytest, -q]", "comand: [pytest, -q]", "gates.unit.comand: unknown key", "did you mean 'command'?"),
    ("command: [pytest, -q]", "command: pytest", "14:14: gates.unit.command: expected a list (got 'pytest')", ""),
    (
        "command: [pytest, -q]",
        "command: [x]\n    strict: on",
        "15:13: gates.unit.strict: expected true or false (got 'on')",
        "",
    ),
    ("command: [pytest, -q]", "command: [x]\n    retries: 010", "gates.unit.retries: expected a whole number (got '010')", ""),
    ("command: [pytest, -q]", "command: [x]\n    mode: fsat", "expected 'fast' or 'slow' (got 'fsat')", "did you mean 'fast'?"),
    ("command: [pytest, -q]", "command: [x]\n    need: [a]", "gates.unit.need: unknown key", "did you mean 'needs'?"),
    (
        "command: [pytest, -q]",
        "command: [no-such-program]",
        "14:15: gates.unit.command.0: there is no such program",
        "install it",
    ),
    ("command: [pytest, -q]", "command: [raise]", "12:3: gates.unit: this can't be planned", "plan something else"),
    ("command: [pytest, -q]", "command: [x]\n    target: ring", "the kind 'check' uses no target", "remove it"),
    ("command: [pytest, -q]", "command: [x]\n    limit: 5 s", "the gate takes 20 s, longer than its limit of 5 s", ""),
    ("    command: [pytest, -q]\n", "", "12:3: gates.unit: command is missing", ""),
    ("    kind: check\n", "", "12:3: gates.unit: kind is missing", ""),
    ("profiles: [full]", "profiles: [ful]", "18:16: gates.soak.profiles.0: unknown profile 'ful'", "did you mean 'full'?"),
    ("scenario: scenario.yaml", "scenario: none.yaml", "8:15: gates.sustained.scenario: none.yaml: the file is not there", ""),
    ("scenario: scenario.yaml", "scenario: ../x.yaml", "8:15: gates.sustained.scenario: the path leaves the repository", ""),
    ("scenario: scenario.yaml", "scenario: /etc/passwd", "8:15: gates.sustained.scenario: the path leaves the repository", ""),
    ("scenario: scenario.yaml", 'scenario: "a\\0b"', "8:15: gates.sustained.scenario", ""),
    ("{ring: {nodes: 3}}", "{rng: {nodes: 3}}", "2:10: target.rng: unknown target 'rng'", "did you mean 'ring'?"),
    ("{ring: {nodes: 3}}", "{ring: {node: 3}}", "2:17: target.ring.node: unknown key", "did you mean 'nodes'?"),
    ("{ring: {nodes: 3}}", "{ring: {nodes: 0}}", "2:24: target.ring.nodes: expected", "(got 0)"),
    ("{ring: {nodes: 3}}", "{place: ftp}", "2:10: target.place: expected a URL", ""),
    ("{ring: {nodes: 3}}", "{ring: {}, place: x}", "2:1: target: expected one target", ""),
    ("target: {ring: {nodes: 3}}\n", "", "gates.sustained: the kind 'stream' needs a target", "add `target:`"),
    ("version: 1", "version: 2", "1:10: version: expected 1 (got 2)", ""),
    ("version: 1\n", "", "version is missing", ""),
    ("as: standard", "as: standrd", "profiles.release.as: expected 'quick', 'standard' or 'full'", "did you mean 'standard'?"),
    ("claims:\n", "clams:\n", "21:1: clams: unknown key", "did you mean 'claims'?"),
    ("budget: 180 s", "budget: 180", "profiles.quick.budget: a unit is needed", ""),
    ("require: [approvals]", "require: [approval]", "require.0: expected 'drills' or 'approvals'", "'approvals'?"),
    ("sustained:latency.p99@steady]", "sustaned:x]", "there is no gate 'sustaned'", "did you mean 'sustained'?"),
    ("sustained:latency.p99@steady]", "sustained:latency.p99]", "no criterion 'latency.p99'", "'latency.p99@steady'?"),
    ("sustained:latency.p99@steady]", '"sustained:x*"]', "'sustained:x*' matches no criterion", ""),
    ("sustained:latency.p99@steady]", "sustained]", "expected gate:criterion", ""),
    ('["unit:*", sustained:latency.p99@steady]', "[]", "claims.0.by: ", ""),
    ("  unit:\n", "  'un it':\n", "gates.un it: ", "(got 'un it')"),
]


@pytest.mark.parametrize(("old", "new", "message", "hint"), WRONG)
def test_a_mistake_is_reported_at_its_place_with_a_way_out(
    bench: Any, changed: Change, old: str, new: str, message: str, hint: str
) -> None:
    """Each mistake alone gives its message, its place and the suggestion; nothing else is blamed on it by name."""
    text = "\n".join(bench.errors(changed(old, new)))
    assert message in text
    assert hint in text


def test_all_problems_come_at_once_in_the_order_of_the_file(bench: Any, changed: Change) -> None:
    """Nobody mends a spec one error at a time, not even when a gate has the wrong shape."""
    text = changed("nodes: 3", "node: 3").replace("needs: [unit]", "needs: [unti]").replace("{at_most: 0}", "{at_mots: 0}")
    text = (
        text.replace("command: [pytest, -q]", "comand: [pytest]\n    strict: on").replace("budget: 180 s", "budget: 180")
        + "more: 1\n"
    )
    found = bench.errors(text)
    wanted = [
        "target.ring.node",
        "profiles.quick.budget",
        "needs.0",
        "command is missing",
        "comand",
        "unit.strict",
        "at_mots",
        "more",
    ]
    assert [any(word in problem for problem in found) for word in wanted] == [True] * len(wanted)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)


def test_a_problem_shows_its_line_and_a_caret(bench: Any, changed: Change) -> None:
    """The excerpt points at the value that is wrong."""
    assert bench.error(changed("needs: [unit]", "needs: [unti]")) == (
        "readiness.yaml:7:13: gates.sustained.needs.0: there is no gate 'unti'\n"
        "  7 |     needs: [unti]\n"
        "    |             ^\n"
        "  did you mean 'unit'?"
    )


def test_an_error_in_a_named_file_is_at_that_files_line(bench: Any, spec: str) -> None:
    """The scenario's own line, not the spec's."""
    (bench.root / "scenario.yaml").write_text("rate: 100\nduraton: 5 s\n")
    found = "\n".join(bench.errors(spec))
    assert "scenario.yaml:1:7: rate: a unit is needed" in found
    assert "scenario.yaml:2:1: duraton: unknown key" in found
    assert "did you mean 'duration'?" in found


def test_a_link_out_of_the_repository_is_refused(bench: Any, spec: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A path that escapes by a symbolic link escapes all the same."""
    outside = tmp_path_factory.mktemp("outside") / "scenario.yaml"
    outside.write_text("rate: 100/s\nduration: 13 s\n")
    (bench.root / "scenario.yaml").unlink()
    (bench.root / "scenario.yaml").symlink_to(outside)
    assert "the path leaves the repository" in bench.errors(spec)[0]


def test_a_circle_of_needs_is_named_along_its_path(bench: Any, changed: Change) -> None:
    """All gates on the circle, in order."""
    text = changed("    kind: check\n", "    kind: check\n    needs: [soak]\n").replace(
        "profiles: [full]", "needs: [sustained]"
    )
    assert "in a circle: sustained -> unit -> soak -> sustained" in bench.error(text)


def test_a_gate_that_needs_itself_is_a_circle(bench: Any, changed: Change) -> None:
    """The smallest one."""
    assert "unit -> unit" in bench.error(changed("    kind: check\n", "    kind: check\n    needs: [unit]\n"))


def test_a_gate_without_criteria_is_an_error(bench: Any, changed: Change) -> None:
    """It would prove nothing; the hint lists what it could be judged by."""
    found = bench.errors(changed("criteria: {failed: {at_most: 0}, passed: {at_least: 1}}", "criteria: {}"))
    assert "gates.unit.criteria: no criteria" in found[0]
    assert "metrics: failed, passed" in found[0]


def test_a_plan_without_a_counted_criterion_is_an_error(bench: Any) -> None:
    """Advice alone never makes a build ready."""
    text = SPEC_LIMITS.replace("{at_most: 0}", "{at_most: 0, severity: advisory}")
    assert "a plan without a counted criterion (profile quick)" in bench.error(text)


def test_a_profile_that_plans_no_gate_is_an_error(bench: Any) -> None:
    """Nothing to run is nothing proven."""
    text = SPEC_LIMITS.replace("kind: check,", "kind: check, profiles: [full],")
    assert "a plan without a counted criterion (profile quick)" in bench.error(text)
    assert bench.resolve(text, "full").gates


def test_a_profile_that_requires_drills_has_a_gate_of_drills(bench: Any, changed: Change) -> None:
    """What a profile requires is never passed over: without such a gate it is an error at its line."""
    with pytest.raises(GatesError, match=r"profiles.release.require.0: no gate of this profile is of the kind drills"):
        bench.resolve(changed("require: [approvals]", "require: [drills]"), "release")


def test_approvals_that_nobody_can_give_keep_the_run_from_ready(bench: Any, spec: str) -> None:
    """A requirement that can't be met yet is an error finding of the plan, not silence."""
    levels = [finding.level for finding in bench.resolve(spec, "release").findings]
    assert Level.ERROR in levels
    assert Level.ERROR not in [finding.level for finding in bench.resolve(spec, "quick").findings]


def test_an_unknown_profile_is_a_usage_error(bench: Any, spec: str) -> None:
    """It came from the command line, and the nearest one is named."""
    with pytest.raises(UsageError) as raised:
        bench.resolve(spec, "standrad")
    assert "did you mean 'standard'?" in str(raised.value)


@pytest.mark.parametrize("text", ["- a\n", "text", "5", "gates: 1", "gates: {a: 1}", "gates: []", "version: 1\ngates: {}"])
def test_another_shape_is_an_error(bench: Any, text: str) -> None:
    """A list, a word or a number in place of a mapping."""
    assert bench.errors(text)


def test_too_many_gates_are_refused_before_work_begins(bench: Any) -> None:
    """A generated monster gets one sentence."""
    gates = "".join(f"  g{number}: {{kind: check}}\n" for number in range(501))
    assert "more than 500 gates (got 501)" in bench.error(f"version: 1\ngates:\n{gates}")


def test_only_fifty_problems_are_shown(bench: Any) -> None:
    """The rest is counted."""
    gates = "".join(f"  g{number}: {{kind: chek, criteria: {{a: {{below: 1}}}}}}\n" for number in range(80))
    with pytest.raises(GatesError) as raised:
        bench.resolve(f"version: 1\ngates:\n{gates}")
    assert str(raised.value).startswith("80 problems\n")
    assert str(raised.value).endswith("\nand 30 more")


# --- --set ------------------------------------------------------------------------------------------------------------


def test_an_override_finds_ids_with_dots(bench: Any, spec: str) -> None:
    """The longest existing key wins at each step."""
    resolved = bench.resolve(spec, "quick", "gates.sustained.criteria.latency.p99@steady.below=300 ms")
    assert resolved.gates[1].criteria[0].comparisons[0].limit == pytest.approx(0.3)


def test_the_longest_key_wins_where_two_would_do() -> None:
    """`a.b` is the key before it is b in a."""
    tree = yaml.parse("a: {b: 1}\na.b: 2\n", "f.yaml")
    assert tree.walk_dotted("a.b")[0].plain() == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("gates.unit.limit=3 min", 180.0), ("gates.unit.command.1=--limit", 80.0), ("gates.unit.needs=[]", 80.0)],
)
def test_an_override_may_add_a_key_and_reach_into_lists(bench: Any, spec: str, text: str, expected: float) -> None:
    """A setting that the file left to its default can be set."""
    assert bench.resolve(spec, "quick", text).gates[0].limit == expected


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("gates.unti.limit=3 s", "--set: gates.unti.limit: there is no 'unti.limit' in gates", "did you mean 'unit'?"),
        ("gates.unit.lmit=3 s", "--set: gates.unit.lmit: unknown key", "did you mean 'limit'?"),
        ("gates.unit.criteria.faild.below=3", "there is no 'faild.below'", ""),
        ("gates.unit.criteria.faild=3", "there is no 'faild'", "did you mean 'failed'?"),
        (
            "gates.unit.limit=3",
            "--set: gates.unit.limit: a unit is needed",
            "  1 | gates.unit.limit=3\n    |                  ^",
        ),
        ("gates.unit.limit", "expected PATH=VALUE", ""),
        ("=3", "expected PATH=VALUE", ""),
        ("gates.unit.command=[a", "not valid YAML", ""),
        ("gates.unit.command.7=a", "there is no '7' in gates.unit.command", ""),
        ("gates.unit.summary=\udcff", "a character that YAML does not allow", ""),
    ],
)
def test_a_wrong_override_is_an_error_of_the_command_line(bench: Any, spec: str, text: str, message: str, hint: str) -> None:
    """It names --set, the path and the nearest that exists."""
    found = bench.error(spec, "quick", text)
    assert message in found
    assert hint in found


# --- any text at all --------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "version",
        "gates",
        "claims",
        "profiles",
        "target",
        "unit",
        "kind",
        "check",
        "stream",
        "criteria",
        "failed",
        "below",
        "needs",
    ]
    + [
        "1",
        "5 s",
        "quick",
        "full",
        "ring",
        "command",
        "scenario",
        "scenario.yaml",
        "say",
        "by",
        "unit:failed",
        "*",
        "at_most",
        "null",
    ]
)
TREES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | st.dictionaries(WORDS, inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items.items()) + "}"
        )
    ),
    max_leaves=12,
)
ANY_SPEC = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def resolves_or_says_why(bench: Any, text: bytes) -> None:
    """The only two endings; what is said can be printed anywhere."""
    with contextlib.suppress(GatesError):
        bench.resolve(text)
        return
    with pytest.raises(GatesError) as raised:
        bench.resolve(text)
    str(raised.value).encode("utf-8", "strict")


@ANY_SPEC
@given(text=st.text() | st.binary())
def test_any_text_resolves_or_is_a_gates_error(bench: Any, text: str | bytes) -> None:
    """No file makes another exception."""
    resolves_or_says_why(bench, text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


@ANY_SPEC
@given(parts=st.dictionaries(WORDS, TREES, max_size=5))
def test_any_tree_of_known_words_resolves_or_is_a_gates_error(bench: Any, parts: dict[str, str]) -> None:
    """Neither do the right words in the wrong places."""
    resolves_or_says_why(bench, "".join(f"{key}: {value}\n" for key, value in parts.items()).encode())


@ANY_SPEC
@given(data=st.data())
def test_any_damage_to_a_good_spec_resolves_or_is_a_gates_error(bench: Any, spec: str, data: st.DataObject) -> None:
    """Nor a good spec with a stretch of it replaced."""
    start = data.draw(st.integers(0, len(spec)))
    end = data.draw(st.integers(start, min(len(spec), start + 40)))
    resolves_or_says_why(
        bench, (spec[:start] + data.draw(WORDS | TREES | st.text(max_size=8)) + spec[end:]).encode("utf-8", "replace")
    )
