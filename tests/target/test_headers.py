"""Headers of a target go with every request to it, and their secrets stay out of what is written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gates.kinds.invariants import fetcher
from gates.kinds.replay import Retrier
from gates.load.engine import run_load
from gates.load.plan import LoadPlan
from gates.model import Operation, TargetPlan
from gates.target import RunningTarget, TargetError, running
from gates.target.presets import CommandPreset, CommandSettings, UrlPreset, UrlSettings
from gates.target.template import with_environment

SECRET = 's3cr3t {n} "quoted"'
GUARDED = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        right = self.headers.get_all("X-Api-Key") == [os.environ["WANTED"]]
        other = self.headers.get_all("X-Api-Key") == ["other"]
        body = b'{"ok": true}'
        self.send_response(200 if right or (other and self.path == "/other") else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SETTINGS = {
    "run": [sys.executable, "-c", GUARDED, "{port}"],
    "ready": {"http": "/health"},
    "env": {"WANTED": SECRET},
    "headers": {"X-API-Key": "{env:THE_KEY}"},
}
STEPS = [{"path": "/a"}, {"path": "/other", "headers": {"x-api-key": "other"}}]
LOAD = LoadPlan("s", "", 200, 0.05, 0.0, 4, 2.0, {"do": 1}, {"do": {"steps": STEPS}})


@pytest.fixture
def target(tmp_path: Path) -> Iterator[RunningTarget]:
    """A server that answers 401 to whatever comes without its key; that it got ready shows that the probe had it."""
    plan = TargetPlan("command", SETTINGS, ("main",), ("kill", "start"))
    with running(plan, folder=tmp_path, environ={"THE_KEY": SECRET}) as started:
        yield started


def test_load_invariants_retries_and_a_restart_carry_the_headers(target: RunningTarget) -> None:
    """As they are, braces and all; a step's own header of the same name takes their place and stands alone."""
    assert target.headers == {"X-API-Key": SECRET}
    outcome = run_load(LOAD, target.endpoints, seed=1, headers=target.headers)
    assert outcome.failures == {}
    assert fetcher(target.endpoints, target.headers)("main", "/a") == {"ok": True}
    again = [Operation(0, "do", "main", "k", "ok", 0.0, 0.1)]
    retrier = Retrier(LOAD, target.endpoints, seed=1, clock=lambda: 0.0, headers=target.headers)
    assert [each.status for each in retrier.again(again)] == ["ok"]
    target.kill("main")
    target.start("main")


def test_without_the_headers_the_same_requests_fail(target: RunningTarget) -> None:
    """The server above is able to refuse."""
    assert run_load(LOAD, target.endpoints, seed=1).right.sum() == 0
    with pytest.raises(OSError, match="answered with 401"):
        fetcher(target.endpoints)("main", "/a")


def test_a_variable_that_is_not_set_is_an_error_by_name(tmp_path: Path) -> None:
    """Before anything is started; the message names header and variable and shows no value."""
    plan = TargetPlan("command", SETTINGS, ("main",))
    with pytest.raises(TargetError, match="X-API-Key wants the environment variable THE_KEY, which is not set"):
        running(plan, folder=tmp_path, environ={"OTHER": SECRET}).__enter__()
    with pytest.raises(TargetError, match="line break") as raised:
        with_environment({"X": "{env:A}"}, {"A": "one\r\nSet-Cookie: two"})
    assert "two" not in str(raised.value)


def test_both_presets_take_headers() -> None:
    """They reach the layout as they were written: a plan never holds what a variable holds."""
    headers = {"X-API-Key": "{env:KEY}", "Authorization": "Bearer {env:TOKEN}"}
    assert (
        CommandPreset().layout(CommandSettings.model_validate({"run": ["x", "{port}"], "headers": headers})).headers == headers
    )
    assert UrlPreset().layout(UrlSettings.model_validate({"url": "http://a", "headers": headers})).headers == headers


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"Host": "a"}, "belongs to each request"),
        ({"content-LENGTH": "3"}, "belongs to each request"),
        ({"A B": "x"}, "no name of a header"),
        ({"A": "x\ny"}, "on one line"),
        ({"A": "ü"}, "printable ASCII"),
        ({"A": "{env:}"}, "name of an environment variable"),
        ({"A": 3}, "string"),
    ],
)
def test_headers_that_make_no_sense_are_refused(headers: dict[str, Any], problem: str) -> None:
    """Where they are written."""
    with pytest.raises(ValidationError, match=problem):
        UrlSettings.model_validate({"url": "http://a", "headers": headers})


@pytest.mark.end_to_end
def test_a_secret_is_in_no_file_of_a_run(tmp_path: Path) -> None:
    """The run is READY with the key and not without it, and no file of it holds the key's value."""
    flow = {"steps": [{"path": "/a"}]}
    scenario = {"version": 1, "arrivals": {"rate": "200/s", "for": "2 s"}, "mix": {"do": 1}, "flows": {"do": flow}}
    (tmp_path / "scenario.yaml").write_text(json.dumps(scenario))
    gate = {"kind": "load", "scenario": "scenario.yaml", "criteria": {"errors.ratio": {"below": "5 %"}}}
    # the server itself learns the key from the environment that it inherits
    code = GUARDED.replace('"WANTED"', '"THE_KEY"')
    own = {**SETTINGS, "run": [sys.executable, "-c", code, "{port}"], "env": {}}
    spec = {"version": 1, "profiles": {"quick": {}}, "target": {"command": own}, "gates": {"it": gate}}
    (tmp_path / "readiness.yaml").write_text(json.dumps(spec))
    line = [sys.executable, "-m", "gates", "run", "readiness.yaml", "--root", "runs", "--json"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GATES_")}
    secret = "vewy-s3cr3t"

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(line, cwd=tmp_path, env={**environ, **more}, capture_output=True, text=True, check=False)

    ended = run(THE_KEY=secret)
    assert ended.returncode == 0, ended.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 5
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    without = run()
    assert without.returncode == 3
    assert "THE_KEY, which is not set" in without.stdout
