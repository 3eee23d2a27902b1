"""Where a tree keeps its benchmarks and its packages, and how pytest imports them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from gates.errors import UsageError
from gates.regression.processes import Suite
from gates.regression.trees import CONFIGURATION

_IMPORT_MODE = re.compile(r"--import-mode[= ](\w+)")
_NOT_MEASURED = ("bench", "test", "perf")
_NO_MODULE = frozenset({"conftest", "setup", "noxfile"}) | sys.stdlib_module_names
SUITES = ("benchmarks", "tests/benchmarks", "benchmark", "tests/benchmark", "bench", "perf", "tests")


def usual(tree: Path) -> str:
    """Where benchmarks usually are: in a folder of their own, among the tests, or in one file at the root.

    Raises UsageError when there is none, or no single one.
    """
    folder = next((path for path in SUITES if (tree / path).is_dir()), None)
    if folder is not None:
        return folder
    files = sorted({path for pattern in ("test_*.py", "*_test.py", "bench*.py") for path in tree.glob(pattern)})
    found = [path.name for path in files if "benchmark" in path.read_text(encoding="utf-8", errors="replace")]
    if len(found) == 1:
        return found[0]
    several = f"; at its root there are {', '.join(found)}" if found else ""
    raise UsageError(
        f"the repository has no folder of benchmarks, of {', '.join(SUITES)}{several}",
        hint=f"say which: --suite {found[0] if found else 'PATH'}",
    )


def describe(tree: Path, path: str, *, package: str = "", plugins: Iterable[str] = ()) -> Suite:
    """The suite at *path* of *tree*; *package* is the folder of what it measures, where neither root nor `src` holds it.

    Raises UsageError when there is no such suite or package.
    """
    given = PurePosixPath(path)
    if given.is_absolute() or ".." in given.parts or str(given) == ".":
        raise UsageError(f"the suite {path!r} is no file or folder below the repository's root", hint="such as benchmarks")
    if not (tree / given).exists():
        raise UsageError(f"there is no {path} in the candidate", hint="--suite PATH, relative to the repository's root")
    _check_package(tree, package)
    folders, overlaid = _folders(tree, package), _overlaid(given)
    named = {PurePosixPath(package).name} if package else set()
    provided = {name for folder in folders for name in _provided(tree / folder, spaces=folder != ".")}
    return Suite(
        paths=(str(given),),
        packages=tuple(sorted((named | provided) - {overlaid})),
        folders=folders,
        overlaid=overlaid,
        options=(*_import_mode(tree), *(part for name in plugins for part in ("-p", name))),
    )


def _check_package(tree: Path, package: str) -> None:
    """Refuse a *package* that is not there: what is measured would be left to chance."""
    given = PurePosixPath(package)
    if package and (given.is_absolute() or ".." in given.parts or str(given) == "." or not (tree / given).exists()):
        raise UsageError(
            f"the candidate has no folder or file {package!r}, which is to be measured",
            hint="the package is a path, relative to the repository's root, such as lib/things",
        )


def _folders(tree: Path, package: str) -> tuple[str, ...]:
    """Where packages are imported from: beside the named one, `src`, the root."""
    named = [str(PurePosixPath(package).parent)] if package else []
    source = ["src"] if (tree / "src").is_dir() and not (tree / "src" / "__init__.py").exists() else []
    return tuple(dict.fromkeys([*named, *source, "."]))


def _provided(folder: Path, *, spaces: bool) -> list[str]:
    """The packages and modules in *folder*; with *spaces* also folders of modules that are no package by themselves."""
    found = [each for each in (folder.iterdir() if folder.is_dir() else ()) if not each.name.startswith(_NOT_MEASURED)]
    modules = [each.stem for each in found if each.suffix == ".py" and each.stem not in _NO_MODULE]
    needed = "*.py" if spaces else "__init__.py"
    return modules + [each.name for each in found if each.name.isidentifier() and any(each.glob(needed))]


def _overlaid(suite: PurePosixPath) -> str:
    """The folder of all benchmarks, with what they share; the suite alone where it lies within something else."""
    top = suite.parts[0]
    return top if top.startswith(_NOT_MEASURED) else str(suite)


def _import_mode(tree: Path) -> Sequence[str]:
    """The one option of the repository's own that decides what can be imported."""
    for name in CONFIGURATION[1:]:
        file = tree / name
        found = _IMPORT_MODE.search(file.read_text("utf-8", "replace")) if file.is_file() else None
        if found:
            return (f"--import-mode={found[1]}",)
    return ()
