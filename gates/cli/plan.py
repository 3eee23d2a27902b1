"""`gates plan`: what a run would do: the graph, what runs beside what, times against the budget, missing controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.check import DEFAULT, plural
from gates.cli.console import BOLD, YELLOW, console, paint

if TYPE_CHECKING:
    from gates.model import PlannedGate
    from gates.spec import Resolved


@click.command("plan")
@click.option("--spec", "file", default=DEFAULT, show_default=True, help="The spec.")
@click.option("--profile", default="quick", show_default=True, help="How much is run.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value of the spec.")
@click.option("--base", metavar="REF", help="Compare with this commit or branch, in every gate that compares.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan_command(file: str, profile: str, overrides: tuple[str, ...], base: str | None, as_json: bool) -> None:
    """Show what a run would do, without doing it.

    Gates of one step run beside each other; those that measure take the machine alone.
    """
    from gates import codec
    from gates.cli.base import against
    from gates.pipeline.folder import repository_root, spec_file
    from gates.spec import resolve

    overrides = against(file, base, overrides)
    root = repository_root(Path.cwd())
    resolved = resolve(spec_file(file, root), root=root, profile=profile, overrides=overrides)
    if as_json:
        console.data(codec.dumps({**codec.to_json(resolved), "overrides": list(overrides)}).rstrip("\n"))
        return
    console.data("\n".join(_lines(resolved, overrides)))


def _lines(resolved: Resolved, overrides: tuple[str, ...]) -> list[str]:
    from gates.model import Unit
    from gates.quantity import show
    from gates.spec.graph import levels

    expected = sum(gate.budget for gate in resolved.gates)
    allowed = f" of {show(resolved.budget, Unit.SECONDS)}" if resolved.budget else ""
    lines = [f"{_bold(resolved.profile)}: {plural(len(resolved.gates), 'gate')}, {show(expected, Unit.SECONDS)}{allowed}"]
    if resolved.budget and expected > resolved.budget:
        lines.append(_warning("the gates together take longer than the profile's budget"))
    for number, step in enumerate(levels(resolved.gates), start=1):
        lines += ["", f"step {number}", *_step(step)]
    lines += ["", plural(len(resolved.claims), "claim")]
    lines += [f"  {finding.message}" for finding in resolved.findings]
    lines += [f"set on the command line: {text}" for text in overrides]
    lines += [f"required for this profile: {', '.join(resolved.require)}"] if resolved.require else []
    return [*lines, *([f"not in this profile: {', '.join(resolved.elsewhere)}"] if resolved.elsewhere else [])]


def _step(gates: list[PlannedGate]) -> list[str]:
    beside = [gate for gate in gates if not gate.measures]
    lines: list[str] = []
    if beside:
        lines.append("  beside each other" if len(beside) > 1 else "  shares the machine")
        lines += [line for gate in beside for line in _gate(gate)]
    for gate in gates:
        if gate.measures:
            lines += ["  alone on the machine", *_gate(gate)]
    return lines


def _gate(gate: PlannedGate) -> list[str]:
    from gates.model import Unit
    from gates.quantity import show

    needs = f", after {', '.join(gate.needs)}" if gate.needs else ""
    times = f"{show(gate.budget, Unit.SECONDS) if gate.budget else 'time unknown'}, at most {show(gate.limit, Unit.SECONDS)}"
    lines = [f"    {_bold(gate.name)} ({gate.kind}): {plural(len(gate.criteria), 'criterion', 'criteria')}, {times}{needs}"]
    lines += [_warning(f"INCONCLUSIVE without running, missing: {name}", 6) for name in gate.missing]
    return [*lines, *_base(gate.settings.get("base") or {} if gate.kind == "benchmarks" else {})]


def _base(chosen: Mapping[str, str]) -> list[str]:
    """What a gate that compares was given as its *base*; nothing for any other gate."""
    if "problem" in chosen:
        return [_warning(f"what compares is INCONCLUSIVE: {chosen['problem']}", 6)]
    if "none" in chosen:
        return [f"      compares with nothing: {chosen['none']}"]
    return [f"      compares with {chosen['sha'][:9]}, {chosen['why']}"] if "sha" in chosen else []


def _bold(text: str) -> str:
    import sys

    return paint(text, BOLD, sys.stdout)


def _warning(text: str, indent: int = 2) -> str:
    import sys

    return " " * indent + paint(text, YELLOW, sys.stdout)
