"""Counts of trees that are not alike: new benchmarks, modules from elsewhere, benchmarks that only one side can run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gates.errors import GatesError
from gates.kinds import growth
from gates.regression import counts
from gates.regression.counts import Counts, Tree, count, strays
from gates.regression.suites import describe

SUITE = "from measured import work\n\ndef test_work(benchmark):\n    benchmark(work)\n"
WORK = "def work():\n    return [0]\n"


def tree(folder: Path, files: dict[str, str]) -> Tree:
    """A tree of *files*, with its packages in `src`."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Tree(folder, ("src",))


@pytest.mark.end_to_end
def test_a_new_file_that_the_base_can_not_import_leaves_the_others_counted(tmp_path: Path) -> None:
    """A commit that adds a module with its benchmarks would else have no counts at all."""
    suite = {"suite/test_it.py": SUITE, "suite/test_new.py": SUITE.replace("measured", "added").replace("_work", "_new")}
    base = tree(tmp_path / "old", suite | {"src/measured.py": WORK})
    candidate = tree(tmp_path / "new", suite | {"src/measured.py": WORK, "src/added.py": WORK})
    before, after = count("suite", [base, candidate], tmp_path / "scratch")
    assert set(before.numbers) == {"work"}
    assert set(after.numbers) == {"work", "new"}
    assert ["added" in why for why in before.unreadable.values()] == [True]
    assert after.unreadable == {}


@pytest.mark.end_to_end
def test_two_benchmarks_of_one_name_are_counted_each(tmp_path: Path) -> None:
    """They are called as the comparison calls them; the numbers of one would else stand for both."""
    twice = tree(tmp_path / "tree", {f"suite/test_{name}.py": SUITE for name in "ab"} | {"src/measured.py": WORK})
    (found,) = count("suite", [twice], tmp_path / "scratch")
    assert set(found.numbers) == {"test_a.work", "test_b.work"}
    assert found.failed == {}
    (twice.path / "suite/test_b.py").unlink()
    (once,) = count("suite", [twice], tmp_path / "scratch")
    assert (set(once.numbers), set(once.named_as(found).numbers)) == ({"work"}, {"test_a.work"})


def numbers(*names: str) -> dict[str, dict[str, int]]:
    return {name: {"allocations": 1} for name in names}


def test_a_benchmark_of_the_base_that_fails_there_is_missed_by_name() -> None:
    """Its own suite has it, so it is not new; what the base never had is."""
    base = Counts(numbers("a"), failed={"b": "it broke", "c": "no such function"})
    part = growth.growth(base, Counts(numbers("a", "b", "c", "d")), own={"a", "b", "d"})
    assert part.expected["growth.allocations"] == ("a", "b", "d")
    assert any("b" in each.message and "it broke" in each.message for each in part.findings)


def test_a_module_from_neither_tree_is_a_stray(tmp_path: Path) -> None:
    """Where the base lacks the package, an installed one would be counted in its place, and nothing would have grown."""
    old, new, installed = (tmp_path / name for name in ("old", "new", "installed"))
    modules = {
        "pkg": str(old / "pkg/__init__.py"),
        "pkg.other": str(installed / "pkg/other.py"),
        "json": str(installed / "json.py"),
        "late": str(new / "late.py"),
    }
    found = strays(Counts({}, modules=modules), old, [new], ("pkg",))
    assert found == (str(installed / "pkg/other.py"), str(new / "late.py"))


@pytest.mark.end_to_end
def test_a_candidate_file_that_can_not_be_collected_is_told(tmp_path: Path) -> None:
    """What it holds would be missing without a word."""
    files = {"suite/test_it.py": SUITE, "src/measured.py": WORK, "suite/test_bad.py": "import nowhere\n"}
    root = tree(tmp_path / "tree", files).path
    with pytest.raises(GatesError, match=r"test_bad.*nowhere"):
        growth.count_one(describe(root, "suite"), root, tmp_path / "scratch", "calibration")


@pytest.mark.end_to_end
def test_an_installed_copy_in_place_of_the_base_s_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base has no such package, and its environment has: nothing would have grown."""
    base = tree(tmp_path / "old", {"suite/test_it.py": SUITE, "src/other/__init__.py": ""}).path
    candidate = tree(tmp_path / "new", {"suite/test_it.py": SUITE, "src/measured.py": WORK}).path
    installed = tree(tmp_path / "installed", {"measured.py": WORK}).path
    started = counts._start

    def with_installed(suite: str, of: Tree, *rest: Any) -> Any:
        return started(suite, Tree(of.path, (*of.from_, str(installed)), of.python), *rest)

    monkeypatch.setattr(counts, "_start", with_installed)
    both = [(base, sys.executable), (candidate, sys.executable)]
    with pytest.raises(GatesError, match=r"the base was counted with files that are not its own: .*installed/measured.py"):
        growth.count_both(describe(candidate, "suite"), both, tmp_path / "scratch", "calibration", lambda: None)


@pytest.mark.end_to_end
def test_the_base_s_own_suite_tells_what_is_new_from_what_broke(tmp_path: Path) -> None:
    """Of two benchmarks that the base can't run, the one that it had is missed, and the other is new."""
    suite = SUITE + "\ndef test_new(benchmark):\n    import measured\n    benchmark(measured.better)\n"
    suite += "\ndef test_kept(benchmark):\n    import measured\n    benchmark(measured.better)\n"
    base = tree(tmp_path / "old", {"suite/test_it.py": suite, "src/measured.py": WORK}).path
    candidate = tree(tmp_path / "new", {"suite/test_it.py": suite, "src/measured.py": WORK + "better = work\n"}).path
    both = [(base, sys.executable), (candidate, sys.executable)]

    def own() -> counts.Counts | None:
        (base / "suite/test_it.py").write_text(SUITE.replace("test_work", "test_kept"))
        return counts.listed("suite", Tree(base, ("src",)), tmp_path / "own")

    part = growth.count_both(describe(candidate, "suite"), both, tmp_path / "scratch", "calibration", own)
    assert set(part.expected["growth.bytes"]) == {"work", "kept"}
    assert {each.selector for each in part.measurements if each.metric == "growth.bytes"} == {"work"}
    unknown = growth.count_both(describe(candidate, "suite"), both, tmp_path / "scratch", "calibration", lambda: None)
    assert set(unknown.expected["growth.bytes"]) == {"work", "kept", "new"}, "where it can't be told, all are missed"
