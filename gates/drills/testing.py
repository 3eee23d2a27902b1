"""Drills of the gate `unit`: a failing test, a file that can't be collected, and a result that is gone."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from gates.model import Base, Drill, Outcome, Sighting, Tree

_SOUND = '''"""A test of an inner run."""


def test_addition() -> None:
    """Addition adds."""
    assert 1 + 1 == 2
'''
_REACHED = "reached.txt"
_FAILING = f'''"""A seeded defect."""

from pathlib import Path


def test_seeded_defect() -> None:
    """It says that it was reached, and fails."""
    Path("{_REACHED}").touch()
    assert 1 + 1 == 3
'''
_UNCOLLECTABLE = f'''"""A seeded defect: it says that it was reached, and can't be imported."""

from pathlib import Path

Path("{_REACHED}").touch()
import a_module_that_is_not_there
'''

SUITE = Base(
    name="suite",
    gate="unit",
    criteria=("failed",),
    settings={
        "command": ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", "--junitxml={evidence}/junit.xml"]
    },
    files={"tests/test_sound.py": _SOUND},
    seconds=2.5,
)


def _with_failing_test(tree: Tree) -> Tree:
    return tree.with_file("tests/test_seeded.py", _FAILING)


def _with_uncollectable_file(tree: Tree) -> Tree:
    return tree.with_file("tests/test_seeded.py", _UNCOLLECTABLE)


def _failures_in_junit(gate: Path, tree: Path) -> Sighting:
    """The file that the test leaves when it is reached, and pytest's own JUnit, read without the kind's reader."""
    file = gate / "evidence" / "junit.xml"
    elements = ElementTree.parse(file).iter() if file.exists() else ()
    unwell = sum(element.tag in ("failure", "error") for element in elements)
    return Sighting(int((tree / _REACHED).exists()), unwell, f"pytest's own file holds {unwell} failures and errors")


def _remove_result(gate: Path) -> None:
    (gate / "result.json").rename(gate.parent / "removed-result.json")


def _result_is_gone(gate: Path, _tree: Path) -> Sighting:
    """The result that was there after the run, and is not there now."""
    was, still = (gate.parent / "removed-result.json").exists(), (gate / "result.json").exists()
    return Sighting(
        int(was), int(was and not still), "result.json was there after the run, and was taken away before the report"
    )


def _unchanged(tree: Tree) -> Tree:
    return tree


DRILLS = (
    Drill("failing-test", "One test of the suite fails.", SUITE, "failed", _with_failing_test, _failures_in_junit, seconds=2.5),
    Drill(
        "collection-error",
        "One file of the suite can't be imported.",
        SUITE,
        "failed",
        _with_uncollectable_file,
        _failures_in_junit,
        seconds=2.5,
    ),
    Drill(
        "deleted-result",
        "The result of a gate that passed is deleted before the report.",
        SUITE,
        "failed",
        _unchanged,
        _result_is_gone,
        take_away=_remove_result,
        expects=Outcome.INCONCLUSIVE,
        seconds=1.5,
    ),
)
