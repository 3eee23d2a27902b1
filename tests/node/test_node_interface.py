"""The node's answers against ICN Core's published interface, `tests/data/icn-openapi.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from node_process import ECHO, RunningNode

INTERFACE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "data" / "icn-openapi.yaml").read_text())


def resolved(schema: Any) -> Any:
    """*schema* with its references followed; what an object lists as properties must all be there."""
    if isinstance(schema, list):
        return [resolved(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolved(INTERFACE["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    found = {key: resolved(value) for key, value in schema.items()}
    return {**found, "required": list(schema["properties"])} if "properties" in schema else found


def answers(node: RunningNode) -> Iterator[tuple[str, str, int, Any]]:
    """A real answer of every path of the interface that is a right one."""
    submitted = node.submit("interface")
    yield ("post", "/mesh/submit", *submitted)
    yield ("get", "/mesh/jobs/{job_id}", *node.ask("GET", f"/mesh/jobs/{submitted[1]['job_id']}"))
    for path in ("/info", "/status", "/health", "/ready", "/mesh/jobs", "/metrics"):
        yield ("get", path, *node.ask("GET", path))


def test_every_answer_is_valid_against_the_published_interface(node: RunningNode) -> None:
    """Every path that the interface has is answered, with its status, media type, and every field with its type."""
    seen = set()
    for method, path, status, body in answers(node):
        seen.add(path)
        (content,) = INTERFACE["paths"][path][method]["responses"][str(status)]["content"].values()
        jsonschema.validate(body, resolved(content["schema"]))
    assert seen == set(INTERFACE["paths"])


def test_an_answer_of_another_shape_would_be_seen() -> None:
    """The check itself: a field that is missing or of another type is an error."""
    schema = resolved({"$ref": "#/components/schemas/ReadinessStatus"})
    for wrong in ({"ready": True, "timestamp": 1}, {"ready": 1, "timestamp": 1, "checks": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_a_submission_has_the_fields_of_the_published_one() -> None:
    """What the interface asks for is what the node takes; `spec_json` is the field of the original's code."""
    fields = INTERFACE["components"]["schemas"]["SubmitJobRequest"]["properties"]
    assert {name.replace("spec_json", "spec_bytes") for name in ECHO} == set(fields)
