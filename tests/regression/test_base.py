"""Which commit is the base, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from repositories import committed, repository, run_git

from gates.regression.base import Base, Inconclusive, NotApplicable, choose
from gates.regression.commits import between


def branched(folder: Path) -> tuple[Path, str, str]:
    """A repository with a feature branch checked out: it, the fork point, and the tip of main, which went on."""
    root = repository(folder)
    committed(root, "first")
    fork = committed(root, "fork")
    run_git(root, "checkout", "--quiet", "-b", "feature")
    committed(root, "feature one", {"pkg/a.py": "1"})
    committed(root, "feature two", {"docs": "2"})
    run_git(root, "checkout", "--quiet", "main")
    tip = committed(root, "main goes on")
    run_git(root, "checkout", "--quiet", "feature")
    return root, fork, tip


def test_a_branch_is_compared_with_where_it_left_main(tmp_path: Path) -> None:
    """Not with the tip of main, which holds what the branch never had, nor with the parent."""
    root, fork, _ = branched(tmp_path / "r")
    assert choose(root) == Base(fork, "the merge base with main")


def test_the_tip_of_main_is_compared_with_its_first_parent(tmp_path: Path) -> None:
    """Where the default branch holds the commit already, the merge base is the commit itself and would say nothing."""
    root = repository(tmp_path / "r")
    first = committed(root, "first")
    committed(root, "second")
    found = choose(root)
    assert isinstance(found, Base)
    assert found.sha == first
    assert "first parent" in found.why


def test_a_merge_on_main_is_compared_with_the_side_it_was_merged_into(tmp_path: Path) -> None:
    """The first parent is main before the merge, not the branch that came in."""
    root, _, tip = branched(tmp_path / "r")
    run_git(root, "checkout", "--quiet", "main")
    run_git(root, "merge", "--quiet", "--no-ff", "--message", "merge", "feature")
    found = choose(root)
    assert isinstance(found, Base)
    assert found.sha == tip


def test_the_remote_says_which_branch_is_the_default(tmp_path: Path) -> None:
    """origin/HEAD goes before every usual name: here it is `trunk`, and a branch called main is somebody's."""
    root = repository(tmp_path / "r", "trunk")
    fork = committed(root, "first")
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", str(root), str(clone))
    run_git(clone, "checkout", "--quiet", "-b", "main")
    committed(clone, "mine")
    run_git(clone, "checkout", "--quiet", "-b", "feature")
    committed(clone, "more")
    assert choose(clone) == Base(fork, "the merge base with origin/trunk")


def test_the_first_commit_is_not_applicable(tmp_path: Path) -> None:
    """A root commit has no base and never will have one: that is no reason to block."""
    root = repository(tmp_path / "r")
    committed(root, "first")
    assert isinstance(choose(root), NotApplicable)
    assert isinstance(choose(root, "parent"), NotApplicable)


@pytest.mark.parametrize("against", ["merge-base", "parent", "v1"])
def test_a_shallow_clone_is_inconclusive_with_the_line_to_paste(tmp_path: Path, against: str) -> None:
    """A cut history never looks like a first commit; the reason names the line that fetches the rest."""
    root, _, _ = branched(tmp_path / "r")
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{root}", str(clone))
    found = choose(clone, against)
    assert isinstance(found, Inconclusive)
    assert "shallow" in found.reason
    assert found.paste.startswith("git fetch --unshallow")
    assert "fetch-depth: 0" in found.said


def test_a_shallow_clone_that_holds_the_parent_can_name_it(tmp_path: Path) -> None:
    """Two commits deep, the first parent of main's tip is known, whatever was cut off before it."""
    root = repository(tmp_path / "r")
    shas = [committed(root, str(number)) for number in range(4)]
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{root}", str(clone))
    found = choose(clone)
    assert isinstance(found, Base)
    assert found.sha == shas[2]


def test_a_dirty_tree_is_refused_by_the_names_of_its_files(tmp_path: Path) -> None:
    """What is measured would be no commit's; an untracked file is enough, and who wants the working tree says so."""
    root, fork, _ = branched(tmp_path / "r")
    (root / "new.py").write_text("1")
    found = choose(root)
    assert isinstance(found, Inconclusive)
    assert "new.py" in found.reason
    assert choose(root, dirty=True) == Base(fork, "the merge base with main")


def test_a_folder_without_git_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository, no commit, no program git: each is said, none is an exception."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    plain = tmp_path / "plain"
    plain.mkdir()
    assert "not a git repository" in reason(choose(plain))
    assert "no commit yet" in reason(choose(repository(tmp_path / "empty")))
    monkeypatch.setenv("PATH", str(plain))
    assert "git is not installed" in reason(choose(plain))


def test_a_base_by_name(tmp_path: Path) -> None:
    """A branch or a commit is taken as it is; an unknown name and the commit itself are refused."""
    root, _, tip = branched(tmp_path / "r")
    assert choose(root, "main") == Base(tip, "main")
    assert "no commit is called 'nothing'" in reason(choose(root, "nothing"))
    assert "the commit itself" in reason(choose(root, "feature"))


def test_no_default_branch_is_inconclusive(tmp_path: Path) -> None:
    """Where no branch is the default by any usual name, none is guessed."""
    root = repository(tmp_path / "r", "work")
    committed(root, "first")
    committed(root, "second")
    assert "no default branch" in reason(choose(root))


def test_commits_that_touch_the_package_come_first(tmp_path: Path) -> None:
    """The commits of the branch, without what main did meanwhile, and first the one that changed what is measured."""
    root, fork, _ = branched(tmp_path / "r")
    assert [each.subject for each in between(root, fork, "HEAD")] == ["feature two", "feature one"]
    found = between(root, fork, "HEAD", ["pkg"])
    assert [(each.subject, each.touches) for each in found] == [("feature one", True), ("feature two", False)]
    assert between(root, "nothing", "HEAD") == ()


def reason(found: object) -> str:
    assert isinstance(found, Inconclusive), found
    return found.reason
