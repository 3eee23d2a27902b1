"""What a tree provides, and so must come from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates.errors import UsageError
from gates.regression.suites import describe


def laid_out(folder: Path, *files: str) -> Path:
    for name in files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
    return folder


@pytest.mark.parametrize(
    ("files", "suite", "package", "packages"),
    [
        (["bench/test_a.py", "pkg/__init__.py"], "bench", "", ("pkg",)),
        (["bench/test_a.py", "src/one/__init__.py", "src/two/__init__.py"], "bench", "", ("one", "two")),
        (["bench/test_a.py", "src/module.py", "src/space/inner.py"], "bench", "", ("module", "space")),
        (["bench/test_a.py", "module.py", "setup.py", "conftest.py", "noxfile.py", "docs/conf.py"], "bench", "", ("module",)),
        (["pkg/__init__.py", "pkg/benchmarks/test_a.py"], "pkg/benchmarks", "", ("pkg",)),
        (["suite/__init__.py", "suite/test_a.py", "pkg/__init__.py"], "suite", "", ("pkg",)),
        (["bench/test_a.py", "lib/space/inner.py"], "bench", "lib/space", ("space",)),
    ],
    ids=["package", "two", "module and namespace", "root", "suite inside", "suite a package", "named"],
)
def test_everything_that_a_tree_provides_is_named(
    tmp_path: Path, files: list[str], suite: str, package: str, packages: tuple[str, ...]
) -> None:
    """What is not named could come from an installed copy, and the base would be measured with the candidate's code."""
    assert describe(laid_out(tmp_path, *files), suite, package=package).packages == packages


@pytest.mark.parametrize("package", ["pgk", "lib/pkg", "../pkg", "/pkg", "."])
def test_a_package_that_is_not_there_is_refused(tmp_path: Path, package: str) -> None:
    """Who misspells what is measured would else get an answer about whatever else was imported."""
    with pytest.raises(UsageError) as caught:
        describe(laid_out(tmp_path, "bench/test_a.py", "pkg/__init__.py"), "bench", package=package)
    assert repr(package) in caught.value.message


def test_sources_are_files_of_git(tmp_path: Path) -> None:
    """The commits that touch a package of one file are found by that file."""
    found = describe(laid_out(tmp_path, "bench/test_a.py", "src/module.py", "src/pkg/__init__.py"), "bench").sources
    assert {"src/module.py", "src/pkg"} <= set(found)
