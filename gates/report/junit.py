"""The report as JUnit: one flat suite a gate, one case a criterion, in the dialect that every reader understands.

junit-xml makes the tree; the normaliser then takes away what strict readers refuse (`disabled`, nanoseconds, case-level extras)
and adds what lenient ones crash without (every attribute of a suite, unique names).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from junit_xml import TestCase, TestSuite

from gates.model import CriterionReport, Disposition, Execution, GateReport, Level, Outcome, Report, Severity, Verdict
from gates.report import reading
from gates.report.prose import clean

_CASE = ("name", "classname", "time")
_OUTCOMES = ("failure", "error", "skipped")


def render(report: Report) -> str:
    """The JUnit text; never without a case, and never all green when the verdict is not READY."""
    suites = [_suite(report, gate) for gate in report.gates]
    suites.append(
        _run(report, all_green=not any(case.failures or case.errors for suite in suites for case in suite.test_cases))
    )
    root = ET.Element("testsuites", {"name": "readiness"})
    seconds = [gate.result.seconds if gate.result else 0.0 for gate in report.gates]
    for index, (suite, took) in enumerate(zip(suites, [*seconds, 0.0], strict=True)):
        root.append(_normalised(suite.build_xml_doc(), report, index, took))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(child.get(key, "0")) for child in root)))
    root.set("time", _time(report.seconds))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, gate: GateReport) -> TestSuite:
    excused = _excused(report, gate)
    cases = [_case(gate, criterion, excused) for criterion in gate.criteria]
    return TestSuite(gate.gate.name, [_execution(gate, cases, excused), *cases])


def _excused(report: Report, gate: GateReport) -> bool:
    """Whether *gate* was not run because of a need that is itself red in this file; only then may its cases be skipped."""
    if gate.execution is not Execution.NOT_RUN:
        return False
    red = {other.gate.name for other in report.gates if other.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)}
    return not gate.gate.missing and any(need in red for need in gate.gate.needs)


def _execution(gate: GateReport, cases: Sequence[TestCase], excused: bool) -> TestCase:
    case = TestCase("execution", f"readiness.{gate.gate.name}", gate.result.seconds if gate.result else 0)
    shown = any(one.failures or one.errors for one in cases)
    if gate.outcome is Outcome.NOT_APPLICABLE or excused:
        case.add_skipped_info(gate.reason or gate.execution.value)
    elif gate.execution not in (Execution.COMPLETED, Execution.STOPPED) or (reading.needs_attention(gate) and not shown):
        case.add_error_info(gate.reason or gate.execution.value, error_type="infrastructure")
    return case


def _case(gate: GateReport, report: CriterionReport, excused: bool) -> TestCase:
    case = TestCase(report.criterion.id, f"readiness.{gate.gate.name}")
    message = report.reason or reading.WORDS[report.outcome]
    if report.disposition in (Disposition.WAIVED, Disposition.QUARANTINED):
        case.add_skipped_info(f"{report.disposition.value}: {message}")
    elif report.outcome is Outcome.NOT_APPLICABLE or excused:
        case.add_skipped_info(message)
    elif report.outcome is Outcome.PASS:
        pass
    elif report.disposition is Disposition.ADVISORY or report.criterion.severity is not Severity.BLOCKING:
        case.stdout = f"advisory, {reading.WORDS[report.outcome]}: {message}"
    elif report.outcome is Outcome.FAIL:
        case.add_failure_info(message, failure_type="threshold")
    else:
        case.add_error_info(message, error_type="infrastructure")
    return case


def _run(report: Report, *, all_green: bool) -> TestSuite:
    """What concerns no gate: the run's own findings, and the verdict where no case of a gate would say it."""
    case = TestCase("verdict", "readiness")
    errors = [found.message for found in report.findings if found.level is Level.ERROR]
    if errors or (all_green and report.verdict is not Verdict.READY):
        case.add_error_info("; ".join(errors) or report.headline or report.verdict.value, error_type="infrastructure")
    return TestSuite("readiness", [case])


# --- the normaliser ---------------------------------------------------------------------------------------------------


def _normalised(suite: ET.Element, report: Report, index: int, took: float) -> ET.Element:
    kept = {key: suite.get(key, "") for key in ("name", "tests", "failures", "errors", "skipped")}
    suite.attrib.clear()
    suite.attrib.update({key: clean(value) for key, value in kept.items()})
    suite.attrib.update(time=_time(took), timestamp=clean(report.plan.created), hostname="localhost", id=str(index))
    suite.attrib.update(package="readiness", file=clean(report.plan.spec))
    names: Counter[tuple[str, str]] = Counter()
    for case in suite.iter("testcase"):
        _normalise_case(case, names)
    return suite


def _normalise_case(case: ET.Element, names: Counter[tuple[str, str]]) -> None:
    name, classname = clean(case.get("name", "")), clean(case.get("classname", ""))
    names[name, classname] += 1
    again = names[name, classname]
    time = _time(float(case.get("time", "0")))
    case.attrib = dict(zip(_CASE, (f"{name} ({again})" if again > 1 else name, classname, time), strict=True))
    outcomes = [child for child in case if child.tag in _OUTCOMES]
    for extra in outcomes[1:]:
        case.remove(extra)
    for child in case:
        child.attrib = {key: clean(value) for key, value in child.attrib.items()}
        child.text = clean(child.text) if child.text else None


def _time(seconds: float) -> str:
    return f"{max(seconds, 0):.3f}"
