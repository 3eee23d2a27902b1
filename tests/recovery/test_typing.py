"""What type checkers see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

USAGE = Path(__file__).parent / "typed" / "usage.py"


@pytest.mark.end_to_end
def test_signatures_survive_guarding(tmp_path):
    """mypy --strict over decorated functions, methods, generators and coroutines: right types, and wrong calls are errors."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", f"--cache-dir={tmp_path}", str(USAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=USAGE.parents[3])
    assert done.returncode == 0, done.stdout


@pytest.mark.end_to_end
def test_pyright_is_content_in_its_strict_mode():
    """The whole package, and the same usage: nothing unknown, right types, and every wrong call is an error there, too."""
    pytest.importorskip("basedpyright")
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=USAGE.parents[3])
    assert done.returncode == 0, done.stdout
