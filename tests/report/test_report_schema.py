"""The published schema of readiness.json."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gates import codec
from gates.model import Report
from gates.report import schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "readiness.schema.json"


def test_the_published_schema_is_the_generated_one() -> None:
    """The file in docs follows the model; when this fails, write `gates schema report` to docs/schema/readiness.schema.json."""
    assert PUBLISHED.read_text(encoding="utf-8") == schema.text()


def test_a_real_report_is_valid(report: Report) -> None:
    """What codec writes is what the schema says."""
    validator = jsonschema.Draft202012Validator(schema.schema())
    validator.check_schema(schema.schema())
    assert list(validator.iter_errors(json.loads(codec.dumps(report)))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "green"),
        (("gates", 0, "outcome"), "passed"),
        (("gates", 1, "result", "exhibits", 0, "type"), "pie"),
        (("gates", 2, "result", "exhibits", 0, "lines", 0, "points", 0), [1.0]),
        (("surprise",), 1),
        (("seconds",), "long"),
    ],
)
def test_what_is_no_report_is_refused(report: Report, path: tuple[str | int, ...], value: object) -> None:
    """Unknown words, keys, types and shapes are errors."""
    document = json.loads(codec.dumps(report))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not jsonschema.Draft202012Validator(schema.schema()).is_valid(document)
