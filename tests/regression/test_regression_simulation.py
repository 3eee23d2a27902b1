"""The seeded share of the simulation, and that it simulates what the gate does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gates.model import Comparator, Comparison, Outcome
from gates.pipeline.judge import compare, worst
from gates.regression import noise, simulation, stages
from gates.regression.simulation import Noises, Tally
from gates.regression.values import Design, Pair, logarithm

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
LIMIT = Comparison(Comparator.BELOW, 0.05, fail_beyond=0.02)


def by_hand(first: np.ndarray, second: np.ndarray, design: Design) -> Counter[Outcome]:
    """What the gate's own stages and the judge say of each benchmark of one gate, from its pairs."""
    stage = stages.first(pairs(first), design)
    fresh = pairs(second[:, : min(stage.pairs, design.second)], kept=stage.open)
    left, more = stages.remaining(fresh, stage)
    fresh += pairs(second[:, design.second : design.second + more], kept=left) if left else []
    return Counter(compare(LIMIT, each.low, each.high) for each in stages.second(fresh, stage).values())


def pairs(samples: np.ndarray, kept: tuple[str, ...] = ()) -> list[Pair]:
    """One pair for each column; benchmarks are rows, all of them or those *kept*."""
    names = [f"row_{index}" for index in range(len(samples))]
    chosen = [(name, row) for name, row in zip(names, samples, strict=True) if not kept or name in kept]
    return [Pair(at, at, "base", {name: (float(row[at]),) * 2 for name, row in chosen}) for at in range(samples.shape[1])]


@pytest.mark.parametrize("effect", [0.0, 0.03, 0.05])
def test_the_simulation_decides_what_the_gate_and_the_judge_decide(effect: float) -> None:
    """Benchmark by benchmark, on the same noise: a simulation of other rules would prove nothing about these."""
    design, generator = Design(metrics=4), np.random.default_rng(11)
    first, second = (noise.pairs(noise.MODELS["N7"], (12, 4, count), generator) for count in (design.first, design.most))
    control = np.zeros((12, design.first + design.most))
    told = simulation.run(Noises(first, lambda wanted: second[wanted], control), effect, design)
    true = logarithm(effect)
    found = [by_hand(first[gate] + true, second[gate] + true, design) for gate in range(12)]
    total = sum(found, Counter())
    assert (told.slow, told.open) == (total[Outcome.FAIL], total[Outcome.INCONCLUSIVE])
    assert told.benchmarks == total.total() == 48
    outcomes = [worst(gate) for gate in found]
    assert (told.failed, told.inconclusive) == (outcomes.count(Outcome.FAIL), outcomes.count(Outcome.INCONCLUSIVE))


def test_a_biased_control_makes_its_gate_inconclusive() -> None:
    """Whatever the benchmarks say: a gate whose control moved neither fails nor passes."""
    design, generator = Design(metrics=2), np.random.default_rng(12)
    first = noise.pairs(noise.MODELS["N2"], (3, 2, design.first), generator)
    control = np.zeros((3, design.first + design.most)) + np.array([[0.0], [0.03], [-0.03]])
    fresh = np.zeros((3, 2, design.most))
    for effect in (0.0, 0.2):
        told = simulation.run(Noises(first, lambda wanted: fresh[wanted], control), effect, design)
        assert (told.control, told.inconclusive) == (2, 2)


@pytest.mark.parametrize("model", ["N4", "N7"])
def test_a_share_of_the_simulation_keeps_its_targets(model: str) -> None:
    """The two worst models: no false failure, hardly an undecided gate, 5 % found, intervals that hold."""
    design, generator = Design(metrics=50), np.random.default_rng(13)
    same = simulation.without_change(noise.MODELS[model], 40, design, generator)
    slower = simulation.with_changes(noise.MODELS[model], 200, (0.05, 0.10), design, generator)
    assert (same.gates, same.benchmarks) == (40, 2000)
    assert (same.failed, same.inconclusive) == (0, 0)
    assert same.covered >= 0.975 * same.benchmarks
    assert slower[0.05].slow >= 195
    assert slower[0.10].slow == 200


def test_tallies_add_up() -> None:
    """Parts of a resumed simulation are one simulation."""
    assert Tally(gates=2, failed=1) + Tally(gates=3, second=4) == Tally(gates=5, failed=1, second=4)


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regression_peers", BENCHMARKS / "regression_peers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_peers_rules_say_what_their_authors_do(peers: ModuleType) -> None:
    """At 4, 6 and 12 % slower: the thresholds are 5 % of mean, least or median, and asv's is a factor of 1.1."""
    base = np.linspace(1.0, 1.02, 60)
    said = {name: [bool(rule(base, base * slower)) for slower in (1.04, 1.06, 1.12)] for name, rule in peers.RULES.items()}
    assert {tuple(flags) for name, flags in said.items() if not name.startswith("asv")} == {(False, True, True)}
    assert [flags for name, flags in said.items() if name.startswith("asv")] == [[False, False, True]]


def test_asv_wants_more_than_a_distance(peers: ModuleType) -> None:
    """12 % apart, but in a cloud of 40 %: its Mann-Whitney test says nothing, so it does not alarm."""
    base = np.random.default_rng(14).lognormal(0, 0.4, 12)
    assert not peers.asv(base, base * 1.12)


@pytest.mark.end_to_end
def test_an_interrupted_simulation_goes_on_where_it_was(tmp_path: Path) -> None:
    """A part that is stored is not made again, a line that was cut off is, another seed shares nothing; the sum is the same."""
    state = tmp_path / "state.jsonl"
    whole = simulated(state, "--gates", "200")
    lines = state.read_text().splitlines()
    assert [json.loads(line)["part"] for line in lines] == [0, 1]
    state.write_text(lines[0] + "\n" + lines[1][:100])
    assert simulated(state, "--gates", "200") == whole
    assert len(state.read_text().splitlines()) == 3
    assert simulated(state, "--gates", "100", "--seed", "1") != whole


def simulated(state: Path, *options: str) -> str:
    """What the simulation of one model prints."""
    command = [sys.executable, str(BENCHMARKS / "regression_simulation.py"), "--models", "N2", "--state", str(state), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
