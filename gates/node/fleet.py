"""Node processes for people who want to look at a federation: started, listed and ended, with nothing left behind.

What runs is written to a state file in the data folder. A process is ended only when its pid and its start time are those of
the file, so that a pid that was given to somebody else since is left alone.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import random
import secrets
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

STATE = "federation.json"
READY_WITHIN = 30.0
ENDS_WITHIN = 15.0
ANSWERS_WITHIN = 3.0
_PAUSE = 0.05
_LOG_LINES = 12
_PR_SET_PDEATHSIG = 1
_PORTS = range(20_000, 32_768)


class FleetError(Exception):
    """Something that keeps a federation from being started, found or ended; the text says what to do.

    Attributes:
        remedy: arguments of the command `gates federation` that help, "" where none does.
    """

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Member:
    """One running node.

    Attributes:
        started: the start time of the process, as the system writes it; with the pid it names one process for good.
    """

    name: str
    url: str
    did: str
    data: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The nodes of one data folder, and the API key that all of them take."""

    folder: Path
    key: str
    members: tuple[Member, ...]

    def ask(self, member: Member, path: str) -> tuple[int, bytes]:
        """Status and body of GET *path*; 0 and nothing when the node does not answer."""
        return ask(member.url, path, self.key)


def ask(url: str, path: str, key: str) -> tuple[int, bytes]:
    """Status and body of GET *path* at *url*; 0 and nothing when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWERS_WITHIN)
    try:
        connection.request("GET", path, headers={"X-API-Key": key, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


# --- up ---------------------------------------------------------------------------------------------------------------


def up(count: int, folder: Path, *, detached: bool, arguments: Sequence[str] = ()) -> Fleet:
    """Start *count* nodes that know each other on *folder*, and wait until all are ready; on any failure none is left."""
    _made(folder)
    running = [member for member in _found(folder) if is_running(member)]
    if running:
        who = ", ".join(member.name for member in running)
        raise FleetError(f"{folder}: {who} {'is' if len(running) == 1 else 'are'} running already", f"down --data {folder}")
    names = [f"node-{letter}" for letter in string.ascii_lowercase[:count]]
    urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, _free_ports(count), strict=True)}
    key = secrets.token_hex(16)
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names:
            file = _settings(folder / name, name, urls, key)
            children[name] = _start(file, folder / f"{name}.log", detached, arguments)
        _write(folder, key, _members(folder, urls, children, dict.fromkeys(names, "")))
        _await_ready(urls, children, folder, key)
        dids = {name: _did(url, key) for name, url in urls.items()}
        fleet = Fleet(folder, key, _members(folder, urls, children, dids))
        _write(folder, key, fleet.members)
    except BaseException:
        stop(list(children.values()))
        _forget(folder)
        raise
    return fleet


def start(folder: Path, names: Sequence[str] = ()) -> list[Member]:
    """Start those of *names* (none: all) that have ended, on their data and port; return them once they are ready."""
    fleet = load(folder)
    known = [member.name for member in fleet.members]
    if unknown := sorted(set(names) - set(known)):
        raise FleetError(f"{folder} has no {', '.join(unknown)}; it has {', '.join(known)}")
    ended = [member for member in fleet.members if member.name in (names or known) and not is_running(member)]
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for member in ended:
            children[member.name] = _start(folder / f"{member.name}.yaml", folder / f"{member.name}.log", True, ())
        _await_ready({member.name: member.url for member in ended}, children, folder, fleet.key)
    except BaseException:
        stop(list(children.values()))
        raise
    begun = [replace(each, pid=children[each.name].pid, started=started_at(children[each.name].pid)) for each in ended]
    renewed = {member.name: member for member in (*fleet.members, *begun)}
    _write(folder, fleet.key, list(renewed.values()))
    return begun


def watch(fleet: Fleet, sleep: Callable[[float], object] = time.sleep) -> Member:
    """Return the first member that ends by itself."""
    while True:
        for member in fleet.members:
            if not is_running(member):
                return member
        sleep(_PAUSE * 4)


def _made(folder: Path) -> None:
    """Make *folder*, which git leaves out: it may lie in a repository, and its keys and databases belong into none."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")


def _settings(data: Path, name: str, urls: dict[str, str], key: str) -> Path:
    """The node's settings file, which only its owner may read since the key is in it. JSON is YAML."""
    data.mkdir(exist_ok=True)
    file = data.with_suffix(".yaml")
    peers = {other: url for other, url in urls.items() if other != name}
    values = {"name": name, "data": str(data), "port": urlsplit(urls[name]).port, "peers": peers, "api_key": key}
    _private(file, json.dumps(values, indent=1))
    return file


def _start(settings: Path, log: Path, detached: bool, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "gates.node", "--config", str(settings), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=None if detached else lambda: _end_with(parent),  # noqa: PLW1509 -- one prctl, no locks
        )


def _end_with(parent: int) -> None:
    """In the child before exec: ask the kernel to end it when *parent* ends, which may have happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def _await_ready(urls: dict[str, str], children: dict[str, subprocess.Popen[bytes]], folder: Path, key: str) -> None:
    deadline, waiting = time.monotonic() + READY_WITHIN, dict(urls)
    while waiting:
        for name, child in children.items():
            if child.poll() is not None:
                raise FleetError(f"{name} ended with {child.returncode} before it was ready:\n{_tail(folder / f'{name}.log')}")
        waiting = {name: url for name, url in waiting.items() if ask(url, "/ready", key)[0] != 200}
        if waiting and time.monotonic() > deadline:
            name = next(iter(waiting))
            raise FleetError(f"{name} was not ready within {READY_WITHIN:g} s:\n{_tail(folder / f'{name}.log')}")
        time.sleep(_PAUSE if waiting else 0)


def _did(url: str, key: str) -> str:
    code, body = ask(url, "/network/local-peer-id", key)
    if code != 200:
        raise FleetError(f"{url} does not tell its DID: {code} {body[:200].decode(errors='replace')}")
    return str(json.loads(body)["peer_id"])


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to clients: one of these could be taken meanwhile."""
    return list(islice(filter(_is_free, random.sample(_PORTS, len(_PORTS))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _tail(log: Path) -> str:
    with suppress(OSError):
        return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    return ""


# --- down -------------------------------------------------------------------------------------------------------------


def down(folder: Path) -> list[Member]:
    """End the nodes of *folder*, and say which were running. Raises FleetError when it has none."""
    fleet = load(folder)
    running = [member for member in fleet.members if is_running(member)]
    for member in running:
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGTERM)
    deadline = time.monotonic() + ENDS_WITHIN
    while (left := [member for member in running if is_running(member)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    for member in left:
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    _forget(folder)
    return running


def stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End *children* of this process: SIGTERM, and SIGKILL for those that take too long."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + ENDS_WITHIN
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


# --- the state file ---------------------------------------------------------------------------------------------------


def load(folder: Path) -> Fleet:
    """The federation of *folder*. Raises FleetError when it has none."""
    file = folder / STATE
    try:
        state: Any = json.loads(file.read_text())
        return Fleet(folder, str(state["key"]), tuple(Member(**member) for member in state["nodes"]))
    except FileNotFoundError:
        raise FleetError(f"{file} is not there: no federation runs on this folder", "up --help") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FleetError(f"{file} can't be read: {error}; end the nodes by hand and delete it") from None


def is_running(member: Member) -> bool:
    """Whether the process of *member* is there: the same pid, begun at the same time."""
    return started_at(member.pid) == member.started


def started_at(pid: int) -> str:
    """When the process *pid* was started, as the system writes it; "" when there is none, or it only waits to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _started_by_ps(pid)
    state, *rest = status.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]


def _started_by_ps(pid: int) -> str:
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = shown.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def _members(
    folder: Path, urls: dict[str, str], children: dict[str, subprocess.Popen[bytes]], dids: dict[str, str]
) -> tuple[Member, ...]:
    return tuple(
        Member(name, urls[name], dids[name], str(folder / name), child.pid, started_at(child.pid))
        for name, child in children.items()
    )


def _found(folder: Path) -> tuple[Member, ...]:
    return load(folder).members if (folder / STATE).exists() else ()


def _write(folder: Path, key: str, members: Sequence[Member]) -> None:
    _private(folder / STATE, json.dumps({"key": key, "nodes": [asdict(member) for member in members]}, indent=1))


def _private(file: Path, text: str) -> None:
    """Write *text* whole or not at all, for the owner's eyes."""
    temporary = file.with_name(file.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    temporary.replace(file)


def _forget(folder: Path) -> None:
    (folder / STATE).unlink(missing_ok=True)
