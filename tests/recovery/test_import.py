"""What importing the package costs."""

from __future__ import annotations

import subprocess
import sys

HEAVY = "asyncio collections contextlib dataclasses enum functools inspect logging random re threading typing"


def test_the_package_imports_nothing_heavy():
    """In a fresh interpreter none of the modules that cost milliseconds come along."""
    code = (
        "import sys; before = set(sys.modules); import gates.recovery;"
        f"print(*sorted((set(sys.modules) - before) & set({HEAVY.split()})))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert done.stdout.split() == []


def _root() -> str:
    import gates

    return str(gates.__path__[0] + "/..")
