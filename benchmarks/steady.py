"""Run the main job over and over on one commit and count how it ended; what `./noxw -s steady` does.

Every run is a line of .readiness/steady.jsonl, keyed by commit, so an interrupted count goes on where it was. The table of
criteria has the largest value of all runs beside its limit: limits of our own spec are at least three times that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RUNS = Path(".readiness")
COUNTED = RUNS / "steady.jsonl"


def main() -> int:
    """Exit 0 when no run was NOT READY and at most one in twenty was INCONCLUSIVE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="how many runs of this commit are wanted (20)")
    parser.add_argument("nox", nargs="+", help="the command of the main job, after --")
    arguments = parser.parse_args()
    commit = current_commit()
    for number in range(len(counted(commit)) + 1, arguments.runs + 1):
        record = run_once(arguments.nox, commit)
        with COUNTED.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{number}/{arguments.runs} {record['verdict']} in {record['seconds']:.0f} s: {record['headline']}", flush=True)
    records = counted(commit)
    print_tables(commit, records)
    verdicts = Counter(record["verdict"] for record in records)
    calm = verdicts["not_ready"] + verdicts["no report"] == 0 and verdicts["inconclusive"] * 20 <= len(records)
    return 0 if records and calm else 1


def current_commit() -> str:
    """The commit, and whether the tree differs from it: a count over changing trees would count nothing."""
    sha = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return sha + ("+dirty" if dirty else "")


def counted(commit: str) -> list[dict[str, Any]]:
    """The runs of *commit* so far."""
    if not COUNTED.is_file():
        return []
    lines = COUNTED.read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["commit"] == commit]


def run_once(nox: list[str], commit: str) -> dict[str, Any]:
    """Run the main job and read its report; a run without a report of its own is counted as that."""
    before = {path.name for path in RUNS.glob("*/")}
    started = time.monotonic()
    ended = subprocess.run(nox, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    record = {"commit": commit, "seconds": time.monotonic() - started, "exit": ended.returncode}
    new = [path for path in RUNS.glob("*/readiness.json") if path.parent.name not in before and not path.parent.is_symlink()]
    if len(new) != 1:
        return {**record, "run": "", "verdict": "no report", "headline": f"{len(new)} new reports", "criteria": {}}
    report = json.loads(new[0].read_text("utf-8"))
    return {
        **record,
        "run": new[0].parent.name,
        "verdict": report["verdict"],
        "headline": report["headline"],
        "criteria": dict(criteria(report)),
    }


def criteria(report: dict[str, Any]) -> Iterable[tuple[str, list[Any]]]:
    """Every measured criterion of *report*: its largest value, its comparisons in words, what was said of it."""
    for gate in report["gates"]:
        for judged in gate["criteria"]:
            values = [measurement["value"] for measurement in judged.get("measurements", ())]
            limits = [f"{one['comparator']} {one['limit']:g}" for one in judged["criterion"]["comparisons"]]
            if values:
                yield f"{gate['gate']['name']}:{judged['criterion']['id']}", [max(values), limits, judged["outcome"]]


def print_tables(commit: str, records: list[dict[str, Any]]) -> None:
    """How the runs ended, then the largest value that any of them saw of each criterion."""
    verdicts = Counter(record["verdict"] for record in records)
    seconds = sorted(record["seconds"] for record in records)
    print(f"\n{len(records)} runs of {commit[:7]}: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    if seconds:
        print(f"time: median {seconds[len(seconds) // 2]:.0f} s, from {seconds[0]:.0f} s to {seconds[-1]:.0f} s")
    names = sorted({name for record in records for name in record["criteria"]})
    for name in names:
        seen = [record["criteria"][name] for record in records if name in record["criteria"]]
        print(f"  {name:60} largest {max(value for value, _, _ in seen):.4g}, limit {', '.join(seen[-1][1])}, n={len(seen)}")


if __name__ == "__main__":
    sys.exit(main())
