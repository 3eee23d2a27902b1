"""A base that could be another one, were more of the history here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from repositories import committed, repository, run_git

from gates.regression.base import Inconclusive, choose


def test_a_merge_base_in_a_cut_history_is_not_sure(tmp_path: Path) -> None:
    """Git finds a common commit, and behind the cut there could be a later one."""
    root = repository(tmp_path / "r")
    committed(root, "one")
    committed(root, "two")
    run_git(root, "checkout", "--quiet", "-b", "topic")
    committed(root, "three")
    run_git(root, "checkout", "--quiet", "main")
    clone = tmp_path / "clone"
    options = ["--quiet", "--depth=2", "--no-single-branch", "--branch=topic"]
    subprocess.run(["git", "clone", *options, f"file://{root}", str(clone)], check=True)
    assert run_git(clone, "merge-base", "HEAD", "origin/main")
    found = choose(clone)
    assert isinstance(found, Inconclusive)
    assert "git fetch --unshallow" in found.said
