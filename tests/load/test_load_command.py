"""`gates load` as a process: its streams, its exit codes, its answer to Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from odd_server import odd_server

SCENARIO = """
version: 1
arrivals: {rate: 100/s, for: 1 s}
mix: {right: 1}
flows: {right: {steps: [{path: /right, check: {json: {ok: true}}}]}}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The odd server's URL."""
    with odd_server() as found:
        yield found


def command(folder: Path, *arguments: str) -> list[str]:
    """The command line, with a scenario in *folder*."""
    (folder / "scenario.yaml").write_text(SCENARIO)
    return [sys.executable, "-m", "gates", "load", str(folder / "scenario.yaml"), *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    return subprocess.run(command(folder, *arguments), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.end_to_end
def test_a_person_gets_tables_and_a_program_gets_json(tmp_path: Path, url: str) -> None:
    """stdout is data, stderr is talk; options take the place of the scenario's values; the seed decides the schedule."""
    text = run(tmp_path, "--target", url, "--seed", "5")
    assert text.returncode == 0, text.stderr
    assert "latency.p99" in text.stdout
    assert "100 arrivals at 100/s for 1 s, seed 5" in text.stderr
    data = run(tmp_path, "--target", url, "--seed", "5", "--rate", "50", "--duration", "500 ms", "--connections", "2", "--json")
    document = json.loads(data.stdout)
    assert (document["planned"], document["seed"], document["failures"]) == (25, 5, {})
    assert set(document["valid"].values()) == {"pass"}


@pytest.mark.end_to_end
def test_ctrl_c_keeps_what_was_measured_and_says_that_it_was_interrupted(tmp_path: Path, url: str) -> None:
    """The table of what became due until then is printed; the exit code is 130."""
    process = subprocess.Popen(
        [*command(tmp_path, "--target", url, "--duration", "60 s", "--json")[:3], "-v", *command(tmp_path)[3:],
         "--target", url, "--duration", "60 s", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "1 s" in line and "errors" in line:
            process.send_signal(signal.SIGINT)
            break
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    document = json.loads(output)
    assert document["stopped"] is True
    assert document["planned"] == 6000
    counts = {each["metric"]: each["value"] for each in document["measurements"] if not each["phase"] and not each["selector"]}
    assert 90 < counts["requests.count"] < 3000


@pytest.mark.end_to_end
def test_a_second_ctrl_c_ends_workers_in_the_middle_of_their_slices(tmp_path: Path) -> None:
    """At once and in order: no answer is awaited, no worker has to be killed, and nothing but our own words is said."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        options = ("--target", f"http://127.0.0.1:{silent.getsockname()[1]}", "--scale", "local:2", "--live")
        started = [*command(tmp_path), *options, "--duration", "600 s"]
        (tmp_path / "scenario.yaml").write_text(f"{SCENARIO}timeout: 600 s\n")
        with subprocess.Popen(started, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stderr is not None
            said = []
            for awaited in ("no answer", "stopping"):
                said += _until(awaited, process.stderr)
                os.killpg(process.pid, signal.SIGINT)  # to all processes of the command, as a terminal does
            said += process.stderr.readlines()
    assert process.returncode == 130
    assert not [line for line in said if "distributed" in line or "still alive" in line]


def _until(text: str, lines: Iterable[str]) -> Iterator[str]:
    """The *lines* up to the one with *text*."""
    for line in lines:
        yield line
        if text in line:
            return


@pytest.mark.end_to_end
def test_no_right_answer_at_all_is_inconclusive(tmp_path: Path) -> None:
    """Nobody listens: the errors are shown, and the exit code says that nothing was measured."""
    with odd_server() as gone:
        pass
    ended = run(tmp_path, "--target", gone)
    assert ended.returncode == 3
    assert "refused" in ended.stdout
    assert "no right answer at all" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ((), 2, "--target"),
        (("--target", "nonsense"), 2, "expected a URL such as"),
        (("--target", "http://a", "--rate", "0"), 2, "--rate: expected more than 0"),
        (("--target", "http://a", "--rate", "fast"), 2, "--rate: expected a number such as"),
        (("--target", "http://a", "--duration", "-3 s"), 2, "--duration: expected more than 0"),
        (("--target", "http://a", "--target", "http://b"), 2, "several targets need names"),
        (("--target", "http://a", "--scale", "cloud"), 2, "--scale: expected local:N with N from 1 to 64, or dask://HOST:PORT"),
    ],
)
def test_a_wrong_option_is_told_by_name(tmp_path: Path, arguments: tuple[str, ...], code: int, problem: str) -> None:
    """Before anything is sent, without a traceback."""
    from click.testing import CliRunner

    from gates.cli.load import load_command
    from gates.errors import GatesError

    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    result = CliRunner().invoke(load_command, [str(tmp_path / "scenario.yaml"), *arguments])
    error = result.exception
    text = str(error) if isinstance(error, GatesError) else result.output
    assert problem in text
    assert (error.code if isinstance(error, GatesError) else result.exit_code) == code


@pytest.mark.end_to_end
def test_a_load_over_two_processes_writes_the_files_of_one(tmp_path: Path, url: str) -> None:
    """All of it was sent, in one schedule, and the folder has what other tools read."""
    data = run(tmp_path, "--target", url, "--seed", "5", "--scale", "local:2", "--out", str(tmp_path / "out"), "--json")
    document = json.loads(data.stdout)
    counts = {each["metric"]: each["value"] for each in document["measurements"] if not each["phase"] and not each["selector"]}
    assert (document["planned"], counts["requests.count"], counts["errors.count"]) == (100, 100, 0)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"seconds.csv", "quantiles.csv", "latency.hlog", "service.hlog", "metrics.prom"}


@pytest.mark.end_to_end
def test_ctrl_c_in_a_terminal_stops_all_processes_of_a_load_in_order(tmp_path: Path, url: str) -> None:
    """A terminal interrupts every process of the command; what they measured until then is added up all the same."""
    with subprocess.Popen(
        [sys.executable, "-m", "gates", "-v", *command(tmp_path)[3:], "--target", url, "--duration", "60 s", "--json",
         "--scale", "local:2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if " errors " in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(output)
    assert (document["stopped"], document["planned"]) == (True, 6000)
