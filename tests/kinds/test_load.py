"""The kind `load`, from a spec to a result, against real servers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_server import serving

from gates import codec
from gates.kinds.alone import addresses
from gates.kinds.load import LoadKind
from gates.load.metrics import catalogue
from gates.model import Commit, Execution, GateResult, Level, LogTail, Outcome, PlannedGate, Request, Series, Table
from gates.pipeline.judge import judge_gate
from gates.spec import SpecErrors, resolve
from gates.target import running
from gates.target.presets import CommandPreset, UrlPreset

SCENARIO = """
version: 1
arrivals: {rate: 300/s, for: 2 s}
warmup: 500 ms
connections: 20
timeout: 1 s
mix: {look: 3, ask: 1}
flows:
  look: {tags: [read], steps: [{path: /look, check: {json: {ok: true}}}]}
  ask: {steps: [{path: /ask, check: {json: {ok: {type: boolean}}}}]}
"""
PLUGINS = {
    "gates.kinds": {"load": LoadKind()},
    "gates.targets": {"command": CommandPreset(), "url": UrlPreset()},
    "gates.flows": {},
}


def planned(root: Path, criteria: str, *, scenario: str = SCENARIO, target: Any = None, settings: str = "") -> PlannedGate:
    """The one gate of a spec in *root*."""
    (root / "scenario.yaml").write_text(scenario)
    target = {"command": {"run": serving()}} if target is None else target
    spec = f"""
version: 1
target: {json.dumps(target)}
profiles: {{quick: {{}}}}
gates:
  g:
    kind: load
    scenario: scenario.yaml
    {settings}
    criteria: {criteria}
"""
    (root / "readiness.yaml").write_text(spec)
    found = resolve(root / "readiness.yaml", root=root, profile="quick", plugins=lambda group: PLUGINS.get(group, {}))
    return found.gates[0]


def ran(root: Path, gate: PlannedGate, monkeypatch: pytest.MonkeyPatch) -> GateResult:
    """The result of *gate*, as another process would read it."""
    monkeypatch.setitem(running.__wrapped__.__kwdefaults__, "plugins", lambda group: PLUGINS[group])
    folder = root / "g"
    folder.mkdir()
    request = codec.loads(codec.dumps(Request("r", str(root), str(folder), "quick", 7, gate, Commit(), {})), Request)
    return codec.loads(codec.dumps(LoadKind().run(request)), GateResult)


def test_a_gate_is_planned_with_samples_built_in_criteria_and_plain_settings(tmp_path: Path) -> None:
    """The gate process needs no YAML: the plan has the flows, and the lateness limit follows from the latency limit."""
    gate = planned(tmp_path, "{latency.p90@steady: {below: 100 ms}, errors.ratio: {below: 1 %}}")
    criteria = {criterion.id: criterion for criterion in gate.criteria}
    assert {"valid.unsent", "valid.lateness", "valid.steal", "valid.clock"} < set(criteria)
    assert criteria["valid.lateness"].comparisons[0].limit == pytest.approx(0.01)
    assert set(gate.settings["load"]["flows"]) == {"look", "ask"}
    assert json.loads(json.dumps(gate.settings)) == gate.settings
    assert gate.measures
    assert gate.budget >= 2


@pytest.mark.parametrize(
    ("criteria", "problem"),
    [
        ("{latency.p99@steady: {below: 1 s}}", "needs 1,000 samples, .* gives it 450"),
        ("{latency.p90@steady/asks: {below: 1 s}}", "no flow 'asks' in the scenario's mix"),
        ("{latency.p50@steady/tag:red: {below: 1 s}}", "no flow with the tag 'red' in the scenario's mix"),
        ("{latency.p50@stedy: {below: 1 s}}", "no phase 'stedy' in the scenario"),
        ("{errors.ratio: {below: 0.1 %}}", "needs 3,700 samples, .* gives it 600"),
    ],
)
def test_criteria_that_the_plan_can_not_serve_are_refused_with_what_would_do(
    tmp_path: Path, criteria: str, problem: str
) -> None:
    """At the criterion's line, before anything runs."""
    with pytest.raises(SpecErrors, match=problem) as caught:
        planned(tmp_path, criteria)
    assert caught.value.problems[0].hint
    assert caught.value.problems[0].line == 10


def test_a_flow_for_an_endpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The target is known while planning."""
    scenario = SCENARIO.replace("look: {tags", "look: {endpoint: node-z, tags")
    with pytest.raises(SpecErrors, match="flow 'look' goes to endpoint 'node-z'"):
        planned(tmp_path, "{errors.ratio: {below: 5 %}}", scenario=scenario)


def test_faults_belong_to_another_kind(tmp_path: Path) -> None:
    """A load gate would ignore them silently."""
    with pytest.raises(SpecErrors, match="which a load gate ignores"):
        planned(tmp_path, "{errors.ratio: {below: 5 %}}", scenario=SCENARIO + "invariants: [mana-conserved]\n")


def test_rate_and_time_of_the_gate_come_before_the_scenario_s(tmp_path: Path) -> None:
    """So that one scenario serves several gates, and a drill can shorten it."""
    gate = planned(
        tmp_path, "{errors.ratio: {below: 5 %}}", settings="{rate: 50/s, for: 4 s}".strip("{}").replace(", ", "\n    ")
    )
    assert (gate.settings["load"]["rate"], gate.settings["load"]["seconds"]) == (50, 4)


STEPS = "{shape: steps, steps: [{rate: 50/s, for: 6 s}, {rate: 100/s, for: 6 s}]}"


def test_a_knee_is_planned_with_its_objectives_and_bounds_how_late_the_generator_may_be(tmp_path: Path) -> None:
    """In base units, for the gate process; a tenth of the tightest latency is the limit of the lateness."""
    scenario = re.sub(r"arrivals: .*", f"arrivals: {STEPS}", SCENARIO)
    gate = planned(
        tmp_path, "{knee.rate: {at_least: 50/s}}", scenario=scenario, settings="knee: {latency.p95: 400 ms, errors.ratio: 2 %}"
    )
    assert gate.settings["knee"] == {"latency.p95": 0.4, "errors.ratio": 0.02}
    limits = {criterion.id: criterion.comparisons[0].limit for criterion in gate.criteria}
    assert limits["valid.lateness"] == pytest.approx(0.04)


def test_the_catalogue_names_every_metric_once() -> None:
    """Two entries of one name would make a criterion ambiguous."""
    names = [spec.name for spec in catalogue()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ({}, "--target http://127.0.0.1:PORT"),
        ({"main": "https://staging.example"}, "--target https://staging.example"),
        ({"a": "http://a:1", "b": "http://b:2"}, "--target a=http://a:1 --target b=http://b:2"),
    ],
)
def test_the_command_that_measures_it_alone_names_the_addresses_that_there_are(urls: dict[str, str], expected: str) -> None:
    """What runs already can be pasted; of what the gate started itself only the port is left to fill in."""
    assert addresses(urls) == expected


@pytest.mark.end_to_end
def test_a_healthy_server_passes_with_every_number_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured, sent as planned, judged ready; evidence and plots are there."""
    gate = planned(tmp_path, "{latency.p90@steady/*: {below: 500 ms}, errors.ratio: {below: 1 %}, throughput: {above: 150/s}}")
    result = ran(tmp_path, gate, monkeypatch)
    assert result.execution is Execution.COMPLETED, result.reason
    assert result.summary.startswith("600 planned, 600 sent, 0 with an error.")
    assert judge_gate(gate, result).outcome is Outcome.PASS
    assert {path.name for path in (tmp_path / "g" / "evidence").iterdir()} == {
        "seconds.csv",
        "quantiles.csv",
        "latency.hlog",
        "service.hlog",
        "metrics.prom",
        "arrivals.csv.gz",
        "resources.csv",
    }
    assert any(isinstance(each, Series) for each in result.exhibits)
    look, alone = result.steps
    assert (tmp_path / look.split()[2]).is_file()
    assert alone.startswith("against one that you started: gates load ")


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("proxy", "criterion", "kind"),
    [
        ("{errors: {share: 5 %}}", "{errors.ratio: {below: 2 %}}", "error"),
        ("{wrong_body: {share: 5 %}}", "{errors.ratio: {below: 2 %}}", "wrong_body"),
        ("{delay: {share: 20 %, by: 200 ms}}", "{latency.p90@steady: {below: 100 ms}}", "delay"),
        ("{truncated: {share: 5 %}}", "{errors.ratio: {below: 2 %}}", "truncated"),
    ],
)
def test_a_seeded_defect_is_caught_and_seen_by_the_proxy_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, criterion: str, kind: str
) -> None:
    """The named criterion fails, and the proxy's own log says how often the defect was there."""
    gate = planned(tmp_path, criterion, settings=f"proxy: {proxy}")
    result = ran(tmp_path, gate, monkeypatch)
    report = judge_gate(gate, result)
    assert report.outcome is Outcome.FAIL, report
    lines = [json.loads(line) for line in (tmp_path / "g" / "evidence" / "proxy-main.jsonl").read_text().splitlines()]
    assert lines[-1]["kind"] == "total"
    assert lines[-1]["done"][kind] == sum(line["kind"] == kind for line in lines) >= 29


@pytest.mark.end_to_end
def test_a_stall_is_in_the_latency_of_many_and_in_the_service_time_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two connections hold two requests in it; all others wait, which a clock that starts at the sending misses."""
    scenario = SCENARIO.replace("300/s, for: 2 s", "60/s, for: 4.5 s").replace("connections: 20", "connections: 2")
    scenario = scenario.replace("timeout: 1 s", "timeout: 5 s")
    gate = planned(
        tmp_path, "{latency.p90: {below: 5 s}}", scenario=scenario, settings="proxy: {stall: {every: 4 s, for: 1 s}}"
    )
    found = {each.key: each.value for each in ran(tmp_path, gate, monkeypatch).measurements}
    held = (tmp_path / "g" / "evidence" / "proxy-main.jsonl").read_text().count('"kind": "stall"')
    assert found["latency.p90"] > 0.3
    assert found["service.p90"] < found["latency.p90"] / 3
    assert 1 <= held <= 0.02 * found["requests.count"]


@pytest.mark.end_to_end
def test_a_target_that_dies_in_the_middle_is_an_error_with_its_last_lines_and_the_data_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured until then is there; the death is a finding and the log tail an exhibit."""
    server = serving()
    dying = server[2] + "\n"
    dying = dying.replace("server.serve_forever()", "import threading, os\nprint('out of luck', flush=True)\n"
                          "threading.Timer(1.0, os._exit, [3]).start()\nserver.serve_forever()")  # fmt: skip
    target = {"command": {"run": [sys.executable, "-c", dying, "{port}", "{data}"]}}
    gate = planned(tmp_path, "{errors.ratio: {below: 5 %}}", target=target)
    result = ran(tmp_path, gate, monkeypatch)
    assert result.execution is Execution.COMPLETED
    assert [(each.level, each.message) for each in result.findings if each.level is Level.ERROR] == [
        (Level.ERROR, "main ended with exit code 3 in the middle of the load")
    ]
    tail = next(each for each in result.exhibits if isinstance(each, LogTail))
    assert tail.lines[-1] == "out of luck"
    assert judge_gate(gate, result).outcome is Outcome.FAIL
    assert {m.key: m.n for m in result.measurements}["errors.ratio"] == 600


@pytest.mark.end_to_end
def test_a_target_that_does_not_start_fails_to_run_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement, so nothing passes."""
    target = {"command": {"run": [sys.executable, "-c", "raise SystemExit('no disk')", "{port}"]}}
    gate = planned(tmp_path, "{errors.ratio: {below: 5 %}}", target=target)
    result = ran(tmp_path, gate, monkeypatch)
    assert result.execution is Execution.FAILED_TO_RUN
    assert "no disk" in result.reason
    assert result.measurements == ()
    assert judge_gate(gate, result).outcome is Outcome.INCONCLUSIVE


BREAKING = """
import http.server, itertools, sys
number = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200 if next(number) < 150 else 500)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b'{"ok": true}')
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.end_to_end
def test_a_server_that_breaks_for_good_ends_the_gate_which_fails_by_that_and_proves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named criterion fails, the others are inconclusive because the run was stopped; what was cut short is not counted."""
    target = {"command": {"run": [sys.executable, "-c", BREAKING, "{port}"]}}
    scenario = SCENARIO.replace("{rate: 300/s, for: 2 s}", "{rate: 100/s, for: 60 s}")
    criteria = "{errors.ratio: {below: 10 %}, latency.p50: {below: 900 ms}, requests.count: {at_least: 6000}}"
    gate = planned(tmp_path, criteria, scenario=scenario, target=target, settings="stop: {after: 1 s}")
    result = ran(tmp_path, gate, monkeypatch)
    assert result.execution is Execution.STOPPED
    assert result.reason.startswith("stopped after ")
    assert "errors.ratio was beyond its limit, proven from" in result.summary
    report = judge_gate(gate, result)
    outcomes = {each.criterion.id: each.outcome for each in report.criteria if not each.criterion.built_in}
    assert outcomes == {
        "errors.ratio": Outcome.FAIL,
        "latency.p50": Outcome.INCONCLUSIVE,
        "requests.count": Outcome.INCONCLUSIVE,
    }
    assert report.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("settings", "seconds"), [("", 3.0), ("for: 100 s", 10.0), ("stop: {after: 5 s}", 5.0), ("stop: {after: never}", 0.0)]
)
def test_a_breach_must_last_a_tenth_of_the_time_and_three_seconds_unless_the_gate_says_otherwise(
    tmp_path: Path, settings: str, seconds: float
) -> None:
    """So that hardly anything is stopped that would have passed; `never` runs to the end."""
    gate = planned(tmp_path, "{errors.ratio: {below: 5 %}}", settings=settings)
    assert gate.settings["stop_after"] == seconds


LEAKING = """
import http.server, sys
kept = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        kept.append((open("/dev/null"), bytearray(b"x" * 65536)))
        self.send_response(200)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b'{"ok": true}')
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.end_to_end
def test_a_server_that_leaks_memory_and_files_fails_by_its_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """150 requests a second keep a file and 64 KiB each; a bound on all processes, or on each, or on one, sees it."""
    target = {"command": {"run": [sys.executable, "-c", LEAKING, "{port}"]}}
    scenario = SCENARIO.replace("{rate: 300/s, for: 2 s}", "{rate: 150/s, for: 4 s}").replace("500 ms", "750 ms")
    criteria = "{rss.growth@steady/*: {below: 4 MiB}, files.growth@steady/main: {below: 20}, rss.max: {below: 1 GiB}}"
    gate = planned(tmp_path, criteria, scenario=scenario, target=target)
    result = ran(tmp_path, gate, monkeypatch)
    outcomes = {each.criterion.id: each.outcome for each in judge_gate(gate, result).criteria if not each.criterion.built_in}
    assert outcomes == {
        "rss.growth@steady/*": Outcome.FAIL,
        "files.growth@steady/main": Outcome.FAIL,
        "rss.max": Outcome.PASS,
    }
    assert "Memory of the target" in {each.title for each in result.exhibits}


@pytest.mark.parametrize(
    ("target", "criterion", "problem"),
    [
        ({"url": "http://127.0.0.1:1"}, "rss.max", "rss.max is of processes, and this target has none that we start"),
        (None, "files.max/mian", "the target has no process 'mian'"),
        (None, "rss.growth@warmup", "needs 12 samples, .* gives it 2"),
        (None, "rss.max@fault", "phase"),
    ],
)
def test_resources_that_nobody_can_measure_are_refused_before_anything_runs(
    tmp_path: Path, target: Any, criterion: str, problem: str
) -> None:
    """What runs already has no processes of ours; a wrong name would never be measured."""
    with pytest.raises(SpecErrors, match=problem) as caught:
        planned(tmp_path, f"{{{criterion}: {{below: {'20' if 'files' in criterion else '1 GiB'}}}}}", target=target)
    assert caught.value.problems[0].hint
    assert caught.value.problems[0].line == 10


@pytest.mark.end_to_end
def test_the_kind_imports_with_the_base_dependencies_alone() -> None:
    """Every session resolves the same plan, whether or not it can measure load."""
    absent = ("numpy", "uvloop", "httptools", "hdrh", "httpx", "psutil")
    modules = "gates.kinds.load, gates.target.presets, gates.cli.load"
    script = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {modules}"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("stop", "refused"), [("{after: 5 s}", True), ("{after: never}", False)])
def test_a_load_over_workers_that_is_to_stop_at_a_breach_is_refused_at_its_line(
    tmp_path: Path, stop: str, refused: bool
) -> None:
    """No worker would see it; by default such a load is not watched."""
    settings = f"scale: local:2\n    stop: {stop}"
    if not refused:
        assert planned(tmp_path, "{errors.ratio: {below: 5 %}}", settings=settings).settings["stop_after"] == 0
        return
    with pytest.raises(SpecErrors, match="a load over workers is not ended at a sustained breach") as caught:
        planned(tmp_path, "{errors.ratio: {below: 5 %}}", settings=settings)
    assert caught.value.problems[0].line == 10


@pytest.mark.end_to_end
def test_a_load_over_workers_without_the_extra_is_inconclusive_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment without dask measures nothing, and the report says what to install."""
    for module in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, module, None)
    gate = planned(tmp_path, "{errors.ratio: {below: 5 %}}", settings="scale: local:2")
    result = ran(tmp_path, gate, monkeypatch)
    assert result.execution is Execution.FAILED_TO_RUN
    assert "needs the extra `scale`, which is not installed" in result.reason
    assert result.steps == ('pip install "readiness-gates[scale]"',)
    report = judge_gate(gate, result)
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "the extra `scale`" in report.reason


def test_a_seeded_slowness_that_no_worker_would_have_is_refused_at_its_line(tmp_path: Path) -> None:
    """With what to do, before anything runs; a drill that seeded nothing would look like one that caught nothing."""
    with pytest.raises(SpecErrors, match="`drag` holds up one of a single process only") as caught:
        planned(tmp_path, "{errors.ratio: {below: 5 %}}", settings="scale: local:2\n    drag: 20 ms")
    (problem,) = caught.value.problems
    assert problem.location.endswith("readiness.yaml:10:11")
    assert problem.hint == "leave out `drag`, or `scale`"


def test_a_place_for_workers_that_is_none_is_told_at_its_line(tmp_path: Path) -> None:
    """With what was expected, before anything runs."""
    with pytest.raises(SpecErrors, match="expected local:N with N from 1 to 64, or dask://HOST:PORT") as caught:
        planned(tmp_path, "{errors.ratio: {below: 5 %}}", settings="scale: cloud")
    assert caught.value.problems[0].line == 9


@pytest.mark.end_to_end
def test_a_gate_over_two_workers_measures_the_whole_load_and_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned is sent, and the report has the generator of each worker."""
    patient = SCENARIO.replace("timeout: 1 s", "timeout: 60 s")  # all is sent, however busy the machine is
    criteria = "{latency.p90@steady/*: {below: 500 ms}, errors.ratio: {below: 1 %}}"
    gate = planned(tmp_path, criteria, scenario=patient, settings="scale: local:2")
    result = ran(tmp_path, gate, monkeypatch)
    assert result.execution is Execution.COMPLETED, result.reason
    assert result.summary.startswith("600 planned, 600 sent, 0 with an error.")
    workers = next(each for each in result.exhibits if each.title == "Workers")
    assert isinstance(workers, Table)
    assert [row[1:3] for row in workers.rows] == [("300", "300"), ("300", "300")]
    assert any("--scale local:2" in step for step in result.steps)


@pytest.mark.end_to_end
def test_a_gate_without_its_workers_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody schedules there: no smaller load takes the place of the one that was planned."""
    gate = planned(tmp_path, "{errors.ratio: {below: 1 %}}", settings="scale: dask://127.0.0.1:9")
    result = ran(tmp_path, gate, monkeypatch)
    assert "no scheduler answers at tcp://127.0.0.1:9" in result.reason
    assert judge_gate(gate, result).outcome is Outcome.INCONCLUSIVE
