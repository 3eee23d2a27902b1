"""Checkouts beside the repository: what lies in them, and that nothing stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from repositories import committed, repository, run_git

from gates.regression.checkouts import checked_out
from gates.regression.trees import NEW, OLD, TreeError, overlay, private


def worktrees(root: Path) -> int:
    return run_git(root, "worktree", "list").count("\n") + 1


def test_both_sides_lie_at_paths_of_one_length(tmp_path: Path) -> None:
    """The lengths of paths are the same, as they move what is in memory; the files are the commits'."""
    root = repository(tmp_path / "r")
    first = committed(root, "one", {"a.py": "1"})
    second = committed(root, "two", {"a.py": "2"})
    with private(root, tmp_path / "home") as trees:
        old, new = trees.checkout(OLD, first), trees.checkout(NEW, second)
        assert len(str(old)) == len(str(new))
        assert ((old / "a.py").read_text(), (new / "a.py").read_text()) == ("1", "2")
        assert not old.is_relative_to(root)


def test_nothing_stays_when_something_fails(tmp_path: Path) -> None:
    """After an exception the folder, its lock and git's note of the worktree are gone."""
    root = repository(tmp_path / "r")
    first = committed(root, "one", {"a.py": "1"})

    class OnPurposeError(Exception):
        pass

    with pytest.raises(OnPurposeError), private(root, tmp_path / "home") as trees:  # noqa: PT012
        trees.checkout(OLD, first)
        assert worktrees(root) == 2
        raise OnPurposeError
    assert worktrees(root) == 1
    assert list((tmp_path / "home").iterdir()) == []


def test_what_a_killed_run_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    """kill -9 leaves folder and worktree; the next run removes both, and leaves alone what a living run holds."""
    root = repository(tmp_path / "r")
    first = committed(root, "one", {"a.py": "1"})
    home = tmp_path / "home"
    program = f"""
import sys
from pathlib import Path
from gates.regression.trees import OLD, private
with private(Path({str(root)!r}), Path({str(home)!r})) as trees:
    trees.checkout(OLD, {first!r})
    print("made", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"made\n"
        with private(root, home):
            assert worktrees(root) == 2
        other.kill()
    with private(root, home) as trees:
        assert worktrees(root) == 1
        assert [each for each in home.iterdir() if each.is_dir()] == [trees.folder]


def test_the_working_tree_is_copied_with_its_changes_and_without_what_git_ignores(tmp_path: Path) -> None:
    """New and changed files count, removed ones don't, links stay links."""
    root = repository(tmp_path / "r")
    committed(root, "one", {"a.py": "1", "gone.py": "1", ".gitignore": "*.log\n"})
    (root / "a.py").write_text("2")
    (root / "new.py").write_text("3")
    (root / "gone.py").unlink()
    (root / "noise.log").write_text("4")
    (root / "link").symlink_to("a.py")
    with private(root, tmp_path / "home") as trees:
        found = trees.copy(NEW)
        assert sorted(path.name for path in found.iterdir()) == [".gitignore", "a.py", "link", "new.py"]
        assert (found / "a.py").read_text() == "2"
        assert (found / "link").is_symlink()


def test_a_commit_that_git_does_not_have_is_an_error_with_its_words(tmp_path: Path) -> None:
    """The message is git's own."""
    root = repository(tmp_path / "r")
    committed(root, "one")
    with private(root, tmp_path / "home") as trees, pytest.raises(TreeError, match="git can't check out 0000"):
        trees.checkout(OLD, "0" * 40)


def test_hooks_of_the_repository_are_not_run(tmp_path: Path) -> None:
    """A post-checkout hook is somebody's program and would run for each comparison."""
    root = repository(tmp_path / "r")
    first = committed(root, "one")
    hook = root / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with private(root, tmp_path / "home") as trees:
        trees.checkout(OLD, first)
    assert not (tmp_path / "ran").exists()


def test_the_candidates_benchmarks_replace_the_bases(tmp_path: Path) -> None:
    """What the candidate removed is gone, what it added is there, and the package stays the base's."""
    for side, files in (
        ("new", {"b/x.py": "new", "pkg/a.py": "new"}),
        ("old", {"b/x.py": "old", "b/y.py": "old", "pkg/a.py": "old"}),
    ):
        for name, text in files.items():
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / side / name).write_text(text)
    (tmp_path / "old/conftest.py").write_text("old")
    overlay(tmp_path / "new", tmp_path / "old", "b")
    assert (tmp_path / "old/b/x.py").read_text() == "new"
    assert not (tmp_path / "old/b/y.py").exists()
    assert not (tmp_path / "old/conftest.py").exists()
    assert (tmp_path / "old/pkg/a.py").read_text() == "old"


def test_a_checkout_of_both_sides_runs_by_our_own_interpreter(tmp_path: Path) -> None:
    """Where a tree asks for nothing that is not installed here, no environment is made."""
    root = repository(tmp_path / "r")
    first = committed(root, "one", {"a.py": "1"})
    with checked_out(root, first, ".", parent=tmp_path / "home") as found:
        assert found.pythons == (sys.executable, sys.executable)
    assert not (root / ".readiness").exists()
