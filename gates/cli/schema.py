"""`gates schema`: the JSON Schema of a file that people write or read."""

from __future__ import annotations

import json
from typing import Any

import click

from gates.cli.console import console


@click.command("schema")
@click.argument("what", type=click.Choice(["spec", "scenario", "report"]), default="spec")
def schema_command(what: str) -> None:
    """Print the JSON Schema of readiness.yaml, of a load scenario, or of the report.

    An editor that knows YAML completes and checks a spec with it: put
    `# yaml-language-server: $schema=...` on the first line.
    """
    console.data(as_text(_SCHEMAS[what]()))


def as_text(schema: Any) -> str:
    """A schema as it is committed, without the final newline."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False)


def _spec() -> Any:
    from gates.spec.schema import schema

    return schema()


def _scenario() -> Any:
    from gates.load.scenario import Scenario
    from gates.spec.schema import choosable

    return choosable({**Scenario.model_json_schema(by_alias=True), "title": "a load scenario"})


def _report() -> Any:
    from gates.report.schema import schema

    return schema()


_SCHEMAS = {"spec": _spec, "scenario": _scenario, "report": _report}
