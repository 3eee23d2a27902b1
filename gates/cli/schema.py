"""`gates schema`: the JSON Schema of a file that people write or read."""

from __future__ import annotations

import importlib
import json
from typing import Any

import click

from gates.cli.console import console
from gates.errors import UsageError


@click.command("schema")
@click.argument("what", type=click.Choice(["spec", "scenario", "report"]), default="spec")
def schema_command(what: str) -> None:
    """Print the JSON Schema of readiness.yaml, of a load scenario, or of the report.

    An editor that knows YAML completes and checks a spec with it: put
    `# yaml-language-server: $schema=...` on the first line.
    """
    console.data(as_text(_schema(what)))


def as_text(schema: Any) -> str:
    """A schema as it is committed, without the final newline."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False)


def _schema(what: str) -> Any:
    from gates.spec.schema import choosable, schema

    if what == "spec":
        return schema()
    module = {"scenario": "gates.load.scenario", "report": "gates.report.schema"}[what]
    found = getattr(importlib.import_module(module), "schema", None)
    if found is None:
        raise UsageError(f"there is no schema of a {what} in this installation")
    return choosable(found()) if what == "scenario" else found()
