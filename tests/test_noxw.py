"""`noxw`: Nox without installing anything first, on any POSIX shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRAPPER = ROOT / "noxw"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project in a folder with a space, that has the wrapper, a lock, and sessions of its own."""
    project = tmp_path / "a project"
    project.mkdir()
    for name in ("noxw", "constraints.txt"):
        shutil.copy(ROOT / name, project / name)
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (project / "noxfile.py").write_text(
        "import nox\n\n@nox.session(venv_backend='none')\ndef hello(session):\n    print('hello', *session.posargs)\n"
    )
    return project


def call(project: Path, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the wrapper of *project* with *arguments*."""
    return subprocess.run(
        [str(project / "noxw"), *arguments],
        cwd=cwd or project,
        env={**os.environ, **env},
        input="from stdin",
        capture_output=True,
        text=True,
        check=False,
    )


def pretend_full_environment(project: Path, script: str) -> None:
    """Give *project* a full environment that is current, whose command `gates` is *script*."""
    programs = project / ".nox" / "gates" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "gates").write_text(script)
    (programs / "gates").chmod(0o755)
    made_of = (project / "pyproject.toml").read_text() + (project / "constraints.txt").read_text()
    stamp = f"{project.resolve()}\n{(programs / 'python').resolve()}\n{made_of}"
    (programs.parent / "stamp").write_text(stamp)


def test_the_wrapper_is_clean_for_shellcheck_and_dash() -> None:
    """It runs under `sh`, whichever that is."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    result = subprocess.run([shellcheck, "--shell=sh", WRAPPER], capture_output=True, text=True, check=False)
    assert result.stdout == ""
    subprocess.run(["sh", "-n", WRAPPER], check=True)


def test_without_a_python_one_sentence_names_the_package(tree: Path, tmp_path: Path) -> None:
    """Debian's Python without python3-venv can't import ensurepip, so it is the same as none."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "cat"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    result = call(tree, PATH=str(programs))
    assert result.returncode == 1
    assert result.stderr == (
        "noxw: Python 3.11 or newer with venv is needed; on Debian and Ubuntu: apt-get install python3 python3-venv\n"
    )
    assert not (tree / ".nox").exists()


def test_streams_arguments_folder_and_exit_code_are_those_of_gates(tree: Path, tmp_path: Path) -> None:
    """`noxw gates` becomes the command; nothing of its own is between."""
    pretend_full_environment(tree, '#!/bin/sh\nprintf "%s|" "$@" "$PWD" "$GATES_STARTED_BY"; cat; echo talk >&2; exit 3\n')
    result = call(tree, "gates", "explain", "a gate:x", "", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (3, "talk\n")
    assert result.stdout == f"explain|a gate:x||{tmp_path}|noxw|from stdin"


@pytest.mark.end_to_end
def test_an_environment_made_of_something_else_is_made_again(tree: Path) -> None:
    """After pyproject.toml changed, the session `gates` runs first, and all its talk is on stderr."""
    pretend_full_environment(tree, "#!/bin/sh\necho data\n")
    (tree / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    (tree / "noxfile.py").write_text(
        "import nox\n\n@nox.session(venv_backend='none')\ndef gates(session):\n    print('made again')\n"
    )
    result = call(tree, "gates")
    assert result.stdout == "data\n"
    assert "made again" in result.stderr


@pytest.mark.end_to_end
def test_two_that_start_at_once_share_one_nox_that_is_whole(tree: Path, tmp_path: Path) -> None:
    """From elsewhere, in a folder with a space, with a half-made environment in the way: both work, one is left."""
    command = [str(tree / "noxw"), "-s", "hello", "--", "you"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "hello you" in out
    (made,) = (tree / ".nox").glob("noxw*")
    (made / "whole").unlink()
    shutil.rmtree(made / "lib")
    result = call(tree, "--version")
    assert result.returncode == 0, result.stderr
    assert list((tree / ".nox").glob("noxw*")) == [made]
    assert call(tree, "--version").stderr == result.stderr.replace("noxw: making Nox a private environment, once\n", "")


@pytest.mark.end_to_end
def test_the_stamp_of_the_noxfile_is_the_one_that_the_wrapper_reads(tmp_path: Path) -> None:
    """Otherwise every `./noxw gates` would start with Nox. A clone is made ready once; the second start is silent."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    first = call(clone, "gates", "--version")
    assert first.returncode == 0, first.stderr
    second = call(clone, "gates", "--version")
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
