"""The node's own OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from starlette.responses import Response

from gates.node.http import Call, Route, json_answer

FILE = Path(__file__).with_name("openapi.json")


@cache
def document() -> dict[str, Any]:
    """The document as it is served."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


async def _serve(_call: Call) -> Response:
    """The document."""
    return json_answer(document())


def interface() -> Route:
    """The path under which the document is served."""
    return Route("GET", "/openapi.json", _serve, public=True, priority=0)
