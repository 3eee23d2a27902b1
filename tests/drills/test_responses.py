"""Drills of the load gates: what is seeded, in which profile, and what their probes see."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import yaml

from gates.drills import generator, responses
from gates.drills.limits import limit_of
from gates.drills.tree import build, read_spec
from gates.model import Drill, Tree, Unit

ROOT = Path(__file__).parents[2]


def drill(name: str) -> Drill:
    """The drill called *name*."""
    return next(each for each in (*responses.DRILLS, *generator.DRILLS) if each.name == name)


def test_three_errors_in_a_thousand_are_sought_with_the_requests_that_this_needs() -> None:
    """In the profile standard, limit 0.1 %, with 3.7 / 0.1 % requests: else not even no error at all could pass."""
    each = drill("errors-3-per-mille")
    tree = each.seed(build(each.base, read_spec(ROOT), ROOT))
    assert tree.profile == "standard"
    assert list(tree.spec["profiles"]) == ["standard"]
    assert limit_of(tree, "sustained", "errors.ratio", Unit.RATIO) == pytest.approx(0.001)
    assert tree.gate("sustained")["proxy"] == {"errors": {"share": "0.3 %", "status": 503}}
    arrivals = yaml.safe_load(tree.files["workflows/scenarios/sustained-jobs.yaml"])["arrivals"]
    assert float(arrivals["rate"].removesuffix("/s")) * float(arrivals["for"].removesuffix(" s")) >= 3_700


@pytest.mark.parametrize(
    ("profile", "limit"), [("quick", 0.01), ("standard", 0.001), ("full", 0.001)]
)  # fmt: skip
def test_a_drill_breaks_the_limit_of_its_own_profile(profile: str, limit: float) -> None:
    """The next lower profile's where it has none of its own."""
    gate = {"criteria": {"errors.ratio": {"below": {"quick": "1 %", "standard": "0.1 %"}}}}
    tree = Tree({"profiles": {profile: {}}, "gates": {"sustained": gate}})
    assert limit_of(tree, "sustained", "errors.ratio", Unit.RATIO) == pytest.approx(limit)


def test_the_slow_check_is_right_and_takes_its_time() -> None:
    """Processor time, at least as long as asked for; what it looks for is found all the same."""
    pattern = generator.slow_pattern(0.002)
    began = time.thread_time()
    assert re.search(pattern, "application/json")
    assert time.thread_time() - began > 0.001
    assert re.search(pattern, "text/plain") is None


def test_the_clock_that_sees_a_slow_generator_is_the_proxies(tmp_path: Path) -> None:
    """From the first request at any of them to the last; in time is no effect, and no request is not reached."""
    (tmp_path / "target").mkdir()
    assert generator.requests_came_late(tmp_path, tmp_path).reached == 0
    for name, first, last in (("a", 100.0, 104.4), ("b", 100.1, 104.5)):
        line = {"kind": "total", "forwarded": 5, "first": first, "last": last}
        (tmp_path / "target" / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    in_time = generator.requests_came_late(tmp_path, tmp_path)
    assert (in_time.reached, in_time.triggered) == (10, 0)
    (tmp_path / "target" / "b.jsonl").write_text(json.dumps({"kind": "total", "forwarded": 5, "first": 99.0, "last": 109.0}))
    late = generator.requests_came_late(tmp_path, tmp_path)
    assert (late.reached, late.triggered) == (10, 1)
    assert "10.0 s" in late.text
