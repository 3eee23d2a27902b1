"""The edge of the command line: exit codes, hints, no tracebacks."""

from __future__ import annotations

import subprocess
import sys

from gates.errors import PRECEDENCE, Exit, most_important


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gates", *arguments], capture_output=True, text=True, check=False)


def test_help_lists_the_commands_on_stdout() -> None:
    """A person finds the way from --help alone."""
    shown = run("--help")
    assert shown.returncode == 0
    assert "report" in shown.stdout
    assert shown.stderr == ""


def test_an_unknown_command_suggests_the_nearest() -> None:
    """A typing mistake is a usage error with a way out."""
    wrong = run("reprot")
    assert wrong.returncode == Exit.USAGE
    assert "Did you mean 'report'?" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_most_important_code_wins() -> None:
    """130, 70, 2, 4, 5, 1, 3, 6, 0 in this order, and READY when nothing holds."""
    assert [int(code) for code in PRECEDENCE] == [130, 70, 2, 4, 5, 1, 3, 6, 0]
    assert most_important([Exit.READY, Exit.INCONCLUSIVE, Exit.NOT_READY]) is Exit.NOT_READY
    assert most_important([]) is Exit.READY
