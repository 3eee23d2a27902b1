"""An environment of its own for a tree whose lock ours does not satisfy, kept by digest for the next time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gates.errors import Exit, GatesError

PATIENCE = 600.0
_HARNESS = ("pytest", "pytest-benchmark")


class InstallError(GatesError):
    """A tree that can't be installed; nothing can be said of it."""

    code = Exit.INCONCLUSIVE


def interpreter(tree: Path, cache: Path, *, side: str) -> str:
    """The Python to run *tree* with: ours when it has what the tree's lock asks for, else one of an environment in *cache*.

    Raises InstallError with pip's last lines when that can't be made.
    """
    needed = unsatisfied(tree)
    if not needed:
        return sys.executable
    folder = cache / _digest(tree)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n", encoding="utf-8")  # else the next comparison finds the tree dirty
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(tree, folder, side)
            (folder / "complete").write_text("\n".join(needed), encoding="utf-8")
    return str(folder / "bin" / "python")


def unsatisfied(tree: Path) -> list[str]:
    """What our environment lacks of the tree's own dependencies and locked versions, as `name==1.2` each.

    A locked version of something that neither is installed here nor is a dependency of the tree's does not count.
    """
    lacking = [text for text in requirements(tree) if not _met(text)]
    locked = [f"{name}=={pin}" for name, pin in pins(tree).items() if _installed(name) not in (None, pin)]
    return sorted({*lacking, *locked})


def requirements(tree: Path) -> list[str]:
    """The tree's dependencies and those of its extras for benchmarks; from pyproject.toml, else from requirements.txt."""
    project = _project(tree)
    extras: Mapping[str, list[str]] = project.get("optional-dependencies", {})
    ours = _plain(str(project.get("name", "")))
    found = [*project.get("dependencies", []), *(each for name in bench_extras(tree) for each in extras[name])]
    listed = [] if project else [line for line in _lines(tree / "requirements.txt") if not line.startswith(("-", "."))]
    return [each for each in (*found, *listed) if _plain(each.partition("[")[0]) != ours]


def bench_extras(tree: Path) -> list[str]:
    """The names of extras that are for benchmarks."""
    return [name for name in _project(tree).get("optional-dependencies", {}) if "bench" in name]


def pins(tree: Path) -> dict[str, str]:
    """Locked versions by name, from constraints.txt, requirements.txt and uv.lock."""
    lines = (line for name in ("constraints.txt", "requirements.txt") for line in _lines(tree / name))
    found = {_plain(line.partition("==")[0]): _version(line.partition("==")[2]) for line in lines if "==" in line}
    return found | dict(_uv(tree / "uv.lock"))


def _uv(file: Path) -> Iterator[tuple[str, str]]:
    if file.is_file():
        for package in tomllib.loads(file.read_text(encoding="utf-8")).get("package", []):
            if "registry" in package.get("source", {}):
                yield _plain(package["name"]), package["version"]


def _version(text: str) -> str:
    """The version at the start of *text*, before a marker."""
    return text.partition(";")[0].strip()


def _lines(file: Path) -> list[str]:
    """What a requirements file lists, without comments, hashes and ends of lines."""
    text = file.read_text("utf-8", "replace") if file.is_file() else ""
    plain = (re.split(r"(?:^|\s)(?:#|--hash)|\\$", line)[0].strip() for line in text.splitlines())
    return [line for line in plain if line]


def _met(text: str) -> bool:
    """Whether our environment has what *text* asks for; not when that can't be told."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        return False
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    found = _installed(wanted.name)
    return found is not None and wanted.specifier.contains(found, prereleases=True)


def _project(tree: Path) -> Mapping[str, Any]:
    file = tree / "pyproject.toml"
    if not file.is_file():
        return {}
    try:
        found: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InstallError(f"it can't be read: {error}", location=str(file)) from None
    return found


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _digest(tree: Path) -> str:
    """Of all that an environment is made from."""
    parts = [sys.version, sys.executable, *sorted(requirements(tree)), *(f"{name}=={pin}" for name, pin in pins(tree).items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _install(tree: Path, folder: Path, side: str) -> None:
    """Make an environment of the tree's dependencies, our own pytest and the tree, whose checkout is found first."""
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    _run([sys.executable, "-m", "venv", str(folder)], side)
    locked = pins(tree)
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={pin}\n" for name, pin in locked.items() if pin), encoding="utf-8")
    harness = [name if name in locked or _installed(name) is None else f"{name}=={_installed(name)}" for name in _HARNESS]
    options = ["--quiet", "--disable-pip-version-check", "--no-input", f"--constraint={constraints}"]
    _run([str(python), "-m", "pip", "install", *options, *harness, *requirements(tree)], side)
    if _project(tree) or (tree / "setup.py").is_file():
        _run([str(python), "-m", "pip", "install", *options, "--no-deps", str(tree)], side)


def _run(command: list[str], side: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GATES_"))}
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"the environment of the {side} can't be made: {error}") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).decode(errors="replace").splitlines() if line.strip()]
        last = "\n".join(lines[-6:])
        raise InstallError(f"the environment of the {side} can't be made (exit code {done.returncode}):\n{last}")
