"""How often the regression gate is wrong on simulated machines, beside other rules; `./noxw -s regression_simulation`.

    python benchmarks/regression_simulation.py [--gates 10000] [--state FILE] [--write docs/regression.md]

For each of the seven noise models: gates of 50 benchmarks without a change, and gates in which one is slower. It goes in parts
of 100 gates; each finished part is a line of the state file, so an interrupted run goes on where it was, and another seed or
design starts anew. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import regression_curves as curves
import regression_peers as peers
from regression_state import State

from gates.regression import noise, simulation
from gates.regression.simulation import Tally
from gates.regression.values import Design

PART = 100
BENCHMARKS = 50
PEER_GATES = 4  # of PART, each of BENCHMARKS: their rates are so large that few suffice
MODELS = [asdict(model) for model in noise.MODELS.values()]
EFFECTS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.20)
FIGURES = ("N4", "N6", "N7")
Key = tuple[str, float]


@dataclass(slots=True)
class Counts:
    """What was counted by model and true slowdown; for *peers* also by rule: (failed benchmarks, all, failed gates, all)."""

    ours: dict[Key, Tally] = field(default_factory=dict)
    peers: dict[tuple[str, float, str], tuple[int, int, int, int]] = field(default_factory=dict)

    def add(self, line: Mapping[str, object]) -> None:
        """A part, as it stands in the state file."""
        model = str(line["model"])
        for effect, tally in dict(line["ours"]).items():  # type: ignore[call-overload]
            key = model, float(effect)
            self.ours[key] = self.ours.get(key, Tally()) + Tally(**tally)
        for effect, by_rule in dict(line["peers"]).items():  # type: ignore[call-overload]
            for rule, counted in by_rule.items():
                before = self.peers.get((model, float(effect), rule), (0, 0, 0, 0))
                self.peers[model, float(effect), rule] = tuple(map(sum, zip(before, counted, strict=True)))  # type: ignore[assignment]


def main() -> int:
    """Measure what is not yet in the state file, print the tables; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=10_000, help="gates of every model and every slowdown (10000)")
    parser.add_argument("--models", nargs="*", default=list(noise.MODELS), choices=list(noise.MODELS))
    parser.add_argument("--pairs", default="12+30", help="pairs of stage 1 and fewest of stage 2 (12+30)")
    parser.add_argument("--most", type=int, default=60, help="most pairs of stage 2 (60)")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--state", type=Path, default=Path(".readiness/regression-simulation.jsonl"))
    parser.add_argument("--write", type=Path, help="a page whose part `simulation` is written anew")
    asked = parser.parse_args()
    first, second = map(int, asked.pairs.split("+"))
    design = Design(first=first, second=second, most=max(asked.most, second), metrics=BENCHMARKS)
    counts = Counts()
    for line in parts(asked, design):
        counts.add(line)
    text = tables(counts, asked.models, design)
    print(text)
    if asked.write:
        curves.write(asked.write, "simulation", text, figures(counts))
    missed = [said for model in asked.models for said in targets(model, counts, design)]
    print("\n".join(["", *missed, f"{len(missed)} targets are missed" if missed else "every target is met"]))
    return 1 if missed else 0


def parts(asked: argparse.Namespace, design: Design) -> Iterator[Mapping[str, object]]:
    """All parts, those of the state file first."""
    state = State(asked.state, {"seed": asked.seed, "design": asdict(design), "effects": EFFECTS, "models": MODELS})
    known = {(line["model"], line["part"]): line for line in state}
    started = time.monotonic()
    for model in asked.models:
        for part in range(-(-asked.gates // PART)):
            line = known.get((model, part))
            if line is None:
                line = {"model": model, "part": part, **part_of(model, part, asked.seed, design)}
                state.add(line)
            yield line
        print(f"{model} after {time.monotonic() - started:.0f} s", file=sys.stderr)


def part_of(model: str, part: int, seed: int, design: Design) -> Mapping[str, object]:
    """PART gates without a change and as many with each effect, and a few of the peers', from a seed of their own."""
    generator = np.random.default_rng([seed, list(noise.MODELS).index(model), part])
    same = simulation.without_change(noise.MODELS[model], PART, design, generator)
    changed = simulation.with_changes(noise.MODELS[model], PART, EFFECTS, design, generator)
    ours = {"0": asdict(same)} | {f"{effect:g}": asdict(tally) for effect, tally in changed.items()}
    return {"ours": ours, "peers": peers_of(noise.MODELS[model], design, generator)}


def peers_of(model: noise.Noise, design: Design, generator: np.random.Generator) -> Mapping[str, Mapping[str, tuple[int, ...]]]:
    """The peers' rules on as many timings: the base in an earlier job, the candidate in this one, under the same noise."""
    timings = design.first * noise.ROUNDS * 2
    found: dict[str, dict[str, tuple[int, ...]]] = {f"{effect:g}": {} for effect in (0.0, *EFFECTS)}
    for count in sorted(set(peers.PROCESSES.values())):
        shape = (PEER_GATES, BENCHMARKS, count, timings // count)
        base, candidate = (noise.processes(model, shape, generator).reshape(PEER_GATES, BENCHMARKS, -1) for _ in range(2))
        for rule in (name for name, processes in peers.PROCESSES.items() if processes == count):
            for effect in (0.0, *EFFECTS):
                flags = peers.RULES[rule](base, candidate * (1 + effect))
                found[f"{effect:g}"][rule] = (int(flags.sum()), flags.size, int(flags.any(axis=1).sum()), len(flags))
    return found


def targets(model: str, counts: Counts, design: Design) -> Iterable[str]:
    """The targets that *model* misses, in words."""
    same, five, ten = (counts.ours[model, effect] for effect in (0.0, 0.05, 0.10))
    if same.failed > 0.001 * same.gates:
        yield f"{model}: {same.failed} of {same.gates:,} gates without a change failed, more than 0.1 %"
    if same.inconclusive > 0.01 * same.gates:
        yield f"{model}: {same.inconclusive} of {same.gates:,} gates without a change were inconclusive, more than 1 %"
    if five.slow < 0.99 * five.benchmarks:
        yield f"{model}: {five.slow} of {five.benchmarks:,} slowdowns of 5 % failed, fewer than 99 %"
    if ten.slow < 0.999 * ten.benchmarks:
        yield f"{model}: {ten.slow} of {ten.benchmarks:,} slowdowns of 10 % failed, fewer than 99.9 %"
    nominal = 1 - design.suspect - design.upper, 1 - design.alpha2 - design.upper
    for effect, tally, level in zip((0.0, 0.05), (same, five), nominal, strict=True):
        if tally.covered < curves.least(tally.benchmarks, level):
            held = curves.percent(tally.covered, tally.benchmarks)
            yield f"{model}: {held} of intervals hold +{effect:.0%}, fewer than {100 * level:.2f} %"


def tables(counts: Counts, models: list[str], design: Design) -> str:
    """Everything that was counted, as Markdown."""
    gates = counts.ours[models[0], 0.0].gates
    return "\n\n".join(
        [
            f"{gates:,} gates of {design.metrics} benchmarks a model, {design.first} pairs and {design.second} to "
            f"{design.most} fresh ones. An interval in brackets is Clopper and Pearson's, 95 %.",
            errors(counts, models),
            power(counts, models),
            coverage(counts, models),
            beside(counts, models),
        ]
    )


def errors(counts: Counts, models: list[str]) -> str:
    rows = []
    for model in models:
        tally = counts.ours[model, 0.0]
        fresh = tally.fresh / max(1, tally.second)
        rows.append(
            (
                f"{model} {noise.MODELS[model].name}",
                curves.share(tally.failed, tally.gates),
                curves.share(tally.inconclusive, tally.gates),
                curves.percent(tally.control, tally.gates),
                curves.percent(tally.second, tally.gates),
                f"{tally.fresh_benchmarks / max(1, tally.second):.1f}",
                f"{fresh:.0f}",
            )
        )
    head = ("no change", "gates failed", "inconclusive", "control refused", "with stage 2", "benchmarks in it", "fresh pairs")
    return curves.table(head, rows)


def power(counts: Counts, models: list[str]) -> str:
    rows = [
        (f"{model} {noise.MODELS[model].name}", *(_power(counts.ours[model, effect]) for effect in EFFECTS)) for model in models
    ]
    return curves.table(("benchmarks failed at", *(f"+{effect:.0%}" for effect in EFFECTS)), rows)


def _power(tally: Tally) -> str:
    return curves.percent(tally.slow, tally.benchmarks)


def coverage(counts: Counts, models: list[str]) -> str:
    """How often the judged interval holds the truth, and how often the bare bounds are on its wrong side."""
    rows = []
    for model in models:
        same, five = counts.ours[model, 0.0], counts.ours[model, 0.05]
        rows.append(
            (
                f"{model} {noise.MODELS[model].name}",
                curves.percent(same.covered, same.benchmarks),
                curves.percent(five.covered, five.benchmarks),
                curves.percent(same.first_over, same.benchmarks),
                curves.percent(same.first_under, same.benchmarks),
                curves.percent(five.second_over, five.fresh_benchmarks),
                curves.percent(five.second_under, five.fresh_benchmarks),
            )
        )
    head = (
        *("intervals", "hold 0 %", "hold +5 %", "stage 1 above (2 %)", "below (0.5 %)"),
        *("stage 2 above (0.1 %)", "below (0.5 %)"),
    )
    return curves.table(head, rows)


def beside(counts: Counts, models: list[str]) -> str:
    """Other rules under the same noise: benchmarks that fail without a change and at +5 %, and gates of 50 without a change."""
    rows = []
    for rule in ("this gate", *peers.RULES):
        for effect, what in ((0.0, "false alarm"), (0.0, "false gate of 50"), (0.05, "finds +5 %")):
            rows.append((rule, what, *(_beside(counts, model, effect, rule, what) for model in models)))
    return curves.table(("rule", "how often", *models), rows)


def _beside(counts: Counts, model: str, effect: float, rule: str, what: str) -> str:
    if rule == "this gate":
        tally = counts.ours[model, effect]
        slow, every, failed, gates = tally.slow, tally.benchmarks, tally.failed, tally.gates
    else:
        slow, every, failed, gates = counts.peers[model, effect, rule]
    return curves.percent(failed, gates) if "gate of" in what else curves.percent(slow, every)


def figures(counts: Counts) -> Mapping[str, str]:
    """SVGs by name: how often a benchmark fails against its true slowdown, each rule a curve, for a few models."""
    drawn = {}
    for model in [model for model in FIGURES if (model, 0.0) in counts.ours]:
        lines = {"this gate": [(effect, _rate(counts.ours[model, effect])) for effect in (0.0, *EFFECTS)]}
        for rule in peers.RULES:
            told = [(effect, counts.peers[model, effect, rule]) for effect in (0.0, *EFFECTS)]
            lines[rule] = [(effect, slow / every) for effect, (slow, every, _, _) in told]
        drawn[f"simulation-{model}"] = curves.figure(f"{model}: {noise.MODELS[model].name}", lines)
    return drawn


def _rate(tally: Tally) -> float:
    return tally.slow / tally.benchmarks


if __name__ == "__main__":
    sys.exit(main())
