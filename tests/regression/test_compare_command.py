"""`gates compare` on a repository of somebody else's, as a process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repositories import committed, repository, run_git

from gates.errors import Exit

pytestmark = pytest.mark.end_to_end

PACKAGE = "def work():\n    return sum(range({}))\n"
SUITE = "from pkg import work\n\ndef test_work(benchmark):\n    benchmark(work)\n"


def gates(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in *folder*, with a machine lock of its own."""
    environment = {**os.environ, "READINESS_LOCK_FOLDER": str(folder.parent / "lock"), "TMPDIR": str(folder.parent)}
    environment.pop("READINESS_LOCK", None)
    return subprocess.run(
        [sys.executable, "-m", "gates", *arguments], cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


def made(folder: Path) -> Path:
    """Three commits: the package with its suite, a document, and a package that takes a third longer."""
    root = repository(folder / "theirs")
    committed(root, "Start", {"src/pkg/__init__.py": PACKAGE.format(300), "bench/test_it.py": SUITE})
    committed(root, "Words", {"README": "words"})
    committed(root, "Slower", {"src/pkg/__init__.py": PACKAGE.format(400)})
    return root


def test_a_slower_commit_is_found_and_explained(tmp_path: Path) -> None:
    """Exit code 1, the row says fail, the commits between are listed, and the line that measures it again is given."""
    root = made(tmp_path)
    done = gates(root, "compare", "HEAD~2", "HEAD", "--pairs", "12+12", "--seed", "1", "--suite", "bench")
    assert done.returncode == Exit.NOT_READY, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("work "))
    assert " fail " in row
    commits = [line.split(maxsplit=2) for line in done.stderr.splitlines() if line.endswith(("Slower", "Words"))]
    assert [(mark, subject) for mark, _, subject in commits[:1]] == [("*", "Slower")]
    assert commits[1][-1] == "Words"
    again = done.stderr.split("again: ")[1]
    assert "--only work --suite bench --pairs 12+12" in again
    assert run_git(root, "worktree", "list").count("\n") == 0
    assert run_git(root, "status", "--porcelain") == ""


def test_a_suite_in_one_file_at_the_root_is_found_and_none_is_told(tmp_path: Path) -> None:
    """Nothing has to be written for either; of two files, or none, it is said where was looked and what to add."""
    root = repository(tmp_path / "theirs")
    committed(root, "Start", {"src/pkg/__init__.py": PACKAGE.format(300)})
    none = gates(root, "compare", "HEAD", "HEAD")
    committed(root, "One", {"test_it.py": SUITE, "test_other.py": "def test_it() -> None:\n    assert True\n"})
    one = gates(root, "compare", "HEAD", "HEAD", "--json")
    committed(root, "Two", {"bench_it.py": SUITE})
    two = gates(root, "compare", "HEAD", "HEAD")
    assert (none.returncode, two.returncode) == (2, 2)
    assert "the repository has no folder of benchmarks, of benchmarks, tests/benchmarks, benchmark," in none.stderr
    assert "say which: --suite PATH" in none.stderr
    assert [each["name"] for each in json.loads(one.stdout)["benchmarks"]] == ["work"], one.stderr
    assert "at its root there are bench_it.py, test_it.py" in two.stderr


def test_a_commit_that_is_no_slower_ends_with_0(tmp_path: Path) -> None:
    """A faster candidate passes, and stdout is JSON that holds the estimate."""
    root = made(tmp_path)
    (root / "new.txt").write_text("not in git")
    done = gates(root, "compare", "HEAD", "HEAD~1", "--json", "--evidence", str(tmp_path / "kept"))
    assert done.returncode == Exit.READY, done.stderr
    (found,) = json.loads(done.stdout)["benchmarks"]
    assert (found["name"], found["says"]) == ("work", "pass")
    assert found["slowdown"] < -0.1
    assert len((tmp_path / "kept/pairs.jsonl").read_text().splitlines()) == 12


def test_a_selection_that_fits_nothing_is_inconclusive(tmp_path: Path) -> None:
    """No benchmark was compared, so nothing can be said, and what was known is not thrown away silently."""
    done = gates(made(tmp_path), "compare", "HEAD~1", ".", "--only", "nothing")
    assert done.returncode == Exit.INCONCLUSIVE
    assert "no benchmark was compared" in done.stderr
    assert "--only 'nothing' fits no benchmark; known: work" in done.stderr
    assert "control" not in done.stderr  # it was measured too seldom because of that, and is no reason of its own


def test_one_wrong_name_beside_a_right_one_does_not_pass(tmp_path: Path) -> None:
    """What was asked for and not measured is told, with what it may have meant."""
    done = gates(made(tmp_path), "compare", "HEAD~2", "HEAD~1", "--only", "work", "--only", "wrok")
    assert done.returncode == Exit.INCONCLUSIVE
    assert "--only 'wrok' fits no benchmark; did you mean 'work'?" in done.stderr
    assert "work " in done.stdout


def test_a_removed_benchmark_is_named_and_what_both_have_decides(tmp_path: Path) -> None:
    """It has no time to compare: exit code 0 speaks of the others; who asks for it by name gets 3, and what became of it."""
    root = repository(tmp_path / "theirs")
    two = SUITE + "\ndef test_gone(benchmark):\n    benchmark(work)\n"
    committed(root, "Two", {"src/pkg/__init__.py": PACKAGE.format(300), "bench/test_it.py": two})
    committed(root, "One", {"bench/test_it.py": SUITE})
    done = gates(root, "compare", "HEAD~1", "HEAD")
    assert done.returncode == Exit.READY, done.stderr
    assert "removed, and so not compared: gone" in done.stderr
    assert "gone" not in done.stdout
    asked = gates(root, "compare", "HEAD~1", "HEAD", "--only", "gone", "--only", "work")
    assert asked.returncode == Exit.INCONCLUSIVE, asked.stderr
    assert "--only 'gone' was removed: HEAD~1 has it, HEAD has not" in asked.stderr
    assert "fits no benchmark" not in asked.stderr


def test_a_benchmark_of_new_code_is_named_and_what_both_have_decides(tmp_path: Path) -> None:
    """A feature that comes with its benchmark would else never be comparable; who asks for it by name gets no green."""
    root = repository(tmp_path / "theirs")
    committed(root, "One", {"src/pkg/__init__.py": PACKAGE.format(300), "bench/test_it.py": SUITE})
    fresh = "\ndef test_fresh(benchmark):\n    from pkg import fresh\n    benchmark(fresh)\n"
    more = {"src/pkg/__init__.py": PACKAGE.format(300) + "\nfresh = work\n", "bench/test_it.py": SUITE + fresh}
    committed(root, "Two", more)
    done = gates(root, "compare", "HEAD~1", "HEAD")
    assert done.returncode == Exit.READY, done.stderr
    assert "new with the code that it measures, and so not compared: fresh (failed on the base: " in done.stderr
    asked = gates(root, "compare", "HEAD~1", "HEAD", "--only", "fresh", "--only", "work")
    assert asked.returncode == Exit.INCONCLUSIVE, asked.stderr


def test_a_commit_that_a_shallow_clone_cut_off_is_told_from_a_misspelt_one(tmp_path: Path) -> None:
    """It may well exist: exit code 3, with the line that fetches it."""
    root = made(tmp_path)
    run_git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{root}", "shallow")
    done = gates(tmp_path / "shallow", "compare", "HEAD~1", "HEAD")
    assert done.returncode == Exit.INCONCLUSIVE, done.stderr
    assert "the clone is shallow" in done.stderr
    assert "git fetch --unshallow" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "HEAD"], "no commit is called 'nowhere'"),
        (["mian", "HEAD"], "did you mean 'main'?"),
        (["HEAD~1", "HEAD", "--suite", "there"], "there is no there in the candidate"),
        (["HEAD~1", "HEAD", "--suite", "../x"], "no file or folder below the repository's root"),
        (["HEAD~1", "HEAD", "--pairs", "5+30"], "not two numbers of at least 12"),
        (["HEAD~1", "HEAD", "--below", "5"], "a unit is needed"),
        (["HEAD~1", "HEAD", "--below", "1 %"], "--below 1 % is less than --fail-above 2 %"),
        (["HEAD~1", "HEAD", "--below", "0 %", "--fail-above", "0 %"], "a tolerance is above 0 %"),
        (["HEAD~1", "HEAD", "--package", "src/pgk"], "no folder or file 'src/pgk'"),
        (["HEAD~1", "HEAD", "--evidence", "README"], "can't be written"),
        (["HEAD~1", "HEAD", "--repo", "/"], "not a git repository"),
    ],
)
def test_bad_use_is_2_and_says_what(tmp_path: Path, arguments: list[str], said: str) -> None:
    """What can't be compared is told at once, with the word that was wrong."""
    done = gates(made(tmp_path), "compare", *arguments)
    assert done.returncode == Exit.USAGE
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ended_comparison_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM in the middle of a pair is exit code 130; no worktree, no checkout and no process stay."""
    root = made(tmp_path)
    environment = {**os.environ, "READINESS_LOCK_FOLDER": str(tmp_path / "lock"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "gates", "-v", "compare", "HEAD~1", "HEAD"]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("stage 1: pair 2 "):
                process.terminate()
                break
        process.stderr.read()
    assert process.returncode == Exit.INTERRUPTED
    assert run_git(root, "worktree", "list").count("\n") == 0
    assert [each for home in tmp_path.glob("gates-trees-*") for each in home.iterdir()] == []
    assert list(tmp_path.glob("gates-pairs-*")) == []
    assert [pid for pid in processes_of(tmp_path) if pid != os.getpid()] == []


def processes_of(folder: Path) -> list[int]:
    """The processes whose working folder is below *folder*."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd").startswith(str(folder)):
                    found.append(int(name))
    return found
