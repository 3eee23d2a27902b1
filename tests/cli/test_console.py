"""How far something is: drawn over on a terminal, a line now and then elsewhere, and never on stdout."""

from __future__ import annotations

import io

import pytest

from gates.cli.console import EVERY, Console


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """From now on stderr is a terminal that can be drawn over."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def test_on_a_terminal_progress_is_one_line_that_is_gone_before_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step is drawn over the last without a line end; what is said next starts on an empty line."""
    console, drawn = Console(), terminal(monkeypatch)
    console.progress("pair 1 of 12")
    console.progress("pair 2 of 12")
    assert drawn.getvalue() == "\r\x1b[Kpair 1 of 12\r\x1b[Kpair 2 of 12"
    console.data("the table")
    assert drawn.getvalue().endswith("pair 2 of 12\r\x1b[K")
    assert capsys.readouterr().out == "the table\n"
    console.talk("done")
    assert drawn.getvalue().endswith("\r\x1b[Kdone\n")
    assert drawn.getvalue().count("\r\x1b[K") == 3


def test_in_a_pipe_progress_is_a_plain_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """The first step shows that it began, the steps right after it are left out, and a log doesn't stay silent for minutes."""
    times = iter([0.0, EVERY / 2, EVERY + 1, EVERY + 2, 2 * EVERY + 1.5])
    console = Console(clock=lambda: next(times))
    for number in range(1, 6):
        console.progress(f"pair {number}")
    shown = capsys.readouterr()
    assert shown.err.splitlines() == ["pair 1", "pair 3", "pair 5"]
    assert shown.out == ""


def test_with_v_every_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for more gets all of it, in order."""
    console = Console(clock=lambda: 0.0)
    console.verbose = True
    for number in range(3):
        console.progress(f"pair {number}")
    assert capsys.readouterr().err.splitlines() == ["pair 0", "pair 1", "pair 2"]


@pytest.mark.parametrize("verbose", [False, True])
def test_with_q_no_step_is_told(monkeypatch: pytest.MonkeyPatch, verbose: bool) -> None:
    """Only errors and results are wanted, on a terminal too."""
    console, drawn = Console(), terminal(monkeypatch)
    console.quiet, console.verbose = True, verbose
    console.progress("pair 1 of 12")
    assert drawn.getvalue() == ""
