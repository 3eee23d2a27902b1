"""`gates run`: plan, run, close, render; or a part of a run that several processes share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.console import console

if TYPE_CHECKING:
    from gates.errors import Exit
    from gates.model import Plan, Report
    from gates.pipeline.folder import RunFolder
    from gates.pipeline.ledger import Reading

DEFAULT = "workflows/readiness.yaml"
PROFILE = "quick"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked for; *shared* says that the run belongs to several processes (GATES_RUN or --run)."""

    file: str
    profile: str | None
    overrides: tuple[str, ...]
    only: tuple[str, ...]
    run: str | None
    seed: int | None
    root: str | None
    as_json: bool

    @property
    def shared(self) -> bool:
        return self.run is not None


@click.command("run")
@click.argument("file", default=DEFAULT, metavar="[FILE]")
@click.option("--profile", help="quick (the default), standard, full, or one of the file's own.")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value of the spec; shown in the report."
)
@click.option("--base", metavar="REF", help="Compare with this commit or branch, in every gate that compares.")
@click.option("--only", multiple=True, metavar="GATE|kind:KIND", help="Execute only these; the plan stays whole.")
@click.option("--run", envvar="GATES_RUN", metavar="ID", help="Work on this run: plan it if it is new, leave it open.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of everything random; default: a new one.")
@click.option("--root", metavar="DIR", help="The folder of runs; default: .readiness of the repository.")
@click.option("--json", "as_json", is_flag=True, help="Print readiness.json to stdout.")
@click.pass_context
def run_command(
    ctx: click.Context,
    file: str,
    profile: str | None,
    overrides: tuple[str, ...],
    base: str | None,
    only: tuple[str, ...],
    run: str | None,
    seed: int | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Run the gates of FILE (workflows/readiness.yaml) and write the report; exit by the verdict.

    With GATES_RUN or --run only the selected gates are executed, the run stays open for `gates report`, and the exit code is
    what these gates say by themselves.
    """
    from gates.cli.base import against
    from gates.pipeline.tree import die_with_parent

    die_with_parent()
    overrides = against(file, base, overrides)
    ctx.exit(int(perform(Options(file, profile, overrides, only, run or None, seed, root, as_json))))


def perform(options: Options) -> Exit:
    """Do what the command was asked for; the code to exit with."""
    from gates.errors import Exit

    folder, plan = _planned(options)
    try:
        return _performed(options, folder, plan)
    except KeyboardInterrupt:
        _closed(folder, options)  # the run has begun, so it ends with a report
        return Exit.INTERRUPTED


def _performed(options: Options, folder: RunFolder, plan: Plan) -> Exit:
    from gates.cli.live import progress
    from gates.errors import Exit
    from gates.pipeline.alive import note_session
    from gates.pipeline.close import is_closed
    from gates.pipeline.engine import Engine, exit_of_gates, select

    if options.shared:
        if is_closed(folder):
            console.talk(f"the run {folder.run} is closed; its report stays as it is ({folder.path})")
            return Exit.INCONCLUSIVE
        note_session(folder, os.getppid())
    gates = select(plan, options.only)
    with progress(plan, [gate.name for gate in gates], folder=lambda name: folder.gate(name).path) as watching:
        reports, interrupted = Engine(plan, folder, watching).execute(gates)
    if options.shared and not interrupted:
        return exit_of_gates(reports)
    report = _closed(folder, options)
    return Exit.INTERRUPTED if interrupted else _exit(report)


def _planned(options: Options) -> tuple[RunFolder, Plan]:
    """The run to work on: the one that is there already, or a new one."""
    from gates import codec, leftovers
    from gates.cli.main import started_as
    from gates.model import Plan
    from gates.pipeline.engine import select
    from gates.pipeline.folder import RunFolder, checked_run_id, prepare, repository_root, runs_root, spec_file
    from gates.pipeline.guardian import tidy_all
    from gates.pipeline.planning import begin, make_plan

    root = repository_root(Path.cwd())
    runs = runs_root(root, options.root)
    if options.run and (runs / checked_run_id(options.run) / "plan.json").exists():
        folder = RunFolder(runs / options.run)
        plan = codec.read(folder.plan, Plan)
        _same(options, plan)
        return folder, plan
    prepare(runs)
    for run in tidy_all(runs):
        console.talk(f"the run {run} had been killed; it is closed as inconclusive now")
    for each in leftovers.clean():
        console.talk(f"{each.leftover} was left by a killed run: {each.problem or 'undone'}")

    def plan_of(reading: Reading) -> Plan:
        plan = make_plan(
            spec_file(options.file, root), root=root, profile=options.profile or PROFILE, overrides=options.overrides,
            run=options.run, seed=options.seed, runs=runs, reading=reading, command=started_as(),
        )  # fmt: skip
        select(plan, options.only)
        return plan

    return begin(plan_of, runs)


def _same(options: Options, plan: Plan) -> None:
    """Refuse options that the plan, which is made once, was not made with."""
    from gates.errors import UsageError

    for name, asked, planned in (
        ("--profile", options.profile, plan.profile),
        ("--set", options.overrides or None, plan.overrides),
        ("--seed", options.seed, plan.seed),
    ):
        if asked is not None and asked != planned:
            raise UsageError(
                f"{name} {asked} differs from the run {plan.run}, which was planned with {planned}", hint="begin a new run"
            )


def _closed(folder: RunFolder, options: Options) -> Report:
    """Close and render the run, and say how it ended."""
    import sys

    from gates import codec
    from gates.pipeline.close import close
    from gates.report import github, text
    from gates.report.render import render_all

    report = close(folder.path)
    paths = render_all(report, folder.path)
    console.talk(text.render(report, _paint))
    _say_paths(paths)
    if options.as_json:
        console.data(codec.dumps(report).rstrip("\n"))
    else:
        console.data(f"{report.verdict.value.replace('_', ' ').upper()}  {_near(folder.path)}")
    github.publish(report, os.environ, sys.stderr)
    return report


def _say_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        console.detail(_near(path))


def _near(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _paint(words: str, of: object) -> str:
    from gates.cli.report import _paint as paint

    return paint(words, of)  # type: ignore[arg-type]


def _exit(report: Report) -> Exit:
    from gates.report.text import exit_of

    return exit_of(report)
