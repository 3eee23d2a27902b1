"""`gates baseline` on the runs of a small repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

@pytest.mark.parametrize("place", [1, 2])
def test_calibration(benchmark, place):
    benchmark(sum, range(200))

def test_work(benchmark):
    benchmark(sum, range(900))
"""
SPEC = """
version: 1
profiles: {quick: {}}
gates:
  primitives:
    kind: benchmarks
    suite: suite
    time: 20 ms
    rounds: 20
    criteria: {ratio/work: {below: 1000x}}
"""


class Place:
    """A repository on its branch main, and the command `gates` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "suite").mkdir(parents=True)
        (root / "workflows").mkdir()
        (root / "suite" / "test_suite.py").write_text(SUITE)
        (root / "workflows" / "readiness.yaml").write_text(SPEC)
        (root / ".gitignore").write_text("__pycache__/\n.readiness/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=e@localhost", "-c", "commit.gpgSign=false"]
        subprocess.run(["git", "-C", str(self.root), *who, *arguments], check=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a commit")

    def gates(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATES_", "GITHUB_", "PYTEST_"))}
        command = [sys.executable, "-m", "gates", *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, env=kept, check=False)

    def accept(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.gates("baseline", "accept", "--reason", "it is normal", *arguments)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "repository")


@pytest.mark.end_to_end
def test_a_green_run_becomes_a_baseline_once(place: Place) -> None:
    """What it takes in is shown as a diff, listed and shown; the same run is not counted twice."""
    assert place.gates("run").returncode == 0
    done = place.accept()
    assert done.returncode == 0, done.stderr
    assert '+   "values": {' in done.stdout
    assert "ratio/work" in done.stderr
    (stored,) = (place.root / "baselines").glob("*/primitives.json")
    assert list(json.loads(stored.read_text())["runs"][0]["values"]) == ["ratio/work"]
    assert "this one" in place.gates("baseline", "list").stdout
    assert "1 runs are stored and 20 are needed" in place.gates("baseline", "show", "primitives").stdout
    again = place.accept()
    assert (again.returncode, "in the baseline already" in again.stderr) == (2, True)
    stored.write_text(stored.read_text().replace("it is normal", "it is mine"))
    edited = place.gates("baseline", "list")
    assert (edited.returncode, "edited by hand" in edited.stderr) == (4, True)


@pytest.mark.end_to_end
def test_what_is_not_green_clean_and_on_the_default_branch_is_refused(place: Place) -> None:
    """A failure is never the new normal, nor is another run of the same commit once one failed."""
    assert place.gates("run", "--set", "gates.primitives.criteria.ratio/work.below=0.1x").returncode == 1
    failed = place.accept()
    assert (failed.returncode, "ended NOT READY" in failed.stderr) == (1, True)
    assert place.gates("run").returncode == 0
    shopped = place.accept()
    assert (shopped.returncode, "found the same commit NOT READY" in shopped.stderr) == (2, True)
    (place.root / "new.py").write_text("")
    assert place.gates("run").returncode == 0
    assert "not a clean commit" in place.accept().stderr
    place.git("checkout", "--quiet", "-b", "side")
    place.commit()
    assert place.gates("run").returncode == 0
    assert "not on the default branch" in place.accept().stderr
    assert not (place.root / "baselines").exists()


@pytest.mark.end_to_end
def test_an_empty_reason_and_no_run_are_refused(place: Place) -> None:
    """Each by what is wrong."""
    assert "the reason is empty" in place.gates("baseline", "accept", "--reason", " ").stderr
    assert "there is no run yet" in place.accept().stderr
    assert "no baseline is stored" in place.gates("baseline", "list").stderr


@pytest.mark.end_to_end
def test_what_expired_is_pruned(place: Place) -> None:
    """The other entry stays as it was written."""
    (place.root / "baselines").mkdir()
    file = place.root / "baselines" / "accepted.yaml"
    old = "  - {metric: slowdown/a, commit: 0123456, size: 8 %, reason: because of it, expires: 2026-01-01}\n"
    new = "  - {metric: slowdown/b, commit: 0123456, size: 8 %, reason: because of it, expires: 2999-01-01}\n"
    file.write_text(f"version: 1\naccepted:\n{old}{new}")
    done = place.gates("baseline", "prune")
    assert done.stdout == "removed the accepted regression of slowdown/a, expired on 2026-01-01\n"
    assert file.read_text() == f"version: 1\naccepted:\n{new}"
    assert done.stderr == ""
    again = place.gates("baseline", "prune")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to remove" in again.stderr


@pytest.mark.end_to_end
def test_a_green_run_whose_commit_failed_later_is_refused(place: Place) -> None:
    """Whichever came first: one of the two runs is wrong, and the good one is not to be chosen."""
    assert place.gates("run").returncode == 0
    green = (place.root / ".readiness" / "latest").resolve().name
    assert place.gates("run", "--set", "gates.primitives.criteria.ratio/work.below=0.1x").returncode == 1
    shopped = place.accept(green)
    assert (shopped.returncode, "found the same commit NOT READY" in shopped.stderr) == (2, True), shopped.stderr
