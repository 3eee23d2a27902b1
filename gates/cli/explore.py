"""`gates explore`: random sequences of faults, and the shortest of them that still fails."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from gates.cli.console import console

if TYPE_CHECKING:
    from gates.drills.explore import Faults, Ran

TIMES = (
    "flow.",
    "detect.",
    "converge.",
    "recovery.",
    "restored.",
    "availability",
    "budget.",
    "dependency.",
    "back.",
    "breaker.",
)
"""Criteria that one fault can be held to, and a row of them on any node can't: what is left is what must always hold."""


@click.command("explore")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=None, help="Draws the sequences; default: a new one.")
@click.option("--runs", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many sequences are tried.")
@click.option("--faults", "count", type=click.IntRange(1, 12), default=3, show_default=True, help="Faults of a sequence.")
@click.option("--trials", type=click.IntRange(0, 200), default=12, show_default=True, help="Most runs to shrink a failure.")
@click.option("--only", multiple=True, metavar="FAULT", help="Draw only from these faults, by their keys in a scenario.")
@click.option("--gate", default="recovery-crash", show_default=True, help="Whose load, invariants and criteria are taken.")
@click.option("--from", "folder", default="workflows/scenarios/recovery", show_default=True, help="Scenarios with the faults.")
@click.option("--spec", default="workflows/readiness.yaml", show_default=True)
@click.pass_context
def explore_command(
    ctx: click.Context,
    seed: int | None,
    runs: int,
    count: int,
    trials: int,
    only: tuple[str, ...],
    gate: str,
    folder: str,
    spec: str,
) -> None:
    """Run random sequences of faults until one fails, and print the shortest that still does as a scenario.

    The same seed gives the same sequences. Ends with 0 when all passed, 1 when one failed, 3 when one was inconclusive and none
    failed.
    """
    from gates.drills import explore
    from gates.spec import read_yaml

    chosen = Random().randrange(2**31) if seed is None else seed
    nodes = _nodes(spec, gate)
    base, target, criteria = _base(spec, gate)
    for path in sorted(Path(folder).glob("*.yaml")):
        read_yaml(path, explore.Faulty)  # every mistake at its place
    known = [each for each in explore.blocks(Path(folder)) if not only or set(only) & each.keys()]
    if not known:
        raise click.UsageError(f"no scenario in {folder} has a fault {', '.join(only)}")
    inconclusive = False
    with tempfile.TemporaryDirectory(prefix="gates-explore-") as name:
        home = Path(name)
        for number in range(runs):
            faults = explore.drawn(known, nodes, count, Random(f"{chosen}:{number}"))
            body = explore.scenario(base, faults, count)
            ran = explore.run(target, criteria, body, home / f"{number}", chosen)
            console.talk(f"sequence {number} of seed {chosen}: {_words(faults)}: {ran.outcome} {ran.why}")
            inconclusive = inconclusive or ran.outcome == "inconclusive"
            if ran.outcome == "fail":
                _shrink(faults, base, target, criteria, home / f"{number}-smaller", chosen, trials, ran)
                ctx.exit(1)
    ctx.exit(3 if inconclusive else 0)


def _shrink(
    faults: Faults,
    base: dict[str, Any],
    target: Any,
    criteria: dict[str, Any],
    home: Path,
    seed: int,
    trials: int,
    first: Ran,
) -> None:
    from gates.drills import explore

    last, tried = first, 0

    def fails(smaller: Faults) -> bool:
        nonlocal last, tried
        tried += 1
        body = explore.scenario(base, smaller, len(faults))
        ran = explore.run(target, criteria, body, home / f"{tried}", seed)
        console.talk(f"  {_words(smaller)}: {ran.outcome}")
        last = ran if ran.outcome == "fail" else last
        return ran.outcome == "fail"

    found = explore.shrunk(faults, fails, most=trials)
    console.talk(f"the shortest of {found.tried + 1} that fails: {_words(found.faults)}: {last.why}")
    lines = [f"# Fails: {last.why}", f"# Found by seed {seed}; run it as a gate of the kind validation with seed {seed}."]
    console.data("\n".join([*lines, explore.written(explore.scenario(base, found.faults, len(faults))).rstrip()]))


def _words(faults: Faults) -> str:
    return ", ".join(
        " ".join([next(key for key in fault if key not in ("at", "for", "way")), "at", fault["at"], "for", fault["for"]])
        for fault in faults
    )


def _nodes(path: str, gate: str) -> tuple[str, ...]:
    """The endpoints of the target of *gate*. Raises GatesError when the spec can't be used or has no such gate."""
    from gates.errors import BadFileError
    from gates.spec import profiles, resolve

    for profile in reversed(profiles(path, root=Path.cwd())):
        for planned in resolve(path, root=Path.cwd(), profile=profile).gates:
            if planned.name == gate and planned.kind == "validation" and planned.target is not None:
                return planned.target.endpoints
    raise BadFileError(f"no gate {gate!r} of the kind validation", location=path, hint="name one with --gate")


def _base(path: str, gate: str) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Scenario, target and criteria of *gate*, as they are written."""
    import yaml

    from gates.drills.tree import read_spec

    spec = read_spec(Path(), path)
    found = spec["gates"][gate]
    scenario = yaml.safe_load(Path(found["scenario"]).read_text(encoding="utf-8"))
    kept = {name: limit for name, limit in found["criteria"].items() if not name.startswith(TIMES)}
    return scenario, found.get("target") or spec["target"], kept
