"""Random sequences of faults: drawn alike for the same seed, never overlapping, and shrunk to what matters."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.drills.explore import Faults, blocks, drawn, scenario, shrunk, written
from gates.errors import BadFileError

KNOWN = (
    {"crash": {"node": "node-b"}},
    {"partition": {"nodes": ["node-b"], "with": ["node-c"]}},
    {"lock": {"node": "node-b", "file": "ledger.db"}, "way": "x"},
)
NODES = ("node-a", "node-b", "node-c")


def share(text: str) -> float:
    """A percentage as a number."""
    return float(text.removesuffix("%"))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_faults_follow_each_other_within_the_load(seed: int, count: int) -> None:
    """Whatever is drawn: each begins after the one before it has ended, and the last ends long before the load."""
    faults = drawn(KNOWN, NODES, count, Random(seed))
    assert len(faults) == count
    ends = 0.0
    for fault in faults:
        assert share(fault["at"]) >= ends - 0.01
        ends = share(fault["at"]) + share(fault["for"])
    assert ends <= 80


def test_the_same_seed_draws_the_same_sequence() -> None:
    """And another one another."""
    assert drawn(KNOWN, NODES, 5, Random("7:0")) == drawn(KNOWN, NODES, 5, Random("7:0"))
    assert drawn(KNOWN, NODES, 5, Random("7:0")) != drawn(KNOWN, NODES, 5, Random("7:1"))


def test_nodes_are_renamed_and_nothing_else() -> None:
    """A partition keeps its two different ends, a lock its file, and over many draws every node is struck."""
    faults = drawn(KNOWN, NODES, 12, Random(1))
    struck = {fault["crash"]["node"] for fault in drawn(KNOWN[:1], NODES, 12, Random(2))}
    assert struck == set(NODES)
    for fault in faults:
        if "partition" in fault:
            assert fault["partition"]["nodes"] != fault["partition"]["with"]
        assert fault.get("lock", {"file": "ledger.db"})["file"] == "ledger.db"


def culprit(faults: Faults) -> bool:
    """Fails when a crash comes before a partition, and the crash lasts at least 6 %."""
    long_ones = [fault for fault in faults if "partition" in fault or share(fault["for"]) >= 6]
    kinds = [next(iter(fault.keys() & {"crash", "partition", "lock"})) for fault in long_ones]
    return "crash" in kinds and "partition" in kinds[kinds.index("crash") :]


def test_a_failing_sequence_is_shrunk_to_what_makes_it_fail() -> None:
    """Of eight faults two are left, each as short as it fails with."""
    made = ({"at": "1 %", "for": "13 %", **KNOWN[number]} for number in (2, 0, 2, 2, 1, 2, 2, 0))
    found = shrunk(tuple(made), culprit, most=200)
    assert [next(iter(set(fault) - {"at", "for"})) for fault in found.faults] == ["crash", "partition"]
    assert share(found.faults[0]["for"]) == pytest.approx(6.5)
    assert culprit(found.faults)


def test_shrinking_ends_when_the_trials_are_used_up() -> None:
    """Each trial is a run of half a minute."""
    tried: list[Any] = []

    def fails(faults: Faults) -> bool:
        tried.append(faults)
        return True

    found = shrunk(drawn(KNOWN, NODES, 8, Random(1)), fails, most=3)
    assert (len(tried), found.tried) == (3, 3)


def test_the_printed_scenario_reads_back_as_it_was() -> None:
    """It has the load of its base, the faults of the sequence, and time enough for them."""
    base = {"version": 1, "arrivals": {"rate": "100/s", "for": {"standard": "14 s"}}, "mix": {"submit_job": 1}, "faults": []}
    faults = drawn(KNOWN, NODES, 3, Random(1))
    read = yaml.safe_load(written(scenario(base, faults, 3)))
    assert read["faults"] == [dict(fault) for fault in faults]
    assert read["arrivals"] == {"rate": "100/s", "for": "23 s"}
    assert read["mix"] == {"submit_job": 1}


def test_blocks_are_the_faults_of_the_scenarios_without_their_times(tmp_path: Path) -> None:
    """Two scenarios with the same fault give one block; a folder without any is an error."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("version: 1\nfaults:\n  - {at: 10 %, for: 5 %, crash: {node: node-b}}\n")
    assert blocks(tmp_path) == ({"crash": {"node": "node-b"}},)
    with pytest.raises(BadFileError, match="no scenario with a fault"):
        blocks(tmp_path / "nowhere")
