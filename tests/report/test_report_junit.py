"""The report as JUnit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import realistic_report as realistic
from hostile import rewritten
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from gates.model import CriterionReport, Disposition, Execution, GateReport, Outcome, Report, Verdict
from gates.pipeline.judge import judge
from gates.report import junit

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "data" / "junit-10.xsd"))


def tree(report: Report) -> etree._Element:
    """The rendering as a tree, valid against the strictest schema in use."""
    root = etree.fromstring(junit.render(report).encode())
    SCHEMA.assertValid(root)
    return root


def case(root: etree._Element, suite: str, name: str) -> etree._Element:
    """One case."""
    (found,) = root.xpath("testsuite[@name=$suite]/testcase[@name=$name]", suite=suite, name=name)
    return found


def outcome(element: etree._Element) -> str:
    """The outcome element of a case, `passed` when there is none."""
    found = [child.tag for child in element if child.tag in ("failure", "error", "skipped")]
    assert len(found) <= 1
    return found[0] if found else "passed"


def with_criterion(report: Report, suite: str, **changes: object) -> Report:
    """*report* with the first criterion of a gate changed."""

    def changed(gate: GateReport) -> GateReport:
        first: CriterionReport = replace(gate.criteria[0], **changes)  # type: ignore[arg-type]
        return replace(gate, criteria=(first, *gate.criteria[1:]))

    return replace(report, gates=tuple(changed(gate) if gate.gate.name == suite else gate for gate in report.gates))


def test_a_suite_a_gate_and_a_case_a_criterion(report: Report) -> None:
    """Flat suites, every attribute, counts that add up."""
    root = tree(report)
    assert [suite.get("name") for suite in root] == [*(gate.gate.name for gate in report.gates), "readiness"]
    wanted = {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package", "file"}
    assert all(set(suite.attrib) == wanted for suite in root)
    assert set(root.attrib) == {"name", "tests", "failures", "errors", "time"}
    assert int(root.get("tests")) == len(root.xpath("//testcase"))
    assert all(set(one.attrib) == {"name", "classname", "time"} for one in root.xpath("//testcase"))


def test_outcomes_map_to_what_readers_honour(report: Report) -> None:
    """A miss is a failure, no verdict an error, an advisory miss a pass that says so."""
    root = tree(report)
    assert outcome(case(root, "primitives", "ratio/breaker.call.closed")) == "failure"
    assert outcome(case(root, "primitives", "ratio/policy.fused")) == "error"
    assert outcome(case(root, "crash", "valid.fault")) == "error"
    advisory = case(root, "sustained", "latency.max")
    assert outcome(advisory) == "passed"
    assert "advisory, fail: latency.max is 1.1 s" in (advisory.findtext("system-out") or "")


@pytest.mark.parametrize("disposition", [Disposition.WAIVED, Disposition.QUARANTINED])
def test_what_is_waived_is_skipped(report: Report, disposition: Disposition) -> None:
    """And says so."""
    root = tree(with_criterion(report, "primitives", disposition=disposition))
    found = case(root, "primitives", "ratio/breaker.call.closed")
    assert outcome(found) == "skipped"
    assert found[0].get("message").startswith(disposition.value)


def test_a_gate_not_run_because_of_a_red_need_is_skipped(report: Report) -> None:
    """The need itself is red in the same file."""
    whole, results, attempts = realistic.parts()
    late = replace(results["sustained"], execution=Execution.NOT_RUN, measurements=(), reason="unit did not pass")
    red = replace(results["unit"], measurements=(realistic.measured("failed", 2, realistic.Unit.COUNT, 10),))
    root = tree(judge(whole, {**results, "unit": red, "sustained": late}, attempts))
    assert outcome(case(root, "sustained", "execution")) == "skipped"
    assert outcome(case(root, "sustained", "errors.ratio")) == "skipped"
    assert outcome(case(root, "unit", "failed")) == "failure"


def test_a_gate_not_run_for_another_reason_is_an_error(report: Report) -> None:
    """A narrowed run is not green: no data is never a pass."""
    whole, results, attempts = realistic.parts()
    left_out = replace(results["sustained"], execution=Execution.NOT_RUN, measurements=(), reason="not selected")
    root = tree(judge(whole, {**results, "sustained": left_out}, attempts))
    assert outcome(case(root, "sustained", "execution")) == "error"
    assert outcome(case(root, "sustained", "errors.ratio")) == "error"


def test_a_deleted_result_is_an_error(ready: Report) -> None:
    """A gate without a result is red in every reader."""
    whole, results, attempts = realistic.parts()
    missing = judge(whole, {name: result for name, result in results.items() if name != "unit"}, attempts)
    assert outcome(case(tree(missing), "unit", "execution")) == "error"


def test_no_file_is_green_when_the_verdict_is_not_ready(ready: Report) -> None:
    """Whatever made the whole inconclusive, some case says so; and the file is never empty."""
    assert not tree(ready).xpath("//failure|//error")
    assert tree(replace(ready, verdict=Verdict.INCONCLUSIVE)).xpath("//error")
    assert tree(replace(ready, gates=(), verdict=Verdict.INCONCLUSIVE)).xpath("//testcase/error")
    open_gate = replace(ready.gates[0], outcome=Outcome.INCONCLUSIVE, reason="an error was found")
    assert tree(replace(ready, gates=(open_gate,), verdict=Verdict.INCONCLUSIVE)).xpath("//testcase[@name='execution']/error")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd=st.text(st.characters(codec=None), min_size=1, max_size=12))
def test_any_text_gives_a_valid_file_with_unique_names(odd: str) -> None:
    """Control characters, surrogates and equal names: still well formed, valid, unique."""
    root = tree(rewritten(realistic.report(), lambda _: odd))
    names = [(one.get("classname"), one.get("name"), one.getparent().get("id")) for one in root.xpath("//testcase")]
    assert len(names) == len(set(names))
