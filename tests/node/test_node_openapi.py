"""The node's own OpenAPI document: it says what there is, and the node does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from node_process import KEY, RunningNode, Start

from gates.node.node import routes
from gates.node.openapi import document

FORMATS = Path(__file__).with_name("schemathesis_formats.py")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
TOKEN = "token-of-the-tests"


def test_the_document_has_every_path_that_is_not_for_nodes_alone() -> None:
    """A path in the table and not in the document, or the other way round, is a mistake."""
    served = {(route.path, route.method.lower()) for route in routes() if not route.path.startswith("/peer/")}
    told = {(path, method) for path, operations in document()["paths"].items() for method in operations}
    assert told == served


def test_the_document_says_of_each_path_whether_anybody_may_ask() -> None:
    """Public paths have no security requirement, all others the document's."""
    operations = document()["paths"]
    for route in routes():
        if not route.path.startswith("/peer/"):
            told = operations[route.path][route.method.lower()]
            assert (told.get("security") == []) is route.public, route.path


def test_the_document_is_served_to_anybody(node: RunningNode) -> None:
    """Without a key, and exactly as it is in the package."""
    assert node.ask("GET", "/openapi.json", None, {"X-API-Key": "wrong-key"}) == (200, document())


@pytest.mark.end_to_end
def test_generated_requests_get_what_the_document_says(start: Start, tmp_path: Path) -> None:
    """schemathesis with all its checks: examples, boundary values, random bodies right and wrong, and sequences of calls."""
    node = start("--token", TOKEN, "--mana", "1000000000", "--client-rate", "1000000")
    url = f"http://127.0.0.1:{node.port}/openapi.json"
    headers = ["-H", f"X-API-Key: {KEY}", "-H", f"Authorization: Bearer {TOKEN}"]
    bounds = ["--max-examples", "6", "--seed", "1", "--generation-database", "none", "--no-color"]
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run", url]
    hooks = {**os.environ, "SCHEMATHESIS_HOOKS": str(FORMATS)}
    ended = subprocess.run([*program, *headers, *bounds], capture_output=True, text=True, check=False, cwd=tmp_path, env=hooks)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert node.ask("GET", "/ready")[0] == 200
    assert node.ask("GET", "/ledger/audit")[1]["balanced"] is True
