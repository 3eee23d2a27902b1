"""`gates faults`: what a scenario of the kind `validation` can do to its target, what of it works here, and tidying up."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import click

from gates.cli.console import console
from gates.errors import Exit


class FaultWay(TypedDict):
    """One way of a fault: the controls of the target that it needs, and why this machine does not allow it, if so."""

    way: str
    controls: list[str]
    capabilities: list[str]
    why_not: str
    summary: str


class Fault(TypedDict):
    """One fault: its key in a scenario, the settings under that and whether each must be given, the controls that it needs."""

    fault: str
    settings: dict[str, bool]
    controls: list[str]
    summary: str
    ways: list[FaultWay]


@click.group("faults", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the faults as JSON.")
@click.pass_context
def faults_command(context: click.Context, as_json: bool) -> None:
    """List the faults that a scenario can name, and what of them works on this machine.

    Each fault has one or more ways. A scenario means the first, or what it names: `way: NAME`, with fallbacks
    `way: [NAME, NAME]`. Settings in brackets may be left out. Each way needs controls of the target: `gates plan`
    shows those that a target lacks; a server that runs already (`url`) has only links, on our side of a proxy. What it needs of
    the machine is tried now.
    """
    if context.invoked_subcommand is not None:
        return
    faults = _faults()
    if as_json:
        console.data(json.dumps(faults, indent=2))
        return
    _print_table([("fault", "way", "here", "settings", "controls", "what it does"), *_rows(faults)])
    reasons = _reasons(faults)
    if reasons:
        console.data("\nwhat this machine does not allow:")
    for reason, ways in reasons.items():
        console.data(f"  {reason} (no {', '.join(ways)})")


@faults_command.command("clean")
def clean_command() -> None:
    """Undo what killed runs have left: processes, namespaces, cgroups, mounts, rules and files.

    Only what is written down and whose owner is dead is touched. Ends with 3 when something could not be undone.
    """
    from gates.leftovers import clean
    from gates.pipeline.folder import repository_root, runs_root
    from gates.pipeline.guardian import tidy_all

    runs = runs_root(repository_root(Path.cwd()))
    tidied = tidy_all(runs) if runs.is_dir() else ()
    for run in tidied:
        console.talk(f"the run {run} had been killed; it is closed as inconclusive now")
    cleaned = clean()
    for each in cleaned:
        console.talk(f"{each.leftover}: {each.problem or 'undone'}")
    if not cleaned and not tidied:
        console.talk("nothing was left")
    if any(each.problem for each in cleaned):
        raise click.exceptions.Exit(int(Exit.INCONCLUSIVE))


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console.data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rows(faults: Sequence[Fault]) -> Iterator[tuple[str, ...]]:
    """A row a way; the first one of a fault says what the fault does."""
    for fault in faults:
        settings = ", ".join(name if needed else f"[{name}]" for name, needed in fault["settings"].items())
        for number, way in enumerate(fault["ways"]):
            own = (fault["fault"], settings, fault["summary"]) if number == 0 else ("", "", way["summary"])
            here = "no" if way["why_not"] else "yes"
            yield own[0], way["way"] or "-", here, own[1], ", ".join(way["controls"]) or "-", own[2]


def _reasons(faults: Sequence[Fault]) -> dict[str, list[str]]:
    """Each thing that is not there, why, and the ways of faults that it rules out."""
    from gates.faults.capability import works

    found: dict[str, list[str]] = {}
    for fault in faults:
        for way in fault["ways"]:
            for reason in filter(None, map(works, way["capabilities"])):
                found.setdefault(reason, []).append(f"{fault['fault']} by {way['way']}")
    return found


def _faults() -> list[Fault]:
    from gates.faults.spec import KEYS

    return [
        {
            "fault": key,
            "settings": {field.alias or name: field.is_required() for name, field in fault.settings.model_fields.items()},
            "controls": list(fault.controls),
            "summary": (inspect.getdoc(fault) or "").partition("\n")[0],
            "ways": list(_ways(fault)),
        }
        for key, fault in KEYS.items()
    ]


def _ways(fault: object) -> Iterator[FaultWay]:
    from gates.faults.capability import works
    from gates.faults.ways import ways_of

    for way in ways_of(fault):
        reasons = filter(None, map(works, way.capabilities))
        yield {
            "way": way.name,
            "controls": list(way.controls),
            "capabilities": list(way.capabilities),
            "why_not": "; ".join(reasons),
            "summary": way.summary,
        }
