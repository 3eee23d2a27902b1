"""Tests that need a system program are left out aloud, or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    import pytest

    @pytest.mark.needs("sh", "apt-get install dash")
    def test_here(): pass

    @pytest.mark.needs("libc.so.6", "apt-get install libc6")
    def test_with_a_library(): pass

    @pytest.mark.needs("no-such-library.so.1", "apt-get install no-such-library1")
    @pytest.mark.needs("no-such-program", "apt-get install no-such-package")
    def test_elsewhere(): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite of one test whose program is here and one whose program is not, under our conftest."""
    monkeypatch.delenv("GATES_REQUIRE", raising=False)
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers = needs(program, line): needs a system program\n")
    pytester.makepyfile(SUITE)
    return pytester


def test_an_absent_program_leaves_its_tests_out_and_the_summary_says_how_to_install_it(suite: pytest.Pytester) -> None:
    """The other tests run; the sentence has the count, the program and the line."""
    result = suite.runpytest_inprocess()
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(
        ["1 test was left out: no-such-program is not on this machine; apt-get install no-such-package"]
    )


def test_an_absent_program_fails_its_tests_where_everything_is_required(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With GATES_REQUIRE=all, as CI sets it, nothing is left out."""
    monkeypatch.setenv("GATES_REQUIRE", "all")
    result = suite.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*no-such-program is required and not here: apt-get install no-such-package*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_machine_without_pseudo_terminals_is_told(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bare root is, where nobody mounted /dev/pts; what can be opened is here."""

    def none() -> tuple[int, int]:
        raise OSError("out of pty devices")

    monkeypatch.setattr("os.openpty", none)
    line = "mount -t devpts devpts /dev/pts"
    suite.makepyfile(f"""
        import pytest

        @pytest.mark.needs("pseudo-terminal", "{line}")
        def test_drawn(): pass
    """)
    result = suite.runpytest_inprocess()
    result.assert_outcomes(deselected=1)
    result.stdout.fnmatch_lines([f"1 test was left out: pseudo-terminal is not on this machine; {line}"])
