"""Run the matrix of faults and loads until every cell was green so many times on this very tree, and keep the count.

    python benchmarks/matrix.py [--times 10] [--only crash --only partition] [--profile standard]

A cell is a gate `recovery-FAULT` and a kind of load. One run of a gate has all four kinds of load at once; a run that is not
green is green for none of them. What was run is appended to `.readiness/matrix/attempts.jsonl`, by a digest of everything that
decides the outcome (code, scenarios, spec, lock) and by whether root ran it, so that an interrupted session goes on where it
was and a changed tree begins anew. Runs that were not green are kept whole in `.readiness/matrix-failed`; in their own folder
newer ones push them out. Ends with 0 when every cell is green so often and no attempt was anything else, else with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parents[1]
SPEC = "workflows/readiness.yaml"
FOLDER = Path(".readiness/matrix")
ATTEMPTS = FOLDER / "attempts.jsonl"
FAILED = Path(".readiness/matrix-failed")
PREFIX = "recovery-"
LOADS = ("mana", "job", "anchor", "governance")
DECIDES = ("gates", "workflows", "pyproject.toml", "constraints.txt")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of one gate on one tree.

    Attributes:
        tree: digest of what decides the outcome.
        who: `root` or `user`.
        outcome: `pass`, `fail`, `inconclusive`, or `none` when there was no report.
        ways: by which the faults were caused.
        why: what was not green, in the report's words.
    """

    tree: str
    who: str
    gate: str
    outcome: str
    run: str
    seconds: float
    ways: tuple[str, ...] = ()
    why: str = ""


def digest(root: Path = HERE) -> str:
    """Of every file that git knows or would take, as it is now, below what decides an outcome."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *DECIDES]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    found = hashlib.sha256()
    for name in sorted(filter(None, names)):
        path = root / name
        found.update(f"{name}\0".encode() + (path.read_bytes() if path.is_file() else b"") + b"\0")
    return found.hexdigest()[:16]


def gates_of(spec: Path, only: Iterable[str]) -> list[str]:
    """The gates of the matrix, in the order of the spec."""
    names = [name for name in yaml.safe_load(spec.read_text())["gates"] if name.startswith(PREFIX)]
    wanted = {each if each.startswith(PREFIX) else PREFIX + each for each in only}
    unknown = wanted - set(names)
    if unknown:
        sys.exit(f"no such gate: {', '.join(sorted(unknown))}; there is {', '.join(names)}")
    return [name for name in names if not wanted or name in wanted]


def earlier(path: Path, tree: str, who: str) -> list[Attempt]:
    """The attempts on this tree by such a user; a line that was cut off by an interruption counts for nothing."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
            attempt = Attempt(**{**values, "ways": tuple(values["ways"])})
        except (ValueError, TypeError, KeyError):
            continue
        if (attempt.tree, attempt.who) == (tree, who):
            found.append(attempt)
    return found


def attempted(gate: str, profile: str, tree: str, who: str) -> Attempt:
    """Run *gate* alone and read what its report says."""
    command = [
        sys.executable,
        "-m",
        "gates",
        "-q",
        "run",
        SPEC,
        "--profile",
        profile,
        "--only",
        gate,
        "--root",
        str(FOLDER),
        "--json",
    ]
    began = time.monotonic()
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    took = round(time.monotonic() - began, 1)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return Attempt(tree, who, gate, "none", "", took, (), (done.stderr.strip().splitlines() or ["no report"])[-1])
    (found,) = (each for each in report["gates"] if each["gate"]["name"] == gate)
    why = "; ".join(each["reason"] for each in found["criteria"] if each["outcome"] not in ("pass", "not_applicable"))
    run = report["plan"]["run"]
    return Attempt(tree, who, gate, found["outcome"], run, took, _ways(FOLDER / run / gate), why or found["reason"])


def _ways(gate: Path) -> tuple[str, ...]:
    path = HERE / gate / "evidence" / "observations.json"
    return tuple(each.get("way", "") for each in json.loads(path.read_text())) if path.exists() else ()


def keep_failed(attempt: Attempt, root: Path = HERE) -> None:
    """Copy the run of an attempt that was not green to where nothing removes it."""
    run = root / FOLDER / attempt.run
    if attempt.outcome != "pass" and attempt.run and run.is_dir():
        shutil.copytree(run, root / FAILED / attempt.run, dirs_exist_ok=True)


def green(attempts: Iterable[Attempt], gate: str) -> int:
    """How often *gate* was green."""
    return sum(each.gate == gate and each.outcome == "pass" for each in attempts)


def table(gates: Sequence[str], attempts: Sequence[Attempt]) -> str:
    """Green runs of all, by fault and kind of load."""
    lines = [f"{'fault':<22}{''.join(f'{load:>12}' for load in LOADS)}  way"]
    for gate in gates:
        mine = [each for each in attempts if each.gate == gate]
        cell = f"{green(mine, gate)}/{len(mine)}" if mine else "-"
        ways = sorted({way for each in mine for way in each.ways if way})
        lines.append(f"{gate.removeprefix(PREFIX):<22}{cell:>12}{cell:>12}{cell:>12}{cell:>12}  {', '.join(ways)}")
    return "\n".join(lines)


def main() -> int:
    """Attempt what was green least often, until all were green often enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1, help="how often every cell must be green on this tree")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="only these")
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--show", action="store_true", help="only print the count")
    asked = parser.parse_args()
    os.chdir(HERE)
    tree, who = digest(), "root" if os.geteuid() == 0 else "user"
    gates = gates_of(HERE / SPEC, asked.only)
    attempts = earlier(HERE / ATTEMPTS, tree, who)
    begun = len(attempts)
    while not asked.show:
        # a cell that is not green is tried as often as the others, so one bad cell does not keep the rest from being run
        tried = {gate: sum(each.gate == gate for each in attempts) for gate in gates}
        gate = min(gates, key=tried.__getitem__)
        if tried[gate] >= asked.times:
            break
        attempt = attempted(gate, asked.profile, tree, who)
        if digest() != tree:
            print("the tree changed under the run; what was run does not count, start again", file=sys.stderr)
            return 1
        (HERE / ATTEMPTS).parent.mkdir(parents=True, exist_ok=True)
        keep_failed(attempt)
        with (HERE / ATTEMPTS).open("a") as file:
            file.write(json.dumps(asdict(attempt)) + "\n")
        attempts.append(attempt)
        print(f"{attempt.gate:<32}{attempt.outcome:<14}{attempt.seconds:>6.1f} s  {attempt.why}", file=sys.stderr, flush=True)
    print(f"tree {tree}, as {who}: {len(attempts)} attempts, {len(attempts) - begun} of them now")
    print(table(gates, attempts))
    relevant = [each for each in attempts if each.gate in gates]
    good = all(green(relevant, gate) >= asked.times for gate in gates) and all(each.outcome == "pass" for each in relevant)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
