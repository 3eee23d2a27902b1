"""`gates check`: a spec and everything that it names, in every profile, without running anything."""

from __future__ import annotations

from pathlib import Path

import click

from gates.cli.console import console

DEFAULT = "workflows/readiness.yaml"


@click.command("check")
@click.argument("named", default=DEFAULT, metavar="[FILE]")
@click.option("--profile", help="Check this profile only.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value, as `gates run` does.")
def check_command(named: str, profile: str | None, overrides: tuple[str, ...]) -> None:
    """Check FILE and everything that it names, in every profile unless one is given.

    Every error is shown at once with its line. Exit codes: 0 right, 4 wrong.
    """
    from gates.pipeline.folder import repository_root, spec_file
    from gates.spec import Problem, Resolved, SpecErrors, profiles, resolve

    root = repository_root(Path.cwd())
    file = spec_file(named, root)
    found: list[Resolved] = []
    problems: list[Problem] = []
    for name in [profile] if profile else profiles(file, root=root):
        try:
            found.append(resolve(file, root=root, profile=name, overrides=overrides))
        except SpecErrors as error:
            problems += error.problems
    if problems:
        raise SpecErrors(problems)
    for resolved in found:
        console.data(f"{resolved.profile}: {_counts(resolved.gates, len(resolved.claims))}")
        for finding in resolved.findings:
            console.detail(f"  {finding.message}")


def _counts(gates: tuple[object, ...], claims: int) -> str:
    from gates.model import PlannedGate

    criteria = sum(len(gate.criteria) for gate in gates if isinstance(gate, PlannedGate))
    return ", ".join((plural(len(gates), "gate"), plural(criteria, "criterion", "criteria"), plural(claims, "claim")))


def plural(number: int, one: str, many: str = "") -> str:
    """*number* with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
