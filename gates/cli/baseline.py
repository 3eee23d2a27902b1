"""`gates baseline`: what earlier green runs measured on each kind of machine, as files that are reviewed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.console import console

if TYPE_CHECKING:
    from gates.model import GateReport, Report
    from gates.pipeline.folder import RunFolder
    from gates.regression.baselines import Baseline

KINDS = ("benchmarks", "load", "validation")


@click.group("baseline")
def baseline_command() -> None:
    """List, show, accept and prune stored baselines (folder `baselines`)."""


@baseline_command.command("list")
def list_command() -> None:
    """List the baselines: fingerprint, gate, runs, and which are of this machine."""
    from gates.pipeline.machine import fingerprint
    from gates.regression import baselines

    root = _root()
    here = baselines.identity(fingerprint(root))
    rows: list[Sequence[str]] = [("fingerprint", "gate", "runs", "newest", "machine")]
    for path, each in baselines.every(root):
        newest = each.runs[-1].when if each.runs else ""
        mine = "this one" if path.parent.name == here else each.fingerprint.get("cpu", "unknown")
        rows.append((path.parent.name, each.gate, str(len(each.runs)), newest, mine))
    if len(rows) == 1:
        console.talk(f"no baseline is stored; this machine's would lie in {baselines.FOLDER}/{here}")
        return
    console.data(_aligned(rows))


@baseline_command.command("show")
@click.argument("gate")
@click.option("--fingerprint", "wanted", metavar="ID", help="Of which machine, as `list` names it; default: this one.")
def show_command(gate: str, wanted: str | None) -> None:
    """Show what is stored for GATE: median, deviation and what a next run may reach by chance."""
    from gates.pipeline.machine import fingerprint
    from gates.regression import baselines

    root = _root()
    name = wanted or baselines.identity(fingerprint(root))
    baseline = baselines.read(root / baselines.FOLDER / name / f"{gate}.json")
    console.data(_aligned([("metric", "runs", "median", "deviation", "next by chance up to"), *map(_shown, _stored(baseline))]))


def _stored(baseline: Baseline) -> list[tuple[str, tuple[float, ...]]]:
    return [(key, baseline.values(key)) for key in sorted(baseline.keys)]


def _shown(entry: tuple[str, tuple[float, ...]]) -> tuple[str, ...]:
    from statistics import median, stdev

    from gates.regression import baselines

    key, values = entry
    latest = values[-baselines.LATEST :]
    deviation = f"{stdev(latest):.4g}" if len(latest) > 1 else "-"
    prediction = baselines.predicted(values)
    bound = prediction.reason if isinstance(prediction, baselines.Missing) else f"{prediction.middle + prediction.reach:.4g}"
    return key, str(len(values)), f"{median(latest):.4g}", deviation, bound


@baseline_command.command("accept")
@click.argument("run", required=False)
@click.option("--reason", required=True, help="Why this run may stand as what is normal; it is kept in the file.")
@click.option("--gate", "gates", multiple=True, help="Only this gate; can be given several times. Default: all that measure.")
@click.option("--root", metavar="DIR", help="The folder of runs; default: .readiness of the repository.")
def accept_command(run: str | None, reason: str, gates: tuple[str, ...], root: str | None) -> None:
    """Take what the closed RUN measured into the baselines of its machine, and print the difference as a diff.

    Only a READY run of a clean tree on the default branch is taken, and none of a commit that another run found NOT READY: a
    failure is never made the new normal. A regression that you decide to live with belongs into baselines/accepted.yaml.
    """
    from gates.cli.report import chosen_run
    from gates.errors import UsageError

    if not reason.strip():
        raise UsageError("the reason is empty", hint="say why this run may stand as what is normal")
    repository = _root()
    report = _acceptable(chosen_run(run, root), repository)
    chosen = [gate for gate in report.gates if _is_wanted(gate, gates)]
    unknown = sorted(set(gates) - {gate.gate.name for gate in chosen})
    if unknown or not chosen:
        what = f"the run has no measuring gate {', '.join(unknown)}" if unknown else "no gate of this run measures anything"
        raise UsageError(what, hint=f"kinds that have baselines: {', '.join(KINDS)}")
    for gate in chosen:
        _take_in(report, gate, reason.strip(), repository)


def _is_wanted(gate: GateReport, names: Sequence[str]) -> bool:
    return gate.gate.kind in KINDS and gate.result is not None and (not names or gate.gate.name in names)


def _acceptable(folder: RunFolder, repository: Path) -> Report:
    """The report of the run in *folder*, judged again. Raises GatesError with the first reason why it can't be a baseline."""
    from gates.errors import Exit, GatesError
    from gates.model import Verdict
    from gates.pipeline.close import close, is_closed

    def refuse(why: str, hint: str = "", code: Exit = Exit.USAGE) -> GatesError:
        return GatesError(f"{why}, so it can't become a baseline", location=folder.run, hint=hint, code=code)

    if not is_closed(folder):
        raise refuse("the run was not closed", "let it come to its end")
    report = close(folder.path)
    commit = report.plan.commit
    if report.verdict is not Verdict.READY:
        code = Exit.NOT_READY if report.verdict is Verdict.NOT_READY else Exit.INCONCLUSIVE
        raise refuse(f"the run ended {report.verdict.replace('_', ' ').upper()}", "a baseline is made of green runs", code)
    if not commit.sha or commit.dirty:
        raise refuse("the tree was not a clean commit", "commit, then run again")
    failed = _failed(folder, report)
    if failed:
        raise refuse(f"the run {failed[-1]} found the same commit NOT READY", "a failure is not made the new normal")
    if not _on_default_branch(repository, commit.sha):
        raise refuse("its commit is not on the default branch", "run on the default branch after the merge")
    return report


def _failed(folder: RunFolder, report: Report) -> list[str]:
    """Runs of the same commit that ended NOT READY: those that the plan knew, and by the ledger those since."""
    from gates.pipeline.ledger import END, NAME, Ledger

    known = [earlier.run for earlier in report.plan.history.runs if earlier.verdict == "not_ready" and not earlier.dirty]
    ends = [entry for entry in Ledger(folder.runs / NAME).read().entries if entry.event == END and not entry.dirty]
    since = [entry.run for entry in ends if entry.commit == report.plan.commit.sha and entry.verdict == "not_ready"]
    return list(dict.fromkeys([*known, *since]))


def _on_default_branch(repository: Path, commit: str) -> bool:
    from gates.regression.accepted import is_in
    from gates.regression.base import default_branch

    branch = default_branch(repository)
    return branch is not None and is_in(repository, commit, branch)


def _take_in(report: Report, gate: GateReport, reason: str, repository: Path) -> None:
    from gates import codec
    from gates.errors import UsageError
    from gates.regression import baselines

    plan, name = report.plan, gate.gate.name
    path = baselines.place(repository, plan.fingerprint, name)
    before = baselines.read(path) if path.exists() else baselines.Baseline(plan.fingerprint, name, ())
    if any(run.run == plan.run for run in before.runs):
        raise UsageError(f"the run {plan.run} is in the baseline already", location=str(path))
    assert gate.result is not None
    values = {
        measurement.key: measurement.value
        for measurement in gate.result.measurements
        if not measurement.metric.startswith(("valid.", "baseline.", "growth", "slowdown", "removed"))
    }
    after = before.with_run(baselines.BaselineRun(plan.run, plan.commit.sha, plan.created, reason, values))
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.replace(path, baselines.text(after).encode())
    shown = str(path.relative_to(repository))
    old = baselines.text(before).splitlines() if before.runs else []
    console.data("\n".join(difflib.unified_diff(old, baselines.text(after).splitlines(), shown, shown, lineterm="", n=1)))
    console.talk(_moved(name, baselines.changes(before if before.runs else None, values)))


def _moved(gate: str, changes: Sequence[object]) -> str:
    from gates.regression.baselines import Change

    rows = [("metric", "median so far", "this run", "moved")]
    for change in changes:
        assert isinstance(change, Change)
        before = "new" if change.before is None else f"{change.before:.4g}"
        moved = f"{(change.after / change.before - 1) * 100:+.1f} %" if change.before else ""
        rows.append((change.key, before, f"{change.after:.4g}", moved))
    return f"{gate}:\n{_aligned(rows)}\nreview and commit it; the next run on such a machine is held against it"


@baseline_command.command("prune")
@click.option("--older-than", type=click.IntRange(1), default=180, show_default=True, metavar="DAYS", help="By the newest run.")
def prune_command(older_than: int) -> None:
    """Remove baselines of machines that nobody ran on for long, and accepted regressions that expired."""
    from gates.regression import baselines

    root, now, removed = _root(), datetime.now(UTC), 0
    for path, each in list(baselines.every(root)):
        if not each.runs or datetime.fromisoformat(each.runs[-1].when) < now - timedelta(days=older_than):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
            console.data(f"removed {path.relative_to(root)}")
            removed += 1
    if not removed + _prune_accepted(root, now):
        console.talk(f"nothing to remove: no baseline is older than {older_than} days, and no accepted regression expired")


def _prune_accepted(root: Path, now: datetime) -> int:
    """Take expired entries out as text, so that comments and the order of the others stay; how many they were."""
    from gates.regression.accepted import FILE, AcceptedFile, without_expired
    from gates.spec import read_yaml

    path = root / FILE
    if not path.exists():
        return 0
    entries = read_yaml(path, AcceptedFile, root=root).accepted
    expired = [entry for entry in entries if entry.expires < now.date()]
    if not expired:
        return 0
    path.write_text(without_expired(path.read_text("utf-8"), now.date()), "utf-8")
    for entry in expired:
        console.data(f"removed the accepted regression of {entry.metric}, expired on {entry.expires}")
    return len(expired)


def _root() -> Path:
    from gates.pipeline.folder import repository_root

    return repository_root(Path.cwd())


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
