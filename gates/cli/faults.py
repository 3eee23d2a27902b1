"""`gates faults`: what a scenario of the kind `validation` can do to its target."""

from __future__ import annotations

import inspect
import json
from typing import TypedDict

import click

from gates.cli.console import console


class Fault(TypedDict):
    """One fault: its key in a scenario, the settings under that and whether each must be given, the controls that it needs."""

    fault: str
    settings: dict[str, bool]
    controls: list[str]
    summary: str


@click.command("faults")
@click.option("--json", "as_json", is_flag=True, help="Print the faults as JSON.")
def faults_command(as_json: bool) -> None:
    """List the faults that a scenario can name.

    Settings in brackets may be left out. Each fault needs controls of the target: `gates plan` shows those that a target lacks;
    a server that runs already (`url`) has none.
    """
    faults = _faults()
    if as_json:
        console.data(json.dumps(faults, indent=2))
        return
    table = [("fault", "settings", "controls", "what it does"), *map(_row, faults)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        console.data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(fault: Fault) -> tuple[str, str, str, str]:
    settings = (name if needed else f"[{name}]" for name, needed in fault["settings"].items())
    return fault["fault"], ", ".join(settings), ", ".join(fault["controls"]), fault["summary"]


def _faults() -> list[Fault]:
    from gates.faults.spec import KEYS

    return [
        {
            "fault": key,
            "settings": {name: field.is_required() for name, field in fault.settings.model_fields.items()},
            "controls": list(fault.controls),
            "summary": (inspect.getdoc(fault) or "").partition("\n")[0],
        }
        for key, fault in KEYS.items()
    ]
