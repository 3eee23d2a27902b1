"""A node joins a running federation of real processes, works in it, is killed, comes back and leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gates.node import fleet
from gates.node.fleet import Fleet

KEY = "key-of-the-newcomer"
JOB = {"manifest_cid": "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "cost_mana": 10}

pytestmark = pytest.mark.end_to_end


def until(condition: Callable[[], bool], patience: float = 20.0) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)


def asked(url: str, path: str, body: Any = None, *, key: str = KEY, **headers: str) -> Any:
    """The JSON that *url* answers; its error when it refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"X-API-Key": key, **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())


@pytest.fixture
def founders(tmp_path: Path) -> Iterator[Fleet]:
    """Three founding nodes in processes of their own."""
    command = [sys.executable, "-m", "gates", "federation"]
    folder = ("--data", str(tmp_path / "founders"))
    subprocess.run([*command, "up", "--detach", *folder], check=True, capture_output=True)
    try:
        yield fleet.load(tmp_path / "founders")
    finally:
        subprocess.run([*command, "down", *folder], check=True, capture_output=True)


@contextmanager
def newcomer(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A node that was told of nobody, and its URL."""
    command = [sys.executable, "-m", "gates.node", "--name", "node-x", "--data", str(folder), "--api-key", KEY]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        try:
            until(lambda: _is_ready(url))
            yield url, process
        finally:
            process.kill()


def _is_ready(url: str) -> bool:
    try:
        return bool(asked(url, "/ready")["ready"])
    except OSError:
        return False


def states(founders: Fleet) -> set[str | None]:
    """How the newcomer seems to each founding node."""
    members = [asked(each.url, "/federation/status", key=founders.key)["members"] for each in founders.members]
    return {next((peer["state"] for peer in peers if peer["name"] == "node-x"), None) for peers in members}


def test_a_newcomer_works_in_the_federation_comes_back_after_a_crash_and_leaves(founders: Fleet, tmp_path: Path) -> None:
    """Known to all after joining at one; its job is done and anchored everywhere; killed and restarted it needs no word."""
    with newcomer(tmp_path / "x") as (url, process):
        joined = founders.members[1].url
        assert asked(url, "/federation/join", {"peer": joined}) == {"joined": joined}
        until(lambda: states(founders) == {"alive"})
        spec = {"kind": {"Echo": {"payload": "hello"}}}
        job = asked(url, "/mesh/submit", {**JOB, "spec_json": spec}, **{"Idempotency-Key": "k-1"})["job_id"]
        until(lambda: asked(url, f"/mesh/jobs/{job}")["status"] == "Completed")
        until(lambda: {_root(each.url, founders.key) for each in founders.members} == {_root(url, KEY)})
        assert _root(url, KEY)[1] == 1
        process.kill()
        process.wait()
        until(lambda: "alive" not in states(founders))
    with newcomer(tmp_path / "x") as (url, _):
        until(lambda: states(founders) == {"alive"})
        assert asked(url, f"/mesh/jobs/{job}")["status"] == "Completed"
        assert asked(url, "/federation/leave", {"peer": "node-x"}) == {"left": "node-x"}
        until(lambda: states(founders) == {None})


def _root(url: str, key: str) -> tuple[str, int]:
    found = asked(url, "/dag/root", key=key)
    return found["root"], found["blocks"]
