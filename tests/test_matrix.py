"""The session `matrix`: it keeps its count by tree, and goes on where it was."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def loaded() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("matrix", ROOT / "benchmarks" / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names of annotations
    spec.loader.exec_module(module)
    return module


matrix = loaded()


def attempt(gate: str, outcome: str = "pass", tree: str = "t", who: str = "root") -> Any:
    """One run of a cell."""
    return matrix.Attempt(tree, who, gate, outcome, "run", 20.0, ("proxy",), "")


def test_the_count_is_of_this_tree_and_this_user_alone(tmp_path: Path) -> None:
    """Other trees and users, and a line that an interruption cut off, count for nothing."""
    path = tmp_path / "attempts.jsonl"
    all_of_them = [attempt("recovery-crash"), attempt("recovery-crash", tree="other"), attempt("recovery-crash", who="user")]
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in all_of_them) + '{"tree": "t", "wh')
    assert matrix.earlier(path, "t", "root") == all_of_them[:1]
    assert matrix.earlier(tmp_path / "nothing", "t", "root") == []


def test_only_green_runs_are_counted_as_green() -> None:
    """One that proved nothing is none."""
    attempts = [attempt("recovery-crash"), attempt("recovery-crash", "inconclusive"), attempt("recovery-lock")]
    assert matrix.green(attempts, "recovery-crash") == 1
    (row,) = (line for line in matrix.table(["recovery-crash"], attempts).splitlines() if line.startswith("crash"))
    assert row.split() == ["crash", "1/2", "1/2", "1/2", "1/2", "proxy"]


def test_a_run_that_was_not_green_is_kept_whole(tmp_path: Path) -> None:
    """The newest runs push older ones out, and a failure that was seen once is the one to look at."""
    run = tmp_path / matrix.FOLDER / "run"
    run.mkdir(parents=True)
    (run / "report.md").write_text("why")
    matrix.keep_failed(attempt("recovery-crash"), tmp_path)
    assert not (tmp_path / matrix.FAILED).exists()
    matrix.keep_failed(attempt("recovery-crash", "fail"), tmp_path)
    assert (tmp_path / matrix.FAILED / "run" / "report.md").read_text() == "why"


def test_the_digest_changes_with_what_decides_the_outcome(tmp_path: Path) -> None:
    """Code that is not committed counts; a note beside it does not."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "x.py").write_text("1")
    first = matrix.digest(tmp_path)
    (tmp_path / "notes.txt").write_text("something")
    assert matrix.digest(tmp_path) == first
    (tmp_path / "gates" / "x.py").write_text("2")
    assert matrix.digest(tmp_path) != first


def test_every_scenario_of_the_matrix_has_its_gate_and_all_four_loads() -> None:
    """A scenario that nobody runs, or one without a kind of load, would be a hole in the matrix."""
    gates = matrix.gates_of(ROOT / matrix.SPEC, [])
    scenarios = sorted((ROOT / "workflows" / "scenarios" / "recovery").glob("*.yaml"))
    assert {gate.removeprefix("recovery-") for gate in gates} == {path.stem for path in scenarios}
    for path in scenarios:
        text = path.read_text()
        assert all(f"{flow}:" in text for flow in ("submit_job", "put_block", "read_mana", "propose")), path.name


def test_a_fault_that_is_not_in_the_matrix_is_refused() -> None:
    """By its name, with those that there are."""
    with pytest.raises(SystemExit, match="no such gate: recovery-crush"):
        matrix.gates_of(ROOT / matrix.SPEC, ["crush"])
