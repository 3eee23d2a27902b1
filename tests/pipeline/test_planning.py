"""What is known before the first gate: commit, fingerprint, names of runs, which are kept."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from gates import codec
from gates.errors import GatesError, UsageError
from gates.model import Commit, Plan
from gates.pipeline import folder, planning
from gates.pipeline.folder import RunFolder
from gates.pipeline.ledger import Ledger
from gates.pipeline.machine import fingerprint, read_commit
from gates.pipeline.planning import begin

from .conftest import Repository

PLAN = Plan("new", "2026-11-23T15:04:05Z", "0", "/", "s", "d", "quick", 1, Commit(), {}, ())
NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)


def test_a_tree_without_git_has_no_commit(tmp_path: Path) -> None:
    """Neither a missing repository nor one without a commit is an error."""
    assert read_commit(tmp_path) == Commit()
    assert read_commit(tmp_path).short == "nogit"


def test_a_repository_with_one_commit_is_read(repository: Repository) -> None:
    """Commit, branch, subject; a new file makes it dirty; a detached head has no branch."""
    repository.git("init")
    assert read_commit(repository.path) == Commit(), "no commit yet"
    repository.git("commit", "--allow-empty", "-m", "The first")
    sha = repository.git("rev-parse", "HEAD")
    assert read_commit(repository.path) == Commit(sha, "main", "The first")
    (repository.path / "new").touch()
    assert read_commit(repository.path).dirty
    repository.git("checkout", "--detach")
    assert read_commit(repository.path).branch == ""


def test_a_shallow_clone_says_so(repository: Repository) -> None:
    """Its commit is known, its past is not."""
    repository.git("init")
    for subject in ("The first", "The second"):
        repository.git("commit", "--allow-empty", "-m", subject)
    repository.git("clone", "--depth", "1", f"file://{repository.path}", "shallow")
    found = read_commit(repository.path / "shallow")
    assert (found.shallow, found.subject, found.dirty) == (True, "The second", False)


def test_the_fingerprint_changes_with_lock_and_benchmarks_only(tmp_path: Path) -> None:
    """What can't be read is `unknown`; the same tree gives the same fingerprint."""
    before = fingerprint(tmp_path)
    assert (before["dependencies"], before["benchmarks"]) == ("unknown", "unknown")
    (tmp_path / "constraints.txt").write_text("nox==1\n")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "bench.py").write_text("pass\n")
    after = fingerprint(tmp_path)
    assert {key for key in after if after[key] != before[key]} == {"dependencies", "benchmarks"}
    assert after == fingerprint(tmp_path)
    assert all(after.values())


def test_a_run_is_named_by_time_commit_and_chance() -> None:
    """So that names sort by time and two runs of a second differ."""
    assert folder.new_run_id(NOW, "3f9c2ab", lambda size: "1a2b"[: size * 2]) == "20261123T150405Z-3f9c2ab-1a2b"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "latest", "ledger.jsonl", "x" * 101])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    """A run's name comes from the environment; it can't reach out of the folder of runs."""
    with pytest.raises(UsageError):
        folder.checked_run_id(name)


def test_the_newest_twenty_runs_and_the_signed_and_busy_ones_are_kept(tmp_path: Path) -> None:
    """Everything else is removed, oldest first."""
    for number in range(25):
        run = tmp_path / f"run-{number:02d}"
        run.mkdir()
        (run / "plan.json").touch()
        os.utime(run / "plan.json", (number, number))
    (tmp_path / "run-01" / "signoff").mkdir()
    removed = folder.prune(tmp_path, lambda run: run.run == "run-02")
    assert removed == ("run-00", "run-03", "run-04")
    assert len(list(folder.all_runs(tmp_path))) == 22


def test_a_run_that_the_clock_says_is_the_oldest_is_not_removed_by_its_own_start(tmp_path: Path) -> None:
    """A clock that was set back makes the newest run look like the oldest."""
    for number in range(folder.KEPT):
        (tmp_path / f"run-{number:02d}").mkdir()
        plan = tmp_path / f"run-{number:02d}" / "plan.json"
        plan.touch()
        os.utime(plan, (4e9 + number, 4e9 + number))
    made, _ = begin(lambda reading: PLAN, tmp_path)
    assert made.plan.exists()


@pytest.mark.parametrize(
    ("room", "writes", "events"), [(planning, "_reserve", []), (codec, "write", ["start"]), (planning, "set_latest", ["start"])]
)
def test_a_plan_that_finds_no_space_is_a_clear_error_and_leaves_no_half_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: ModuleType, writes: str, events: list[str]
) -> None:
    """The error says what and where; a start in the ledger stays, so that the run counts as abandoned."""

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room, writes, full)
    with pytest.raises(GatesError, match="the run folder can't be written: No space left on device"):
        begin(lambda reading: PLAN, tmp_path)
    assert not (tmp_path / PLAN.run).exists()
    assert [entry.event for entry in Ledger(tmp_path / "ledger.jsonl").read().entries] == events


def test_the_folder_of_runs_ignores_itself_and_latest_is_the_last_started(tmp_path: Path) -> None:
    """`latest` is replaced at once; without a run, finding one says what to do."""
    folder.prepare(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    with pytest.raises(UsageError, match="there is no run yet"):
        folder.find_run(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").touch()
        folder.set_latest(RunFolder(tmp_path / name))
    assert folder.find_run(tmp_path) == folder.find_run(tmp_path, "two") == RunFolder(tmp_path / "two")
    with pytest.raises(UsageError, match="there is no run 'three'"):
        folder.find_run(tmp_path, "three")


@pytest.mark.end_to_end
def test_a_run_works_without_git_in_a_shallow_clone_and_after_one_commit(repository: Repository) -> None:
    """All three are ready, and their run folder leaves a clean tree clean."""
    repository.spec(good={})
    assert repository.run() == 0
    assert "nogit" in repository.latest.name
    repository.git("init")
    repository.git("add", "workflows")
    repository.git("commit", "-m", "One")
    assert repository.run() == 0
    assert repository.git("status", "--porcelain") == ""
    assert repository.report()["plan"]["commit"]["dirty"] is False
    repository.git("clone", "--depth", "1", f"file://{repository.path}", "../shallow")
    repository.path = repository.path.parent / "shallow"
    repository.runs = repository.path / ".readiness"
    assert repository.run() == 0
    assert repository.report()["plan"]["commit"]["shallow"] is True
