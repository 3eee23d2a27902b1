"""Git repositories for tests, made by the real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

WHO = {
    f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "T"), ("EMAIL", "t@example"))
}
QUIET = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def run_git(folder: Path, *arguments: str) -> str:
    """What git prints in *folder*."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | WHO | QUIET
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def repository(folder: Path, branch: str = "main") -> Path:
    """An empty repository."""
    folder.mkdir(parents=True, exist_ok=True)
    run_git(folder, "init", "--quiet", f"--initial-branch={branch}")
    return folder


def committed(folder: Path, message: str, files: Mapping[str, str] | None = None) -> str:
    """The commit of *files*."""
    for name, text in (files or {}).items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return run_git(folder, "rev-parse", "HEAD")
