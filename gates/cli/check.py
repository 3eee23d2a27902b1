"""`gates check`: a spec and everything that it names, in every profile, without running anything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gates.cli.console import console

if TYPE_CHECKING:
    from gates.spec import Problem, Resolved

DEFAULT = "workflows/readiness.yaml"


@click.command("check")
@click.argument("named", default=DEFAULT, metavar="[FILE]")
@click.option("--profile", help="Check this profile only.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value, as `gates run` does.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def check_command(named: str, profile: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check FILE and everything that it names, in every profile unless one is given.

    Every error is shown at once with its line. Exit codes: 0 right, 4 wrong.
    """
    from gates.pipeline.folder import repository_root, spec_file
    from gates.spec import SpecErrors, profiles, resolve

    root = repository_root(Path.cwd())
    file = spec_file(named, root)
    found: list[Resolved] = []
    problems: dict[str, tuple[Problem, ...]] = {}
    try:
        names = [profile] if profile else profiles(file, root=root)
    except SpecErrors as error:
        names, problems = [], {"": error.problems}
    for name in names:
        try:
            found.append(resolve(file, root=root, profile=name, overrides=overrides))
        except SpecErrors as error:
            problems[name] = error.problems
    once = told_once(problems)
    if as_json:
        console.data(_json(named, found, once))
    if once:
        raise SpecErrors(once)
    for resolved in found if not as_json else ():
        console.data(f"{resolved.profile}: {_counts(resolved)}")
        for finding in resolved.findings:
            console.detail(f"  {finding.message}")


def told_once(problems: dict[str, tuple[Problem, ...]]) -> list[Problem]:
    """The problems of all profiles; what is wrong in several is told for the first of them, with the names of the others."""
    found: dict[Problem, tuple[Problem, list[str]]] = {}
    for profile, of_profile in problems.items():
        for problem in of_profile:
            alike = replace(problem, message=problem.message.replace(f"profile {profile}", "profile"), hint="")
            found.setdefault(alike, (problem, []))[1].append(profile)
    return [_also(problem, names[1:]) for problem, names in found.values()]


def _also(problem: Problem, others: list[str]) -> Problem:
    if not others or "profile" not in problem.message:
        return problem
    return replace(problem, message=f"{problem.message}; the same in {' and '.join(others)}")


def _json(file: str, found: Iterable[Resolved], problems: Iterable[Problem]) -> str:
    profiles = [
        {
            "profile": resolved.profile,
            "gates": len(resolved.gates),
            "criteria": _criteria(resolved),
            "claims": len(resolved.claims),
            "findings": [finding.message for finding in resolved.findings],
        }
        for resolved in found
    ]
    wrong = [asdict(problem) for problem in problems]
    return json.dumps({"file": file, "profiles": profiles, "problems": wrong}, indent=2, ensure_ascii=False)


def _counts(resolved: Resolved) -> str:
    criteria = plural(_criteria(resolved), "criterion", "criteria")
    return ", ".join((plural(len(resolved.gates), "gate"), criteria, plural(len(resolved.claims), "claim")))


def _criteria(resolved: Resolved) -> int:
    return sum(len(gate.criteria) for gate in resolved.gates)


def plural(number: int, one: str, many: str = "") -> str:
    """*number* with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
