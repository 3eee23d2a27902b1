"""The examples of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gates import registry
from gates.model import Commit, Execution, GateReport, Outcome, Request, TargetPlan
from gates.pipeline.judge import judge_gate
from gates.spec import resolve
from gates.target import running

ROOT = Path(__file__).resolve().parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)

TOML = [text for language, text in BLOCKS if language == "toml"]
(SPEC,) = [text for language, text in BLOCKS if language == "yaml"]


def source(file: str) -> str:
    """The Python block whose first line is `# file`."""
    (text,) = [text for language, text in BLOCKS if language == "python" and text.startswith(f"# {file}\n")]
    return text


def example(file: str) -> types.ModuleType:
    """That block as a module."""
    module = types.ModuleType(file.removesuffix(".py"))
    exec(compile(source(file), file, "exec"), module.__dict__)
    return module


def test_examples_are_short() -> None:
    """Each stays under fifty lines, blank ones and imports included."""
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert len(blocks) >= 3
    assert max(len(text.splitlines()) for text in blocks) < 50


def judged(root: Path) -> GateReport:
    """The gate of the YAML example, resolved, run and judged in *root*, with the example's kind as a plug-in."""
    kind = example("file_size.py").FileSize()
    (root / "readiness.yaml").write_text(f"version: 1\n{SPEC}")

    def plugins(group: str) -> Mapping[str, Any]:
        return {kind.name: kind} if group == registry.KINDS else {}

    (gate,) = resolve(root / "readiness.yaml", root=root, profile="quick", plugins=plugins).gates
    request = Request("run", str(root), str(root), "quick", 0, gate, Commit(), {})
    return judge_gate(gate, kind.run(request))


def test_the_example_of_a_kind_measures_and_is_judged(tmp_path: Path) -> None:
    """A small file passes, a large one fails, and none is inconclusive."""
    assert judged(tmp_path).outcome is Outcome.INCONCLUSIVE
    wheel = tmp_path / "dist" / "app.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"small")
    report = judged(tmp_path)
    assert (report.execution, report.outcome) == (Execution.COMPLETED, Outcome.PASS)
    with wheel.open("wb") as file:
        file.truncate(11_000_000)
    assert judged(tmp_path).outcome is Outcome.FAIL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the example's probe reads /proc")
def test_the_example_of_a_fault_is_seen_to_start_and_to_end(tmp_path: Path) -> None:
    """A real server is frozen and thawed, and the probe saw both."""
    settings = {"run": (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}")}
    plan = TargetPlan("command", settings, ("main",), ("kill", "start", "pause"))
    with running(plan, folder=tmp_path) as target:
        with example("freeze.py").Freeze().apply(target, {"node": "main"}) as watch:
            assert watch.seen_start is not None
            assert watch.seen_end is None
        assert watch.caused <= watch.seen_start <= watch.healing <= watch.seen_end


def installed(folder: Path) -> None:
    """Make of the examples a distribution in *folder*, registered by the entry points that stand beside them."""
    metadata = folder / "examples-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: examples\nVersion: 1\n")
    points = {group: table for text in TOML for group, table in tomllib.loads(text)["project"]["entry-points"].items()}
    lines = [
        line for group, table in points.items() for line in (f"[{group}]", *(f"{name} = {at}" for name, at in table.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for file in ("file_size.py", "freeze.py", "large_wheel.py"):
        (folder / file).write_text(source(file))


@pytest.mark.end_to_end
def test_the_example_of_a_drill_is_caught_by_the_example_of_a_kind(tmp_path: Path) -> None:
    """Both are installed as a user's distribution would be, and the command performs the drill."""
    installed(tmp_path / "site")
    spec = tmp_path / "project" / "workflows" / "readiness.yaml"
    spec.parent.mkdir(parents=True)
    spec.write_text(f"version: 1\n{SPEC}")
    command = [Path(sys.executable).with_name("gates"), "drill", "large-wheel"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    result = subprocess.run(command, cwd=tmp_path / "project", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "large-wheel" in result.stdout
