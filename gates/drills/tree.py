"""From the real spec and a drill's base to the tree of an inner run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gates.errors import BadFileError
from gates.model import Base, Tree

SPEC = "workflows/readiness.yaml"
_IGNORED = "/runs/\n/said.log\n__pycache__/\n/.readiness/\n"
_NOT_INSIDE = frozenset({"needs", "budget", "limit", "profiles", "criteria"})


def read_spec(root: Path, path: str = SPEC) -> Mapping[str, Any]:
    """The plain values of the spec at *path*. Raises BadFileError when it is missing or no mapping with gates."""
    found = _read(root, path)
    if not isinstance(found, dict) or not isinstance(found.get("gates"), dict):
        raise BadFileError("not a readiness.yaml: it has no gates", location=path)
    return found


def fits(base: Base, spec: Mapping[str, Any], root: Path) -> bool:
    """Whether *spec* has the gate and the criteria that *base* is made from, and the repository at *root* its files."""
    gate = spec["gates"].get(base.gate)
    known = isinstance(gate, dict) and set(base.criteria) <= set(gate.get("criteria") or ())
    return known and all((root / name).exists() for name in (*base.copies, *base.moved))


def build(base: Base, spec: Mapping[str, Any], root: Path) -> Tree:
    """The tree of *base*: the real gate and its files, made small. Raises BadFileError when a file is not there."""
    real = spec["gates"][base.gate]
    gate = {key: value for key, value in real.items() if key not in _NOT_INSIDE} | dict(base.settings)
    gate["criteria"] = {name: real["criteria"][name] for name in base.criteria}
    files = {**_copied(base, root), **base.files}
    if "scenario" in gate:
        files[gate["scenario"]] = _dumped({**_read(root, gate["scenario"]), **base.scenario})
    inner = {"version": spec.get("version", 1), "profiles": {base.profile: {}}, "gates": {base.gate: gate}}
    whole = {**inner, **({"target": spec["target"]} if "target" in spec else {})}
    if not base.committed:
        return Tree(whole, files)
    files[".gitignore"] = _IGNORED
    return Tree(whole, files, before=files)


def write(tree: Tree, folder: Path) -> None:
    """Put the files of *tree* into *folder*, its spec where the command looks for it; commit them where there is a *before*."""
    spec = {SPEC: _dumped(tree.spec)}
    if tree.before is None:
        _put({**tree.files, **spec}, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _put({**tree.before, **spec}, folder)
    _commit(folder, "without the defect")
    for gone in tree.before.keys() - tree.files.keys():
        (folder / gone).unlink()
    _put(tree.files, folder)
    _commit(folder, "with the defect, if there is one")


def _put(files: Mapping[str, str], folder: Path) -> None:
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def _commit(folder: Path, message: str) -> None:
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


def _git(folder: Path, *arguments: str) -> None:
    """Raises BadFileError with what git said."""
    settings = ("user.name=drill", "user.email=drill@localhost", "commit.gpgSign=false", f"core.hooksPath={os.devnull}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *(part for each in settings for part in ("-c", each)), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, check=False)
    except OSError as error:
        raise BadFileError(f"the drill needs git: {error}", location=str(folder)) from None
    if done.returncode:
        raise BadFileError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}", location=str(folder))


def _copied(base: Base, root: Path) -> dict[str, str]:
    found = {}
    for name, place in {**{name: name for name in base.copies}, **base.moved}.items():
        source = root / name
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            found[str(Path(place) / path.relative_to(source))] = _text(path, name)
    return found


def _read(root: Path, path: str) -> Any:
    try:
        return yaml.safe_load(_text(root / path, path))
    except yaml.YAMLError as error:
        raise BadFileError(f"not valid YAML: {error}", location=path) from None


def _text(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(f"the drill needs this file, and it can't be read: {error}", location=shown) from None


def _dumped(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
