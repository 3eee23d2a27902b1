"""The regression gate on real processes: without a change, and with 5 % more work; `./noxw -s regression_real`.

    python benchmarks/regression_real.py [--gates 40] [--conditions idle hogs] [--state FILE] [--write docs/regression.md]

Each gate compares three benchmarks of a small package made for this. Half of the gates compare it with itself; in the other
half one benchmark in turn does 5 % more work. With `hogs`, two processes of ours take 40 % of a CPU each in bursts, and there
are 16 + 40 pairs instead of 12 + 30. Every finished gate is a line of the state file, so an interrupted run goes on where it
was. With `--part 0/2` and `--part 1/2`, each under `taskset` of a CPU of its own, two share the work and the state file; each
has half of the hogs. Beside the gate, other rules judge the same timings. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import regression_curves as curves
import regression_peers as peers
from regression_state import State

from gates.model import Comparator, Outcome
from gates.model import Comparison as Limit
from gates.pipeline.judge import compare as judged
from gates.pipeline.judge import worst
from gates.regression.comparison import Comparison, compare
from gates.regression.processes import Suite
from gates.regression.values import FEWEST_PAIRS, Design, Estimate, Pair, Tolerance

LIMIT = Limit(Comparator.BELOW, Tolerance().below, fail_beyond=Tolerance().fail_above)
DESIGNS = {"idle": Design(first=12, second=30, most=60), "hogs": Design(first=16, second=40, most=80)}  # as `pairs` makes them
KINDS = ("same", "slower")
WORK = {"loop": 200, "text": 40, "table": 200}  # equal steps, so that 5 % more of them are 5 % more work
PACKAGE = """
import json
from itertools import repeat

STEPS = {steps!r}
DOCUMENT = {{"name": "a" * 40, "rows": [{{"number": index, "share": index / 7}} for index in range(12)]}}


def loop():
    total = 0
    for _ in repeat(None, STEPS["loop"]):
        for number in (3, 1, 4, 1, 5, 9, 2, 6):
            total ^= number * 5
    return total


def text():
    return [json.loads(json.dumps(DOCUMENT)) for _ in repeat(None, STEPS["text"])]


def table():
    counts = {{}}
    for _ in repeat(None, STEPS["table"]):
        for key in ("a", "b", "c", "d", "e"):
            counts[key] = counts.get(key, 0) % 7 + 1
    return counts
"""
BENCHMARKS = """
import work
import pytest


@pytest.mark.parametrize("name", ["loop", "text", "table"])
def test_work(benchmark, name):
    benchmark(getattr(work, name))
"""
HOG = """
import os, random, time
parent = os.getppid()
while os.getppid() == parent:
    until = time.monotonic() + random.expovariate(1 / 0.04)
    while time.monotonic() < until:
        pass
    time.sleep(random.expovariate(1 / 0.06))
"""


def main() -> int:
    """Measure the gates that are not yet in the state file, print what all of them said; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=40, help="gates of each kind under each condition (40)")
    parser.add_argument("--conditions", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--state", type=Path, default=Path(".readiness/regression-real.jsonl"))
    parser.add_argument(
        "--part", type=part, default=(0, 1), help="0/2: only gates 0, 2, 4 ...; another does the rest beside it"
    )
    parser.add_argument("--write", type=Path, help="a page whose part `real` is written anew")
    asked = parser.parse_args()
    lines = list(gates(asked))
    text = tables(lines)
    print(text)
    if asked.write:
        curves.write(asked.write, "real", text, {})
    missed = list(targets(lines))
    print("\n".join(["", *missed, f"{len(missed)} targets are missed" if missed else "every target is met"]))
    return 1 if missed else 0


def part(text: str) -> tuple[int, int]:
    """`1/2` is the second of two parts. Raises ValueError."""
    which, _, of = text.partition("/")
    if not 0 <= int(which) < int(of):
        raise ValueError
    return int(which), int(of)


def gates(asked: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
    """All gates asked for, those of the state file among them."""
    which, of = asked.part
    numbers = range(which, asked.gates, of)
    wanted = [(each, kind, number) for number in numbers for each in asked.conditions for kind in asked.kinds]
    designs = {condition: asdict(design) for condition, design in DESIGNS.items()}
    state = State(asked.state, {"seed": asked.seed, "designs": designs, "package": PACKAGE, "work": WORK})
    known = {(line["condition"], line["kind"], line["gate"]): line for line in state}
    for done, (condition, kind, number) in enumerate(wanted):
        line = known.get((condition, kind, number))
        if line is None:
            line = gate(condition, kind, number, asked.seed, 2 // of)
            state.add(line)
            said = f"{condition}, {kind}, gate {number}: {line['verdict']} in {line['seconds']:.0f} s"
            print(f"{done + 1} of {len(wanted)}: {said}{', ' + line['reason'] if line['reason'] else ''}", file=sys.stderr)
        yield line


def gate(condition: str, kind: str, number: int, seed: int, busy: int) -> Mapping[str, Any]:
    """One comparison, from making both trees to its verdict."""
    changed = list(WORK)[number % len(WORK)] if kind == "slower" else ""
    design = DESIGNS[condition]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gates-real-") as folder, hogs(busy if condition == "hogs" else 0):
        old, new = tree(Path(folder) / "old", ""), tree(Path(folder) / "new", changed)
        suite = Suite(paths=("benchmarks",), packages=("work",), overlaid="benchmarks")
        chosen = seed + 1000 * number + 10 * KINDS.index(kind) + list(DESIGNS).index(condition)
        found = compare(suite, old, new, design, seed=chosen)
    outcome, reason = verdict(found)
    return {
        "condition": condition,
        "kind": kind,
        "gate": number,
        "changed": f"work[{changed}]" if changed else "",
        "verdict": str(outcome),
        "reason": reason,
        "pairs": len(found.pairs),
        "seconds": time.monotonic() - started,
        "estimates": [asdict(estimate) for estimate in found.estimates],
        "control": asdict(found.control.estimate) if found.control and found.control.estimate else None,
        "sides": sides(found.pairs[: design.first]),
    }


def tree(folder: Path, changed: str) -> Path:
    """The package and its benchmarks in *folder*; *changed* does 5 % more steps."""
    steps = {name: count * 21 // 20 if name == changed else count for name, count in WORK.items()}
    for name, text in (("work/__init__.py", PACKAGE.format(steps=steps)), ("benchmarks/test_work.py", BENCHMARKS)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """*count* processes that take 40 % of a CPU each, in bursts; they end with this one, whatever happens."""
    running = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in running:
            hog.kill()
            hog.wait()


def verdict(found: Comparison) -> tuple[Outcome, str]:
    """The gate's verdict as `judge` makes it; nothing counts when the control or the comparison is not sound."""
    unsound = [*found.problems, *(f"{name}: {why}" for name, why in found.broken.items())]
    unsound += [found.control.reason] if found.control and found.control.reason else []
    names = {estimate.name for estimate in found.estimates}
    unsound += [f"{name} was not measured" for name in (f"work[{name}]" for name in WORK) if name not in names]
    if unsound or not found.control:
        return Outcome.INCONCLUSIVE, "; ".join(unsound) or "there was no control"
    told = [(outcome(estimate), estimate) for estimate in found.estimates]
    said = worst(each for each, _ in told)
    return said, "; ".join(_interval(estimate) for each, estimate in told if each is said and said is not Outcome.PASS)


def outcome(estimate: Estimate) -> Outcome:
    said = judged(LIMIT, estimate.low, estimate.high)
    return Outcome.INCONCLUSIVE if said is Outcome.PASS and estimate.pairs < FEWEST_PAIRS else said


def _interval(estimate: Estimate) -> str:
    return f"{estimate.name} {estimate.slowdown:+.1%} ({estimate.low:+.1%} to {estimate.high:+.1%}, {estimate.pairs} pairs)"


def sides(pairs: Sequence[Pair]) -> Mapping[str, Mapping[str, Any]]:
    """What other rules need of the same timings, by benchmark: each side's mean, least and median, and what asv says."""
    told = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair.seconds):
        both = np.array([each for pair in pairs for each in pair.seconds.get(name, ())])
        base, candidate = both[:, 0], both[:, 1]
        each = {side: (float(x.mean()), float(x.min()), float(np.median(x))) for side, x in (("b", base), ("c", candidate))}
        told[name] = {**each, "asv": bool(peers.asv(base, candidate))}
    return told


def tables(lines: Sequence[Mapping[str, Any]]) -> str:
    """What the gates said, and what other rules say of the same timings."""
    return "\n\n".join([counted(lines), measured(lines), beside(lines)])


def groups(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Mapping[str, Any]]]]:
    for condition in DESIGNS:
        for kind in KINDS:
            chosen = [line for line in lines if (line["condition"], line["kind"]) == (condition, kind)]
            if chosen:
                yield condition, kind, chosen


def counted(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for condition, kind, chosen in groups(lines):
        verdicts = [line["verdict"] for line in chosen]
        seconds, pairs = (sorted(line[what] for line in chosen)[len(chosen) // 2] for what in ("seconds", "pairs"))
        said = tuple(str(verdicts.count(word)) for word in ("fail", "inconclusive", "pass"))
        rows.append((f"{condition}, {named(kind)}", str(len(chosen)), *said, f"{pairs}", f"{seconds:.0f} s"))
    return curves.table(("real processes", "gates", "fail", "inconclusive", "pass", "median pairs", "median time"), rows)


def named(kind: str) -> str:
    return "the same code" if kind == "same" else "one of three +5 %"


def measured(lines: Sequence[Mapping[str, Any]]) -> str:
    """What was estimated where the truth is known: unchanged benchmarks at 0, changed ones at +5 %."""
    rows = []
    for condition in DESIGNS:
        for true, what in ((0.0, "unchanged"), (0.05, "+5 % work")):
            found = [
                each
                for line in lines
                if line["condition"] == condition
                for each in line["estimates"]
                if (each["name"] == line["changed"]) == bool(true)
            ]
            if found:
                middle = np.median([each["slowdown"] for each in found])
                held = sum(each["low"] <= true <= each["high"] for each in found)
                spread = np.median([each["spread"] for each in found])
                share = curves.percent(held, len(found))
                rows.append((f"{condition}, {what}", str(len(found)), f"{middle:+.2%}", f"{spread:.2%}", share))
    return curves.table(("estimates", "how many", "median", "median spread of pairs", "intervals that hold the truth"), rows)


def beside(lines: Sequence[Mapping[str, Any]]) -> str:
    """Others on the same timings: benchmarks that they fail. Stored numbers are those of the gate before, same condition."""
    rows = []
    for condition, kind, chosen in groups(lines):
        earlier = {line["gate"]: line for line in lines if (line["condition"], line["kind"]) == (condition, "same")}
        ours, flags = 0, {rule: [0, 0] for rule in ("mean", "median", "asv")}
        every = 0
        for line in chosen:
            wanted = [name for name in line["sides"] if (name == line["changed"]) == (kind == "slower")]
            every += len(wanted)
            ours += sum(told_fail(line, name) for name in wanted)
            before = earlier.get(line["gate"] - 1)
            for name in wanted:
                side = line["sides"][name]
                count(flags["asv"], side["asv"])
                if before and name in before["sides"]:
                    base = before["sides"][name]["b"]
                    count(flags["mean"], side["c"][0] > peers.THRESHOLD * base[0])
                    count(flags["median"], side["c"][2] > peers.THRESHOLD * base[2])
        shares = (curves.percent(slow, of) for slow, of in flags.values())
        rows.append((f"{condition}, {'unchanged' if kind == 'same' else '+5 % work'}", curves.percent(ours, every), *shares))
    head = (
        "benchmarks that fail",
        "this gate",
        "compare-fail mean:5%, run before",
        "median + 5 %, run before",
        "asv, same run",
    )
    return curves.table(head, rows)


def told_fail(line: Mapping[str, Any], name: str) -> bool:
    return line["verdict"] == "fail" and any(
        judged(LIMIT, each["low"], each["high"]) is Outcome.FAIL for each in line["estimates"] if each["name"] == name
    )


def count(flags: list[int], flag: bool) -> None:
    flags[0] += flag
    flags[1] += 1


def targets(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The targets that are missed, in words."""
    if not lines:
        yield "no gate was run"
    for condition, kind, chosen in groups(lines):
        failed = [line for line in chosen if line["verdict"] == "fail"]
        if kind == "same" and failed:
            yield f"{condition}: {len(failed)} of {len(chosen)} gates without a change failed, and none may"
        right = sum(told_fail(line, line["changed"]) for line in failed)
        if kind == "slower" and right < len(chosen) * 39 / 40:
            yield f"{condition}: {right} of {len(chosen)} gates with +5 % failed for it, and 39 of 40 must"


if __name__ == "__main__":
    sys.exit(main())
