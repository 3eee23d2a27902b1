"""The kind `benchmarks` plans with the base dependencies alone, so that every session resolves the same plan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
for name in ("numpy", "scipy", "pytest", "pytest_benchmark", "packaging"):
    sys.modules[name] = None
from pathlib import Path
from gates.spec import resolve
resolved = resolve("workflows/readiness.yaml", root=Path.cwd(), profile="quick")
print([sorted(gate.settings["base"]) for gate in resolved.gates if gate.name == "primitives"])
import gates.drills.regressions
"""


@pytest.mark.end_to_end
def test_our_own_spec_resolves_without_numpy_scipy_and_pytest() -> None:
    """The comparison, its counts and its drills need them only when they run."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout.startswith("[")
