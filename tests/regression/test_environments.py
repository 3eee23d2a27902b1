"""When a tree runs in our environment, when in one of its own, and what is said when that can't be made."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gates.errors import Exit
from gates.regression.environments import InstallError, bench_extras, interpreter, pins, requirements, unsatisfied

PYPROJECT = """
[project]
name = "theirs"
version = "1"
dependencies = ["click>=8", "theirs[more]", "wheel-that-is-not-there; python_version < '3'"]

[project.optional-dependencies]
more = ["no-such-thing"]
benchmarks = ["pytest>=8"]
"""


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_a_tree_that_asks_for_what_is_here_runs_in_our_environment(tmp_path: Path) -> None:
    """Dependencies and extras for benchmarks count; other extras, other platforms' and the project itself do not."""
    made = tree(tmp_path, pyproject_toml=PYPROJECT, constraints_txt=f"click=={version('click')}\nnever-heard-of==1.0\n")
    assert bench_extras(made) == ["benchmarks"]
    assert requirements(made) == ["click>=8", "wheel-that-is-not-there; python_version < '3'", "pytest>=8"]
    assert unsatisfied(made) == []
    assert interpreter(made, tmp_path / "cache", side="base") == sys.executable
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        ({"constraints_txt": "click==0.1\n"}, ["click==0.1"]),
        ({"requirements_txt": "click>=8\nno-such-thing>=2  # why\n"}, ["no-such-thing>=2"]),
        ({"requirements_txt": "Click == 0.1 ; python_version > '3' \\\n"}, ["click==0.1"]),
        ({"pyproject_toml": PYPROJECT.replace("click>=8", "click<2")}, ["click<2"]),
        (
            {"uv_lock": '[[package]]\nname = "click"\nversion = "0.2"\nsource = { registry = "https://x" }\n'},
            ["click==0.2"],
        ),
        ({"uv_lock": '[[package]]\nname = "click"\nversion = "0.2"\nsource = { editable = "." }\n'}, []),
    ],
)
def test_what_our_environment_lacks_is_named(tmp_path: Path, files: dict[str, str], lacking: list[str]) -> None:
    """Another locked version, a missing dependency and a range that ours is outside of: each makes it another environment."""
    found = unsatisfied(tree(tmp_path, **files))
    assert [each for each in lacking if each not in found] == []
    assert bool(found) is bool(lacking)


def test_pins_of_one_name_are_one(tmp_path: Path) -> None:
    """Names are compared as the package index does; hashes and markers are no part of a version."""
    made = tree(tmp_path, constraints_txt="My_Thing==1.0 --hash=sha256:00\n# not==this\nother==2; python_version>'3'\n")
    assert pins(made) == {"my-thing": "1.0", "other": "2"}


@pytest.mark.end_to_end
def test_a_base_that_does_not_install_is_inconclusive_with_the_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip's own words are the reason, no half-made environment is taken the next time, and the exit code is 3."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    made = tree(tmp_path, requirements_txt="no-such-thing-at-all==1.0\n")
    for _ in range(2):
        with pytest.raises(InstallError, match="(?s)environment of the base can't be made.*No matching distribution") as raised:
            interpreter(made, tmp_path / "cache", side="base")
        assert raised.value.code is Exit.INCONCLUSIVE
    assert (tmp_path / "cache/.gitignore").read_text() == "*\n"


def test_a_pyproject_that_can_t_be_read_says_where(tmp_path: Path) -> None:
    """A broken file of the base is no reason for an internal error."""
    with pytest.raises(InstallError, match="pyproject.toml"):
        unsatisfied(tree(tmp_path, pyproject_toml="[project\n"))
