"""`gates federation` and `gates node`: real processes, begun and ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from waiting import Bound, await_that

from gates.node import fleet
from gates.node.fleet import STATE, FleetError, Member, is_running, started_at

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


def gates(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in *folder*."""
    command = [sys.executable, "-m", "gates", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any federation."""
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


def recorded(folder: Path, *members: Member) -> None:
    """Write the state file."""
    (folder / STATE).write_text(json.dumps({"key": "k", "nodes": [asdict(member) for member in members]}))


def as_member(pid: int) -> Member:
    """The process *pid* as a node."""
    return Member("node-a", "http://127.0.0.1:9", "did:key:z", "data", pid, started_at(pid))


def test_a_process_is_known_by_its_pid_and_its_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    """The same pid with another start time is another process; one that has ended is none, also before it is reaped."""
    member = as_member(sleeper.pid)
    assert is_running(member)
    assert not is_running(replace(member, started=f"{member.started}1"))
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(member)
    assert started_at(2**22 + 1) == ""


def test_down_leaves_a_process_alone_that_only_has_the_pid(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A pid that was given to somebody else since is not ended; the state file goes."""
    recorded(tmp_path, replace(as_member(sleeper.pid), started="1"))
    assert fleet.down(tmp_path) == []
    assert sleeper.poll() is None
    assert not (tmp_path / STATE).exists()


def test_down_ends_exactly_the_processes_of_the_file(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The one that is in it ends, the one that is not goes on."""
    with subprocess.Popen(SLEEP) as node:
        recorded(tmp_path, as_member(node.pid))
        assert [member.pid for member in fleet.down(tmp_path)] == [node.pid]
        assert node.wait() == -signal.SIGTERM
    assert sleeper.poll() is None


@pytest.mark.parametrize(("text", "words"), [(None, "no federation runs"), ("{", "can't be read"), ("[]", "can't be read")])
def test_a_folder_without_a_federation_says_so(tmp_path: Path, text: str | None, words: str) -> None:
    """Nothing there, half a file and another file: an error that names it."""
    if text is not None:
        (tmp_path / STATE).write_text(text)
    for command in (fleet.load, fleet.down):
        with pytest.raises(FleetError, match=words):
            command(tmp_path)


def test_a_federation_is_not_started_twice_on_one_folder(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The running one is named, with the command that ends it, in the form in which this one was started."""
    recorded(tmp_path, as_member(sleeper.pid))
    with pytest.raises(FleetError, match="node-a is running already"):
        fleet.up(1, tmp_path, detached=True)
    told = gates("federation", "up", "--data", str(tmp_path), folder=tmp_path)
    assert told.returncode == 1
    assert f"gates federation down --data {tmp_path}\n" in told.stderr
    assert sleeper.poll() is None


def test_start_knows_the_nodes_of_the_folder_and_leaves_running_ones_alone(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Another name is refused with those that there are; what runs is not started a second time."""
    recorded(tmp_path, as_member(sleeper.pid))
    with pytest.raises(FleetError, match=r"has no node-x; it has node-a"):
        fleet.start(tmp_path, ["node-x"])
    assert fleet.start(tmp_path) == []
    assert sleeper.poll() is None


def test_a_node_that_can_not_be_started_again_is_told_and_its_record_stays(tmp_path: Path) -> None:
    """The settings can't be read: an error with the log, and the federation is what it was."""
    recorded(tmp_path, replace(as_member(os.getpid()), started="1"))
    before = (tmp_path / STATE).read_text()
    with pytest.raises(FleetError, match="node-a ended with 2 before it was ready"):
        fleet.start(tmp_path)
    assert (tmp_path / STATE).read_text() == before


@pytest.mark.end_to_end
def test_a_node_that_can_not_start_is_told_with_its_log_and_none_is_left(tmp_path: Path) -> None:
    """The last lines of the log are in the error; the others are ended, and no state file stays."""
    with pytest.raises(FleetError, match=r"ended with \d+ before it was ready") as caught:
        fleet.up(2, tmp_path, detached=True, arguments=["--no-such-flag"])
    assert "python -m gates.node: error: " in str(caught.value)
    assert not (tmp_path / STATE).exists()


def test_the_commands_are_in_the_list_and_say_what_they_do(tmp_path: Path) -> None:
    """They come by entry points, and need nothing but the base dependencies to be listed."""
    shown = gates("--help", folder=tmp_path).stdout
    assert "Start, show and end a reference federation." in shown
    assert "Run one node of the reference federation." in shown
    for name in ("up", "status", "start", "down"):
        assert name in gates("federation", "--help", folder=tmp_path).stdout


def test_status_and_down_without_a_federation_exit_with_one(tmp_path: Path) -> None:
    """One line, no traceback."""
    for command in ("status", "start", "down"):
        done = gates("federation", command, folder=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.end_to_end
def test_a_detached_federation_is_shown_and_ended(tmp_path: Path) -> None:
    """`up --detach`, `status`, `down`: three nodes that know each other, and afterwards no process and no state file."""
    started = gates("federation", "up", "--detach", "--json", folder=tmp_path)
    assert started.returncode == 0, started.stderr
    try:
        known = fleet.load(tmp_path / ".federation")
        assert [node["did"] for node in json.loads(started.stdout)["nodes"]] == [member.did for member in known.members]
        assert (tmp_path / ".federation" / STATE).stat().st_mode & 0o077 == 0
        assert _settled(tmp_path)[0]["peers"] == "2/2 alive"
        shown = gates("federation", "status", folder=tmp_path)
        assert shown.returncode == 0
        assert re.search(r"node-c +http\S+ +ready +2/2 alive", shown.stdout)
    finally:
        ended = gates("federation", "down", folder=tmp_path)
    assert ended.stderr == "ended node-a, node-b, node-c\n"
    assert not any(is_running(member) for member in known.members)
    assert gates("federation", "status", folder=tmp_path).returncode == 1


@pytest.mark.end_to_end
def test_a_killed_node_is_started_again_and_ended_with_the_others(tmp_path: Path) -> None:
    """`status` says that it ended and what starts it; `start` gives it its port and DID back, `down` knows the new one."""
    gates("federation", "up", "-n", "2", "--detach", folder=tmp_path)
    folder = tmp_path / ".federation"
    try:
        killed = fleet.load(folder).members[1]
        os.kill(killed.pid, signal.SIGKILL)
        await_that(lambda: not is_running(killed), "node-b, which was killed, has ended")
        shown = gates("federation", "status", folder=tmp_path)
        assert shown.returncode == 1
        assert re.search(r"node-b +http\S+ +ended", shown.stdout)
        assert "federation start" in shown.stderr
        assert gates("federation", "start", folder=tmp_path).stderr == "started node-b\n"
        known = fleet.load(folder).members
        assert (known[1].url, known[1].did) == (killed.url, killed.did)
        assert is_running(known[1])
        assert fleet.ask(known[1].url, "/ready", "")[0] == 200
    finally:
        ended = gates("federation", "down", folder=tmp_path)
    assert ended.stderr == "ended node-a, node-b\n"
    assert not any(is_running(member) for member in known)


@pytest.mark.end_to_end
def test_a_federation_comes_up_again_on_its_data(tmp_path: Path) -> None:
    """The second `up` has the first one's DIDs; its folder is none of the repository's business."""
    dids = []
    for _ in range(2):
        started = gates("federation", "up", "-n", "2", "--detach", "--json", folder=tmp_path)
        try:
            dids.append([node["did"] for node in json.loads(started.stdout)["nodes"]])
            _settled(tmp_path, "1/1 alive")
        finally:
            gates("federation", "down", folder=tmp_path)
    assert dids[0] == dids[1]
    assert (tmp_path / ".federation" / ".gitignore").read_text() == "*\n"


def _states(folder: Path) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = json.loads(gates("federation", "status", "--json", folder=folder).stdout)
    return states


def _settled(folder: Path, peers: str = "2/2 alive") -> list[dict[str, Any]]:
    """The states, once every node has met the others."""
    in_time = Bound(f"every node shows {peers}")
    while in_time():
        states = _states(folder)
        if all(state["peers"] == peers for state in states):
            break
    return states


@pytest.mark.end_to_end
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_federation_in_the_foreground_ends_with_its_command(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the nodes; the table was on stdout; nothing is left, in memory or on disk."""
    with _foreground(tmp_path) as running:
        nodes = fleet.load(tmp_path / "data").members
        running.send_signal(number)
        shown, talk = running.communicate(timeout=30)
    assert running.returncode in (0, 130), talk
    assert [line.split()[:2] for line in shown.splitlines()[1:3]] == [[member.name, member.url] for member in nodes]
    assert not any(is_running(member) for member in nodes)
    assert not (tmp_path / "data" / STATE).exists()


@pytest.mark.end_to_end
def test_nodes_end_when_their_command_is_killed(tmp_path: Path) -> None:
    """Nobody is left even when nobody could tidy up."""
    with _foreground(tmp_path) as running:
        nodes = fleet.load(tmp_path / "data").members
        running.kill()
        running.communicate(timeout=30)
        await_that(lambda: not any(is_running(member) for member in nodes), "the nodes of a killed command have ended")


@pytest.mark.end_to_end
def test_a_node_that_ends_by_itself_ends_the_federation(tmp_path: Path) -> None:
    """The command names it and its log, ends the others and exits with 1."""
    with _foreground(tmp_path) as running:
        nodes = fleet.load(tmp_path / "data").members
        os.kill(nodes[1].pid, signal.SIGKILL)
        _, talk = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "node-b has ended" in talk
    assert not any(is_running(member) for member in nodes)


@pytest.mark.end_to_end
def test_one_node_runs_by_the_command(tmp_path: Path) -> None:
    """`gates node` hands its arguments on, and ends cleanly with SIGTERM."""
    helped = gates("node", "--help", folder=tmp_path)
    assert (helped.returncode, "--peers" in helped.stdout) == (0, True)
    command = [sys.executable, "-m", "gates", "node", "--name", "node-a", "--data", str(tmp_path / "n")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        assert "http://127.0.0.1:" in node.stderr.readline()
        node.terminate()
        assert node.wait(timeout=30) == 0


def _foreground(folder: Path) -> subprocess.Popen[str]:
    """A federation of two in the foreground, once its nodes are ready."""
    command = [sys.executable, "-m", "gates", "federation", "up", "-n", "2", "--data", str(folder / "data")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert running.stderr.readline() == "running until Ctrl-C\n"
    return running
