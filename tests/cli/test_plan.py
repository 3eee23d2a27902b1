"""`gates plan` says what a comparison will be held against, or why there will be none, before anything is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """\
version: 1
gates:
  a:
    kind: benchmarks
    suite: suite
    against: merge-base
    criteria: {"slowdown/*": {below: 5 %, fail_above: 2 %}}
"""


def run_git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@localhost", "-c", "commit.gpgSign=false"]
    return subprocess.run(["git", "-C", str(root), *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def plan(root: Path) -> str:
    command = [sys.executable, "-m", "gates", "plan"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


@pytest.mark.end_to_end
def test_a_plan_says_what_it_compares_with_or_what_it_lacks(tmp_path: Path) -> None:
    """A first commit, a second one, and a tree with changes; else it would be found out after the run."""
    for name, text in (("workflows/readiness.yaml", SPEC), ("suite/test_it.py", "")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    run_git(tmp_path, "init", "--quiet", "--initial-branch=main")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "--quiet", "-m", "first")
    assert "compares with nothing: the first commit" in plan(tmp_path)
    run_git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "second")
    assert f"compares with {run_git(tmp_path, 'rev-parse', 'HEAD~1')[:9]}, the first parent" in plan(tmp_path)
    (tmp_path / "new.txt").write_text("not in git")
    said = plan(tmp_path)
    assert "what compares is INCONCLUSIVE: " in said
    assert "new.txt" in said
