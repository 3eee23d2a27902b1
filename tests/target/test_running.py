"""Targets are started, controlled and stopped as processes, for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

import pytest
from small_server import NODE, serving

from gates.model import ProcessSpec, Ready, TargetLayout, TargetPlan
from gates.target import TargetError, running
from gates.target.ports import free_ports
from gates.target.presets import CommandPreset, UrlPreset

pytestmark = pytest.mark.end_to_end

PRESETS = {"command": CommandPreset(), "url": UrlPreset()}


def plugins(group: str) -> dict[str, Any]:
    """The presets, without whatever else is installed."""
    return dict(PRESETS)


def command(run: list[str], **more: Any) -> TargetPlan:
    """A plan of one server of one's own."""
    return TargetPlan("command", {"run": run, **more}, ("main",), ("kill", "start", "pause"))


def get(url: str) -> Any:
    """The JSON at *url*."""
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.loads(response.read())


def gone(pid: int, within: float = 10.0) -> bool:
    """Whether no process *pid* runs any more; zombies are gone."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_a_command_is_started_on_a_free_port_and_is_gone_afterwards(tmp_path: Path) -> None:
    """The template gives it a port, HTTP says that it is ready, and leaving the context ends it."""
    plan = command(serving(), ready={"http": "/health"}, env={"ECHO": '"{port}"'})
    with running(plan, folder=tmp_path, plugins=plugins) as target:
        url = target.endpoints["main"]
        assert get(url) == {"ok": True}
        assert url.endswith(":" + get(url + "/echo"))
        pid = target.processes()["main"]
        assert target.is_running("main")
    assert gone(pid)
    assert "serving" in (tmp_path / "target" / "main.log").read_text()


def test_a_killed_process_comes_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    """SIGKILL is seen at once; start keeps port and data folder; neither counts as a death in the middle."""
    with running(command(serving()), folder=tmp_path, plugins=plugins) as target:
        url = target.endpoints["main"]
        target.kill("main")
        assert not target.is_running("main")
        with pytest.raises(OSError, match="refused"):
            get(url)
        target.start("main")
        assert get(url) == {"ok": True}
        assert (target.data("main") / "starts").read_text() == "xx"
        assert target.died() == {}


def test_a_paused_process_answers_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    """SIGSTOP keeps the port open and the answers away."""
    with running(command(serving()), folder=tmp_path, plugins=plugins) as target:
        url = target.endpoints["main"]
        target.pause("main")
        with pytest.raises(OSError, match="timed out"):
            urllib.request.urlopen(url, timeout=0.1).close()
        assert target.is_running("main")
        target.resume("main")
        assert get(url) == {"ok": True}


def test_a_death_in_the_middle_is_told_with_its_exit_code_and_last_lines(tmp_path: Path) -> None:
    """Nobody asked for it, so it is a death; terminal escapes don't reach the log tail."""
    with running(command(serving(), ready={"http": "/health"}), folder=tmp_path, plugins=plugins) as target:
        assert target.died() == {}
        pid = target.processes()["main"]
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        assert target.died() == {"main": -signal.SIGKILL}
        assert target.logs()[0].lines[-1].startswith("serving on ")
        assert target.processes() == {}


def test_a_process_that_dies_at_start_is_an_error_with_its_last_lines(tmp_path: Path) -> None:
    """The message has the exit code and the last line, the tail has more."""
    plan = command([sys.executable, "-c", "print('one'); print('no licence'); raise SystemExit(7)", "{port}"])
    with pytest.raises(TargetError, match="ended with exit code 7 before it was ready; its last line: no licence") as caught:
        running(plan, folder=tmp_path, plugins=plugins).__enter__()
    assert caught.value.tail is not None
    assert caught.value.tail.lines == ("one", "no licence")


@pytest.mark.parametrize(
    ("ready", "missing"),
    [({"http": "/missing"}, "no 2xx answer from"), ({"log": "^all set"}, "no line of its log matches '.all set'")],
)
def test_a_process_that_never_gets_ready_is_an_error_and_is_ended(tmp_path: Path, ready: dict[str, str], missing: str) -> None:
    """What was awaited is named, and nothing is left running."""
    plan = command([*serving()[:3], "{port}", "{data}"], ready={**ready, "within": "0.2 s"})
    with pytest.raises(TargetError, match=f"was not ready within 0.2 s: {missing}"):
        running(plan, folder=tmp_path, plugins=plugins).__enter__()
    assert not [path for path in Path("/proc").glob("[0-9]*") if str(tmp_path) in _command_line(path)]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def test_a_program_that_is_not_there_is_an_error_with_the_command(tmp_path: Path) -> None:
    """No traceback: the name and the command."""
    with pytest.raises(TargetError, match="No such file"):
        running(command(["./nowhere", "{port}"]), folder=tmp_path, plugins=plugins).__enter__()


def test_readiness_by_a_log_line_looks_at_the_latest_start_only(tmp_path: Path) -> None:
    """The line of the first start does not make the second one ready."""
    with running(command(serving(), ready={"log": "^.*serving.* on"}), folder=tmp_path, plugins=plugins) as target:
        target.kill("main")
        target.start("main")
        assert get(target.endpoints["main"]) == {"ok": True}
    assert (tmp_path / "target" / "main.log").read_text().count("serving") == 2


def test_a_fixed_port_that_is_in_use_is_named(tmp_path: Path) -> None:
    """The user fixed it, so no other is tried."""
    with running(command(serving()), folder=tmp_path / "first", plugins=plugins) as target:
        port = int(target.endpoints["main"].rpartition(":")[2])
        with pytest.raises(TargetError, match=f"main: port {port} is in use"):
            running(command(serving(), port=port), folder=tmp_path / "second", plugins=plugins).__enter__()


def test_a_port_that_was_taken_meanwhile_is_replaced_by_another(tmp_path: Path) -> None:
    """Another program can listen between our look and the server's own; the start is tried again with other ports."""
    marker = tmp_path / "tried"
    first_fails = f"""
import pathlib, runpy, sys
marker = pathlib.Path({str(marker)!r})
if not marker.exists():
    marker.write_text(sys.argv[1])
    raise SystemExit("OSError: [Errno 98] Address already in use")
import http.server
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
    plan = command([sys.executable, "-c", first_fails, "{port}"])
    with running(plan, folder=tmp_path, plugins=plugins) as target:
        assert target.is_running("main")
        assert marker.exists()


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping takes the patience and no longer."""
    monkeypatch.setattr("gates.target.supervisor.PATIENCE", 0.1)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + serving()[2]
    with running(command([sys.executable, "-c", stubborn, "{port}", "{data}"]), folder=tmp_path, plugins=plugins) as target:
        pid = target.processes()["main"]
    assert gone(pid, within=1)


def test_processes_know_each_other_by_name(tmp_path: Path) -> None:
    """Ports and URLs of others go into commands and environments; an unknown name is an error."""

    class Pair:
        name = "pair"
        settings = CommandPreset.settings

        def layout(self, settings: Any) -> TargetLayout:
            env = {"ECHO": '"{url:a} {port:b} {data}"'}
            specs = [ProcessSpec(name, tuple(serving()), Ready(http="/"), env) for name in "ab"]
            return TargetLayout(tuple(specs), controls=("kill",))

    plan = TargetPlan("pair", {"run": ["{port}"]}, ("a", "b"))
    with running(plan, folder=tmp_path, plugins=lambda _: {"pair": Pair()}) as target:
        a, b = target.endpoints["a"], target.endpoints["b"]
        assert get(b + "/echo") == f"{a} {b.rpartition(':')[2]} {target.data('b')}"
        with pytest.raises(TargetError, match="no control 'start'; it has kill"):
            target.start("a")


def test_a_url_is_used_as_it_is_and_not_killed(tmp_path: Path) -> None:
    """What runs already is reached and never touched; what does not answer is an error by name."""
    with running(command(serving()), folder=tmp_path / "real", plugins=plugins) as real:
        url = real.endpoints["main"]
        plan = TargetPlan("url", {"url": url}, ("main",))
        with running(plan, folder=tmp_path / "url", plugins=plugins) as target:
            assert get(target.endpoints["main"]) == {"ok": True}
            with pytest.raises(TargetError, match="no control 'kill'; it has links"):
                target.kill("main")
    with pytest.raises(TargetError, match="main: nothing accepts connections at http"):
        running(plan, folder=tmp_path / "gone", plugins=plugins).__enter__()


@pytest.mark.needs("nginx", "apt-get install nginx-light")
def test_a_url_can_be_an_nginx(tmp_path: Path) -> None:
    """A server that is neither ours nor Python's."""
    port = free_ports(1, Random())[0]
    temporary = "".join(f"{kind}_temp_path {tmp_path}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    server = f"listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{{\"ok\":true}}'; }}"
    configuration = f"daemon off; pid {tmp_path}/pid; events {{}} http {{ access_log off; {temporary} server {{ {server} }} }}"
    (tmp_path / "nginx.conf").write_text(configuration)
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    plan = command([str(program), "-c", f"{tmp_path}/nginx.conf", "-e", "stderr"], port=port)
    with (
        running(plan, folder=tmp_path / "nginx", plugins=plugins) as nginx,
        running(TargetPlan("url", {"url": nginx.endpoints["main"]}, ()), folder=tmp_path / "url", plugins=plugins) as target,
    ):
        assert get(target.endpoints["main"]) == {"ok": True}


@pytest.mark.needs("node", "apt-get install nodejs")
def test_a_command_can_be_a_server_in_another_language(tmp_path: Path) -> None:
    """Node.js gets its port like anybody else."""
    plan = command(["node", "-e", NODE, "{port}"], ready={"log": "listening"})
    with running(plan, folder=tmp_path, plugins=plugins) as target:
        assert get(target.endpoints["main"]) == {"ok": True}


def test_a_killed_gate_takes_its_target_with_it(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up: the kernel ends the server."""
    script = f"""
import sys, time
from pathlib import Path
from gates.model import TargetPlan
from gates.target import running
plan = TargetPlan("command", {{"run": {serving()!r}}}, ("main",))
with running(plan, folder=Path({str(tmp_path)!r})) as target:
    print(target.processes()["main"], flush=True)
    time.sleep(60)
"""
    gate = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert gate.stdout is not None
    with gate.stdout:
        pid = int(gate.stdout.readline())
        gate.kill()
        gate.wait()
    assert gone(pid)
