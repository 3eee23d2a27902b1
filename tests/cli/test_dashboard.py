"""The dashboard of a load, on a real pseudo-terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from odd_server import odd_server
from waiting import given_time

from gates.cli.dashboard import drawn
from gates.load.watching import Live, Stretch, Watching, into, read
from gates.model import Comparator, Comparison, Criterion, Rule, Unit

SCENARIO = """
version: 1
arrivals: {rate: 50/s, for: SECONDS}
mix: {right: 3, odd: 1}
flows:
  right: {steps: [{path: /right, check: {json: {ok: true}}}]}
  odd: {steps: [{path: /broken}]}
"""
STATE = Live(
    7, 16.0, 100, 97, 1600, 700, 690, 14, 3, {"p50": 0.002, "p90": 0.011, "p99": 0.31}, {"wrong status": 12, "timeout": 2},
    {"submit_job": (552, 14), "read_mana": (138, 0)}, 0.0021, 0.12, 0.01, 0.0,
    (Stretch("warmup", 0.0, 3.0), Stretch("partition of node-a", 5.0, 9.0)),
)  # fmt: skip
P99 = Criterion("latency.p99@steady", Unit.SECONDS, Rule.PERCENTILE, (Comparison(Comparator.BELOW, 0.25, text="250 ms"),), 1000)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


def command(folder: Path, url: str, *more: str, seconds: str = "3 s") -> list[str]:
    """The command line, with a scenario in *folder*."""
    (folder / "scenario.yaml").write_text(SCENARIO.replace("SECONDS", seconds))
    return [sys.executable, "-m", "gates", "load", str(folder / "scenario.yaml"), "--target", url, *more]


def on_terminal(words: list[str], *, interrupt: str = "") -> tuple[str, str, int]:
    """What the command drew on a pseudo-terminal, its standard output, and its exit code; Ctrl-C when *interrupt* is drawn."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm"}
    process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # the other end is closed when the command ends
        while piece := os.read(ours, 65_536):
            seen += piece
            if interrupt and interrupt.encode() in seen:
                process.send_signal(signal.SIGINT)
                interrupt = ""
    os.close(ours)
    said, _ = process.communicate()
    return seen.decode(), said.decode(), process.returncode


def ended_well(code: int, said: str) -> bool:
    """Whether the command ended with 0, or with 3 for the machine's sake alone, which changes nothing of what is shown.

    A generator that waits for a processor takes arrivals up late, and says that this was no valid measurement.
    """
    void = set(re.findall(r"not a valid measurement: (valid\.\w+)", said))
    return code == (3 if void else 0) and void <= {"valid.lateness", "valid.steal"}


def plain(text: str) -> str:
    """*text* without terminal escapes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_frame_shows_rates_percentiles_with_their_limits_flows_errors_faults_and_the_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything that a person looks for, no line wider than the terminal, what is beyond its limit marked without colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    frame = drawn(STATE, [P99], sys.stderr, 90)
    text = "\n".join(frame)
    for word in ("asked for", "100/s", "97/s", "690", "of 1,600", "submit_job", "wrong status", "12", "partition of node-a"):
        assert word in text
    assert re.search(r"latency p99\s+310 ms\s+! below 250 ms", text)
    assert re.search(r"latency p50\s+2 ms\s", text)
    assert re.search(r"partition of node-a\s+5 to 9 s\s+now", text)
    assert re.search(r"its processor\s+12%\s+at most 90%", text)
    assert re.search(r"not taken up\s+3", text)
    assert max(map(len, frame)) < 90
    sound = "\n".join(drawn(replace(STATE, failures={}), [P99], sys.stderr, 90))
    assert "below 250 ms" in sound  # without errors their column leaves its room to the others
    assert max(map(len, drawn(STATE, [P99], sys.stderr, 40))) < 40


def test_the_state_goes_through_its_file_and_half_a_file_is_none(tmp_path: Path) -> None:
    """The gate is a process of its own; what can't be read is not shown, and never ends a run."""
    assert read(tmp_path) is None
    into(tmp_path)(STATE)
    assert read(tmp_path) == STATE
    (tmp_path / "live.json").write_text('{"second": 7')
    assert read(tmp_path) is None
    into(tmp_path / "gone")(STATE)


def test_seconds_are_added_up_and_percentiles_are_of_the_last_ones() -> None:
    """A minute ago is not now."""
    from gates.load.failure import Failure
    from gates.load.outcome import SecondReport
    from gates.load.plan import LoadPlan

    told: list[Live] = []
    watching = Watching(LoadPlan("s", "", 10.0, 60.0, 0.0, 1, 1.0, {"a": 1}, {}), told.append)
    watching(SecondReport(1, 9, 9, 1, (5.0,) * 9, 10, {Failure.RESET: 1}, {"a": (9, 1)}, 0.1))
    for second in range(2, 8):
        watching(SecondReport(second, 10 * second, 10, 0, (0.01,) * 10, 10 * second, {}, {"a": (10, 0)}))
    assert (told[0].percentiles["p50"], told[0].behind, told[0].asked) == (5.0, 1, 10)
    last = told[-1]
    assert (last.done, last.errors, last.failures, last.flows) == (69, 1, {"reset": 1}, {"a": (69, 1)})
    assert last.percentiles == {"p50": 0.01, "p90": 0.01, "p99": 0.01}


@pytest.mark.needs("pseudo-terminal", "mount -t devpts devpts /dev/pts")
@pytest.mark.end_to_end
def test_on_a_terminal_the_dashboard_is_drawn_over_itself_and_its_last_frame_stays(tmp_path: Path, url: str) -> None:
    """The tables are data and go to standard output; the dashboard is talk."""

    def look(seconds: float) -> tuple[list[str], str, int]:
        seen, said, code = on_terminal(command(tmp_path, url, seconds=f"{seconds:g} s"))
        return re.split(r"\x1b\[\d+F\x1b\[J", seen), said, code

    frames, said, code = given_time(look, lambda found: len(found[0]) >= 2 and "wrong status" in found[0][-1], 3, 8, 20)
    assert ended_well(code, plain("".join(frames))), frames
    assert len(frames) >= 2
    for word in ("asked for", "50/s", "latency p99", "right", "odd", "wrong status", "steady", "late at most"):
        assert word in plain(frames[-1])
    assert "latency.p99" in said
    assert "asked for" not in said


@pytest.mark.needs("pseudo-terminal", "mount -t devpts devpts /dev/pts")
@pytest.mark.end_to_end
def test_ctrl_c_on_the_terminal_keeps_what_was_measured(tmp_path: Path, url: str) -> None:
    """Pressed when the first frame is there; the tables of what became due until then follow."""
    seen, said, code = on_terminal(command(tmp_path, url, seconds="60 s"), interrupt="latency p99")
    assert code == 130
    assert "stopping" in seen
    assert "latency.p99" in said


@pytest.mark.end_to_end
@pytest.mark.parametrize(("more", "lines"), [(("--live",), True), ((), False)])
def test_a_pipe_gets_plain_lines_when_they_are_asked_for(tmp_path: Path, url: str, more: tuple[str, ...], lines: bool) -> None:
    """Never an escape sequence where nobody looks at a terminal."""
    done = subprocess.run(command(tmp_path, url, *more), capture_output=True, text=True, check=False)
    assert ended_well(done.returncode, done.stderr), done.stderr
    assert "\x1b[" not in done.stderr + done.stdout
    assert bool(re.search(r"^ +\d+ s +\d+ of 50/s .*p99", done.stderr, re.MULTILINE)) == lines


@pytest.mark.needs("pseudo-terminal", "mount -t devpts devpts /dev/pts")
@pytest.mark.end_to_end
def test_plain_on_a_terminal_draws_nothing(tmp_path: Path, url: str) -> None:
    """A person may want a quiet terminal."""
    seen, said, code = on_terminal(command(tmp_path, url, "--plain", seconds="1 s"))
    assert ended_well(code, plain(seen)), seen
    assert "asked for" not in seen
    assert "latency.p99" in said
