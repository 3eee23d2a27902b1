"""Trees of drills that are repositories: two commits, the second with the defect."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gates.drills import regressions
from gates.drills.inner import InnerRun
from gates.drills.performance import Performer
from gates.drills.regressions import COMPARED, COUNTED, DRILLS
from gates.drills.tree import build, read_spec, write
from gates.model import (
    Criterion,
    CriterionReport,
    Disposition,
    Outcome,
    Rule,
    Sighting,
    Unit,
)

ROOT = Path(__file__).parents[2]
BY_NAME = {drill.name: drill for drill in DRILLS}


def shown(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout


def test_without_a_defect_both_commits_are_the_same_and_the_tree_is_clean(tmp_path: Path) -> None:
    """The control compares a tree with itself."""
    write(build(COMPARED, read_spec(ROOT), ROOT), tmp_path / "tree")
    assert len(shown(tmp_path / "tree", "log", "--format=%H").split()) == 2
    assert shown(tmp_path / "tree", "diff", "HEAD~1", "HEAD") == ""
    (tmp_path / "tree" / "runs").mkdir()
    (tmp_path / "tree" / "runs" / "file").touch()
    (tmp_path / "tree" / "said.log").touch()
    assert shown(tmp_path / "tree", "status", "--porcelain") == ""


def test_a_file_that_the_defect_takes_away_is_gone_in_the_second_commit(tmp_path: Path) -> None:
    """Though the first one has it."""
    tree = build(COMPARED, read_spec(ROOT), ROOT)
    kept = {path: text for path, text in tree.files.items() if not path.endswith("hedge.py")}
    write(replace(tree, files=kept), tmp_path / "tree")
    assert shown(tmp_path / "tree", "diff", "--name-status", "HEAD~1", "HEAD").split() == ["D", "src/gates/recovery/hedge.py"]


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("slower-by-5-percent", {"mark", "src/gates/recovery/retry.py"}),
        ("removed-benchmark", {"benchmarks/drill/test_drilled.py"}),
        ("doubled-allocations", {"mark", "src/gates/recovery/retry.py"}),
    ],
)
def test_the_defect_is_what_the_second_commit_changes(tmp_path: Path, name: str, changed: set[str]) -> None:
    """And nothing else."""
    drill = BY_NAME[name]
    write(drill.seed(build(drill.base, read_spec(ROOT), ROOT)), tmp_path / "tree")
    assert set(shown(tmp_path / "tree", "diff", "--name-only", "HEAD~1", "HEAD").split()) == changed


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("name", "more"), [("slower-by-5-percent", 300), ("slower-by-10-percent", 600), ("slower-by-50-percent", 3000)]
)
def test_a_retry_does_as_much_more_as_the_drill_says(tmp_path: Path, name: str, more: int) -> None:
    """The probe counts attempts by itself: 5 % of 6,000 are 300. Nothing was reached before anything imported it."""
    drill = BY_NAME[name]
    write(drill.seed(build(drill.base, read_spec(ROOT), ROOT)), tmp_path / "tree")
    sighting = drill.probe(tmp_path, tmp_path / "tree")
    assert (sighting.reached, sighting.triggered) == (0, more)
    mark = Path((tmp_path / "tree" / "mark").read_text())
    assert drill.probe(tmp_path, tmp_path / "tree").reached > 0, "the probe's own import left a mark"
    mark.unlink(missing_ok=True)


def test_a_control_that_has_no_defect_triggers_nothing(tmp_path: Path) -> None:
    """A probe that always sees an effect would prove nothing."""
    tree = build(COUNTED, read_spec(ROOT), ROOT).with_file("mark", str(tmp_path / "mark"))
    write(tree, tmp_path / "tree")
    assert regressions._slower(tmp_path, tmp_path / "tree").triggered == 0
    assert regressions._hungrier(tmp_path, tmp_path / "tree").triggered == 0


def test_a_criterion_that_advises_is_caught_though_the_run_is_ready(tmp_path: Path) -> None:
    """It enters no verdict, so the run's exit code is that of what is left."""
    drill = replace(BY_NAME["foreign-baseline"], base=COMPARED)
    criterion = Criterion("baseline.count.allocations/*", Unit.RATIO, Rule.CENSUS, (), 1)
    performer = Performer(ROOT, read_spec(ROOT), tmp_path, 1, lambda: datetime.now(UTC))

    class Said(InnerRun):
        disposition = Disposition.COUNTED

        def criterion(self, gate: str, name: str) -> CriterionReport:
            return CriterionReport(criterion, Outcome.INCONCLUSIVE, self.disposition, "another machine's")

    for disposition, code, caught in (
        (Disposition.ADVISORY, 0, True),
        (Disposition.ADVISORY, 3, False),
        (Disposition.COUNTED, 3, True),
        (Disposition.COUNTED, 0, False),
    ):
        run = type("SaidSo", (Said,), {"disposition": disposition})(tmp_path, code, None)
        assert performer._described(drill, run, run, Sighting(1, 1, "")).caught is caught
