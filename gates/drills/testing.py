"""Drills of the gate `unit`: a failing test, a file that can't be collected, only skipped tests, and a result that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from gates.drills.limits import limit_of
from gates.errors import BadFileError
from gates.model import Base, Drill, Outcome, Sighting, Tree, Unit

_SOUND = '''"""A test of an inner run."""


def test_addition() -> None:
    """Addition adds."""
    assert 1 + 1 == 2
'''
_MANY = '''"""Many tests of an inner run."""

import pytest


@pytest.mark.parametrize("number", range(1000))
def test_addition(number: int) -> None:
    """Addition adds."""
    assert number + 1 > number
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
MANY = Base(
    name="many-tests",
    gate="unit",
    criteria=("passed",),
    settings=SUITE.settings,
    files={"tests/test_many.py": _MANY},
    seconds=3.5,
)
_SKIPPING = '''"""A seeded defect: all but {most} tests are skipped."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    Path("{reached}").touch()
    for item in items[{most}:]:
        item.add_marker(pytest.mark.skip(reason="a seeded defect"))
'''


def _with_failing_test(tree: Tree) -> Tree:
    return tree.with_file("tests/test_seeded.py", _FAILING)


def _with_uncollectable_file(tree: Tree) -> Tree:
    return tree.with_file("tests/test_seeded.py", _UNCOLLECTABLE)


def _with_too_few_tests(tree: Tree) -> Tree:
    """One test fewer than the limit of `passed` runs. Raises BadFileError when that leaves none, which is no suite at all."""
    most = int(limit_of(tree, MANY.gate, "passed", Unit.COUNT, lower=True)) - 1
    if most < 1:
        raise BadFileError("a limit of one passed test has no suite that runs below it", location=f"{MANY.gate}:passed")
    return tree.with_file("tests/conftest.py", _SKIPPING.format(most=most, reached=_REACHED))


def _in_junit(*tags: str, words: str) -> Callable[[Path, Path], Sighting]:
    """The file that the defect leaves when it is reached, and pytest's own JUnit, read without the kind's reader."""

    def look(gate: Path, tree: Path) -> Sighting:
        file = gate / "evidence" / "junit.xml"
        elements = ElementTree.parse(file).iter() if file.exists() else ()
        found = sum(element.tag in tags for element in elements)
        return Sighting(int((tree / _REACHED).exists()), found, f"pytest's own file holds {found:,} {words}")

    return look


_failures_in_junit = _in_junit("failure", "error", words="failures and errors")


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
        "skipped-tests",
        "All tests but one fewer than must pass are skipped, and pytest ends with 0.",
        MANY,
        "passed",
        _with_too_few_tests,
        _in_junit("skipped", words="skipped tests"),
        seconds=3.5,
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
