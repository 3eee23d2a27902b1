"""`gates drill`: seed known defects and show that the gates catch them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.console import GREEN, RED, YELLOW, console, paint

if TYPE_CHECKING:
    from gates.drills.performance import Performed
    from gates.errors import Exit
    from gates.model import Drill

OWN_DRILLS = "drills for gates of your own come from a package with the entry point `gates.drills`; see CONTRIBUTING.md"


@click.command("drill")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="List the drills that fit the spec, and what must catch them.")
@click.option("--gate", help="Only drills of this gate.")
@click.option("--json", "as_json", is_flag=True, help="Print what happened as JSON.")
@click.option("--keep", is_flag=True, help="Keep the trees of the inner runs, and say where they are.")
@click.option("--spec", default="workflows/readiness.yaml", show_default=True, metavar="FILE", help="Whose gates are drilled.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Seed of the inner runs.")
@click.pass_context
def drill_command(
    ctx: click.Context, names: tuple[str, ...], listing: bool, gate: str | None, as_json: bool, keep: bool, spec: str, seed: int
) -> None:
    """Perform the drills NAME, or all that fit, one by one.

    Each is an ordinary run of its own with a known defect, beside one without. Exit codes: 0 when every defect was reached, had
    its effect and was caught; 1 when one was missed; 3 when one proves nothing.
    """
    from gates import registry
    from gates.drills.catalogue import fitting, flattened
    from gates.drills.tree import read_spec
    from gates.errors import NothingSelectedError
    from gates.pipeline.folder import repository_root

    root = repository_root(Path.cwd())
    values = read_spec(root, spec)
    drills = fitting(flattened(registry.plugins(registry.DRILLS)), values, root, names)
    chosen = tuple(drill for drill in drills if gate in (None, drill.base.gate))
    if not chosen:
        raise NothingSelectedError(f"no drill fits{f' the gate {gate!r}' if gate else ''}", location=spec, hint=OWN_DRILLS)
    if listing:
        _list(chosen, as_json)
        return
    scratch = Path(tempfile.mkdtemp(prefix="gates-drills-"))
    try:
        performed = _perform(chosen, root, values, scratch, seed)
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)
    _say(performed, as_json)
    if keep:
        console.talk(f"the inner runs are kept in {scratch}")
    ctx.exit(int(exit_of(performed)))


def exit_of(performed: Sequence[Performed]) -> Exit:
    """1 when a defect was missed, 3 when a drill proves nothing, else 0."""
    from gates.errors import Exit, most_important

    codes = {True: Exit.READY, False: Exit.INCONCLUSIVE}
    return most_important([Exit.NOT_READY if each.missed else codes[each.well] for each in performed])


def _perform(drills: Sequence[Drill], root: Path, spec: object, scratch: Path, seed: int) -> list[Performed]:
    from gates.drills.performance import Performer

    performer = Performer(root, spec, scratch, seed, lambda: datetime.now(UTC))  # type: ignore[arg-type]
    performed = []
    for number, drill in enumerate(drills, 1):
        console.talk(f"[{number}/{len(drills)}] {drill.name}: {drill.summary}")
        one = performer.perform(drill)
        console.talk(f"    {_word(one)}: {one.trouble or one.said}")
        performed.append(one)
    return performed


def _word(one: Performed) -> str:
    word, colour = ("caught", GREEN) if one.well else ("MISSED", RED) if one.missed else ("PROVES NOTHING", YELLOW)
    return paint(word, colour, sys.stderr)


def _say(performed: Sequence[Performed], as_json: bool) -> None:
    from gates.drills.performance import COLUMNS

    if as_json:
        rows = [dict(zip(COLUMNS, each.row, strict=True)) | _words(each) for each in performed]
        console.data(json.dumps({"drills": rows}, indent=2, ensure_ascii=False))
        return
    console.data(_aligned([COLUMNS, *(each.row for each in performed)]))


def _words(one: Performed) -> dict[str, str]:
    return {"seen": one.seen, "said": one.said, "trouble": one.trouble}


def _list(drills: Sequence[Drill], as_json: bool) -> None:
    rows = [(drill.name, f"{drill.base.gate}:{drill.criterion}", str(drill.expects), drill.summary) for drill in drills]
    columns = ("drill", "criterion", "must say", "defect")
    if as_json:
        console.data(
            json.dumps({"drills": [dict(zip(columns, row, strict=True)) for row in rows]}, indent=2, ensure_ascii=False)
        )
        return
    console.data(_aligned([columns, *rows]))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
