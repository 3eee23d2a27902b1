"""`gates load --closed`, and the comparison with peers that uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from odd_server import odd_server

from gates.cli.load import load_command
from gates.errors import UsageError

ROOT = Path(__file__).parents[2]
SCENARIO = """
version: 1
arrivals: {rate: 100/s, for: 10 s}
connections: 2
mix: {right: 3, other: 1}
flows:
  right: {steps: [{path: /right, check: {json: {ok: true}}}]}
  other: {steps: [{path: /other, check: {json: {ok: true}}}]}
"""


def command(folder: Path, url: str, *more: str) -> list[str]:
    """`gates load` on the scenario."""
    file = folder / "scenario.yaml"
    file.write_text(SCENARIO)
    return [sys.executable, "-m", "gates", "load", str(file), "--target", url, *more]


@pytest.mark.end_to_end
def test_a_closed_loop_prints_service_times_and_says_that_they_are_no_latency(tmp_path: Path) -> None:
    """Rates and times by flow, errors with an example, as text and as JSON."""
    with odd_server() as url:
        closed = command(tmp_path, url, "--closed", "--duration", "0.5s", "--seed", "1")
        text = subprocess.run(closed, capture_output=True, text=True, check=True)
        told = json.loads(subprocess.run([*closed, "--json"], capture_output=True, text=True, check=True).stdout)
    assert "Service times of a closed loop" in text.stdout
    assert "right on main" in text.stdout
    assert "wrong body" in text.stdout
    assert "latency.p" not in text.stdout
    assert told["loop"] == "closed"
    assert set(told["service"]) == {"right@main"}
    assert told["right"] == told["service"]["right@main"]["count"] > 0
    assert told["requests"] == told["right"] + told["failures"]["body"]
    assert told["processor"]["seconds"] > 0
    assert "latency" not in json.dumps(told)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (("--rate", "5/s"), "--rate: a closed loop has no rate"),
        (("--pacing", "spin"), "--pacing: a closed loop has no arrivals to pace"),
        (("--scale", "local:2"), "--scale: a closed loop runs in one process"),
        (("--out", "there"), "--out: a closed loop writes no files; --json prints all that it measures"),
        (("--live",), "--live: a closed loop is not drawn; -v says a line a second"),
    ],
)
def test_a_closed_loop_refuses_what_it_would_ignore(tmp_path: Path, option: tuple[str, ...], why: str) -> None:
    """By the option's name, with what to do, before anything is sent or written."""
    arguments = command(tmp_path, "http://127.0.0.1:1", "--closed", *option)[4:]
    error = CliRunner().invoke(load_command, arguments).exception
    assert isinstance(error, UsageError)
    assert str(error) == f"{why}\n  leave out {option[0]}, or --closed"
    assert not (tmp_path / "there").exists()


@pytest.mark.end_to_end
def test_an_interrupted_closed_loop_prints_what_was_measured(tmp_path: Path) -> None:
    """Ctrl-C ends it early with 130 and its table."""
    with odd_server() as url:
        closed = command(tmp_path, url, "--closed", "--json", "--duration", "60s", "--seed", "1")
        with subprocess.Popen(closed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert "2 connections ask again" in process.stderr.readline()
            time.sleep(1)  # something must have been measured, and nothing tells how much
            process.send_signal(signal.SIGINT)
            told = json.loads(process.stdout.read())
    assert process.returncode == 130
    assert told["stopped"]
    assert told["right"] > 0


@pytest.mark.end_to_end
def test_the_comparison_names_every_peer_that_is_not_there(tmp_path: Path) -> None:
    """With the line that installs it, and nothing is measured."""
    script = [sys.executable, str(ROOT / "benchmarks" / "compare_load.py")]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "not installed:" in done.stderr
    assert "apt-get install wrk" in done.stderr
    assert "apt-get install hey" in done.stderr
    assert done.stdout == ""
