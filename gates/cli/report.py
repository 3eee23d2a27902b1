"""`gates report` judges a run again and renders it; `gates open` shows the page."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.console import GREEN, RED, YELLOW, console, paint

if TYPE_CHECKING:
    from gates.model import Outcome, Report, Verdict
    from gates.pipeline.folder import RunFolder

FORMATS = ("text", "json", "markdown", "html", "junit")
_COLOURS = {"pass": GREEN, "ready": GREEN, "fail": RED, "not_ready": RED, "inconclusive": YELLOW}


@click.command("report")
@click.argument("run", required=False)
@click.option("--root", metavar="DIR", help="The folder of runs; default: .readiness of the repository.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--format", "wanted", type=click.Choice(FORMATS), help="Write this rendering to stdout.")
@click.pass_context
def report_command(ctx: click.Context, run: str | None, root: str | None, as_json: bool, wanted: str | None) -> None:
    """Judge RUN again from its files, render it, and exit by its verdict.

    RUN is a run's name or folder; without it GATES_RUN, else the run that started last.
    """
    from gates.pipeline.alive import refuse_going_on
    from gates.pipeline.close import close
    from gates.report import github
    from gates.report.render import render_all
    from gates.report.text import exit_of

    folder = chosen_run(run, root)
    refuse_going_on(folder)
    report = close(folder.path)
    written = render_all(report, folder.path)
    _say(report, written[1], "json" if as_json else wanted)
    github.publish(report, os.environ, sys.stderr)
    ctx.exit(int(exit_of(report)))


def _say(report: Report, page: Path, wanted: str | None) -> None:
    """The table for a person; on stdout what was asked for, else one line: the verdict and the page."""
    from gates.report import reading, text

    console.talk(text.render(report, _paint))
    if wanted:
        sys.stdout.write(_renderings()[wanted](report))
        sys.stdout.flush()
    else:
        console.data(f"{reading.VERDICTS[report.verdict]}  {_near(page)}")


def _renderings() -> Mapping[str, Callable[[Report], str]]:
    from gates import codec
    from gates.report import html, junit, markdown, text

    by_name = (text.render, codec.dumps, markdown.render, html.render, junit.render)
    return dict(zip(FORMATS, by_name, strict=True))


def _paint(words: str, of: Outcome | Verdict) -> str:
    colour = _COLOURS.get(of.value)
    return paint(words, colour, sys.stderr) if colour else words


def _near(path: Path) -> str:
    """*path* as seen from here, when that is shorter to read."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def chosen_run(run: str | None, root: str | None) -> RunFolder:
    """The folder of RUN, of GATES_RUN, or of the run that started last.

    Raises UsageError for a RUN that is not there, NothingSelectedError when there is none to choose.
    """
    from gates.cli.main import started_as
    from gates.errors import NothingSelectedError, UsageError
    from gates.pipeline.folder import find_run, repository_root, runs_root

    runs = runs_root(repository_root(Path.cwd()), root)
    try:
        return find_run(runs, run or os.environ.get("GATES_RUN"))
    except UsageError as error:
        if run:
            raise
        hint = f"`{started_as()} run` makes one"
        raise NothingSelectedError(error.message, location=error.location, hint=hint) from None


def read_report(folder: RunFolder) -> Report:
    """The closed report of a run, as it was written. Raises BadFileError when the run was not closed."""
    from gates import codec
    from gates.cli.main import started_as
    from gates.errors import BadFileError
    from gates.model import Report

    if not folder.readiness.exists():
        hint = f"`{started_as()} report {folder.run}` judges it"
        raise BadFileError("this run has no report yet", location=str(folder.readiness), hint=hint)
    return codec.read(folder.readiness, Report)


@click.command("open")
@click.argument("run", required=False)
@click.option("--root", metavar="DIR", help="The folder of runs; default: .readiness of the repository.")
def open_command(run: str | None, root: str | None) -> None:
    """Open the HTML report of RUN in a browser; print its address where there is none.

    RUN is a run's name or folder; without it GATES_RUN, else the run that started last.
    """
    from gates.report.render import render_all

    folder = chosen_run(run, root)
    page = folder.path / "report.html"
    if not page.exists():
        render_all(read_report(folder), folder.path)
    console.data(page.resolve().as_uri())
    if _has_display(os.environ, sys.platform):
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def _has_display(environ: Mapping[str, str], platform: str) -> bool:
    if environ.get("CI"):
        return False
    return platform in ("darwin", "win32") or bool(
        environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") or environ.get("BROWSER")
    )
