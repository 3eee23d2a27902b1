"""The kind `tests`: a JUnit file and an exit code must tell the same story, or there is no pass."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from one_gate import planned, run, values

from gates.kinds import child, junit
from gates.kinds.tests import TestsKind
from gates.model import Execution, GateReport, GateResult, Level, LogTail, Outcome
from gates.spec import SpecErrors

CRITERIA = {"failed": {"at_most": 0}, "passed": {"at_least": 1}}
PASSING = '<testsuite name="s" tests="2"><testcase classname="c" name="a"/><testcase classname="c" name="b"/></testsuite>'
CASE = '<testcase name="a"/>'
FAILING = (
    '<testsuite><testcase name="a"/><testcase name="b"><failure message="no">x.py:3: boom</failure></testcase></testsuite>'
)


def shell(script: str) -> dict[str, list[str]]:
    """Settings with a command that runs *script*; `$E` is the evidence folder."""
    return {"command": ["sh", "-c", f"E={{evidence}}; {script}"]}


def written(content: str, code: int = 0) -> dict[str, list[str]]:
    """Settings with a command that writes *content* as JUnit and ends with *code*."""
    return shell(f"cat > $E/junit.xml <<'END'\n{content}\nEND\nexit {code}")


def outcome(root: Path, settings: dict[str, list[str]]) -> tuple[GateResult, GateReport]:
    return run(TestsKind(), root, settings, CRITERIA)


def test_passing_tests_pass(tmp_path: Path) -> None:
    """Two tests that pass and exit code 0 are a pass, counted case by case."""
    result, report = outcome(tmp_path, written(PASSING))
    assert report.outcome is Outcome.PASS
    assert {key: value for key, value in values(result).items() if key != "duration"} == {
        "passed": 2, "failed": 0, "skipped": 0, "cases": 2,
    }  # fmt: skip


def test_a_failing_test_fails_and_is_named_with_its_place(tmp_path: Path) -> None:
    """A failure fails the gate; the finding has the test, its message, and the place when it lies in the repository."""
    (tmp_path / "x.py").touch()
    result, report = outcome(tmp_path, written(FAILING, 1))
    assert report.outcome is Outcome.FAIL
    assert [(f.level, f.message, f.location) for f in result.findings] == [(Level.WARNING, "b: no", "x.py:3")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("<testsuite/>", "no tests were run"),
        ("", "empty"),
        (PASSING[:-20], "truncated"),
        ("{}", "truncated or no XML"),
        ("<html/>", "is no JUnit file"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>', "entities"),
        ('<!DOCTYPE testsuite SYSTEM "file:///etc/passwd"><testsuite><testcase name="a"/></testsuite>', "document type"),
        ('<testsuite tests="3"><testcase name="a"/></testsuite>', "declares 2 more tests than it holds"),
        ("<testsuite>" + "<a>" * 100 + "</a>" * 100 + "</testsuite>", "nested deeper"),
    ],
)
def test_a_file_that_is_no_evidence_is_inconclusive(tmp_path: Path, content: str, why: str) -> None:
    """Nothing that can't be read whole, or holds no test, is ever a pass, though the exit code is 0."""
    result, report = outcome(tmp_path, written(content))
    assert (result.execution, report.outcome) == (Execution.FAILED_TO_RUN, Outcome.INCONCLUSIVE)
    assert why in result.reason
    assert not values(result)


def test_a_missing_file_is_inconclusive(tmp_path: Path) -> None:
    """A command that writes nothing and ends with 0 has proven nothing."""
    result, report = outcome(tmp_path, shell("echo all is well"))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "was not written" in result.reason
    assert "exit code 0" in result.reason


def test_a_file_from_an_earlier_run_is_inconclusive(tmp_path: Path) -> None:
    """A JUnit file that was there before the command ran is not its result."""
    (tmp_path / "junit.xml").write_text(PASSING)
    result, report = outcome(tmp_path, {**shell("true"), "junit": "junit.xml"})  # type: ignore[dict-item]
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "older than this run" in result.reason


def test_a_copy_of_an_old_file_is_inconclusive(tmp_path: Path) -> None:
    """A file that appears during the run with an old time was not written by it."""
    (tmp_path / "old.xml").write_text(PASSING)
    result, _ = outcome(tmp_path, shell("touch -d '1 hour ago' old.xml; cp -p old.xml $E/junit.xml"))
    assert "older than this run" in result.reason


@pytest.mark.parametrize("code", [1, 2, 3, 5, 143])
def test_an_exit_code_without_a_failed_test_is_inconclusive(tmp_path: Path, code: int) -> None:
    """A command that fails while no test did has not run what it should; neither number is believed."""
    result, report = outcome(tmp_path, written(PASSING, code))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert f"exit code {code}" in result.reason
    assert not {"passed", "failed"} & values(result).keys()


def test_exit_code_0_with_a_failed_test_still_fails(tmp_path: Path) -> None:
    """`pytest || true` hides nothing: the failure is believed, what passed is not."""
    result, report = outcome(tmp_path, written(FAILING, 0))
    assert report.outcome is Outcome.FAIL
    assert "passed" not in values(result)
    assert any(finding.level is Level.ERROR and "exit code 0" in finding.message for finding in result.findings)


def test_a_command_that_is_killed_is_inconclusive(tmp_path: Path) -> None:
    """A process that dies by a signal after writing a good file has not ended well."""
    result, report = outcome(tmp_path, shell(f"echo '{PASSING}' > $E/junit.xml; kill -9 $$"))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "exit code 137" in result.reason


def test_a_program_that_is_not_there_is_inconclusive(tmp_path: Path) -> None:
    """The reason names the program."""
    result, report = outcome(tmp_path, {"command": ["no-such-runner", "--all"]})
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "'no-such-runner' is not there" in result.reason


def test_skipped_tests_alone_are_no_pass(tmp_path: Path) -> None:
    """When everything is skipped nothing was tested: neither `failed` nor `passed` can pass."""
    result, report = outcome(tmp_path, written("<testsuite><testcase name='a'><skipped/></testcase></testsuite>"))
    assert values(result)["skipped"] == 1
    assert report.outcome is Outcome.INCONCLUSIVE
    assert all(criterion.outcome is not Outcome.PASS for criterion in report.criteria)


def test_failures_that_only_the_suite_declares_count(tmp_path: Path) -> None:
    """A suite that declares an error without a case for it still has an error."""
    result, report = outcome(tmp_path, written('<testsuite tests="1" errors="1"><testcase name="a"/></testsuite>', 1))
    assert report.outcome is Outcome.FAIL
    assert values(result)["failed"] == 1


def test_the_interpreters_folder_is_first_on_the_path(tmp_path: Path) -> None:
    """`python` in a command is the interpreter that runs the gate."""
    script = f"test \"$(command -v python)\" = {Path(sys.executable).parent}/python && echo '{PASSING}' > $E/junit.xml"
    assert outcome(tmp_path, shell(script))[1].outcome is Outcome.PASS


def test_several_files_by_a_glob_are_added_up_and_kept(tmp_path: Path) -> None:
    """Files outside of the evidence are counted together and copied into it; an older one among them is left out, and told."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.xml").write_text(FAILING)
    script = f"echo '{PASSING}' > out/1.xml; echo '{PASSING}' > out/2.xml"
    result, report = outcome(tmp_path, {**shell(script), "junit": "out/*.xml"})  # type: ignore[dict-item]
    assert (report.outcome, values(result)["cases"]) == (Outcome.PASS, 4)
    assert any("old.xml is older" in finding.message for finding in result.findings)
    assert {"evidence/junit-001-1.xml", "evidence/junit-002-2.xml"} <= {piece.path for piece in result.evidence}


def test_the_log_is_shown_without_terminal_escapes(tmp_path: Path) -> None:
    """The last lines of what the command said are an exhibit, plain."""
    result, _ = outcome(tmp_path, shell(r"printf '\033[31mred\033[0m\nprogress 1%%\rprogress 2%%\n'"))
    (tail,) = result.exhibits
    assert isinstance(tail, LogTail)
    assert tail.lines == ("red", "progress 2%")


def test_a_misspelt_placeholder_is_an_error_of_the_spec(tmp_path: Path) -> None:
    """`{evidnce}` is refused with what was meant; other braces are the command's own."""
    with pytest.raises(SpecErrors, match="did you mean {evidence}"):
        planned(TestsKind(), tmp_path, {"command": ["x", "--out={evidnce}/a.xml"]}, CRITERIA)
    planned(TestsKind(), tmp_path, {"command": ["awk", "{print}", "${HOME}", '{"a": 1}']}, CRITERIA)


def test_many_failures_are_listed_up_to_twenty(tmp_path: Path) -> None:
    """Twenty failures are named; the rest is a number."""
    cases = "".join(f'<testcase name="t{n}"><failure message="m"/></testcase>' for n in range(25))
    result, _ = outcome(tmp_path, written(f"<testsuite>{cases}</testsuite>", 1))
    assert len(result.findings) == 21
    assert result.findings[-1].message.startswith("5 more failed")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """A file beyond the bound is no evidence; it is not read into memory first."""
    huge = tmp_path / "junit.xml"
    with huge.open("wb") as file:
        file.truncate(junit.LARGEST + 1)
    with pytest.raises(junit.BadJUnitError, match="larger than 64 MiB"):
        junit.read([huge])


@pytest.mark.end_to_end
def test_pytests_own_failures_say_how_to_run_one_again(tmp_path: Path) -> None:
    """With real pytest: a failing test and a file with a syntax error are failures, with place and id."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("class TestIt:\n    def test_bad(self):\n        assert 1 == 2\n")
    (tmp_path / "tests" / "test_broken.py").write_text("def test_x(: pass\n")
    command = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "tests"]
    result, report = outcome(tmp_path, {"command": [*command, "--junitxml={evidence}/junit.xml"]})
    assert report.outcome is Outcome.FAIL
    assert values(result)["failed"] == 2
    places = {finding.message.split(":")[0]: finding.location for finding in result.findings}
    assert places == {"tests.test_broken": "tests/test_broken.py:1", "tests.test_one.TestIt.test_bad": "tests/test_one.py:3"}
    python = child.pasteable("python", str(tmp_path))
    assert f"{python} -m pytest tests/test_one.py::TestIt::test_bad" in result.steps


@pytest.mark.parametrize(
    "case",
    [
        '<testcase name="b" status="notrun" result="suppressed"/>',
        '<testcase name="b" status="disabled"/>',
        '<testcase name="b" status="skipped"/>',
    ],
)
def test_a_case_that_says_it_was_not_run_has_not_passed(tmp_path: Path, case: str) -> None:
    """GoogleTest and others mark a disabled test by an attribute alone, without an element in it."""
    result, _ = outcome(tmp_path, written(f'<testsuite><testcase name="a" status="run"/>{case}</testsuite>'))
    assert (values(result)["passed"], values(result)["skipped"]) == (1, 1)


@pytest.mark.parametrize(
    ("content", "failed", "why"),
    [
        (f'<testsuites failures="2"><testsuite>{CASE}</testsuite></testsuites>', 2, ""),
        (f'<testsuites><testsuite errors="1"><testsuite tests="1">{CASE}</testsuite></testsuite></testsuites>', 1, ""),
        (f'<testsuites tests="9"><testsuite>{CASE}</testsuite></testsuites>', 0, "declares 8 more tests"),
        (f'<testsuites tests="1" failures="1"><testsuite tests="1" failures="1">{CASE}</testsuite></testsuites>', 1, ""),
    ],
)
def test_sums_of_outer_suites_are_held_to_too(tmp_path: Path, content: str, failed: int, why: str) -> None:
    """A failure or a test that only an outer suite knows of is not lost, and none is counted twice."""
    result, report = outcome(tmp_path, written(content, 1 if failed else 0))
    assert report.outcome is (Outcome.INCONCLUSIVE if why else Outcome.FAIL)
    assert why in result.reason
    assert values(result).get("failed", 0) == failed


def test_nested_suites_that_sum_up_are_counted_once(tmp_path: Path) -> None:
    """Sums in the outer suites of a file that is whole change nothing; one that counts only its own cases is right too."""
    inner = '<testsuite tests="2">' + PASSING[PASSING.index(">") + 1 :]
    for outer in ('tests="2" failures="0"', "", 'tests="0"'):
        result, report = outcome(tmp_path, written(f"<testsuites {outer}><testsuite {outer}>{inner}</testsuite></testsuites>"))
        assert (report.outcome, values(result)["cases"]) == (Outcome.PASS, 2)
