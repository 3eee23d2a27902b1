"""The JSON Schema: what is committed is what the models say, and it agrees with the resolver."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml as plain_yaml
from click.testing import CliRunner

from gates.cli.schema import as_text, schema_command
from gates.spec.schema import choosable, schema

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs/schema/readiness-spec.schema.json"


def our_plugins(group: str) -> Mapping[str, Any]:
    """What this project registers itself, whatever else is installed."""
    ours = [point for point in entry_points(group=group) if point.dist and point.dist.name == "readiness-gates"]
    return {point.name: point.load()() for point in ours}


def complaints(document: str, whole: dict[str, Any]) -> list[str]:
    """What a JSON Schema validator has against a YAML *document*."""
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(plain_yaml.safe_load(document))]


def test_the_committed_schema_is_the_generated_one() -> None:
    """When this fails: `gates schema > docs/schema/readiness-spec.schema.json`."""
    assert COMMITTED.read_text() == as_text(schema(our_plugins)) + "\n", (
        "run: gates schema > docs/schema/readiness-spec.schema.json"
    )


def test_the_schema_is_a_valid_schema(bench: Any) -> None:
    """Of its dialect, with and without plug-ins."""
    for plugins in (our_plugins, bench.plugins, lambda group: {}):
        jsonschema.Draft202012Validator.check_schema(schema(plugins))


def test_the_schema_accepts_what_the_resolver_accepts(bench: Any, spec: str) -> None:
    """Choices by profile, settings of kinds, and short targets included."""
    whole = schema(bench.plugins)
    assert complaints(spec, whole) == []
    assert complaints(spec.replace("{ring: {nodes: 3}}", "{place: 'http://x'}"), whole) == []
    assert complaints(spec.replace("{ring: {nodes: 3}}", "ring"), whole) == []
    assert complaints(spec.replace("scenario: scenario.yaml", "scenario: {quick: a.yaml, full: b.yaml}", 1), whole) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kind: check", "kind: chek"),
        ("command: [pytest, -q]", "comand: [pytest, -q]"),
        ("{at_most: 0}", "{at_mots: 0}"),
        ("{ring: {nodes: 3}}", "{ring: {node: 3}}"),
        ("version: 1", "version: 2"),
        ("claims:", "clams:"),
        ("as: standard", "as: standrd"),
    ],
)
def test_the_schema_refuses_what_the_resolver_refuses(bench: Any, spec: str, old: str, new: str) -> None:
    """An editor underlines the same mistakes."""
    assert complaints(spec.replace(old, new, 1), schema(bench.plugins))


def test_the_projects_own_spec_fits_its_schema() -> None:
    """The file that the main job runs."""
    assert complaints((ROOT / "workflows/readiness.yaml").read_text(), json.loads(COMMITTED.read_text())) == []


def test_the_guides_spec_fits_the_schema() -> None:
    """What the guide shows can be copied."""
    guide = (ROOT / "docs/guide/spec.md").read_text()
    block = re.search(r"## A whole spec\n\n((?:    .*\n)+)", guide)
    assert block is not None
    assert complaints(textwrap.dedent(block[1]), json.loads(COMMITTED.read_text())) == []


def test_the_projects_own_scenarios_fit_their_schema() -> None:
    """Every scenario that the main job runs, its choices by profile included."""
    whole = json.loads(CliRunner().invoke(schema_command, ["scenario"]).stdout)
    found = {path.name: complaints(path.read_text(), whole) for path in (ROOT / "workflows/scenarios").glob("*.yaml")}
    assert found
    assert all(wrong == [] for wrong in found.values()), found


def test_every_value_of_a_named_file_may_be_a_choice() -> None:
    """A scenario's duration can differ by profile, at any depth, and may still be wrong."""
    inner = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    whole = choosable({"$defs": {"Inner": inner}, "type": "object", "properties": {"a": {"$ref": "#/$defs/Inner"}}})
    assert complaints("a: {n: {quick: 1, full: 2}}", whole) == []
    assert complaints("a: {quick: {n: 1}}", whole) == []
    assert complaints("a: {n: {quik: 1}}", whole)
