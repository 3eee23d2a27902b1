"""The pipeline as a process, on a tree of its own: the ordinary path that a drill takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gates import codec
from gates.drills.tree import write
from gates.errors import BadFileError
from gates.model import CriterionReport, Report, Tree

RUNS = "runs"
_STRIPPED = ("GATES_", "GITHUB_", "PYTEST_")


@dataclass(frozen=True, slots=True)
class InnerRun:
    """An inner run as its files say: where it lies, the exit code, and the report when there is one.

    *trouble* says why there is no report, with the error that the command told.
    """

    tree: Path
    code: int
    report: Report | None
    trouble: str = ""

    def gate_folder(self, gate: str) -> Path:
        return (self.tree / RUNS / "latest").resolve() / gate

    def criterion(self, gate: str, criterion: str) -> CriterionReport | None:
        """What the inner report says of a criterion; None when it says nothing."""
        gates = self.report.gates if self.report else ()
        found = (each for report in gates if report.gate.name == gate for each in report.criteria)
        return next((each for each in found if each.criterion.id == criterion), None)


def run(tree: Tree, folder: Path, seed: int) -> InnerRun:
    """Write *tree* to *folder* and run the pipeline there."""
    write(tree, folder)
    options = ["--root", str(folder / RUNS), "--seed", str(seed), "--profile", tree.profile]
    return _finished(folder, _gates(folder, ["run", *options]))


def report_again(first: InnerRun, folder: Path) -> InnerRun:
    """Judge the run that lies in *folder* again, as `gates report` does. *first* is where it was copied from."""
    newest = (folder / RUNS / "latest").resolve()
    return _finished(folder, _gates(folder, ["report", str(newest), "--root", str(folder / RUNS)]))


def copied(first: InnerRun, folder: Path) -> InnerRun:
    """A copy of a run with its ledger, to be tampered with."""
    shutil.copytree(first.tree, folder, symlinks=True)
    return InnerRun(folder, first.code, first.report, first.trouble)


def _gates(folder: Path, arguments: Sequence[str]) -> int:
    """Run the command in *folder*, its talk into `said.log` there; the exit code."""
    with (folder / "said.log").open("ab") as log:
        command = [sys.executable, "-m", "gates", *arguments]
        with subprocess.Popen(
            command, cwd=folder, env=_environment(os.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process:
            try:
                return process.wait()
            except BaseException:
                process.terminate()
                process.wait()  # until it has healed what it struck: its folder may hold a mount
                raise


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would tie the inner run to an outer one; the machine lock is inherited."""
    return {key: value for key, value in environ.items() if not key.startswith(_STRIPPED)}


def _finished(folder: Path, code: int) -> InnerRun:
    try:
        report = codec.read(folder / RUNS / "latest" / "readiness.json", Report)
    except BadFileError as error:
        return InnerRun(
            folder, code, None, f"the inner run left no report (exit code {code}): {error.message}; {_said(folder)}"
        )
    return InnerRun(folder, code, report)


def _said(folder: Path) -> str:
    """What the inner run said went wrong, in a line: its error, else its last words."""
    said = (folder / "said.log").read_text("utf-8", "replace").strip().splitlines() or [""]
    first = next((number for number, line in enumerate(said) if line.startswith("error: ")), len(said) - 1)
    last = first + 1 if re.fullmatch(r"error: \d+ problems", said[first]) else first
    return " ".join(said[first : last + 1])
