"""Stored baselines, what they predict, and accepted regressions."""

from __future__ import annotations

import json
import random
import subprocess
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from gates.errors import BadFileError
from gates.regression import baselines
from gates.regression.accepted import AcceptedEntry, in_range, problems, without_expired
from gates.regression.baselines import Baseline, BaselineRun, Missing, Prediction, find, place, predicted, read, text

MACHINE = {"cpu": "one", "kernel": "6"}
OTHER = {"cpu": "two", "kernel": "6"}


def run(number: int, **values: float) -> BaselineRun:
    return BaselineRun(f"run-{number}", f"{number:040x}", "2026-11-23T15:00:00.000Z", "green", values or {"ratio/a": 3.0})


def stored(root: Path, fingerprint: dict[str, str] = MACHINE, runs: int = 1, gate: str = "primitives") -> Path:
    baseline = Baseline(fingerprint, gate, ())
    for number in range(runs):
        baseline = baseline.with_run(run(number))
    path = place(root, fingerprint, gate)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(baseline))
    return path


def test_a_baseline_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """With every number on a line of its own."""
    path = stored(tmp_path, runs=2)
    assert read(path).values("ratio/a") == (3.0, 3.0)
    assert sum('"ratio/a"' in line for line in path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda plain: plain["runs"][0]["values"].update({"ratio/a": 9.0}), "edited by hand"),
        (lambda plain: plain.update(version=2), "version 2"),
        (lambda plain: plain.pop("runs"), "runs: missing"),
        (lambda plain: plain["fingerprint"].update(cpu="two"), "edited by hand"),
    ],
    ids=["a-number", "version", "no-runs", "machine"],
)
def test_a_baseline_that_was_changed_is_refused(tmp_path: Path, change: object, why: str) -> None:
    """A failure can't be made to pass with an editor."""
    path = stored(tmp_path)
    plain = json.loads(path.read_text())
    change(plain)  # type: ignore[operator]
    path.write_text(json.dumps(plain))
    with pytest.raises(BadFileError, match=why):
        read(path)
    with pytest.raises(BadFileError):
        find(tmp_path, MACHINE, "primitives")


def test_a_baseline_that_was_moved_to_another_machine_is_refused(tmp_path: Path) -> None:
    """Its digest holds; its place does not."""
    path = stored(tmp_path, OTHER)
    moved = place(tmp_path, MACHINE, "primitives")
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    with pytest.raises(BadFileError, match="another machine's"):
        find(tmp_path, MACHINE, "primitives")


def test_another_machine_is_never_a_silent_fallback(tmp_path: Path) -> None:
    """What is missing is said with what differs."""
    assert find(tmp_path, MACHINE, "primitives") == Missing("no baseline of primitives is stored")
    stored(tmp_path, OTHER)
    found = find(tmp_path, MACHINE, "primitives")
    assert isinstance(found, Missing)
    assert found.reason.endswith("of other machines; the closest differs in cpu")
    stored(tmp_path)
    assert isinstance(find(tmp_path, MACHINE, "primitives"), Baseline)


def test_old_runs_go_when_there_are_many(tmp_path: Path) -> None:
    """Fifty are kept, the newest."""
    kept = read(stored(tmp_path, runs=60)).runs
    assert [kept[0].run, kept[-1].run, len(kept)] == ["run-10", "run-59", 50]


def test_fewer_than_twenty_runs_predict_nothing() -> None:
    """19 are too few, 20 do."""
    assert isinstance(predicted([1.0, 1.1] * 9 + [1.0]), Missing)
    assert isinstance(predicted([1.0, 1.1] * 10), Prediction)


def test_a_prediction_alarms_rarely_and_sees_a_jump() -> None:
    """Over 500 seeded series with 2 % noise, less than 1 % of next values lie beyond reach; half as much again always does."""
    alarms = 0
    for seed in range(500):
        generator = random.Random(seed)
        values = [generator.gauss(3.0, 0.06) for _ in range(31)]
        prediction = predicted(values[:30])
        assert isinstance(prediction, Prediction)
        alarms += prediction.excess(values[30])[1] > 0
        assert prediction.excess(values[30] * 1.5)[1] > 0
    assert alarms <= 5


def test_noisy_history_decides_nothing_small() -> None:
    """With a deviation of 10 % a margin of 20 % is less than 4 deviations, one of 50 % is more."""
    generator = random.Random(1)
    prediction = predicted([generator.gauss(3.0, 0.3) for _ in range(30)])
    assert isinstance(prediction, Prediction)
    assert prediction.is_wide_for(0.2)
    assert not prediction.is_wide_for(0.7)


# --- accepted regressions ---------------------------------------------------------------------------------------------


def entry(commit: str, expires: str = "2027-01-31", metric: str = "slowdown/retry.success") -> AcceptedEntry:
    given = {"metric": metric, "commit": commit, "size": "8 %", "reason": "attempts are traced", "expires": expires}
    return AcceptedEntry.model_validate(given)


@pytest.fixture
def commits(tmp_path: Path) -> list[str]:
    """Three commits, one after the other."""

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    found = []
    for number in range(3):
        git("commit", "-q", "--allow-empty", "-m", str(number))
        found.append(git("rev-parse", "HEAD"))
    return found


def test_a_regression_is_accepted_while_its_commit_lies_between_base_and_candidate(tmp_path: Path, commits: list[str]) -> None:
    """Before it the limits are the plain ones; once the base has it there is nothing left to accept."""
    first, second, third = commits
    assert in_range([entry(second)], tmp_path, first, third) == (entry(second),)
    assert in_range([entry(second)], tmp_path, first, second) == (entry(second),)
    assert in_range([entry(second)], tmp_path, second, third) == ()
    assert in_range([entry(third)], tmp_path, first, second) == ()


def test_an_entry_that_expired_or_names_no_commit_is_a_problem(tmp_path: Path, commits: list[str]) -> None:
    """On the day of its expiry it still holds."""
    today = date(2026, 11, 23)
    assert problems([entry(commits[0], "2026-11-23")], today, tmp_path) == ()
    (expired,) = problems([entry(commits[0], "2026-11-22")], today, tmp_path)
    assert "expired on 2026-11-22" in expired.message
    (unknown,) = problems([entry("0123456789")], today, tmp_path)
    assert "0123456789, which is not here" in unknown.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "slowdwon/a"}, "expected slowdown, removed, growth.allocations"),
        ({"metric": "ratio/a"}, "expected slowdown, removed"),
        ({"metric": "slowdown/*"}, "the name of one benchmark: slowdown/NAME"),
        ({"metric": "removed/"}, "the name of one benchmark: removed/NAME"),
        ({"commit": "HEAD"}, "7 to 40 digits of a commit"),
        ({"size": "0 %"}, "size is missing"),
    ],
)
def test_an_entry_that_could_never_hold_is_refused(change: dict[str, str], said: str) -> None:
    """A typing error would otherwise accept nothing, and nobody would see it."""
    given = {"metric": "slowdown/a", "commit": "0123456", "size": "8 %", "reason": "because of it", "expires": "2027-01-31"}
    with pytest.raises(ValidationError, match=said):
        AcceptedEntry.model_validate(given | change)


def test_an_accepted_removal_needs_no_size() -> None:
    """There is no limit that it could raise."""
    given = {"metric": "removed/a", "commit": "0123456", "reason": "because of it", "expires": "2027-01-31"}
    assert AcceptedEntry.model_validate(given).size == 0


def test_expired_entries_go_and_the_others_keep_their_comments() -> None:
    """What is left is the same text."""
    old = "  - {metric: slowdown/a, commit: 0123456, size: 8 %, reason: because of it, expires: 2026-01-01}\n"
    new = "  # decided in the meeting\n  - metric: slowdown/b\n    expires: 2027-01-01\n"
    assert without_expired(f"version: 1\naccepted:\n{old}{new}", date(2026, 11, 23)) == f"version: 1\naccepted:\n{new}"
    assert without_expired(f"version: 1\naccepted:\n{old}", date(2026, 11, 23)) == "version: 1\naccepted: []\n"


def test_a_new_number_has_nothing_before_it() -> None:
    """The others are held against the median of the latest runs."""
    baseline = Baseline(MACHINE, "g", ()).with_run(run(1, **{"ratio/a": 2.0})).with_run(run(2, **{"ratio/a": 4.0}))
    found = {change.key: change.before for change in baselines.changes(baseline, {"ratio/a": 3.0, "ratio/b": 1.0})}
    assert found == {"ratio/a": 3.0, "ratio/b": None}
