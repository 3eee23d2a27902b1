"""`gates explore`: what it can't work with is an error at its place, and whatever ends it, nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gates.cli.main import _run
from gates.leftovers import PLACE, entries
from gates.pipeline import tree

SPEC = """\
version: 1
target: {federation: {nodes: 2}}
gates:
  fault:
    kind: validation
    scenario: scenarios/one.yaml
    criteria: {errors.ratio: {below: 99 %}}
"""
SCENARIO = """\
version: 1
arrivals: {rate: 20/s, for: 12 s}
mix: {submit_job: 1}
faults:
  - {at: 10 %, for: 30 %, pause: {node: node-b}}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one gate of the kind `validation` and one scenario."""
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "readiness.yaml").write_text(SPEC)
    (tmp_path / "scenarios" / "one.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explored(*more: str) -> int:
    return _run(["explore", "--spec", "readiness.yaml", "--gate", "fault", "--from", "scenarios", *more])


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("scenarios/two.yaml", ("", "faults: [\n"), "scenarios/two.yaml:2:1: "),
        ("scenarios/two.yaml", ("", "- 1\n"), "scenarios/two.yaml:1:1: "),
        ("scenarios/two.yaml", ("", "faults: 3\n"), "scenarios/two.yaml:1:9: faults: "),
        ("scenarios/two.yaml", ("", "faults:\n  - {at: 1 %, for: 1 %, quake: {}}\n"), "scenarios/two.yaml:2:25: "),
        ("readiness.yaml", ("one.yaml", "two.yaml"), "readiness.yaml:6:15: "),
        ("readiness.yaml", ("    scenario: scenarios/one.yaml\n", ""), "scenario is missing"),
        ("readiness.yaml", ("  fault:", "  other:"), "no gate 'fault' of the kind validation"),
    ],
)
def test_a_file_that_it_can_not_work_with_is_an_error_at_its_place(
    repository: Path, capsys: pytest.CaptureFixture[str], file: str, change: tuple[str, str], said: str
) -> None:
    """Broken YAML, other shapes, unknown faults and gates: exit code 4 before anything is started."""
    path = repository / file
    path.write_text(path.read_text().replace(*change) if path.exists() else change[1])
    assert explored() == 4
    assert said in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_an_error(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names it."""
    assert explored("--from", "nowhere") == 4
    assert "error: nowhere: " in capsys.readouterr().err


@pytest.mark.end_to_end
def test_a_target_that_offers_no_such_fault_is_inconclusive(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that somebody else started can't be paused; why stands in what is said."""
    path = repository / "readiness.yaml"
    path.write_text(path.read_text().replace("{federation: {nodes: 2}}", "{url: 'http://127.0.0.1:9'}"))
    scenario = repository / "scenarios" / "one.yaml"
    scenario.write_text(scenario.read_text().replace("node-b", "main"))
    assert explored("--seed", "1", "--faults", "1") == 3
    assert "not measurable here: control 'pause' of the target" in capsys.readouterr().err


@pytest.mark.end_to_end
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_nothing(repository: Path, tmp_path: Path, number: signal.Signals) -> None:
    """10 s later no process is left and nothing is in the registry; its folder is gone when it could remove it."""
    token, home = f"test.{os.getpid()}.{tmp_path.name}", tmp_path / "temporary"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATES_", "READINESS_"))}
    lock = str(tmp_path / "lock")
    environ = {"TMPDIR": str(home), tree.VARIABLE: token, PLACE: str(tmp_path / "state"), "READINESS_LOCK_FOLDER": lock}
    command = [sys.executable, "-m", "gates"]
    words = ["explore", "--spec", "readiness.yaml", "--gate", "fault", "--from", "scenarios", "--faults", "1"]
    process = subprocess.Popen([*command, *words], env=kept | environ, stderr=subprocess.PIPE)
    try:
        patience = time.monotonic() + 20
        while not list(home.glob("gates-explore-*/0/runs/*/*/evidence/history.jsonl.gz")):
            assert time.monotonic() < patience
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        ended = time.monotonic()
        _, said = process.communicate(timeout=10)
        while tree.find(token):
            assert time.monotonic() < ended + 10
            time.sleep(0.02)
        assert process.returncode == (-9 if number == signal.SIGKILL else 130), said
        assert number == signal.SIGKILL or not list(home.iterdir())
        assert not entries(tmp_path / "state" / "leftovers")
    finally:
        tree.end(token, grace=0)
