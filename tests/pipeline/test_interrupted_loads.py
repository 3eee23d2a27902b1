"""Runs that are interrupted in the middle of a load: what was measured until then is in the report, and proves no pass."""

from __future__ import annotations

import json
import re
import signal
import sys

import pytest
from small_server import serving

from .conftest import Repository, until

pytestmark = pytest.mark.end_to_end

SCENARIO = """
version: 1
arrivals: {rate: 100/s, for: 100 s}
connections: 20
timeout: 30 s
mix: {look: 1}
flows:
  look: {steps: [{path: /look, check: {json: {ok: true}}}]}
"""
SILENT = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/look/silent":
            time.sleep(60)
        self.send_response(500 if self.path == "/look/wrong" else 200)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b'{"ok": true}')
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PATIENT = ("-c", "from gates.cli.main import main; from gates.pipeline import runner; runner.GRACE = 100.0; main()")
"""`gates` with a grace that no busy machine uses up."""
CRITERIA = {
    "errors.ratio": {"below": "50 %"},
    "latency.p50": {"below": "20 s"},
    "requests.count": {"at_least": 1000},
    "throughput": {"at_least": "1000/s"},
}


def written(repository: Repository, scenario: str = SCENARIO, run: list[str] | None = None, **settings: object) -> None:
    """A spec with one load gate `slow`, and a gate that needs it."""
    folder = repository.path / "workflows"
    folder.mkdir(exist_ok=True)
    (folder / "scenario.yaml").write_text(scenario)
    slow = {"kind": "load", "scenario": "workflows/scenario.yaml", "criteria": CRITERIA, **settings}
    later = {"kind": "odd", "needs": ["slow"], "criteria": {"value": {"at_most": 0}}}
    spec = {"version": 1, "target": {"command": {"run": run or serving()}}, "gates": {"slow": slow, "later": later}}
    (folder / "readiness.yaml").write_text(json.dumps(spec))


def measured_for(repository: Repository, seconds: int) -> bool:
    """Whether the load of the gate `slow` has gone on for so many seconds."""
    live = repository.latest / "slow" / "live.json"
    return live.exists() and json.loads(live.read_text())["second"] >= seconds


def interrupt(repository: Repository, number: signal.Signals = signal.SIGINT) -> None:
    """Run the spec, send the signal to the engine when the load has gone on for two seconds, and see it end as interrupted."""
    engine = repository.start("run", program=PATIENT)
    until(lambda: measured_for(repository, 2) or engine.poll() is not None, within=120)
    assert engine.poll() is None, repository.said
    engine.send_signal(number)
    assert engine.wait(120) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_interrupted_in_a_load_keeps_what_was_measured(repository: Repository, number: signal.Signals) -> None:
    """The gate is cancelled with its measurements, in the report as well; nothing passes, and nothing is left behind."""
    written(repository)
    interrupt(repository, number)
    assert not repository.left()
    gate = repository.gate("slow")
    assert (gate["execution"], gate["outcome"]) == ("cancelled", "inconclusive")
    outcomes = {each["criterion"]["id"]: each["outcome"] for each in gate["criteria"]}
    assert set(outcomes.values()) == {"inconclusive"}
    found = {each["metric"]: each for each in gate["result"]["measurements"] if not each["phase"] and not each["selector"]}
    assert found["latency.p50"]["n"] >= 150
    assert found["errors.ratio"]["value"] == 0
    assert (repository.latest / "slow" / "evidence" / "seconds.csv").exists()
    assert json.loads((repository.latest / "slow" / "result.json").read_text())["execution"] == "cancelled"
    assert "measured for" in gate["reason"]
    assert re.search(r"errors\.ratio +0 % +< 50 %", repository.said)
    assert repository.report()["verdict"] == "inconclusive"
    assert repository.gate("later")["execution"] == "cancelled"
    assert "latency.p50 is" in next(each["reason"] for each in gate["criteria"] if each["criterion"]["id"] == "latency.p50")


def test_what_an_interrupted_load_is_short_of_is_no_failure_and_waits_for_nobody(repository: Repository) -> None:
    """Fewer requests than wanted are due to the person; answers that don't come are neither errors nor waited for."""
    silent = SCENARIO.replace("mix: {look: 1}", "mix: {look: 9, silent: 1}")
    silent += "  silent: {steps: [{path: /look/silent, check: {json: {ok: true}}}]}\n"
    written(repository, silent.replace("connections: 20", "connections: 200"), [sys.executable, "-c", SILENT, "{port}"])
    interrupt(repository)
    gate = repository.gate("slow")
    assert gate["execution"] == "cancelled"
    outcomes = {each["criterion"]["id"]: each["outcome"] for each in gate["criteria"]}
    assert {outcomes[metric] for metric in CRITERIA} == {"inconclusive"}
    found = {each["metric"]: each for each in gate["result"]["measurements"] if not each["phase"] and not each["selector"]}
    assert found["errors.count"]["value"] == 0
    assert "requests.count" not in found


def test_what_an_interrupted_load_had_proven_fails(repository: Repository) -> None:
    """All answers were wrong until the interruption: more of them could not have cured that."""
    wrong = SCENARIO.replace("path: /look,", "path: /look/wrong,")
    written(repository, wrong, [sys.executable, "-c", SILENT, "{port}"], stop={"after": "never"})
    interrupt(repository)
    gate = repository.gate("slow")
    outcomes = {each["criterion"]["id"]: each["outcome"] for each in gate["criteria"]}
    assert (gate["execution"], gate["outcome"], outcomes["errors.ratio"]) == ("cancelled", "fail", "fail")
    assert repository.report()["verdict"] == "not_ready"
