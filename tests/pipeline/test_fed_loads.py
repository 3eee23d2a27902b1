"""Gates of load through `gates run` whose scenario has feeds, a set-up and a flow in Python; the server says what came."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .conftest import ODD, Repository

pytestmark = pytest.mark.end_to_end

SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = self.headers.get("Authorization") == "Bearer t-7"
        with open(sys.argv[2], "a") as log:
            print(json.dumps([self.command, self.path, json.loads(body or "null"), known]), file=log)
        code = 503 if self.path == "/full" else 200 if known or self.path == "/login" else 401
        found = {"access_token": "t-7"} if self.path == "/login" else {"path": self.path, "got": json.loads(body or "null")}
        data = json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    do_GET = do_POST = do_DELETE = answer
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SCENARIO = """
version: 1
arrivals: {rate: 50/s, for: 2 s}
connections: 10
timeout: 60 s
mix: {read: 2, order: 1, vote: 1}
feeds:
  users: {file: data/users.csv, order: in_turn}
  orders: {file: data/orders.jsonl, order: random}
setup: {steps: [{method: POST, path: /login, body: {user: load}, capture: {token: access_token}}]}
teardown: {steps: [{method: DELETE, path: /session, headers: {Authorization: "Bearer {setup.token}"}}]}
flows:
  read:
    steps:
      - path: "/users/{users.name}"
        headers: {Authorization: "Bearer {setup.token}"}
        check: {json: {path: "/users/{users.name}"}}
  order:
    steps:
      - method: POST
        path: /orders
        headers: {Authorization: "Bearer {setup.token}"}
        body: {item: "{orders.item}"}
        check: {json: {got.item: "{orders.item}"}}
"""
VOTES = '''
async def vote(client, arrival):
    """Votes as the user of its row."""
    headers = {"Authorization": "Bearer " + arrival.row("setup")["token"]}
    answer = await client.post("/vote", json={"by": arrival.row("users")["name"]}, headers=headers)
    answer.raise_for_status()
    assert answer.json()["got"]["by"] == arrival.row("users")["name"]
'''
NAMES = ("ann", "bob", "eve")
ITEMS = ("tea", "salt")


def written(repository: Repository, scenario: str = SCENARIO) -> Path:
    """A spec with one load gate, its data and a package with its flow in Python; where the server writes what came."""
    root, package = repository.path, repository.path.parent / "package"
    for folder in (root / "workflows", root / "data", package / "votes-1.0.dist-info"):
        folder.mkdir(parents=True)
    (root / "data" / "users.csv").write_text("".join(f"{name}\n" for name in ("name", *NAMES)))
    (root / "data" / "orders.jsonl").write_text("".join(json.dumps({"item": item}) + "\n" for item in ITEMS))
    (root / "workflows" / "scenario.yaml").write_text(scenario)
    (package / "votes.py").write_text(VOTES)
    (package / "votes-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: votes\nVersion: 1.0\n")
    (package / "votes-1.0.dist-info" / "entry_points.txt").write_text("[gates.flows]\nvote = votes:vote\n")
    repository.environ["PYTHONPATH"] = f"{ODD}:{package}"
    log = root.parent / "came.jsonl"
    target = {"command": {"run": [sys.executable, "-c", SERVER, "{port}", str(log)]}}
    gate = {"kind": "load", "scenario": "workflows/scenario.yaml", "criteria": {"errors.ratio": {"below": "5 %"}}}
    spec = {"version": 1, "target": target, "gates": {"fed": gate}}
    (root / "workflows" / "readiness.yaml").write_text(json.dumps(spec))
    return log


def came(log: Path) -> list[tuple[str, str, Any, bool]]:
    """Method, path, body and whether the token was right, of every request but those of a probe of the target."""
    found = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
    return [each for each in found if each[1] != "/"]


def test_rows_a_set_up_and_a_flow_in_python_reach_the_target(repository: Repository) -> None:
    """Every row of both files, the token of one set-up in all flows, one teardown; and the report has each flow."""
    log = written(repository)
    code = repository.run()
    gate = repository.gate("fed")
    assert gate["execution"] == "completed", repository.said
    assert code in (0, 3)  # a busy machine may have held the generator up, which is no failure
    found = {(each["metric"], each["selector"]): each["value"] for each in gate["result"]["measurements"] if not each["phase"]}
    assert (found["requests.count", ""], found["errors.count", ""]) == (100, 0)
    requests, attempts = came(log), gate["result"]["attempt"]  # a busy machine may have had the gate run again
    assert [each[:2] for each in (requests[0], requests[-1])] == [("POST", "/login"), ("DELETE", "/session")]
    assert [path for _, path, _, known in requests if not known] == attempts * ["/login"]
    by_path = Counter(path.rpartition("/")[0] or path for _, path, _, _ in requests)
    wanted = {"/login": 1, "/session": 1, "/users": 50, "/orders": 25, "/vote": 25}
    assert by_path == {path: count * attempts for path, count in wanted.items()}
    assert {path.rpartition("/")[2] for _, path, _, _ in requests if path.startswith("/users/")} == set(NAMES)
    assert {body["item"] for _, path, body, _ in requests if path == "/orders"} == set(ITEMS)
    assert {body["by"] for _, path, body, _ in requests if path == "/vote"} == set(NAMES)


def test_a_set_up_that_is_refused_is_no_load_and_says_what_came_back(repository: Repository) -> None:
    """The gate is inconclusive with the step; no arrival was sent."""
    log = written(repository, SCENARIO.replace("path: /login", "path: /full"))
    assert repository.run() == 3
    gate = repository.gate("fed")
    assert (gate["execution"], gate["outcome"]) == ("failed_to_run", "inconclusive")
    assert "set-up, step 1: expected status 2xx, got 503" in gate["reason"]
    assert [path for _, path, _, _ in came(log)] == ["/full"]


@pytest.mark.parametrize(("file", "line"), [("users.csv", 8), ("orders.jsonl", 9)])
def test_a_feed_that_is_not_there_is_told_by_gates_check_at_its_line_of_the_scenario(
    repository: Repository, file: str, line: int
) -> None:
    """Before anything runs."""
    log = written(repository)
    (repository.path / "data" / file).unlink()
    assert repository.run("check") == 4
    column = SCENARIO.splitlines()[line - 1].index("data/") + 1
    assert f"workflows/scenario.yaml:{line}:{column}: " in repository.said
    assert f"data/{file}: the file is not there; check the path" in repository.said
    assert not log.exists()
