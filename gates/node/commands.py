"""`gates node` and `gates federation`: the reference nodes, for people who want to look at them. Reached by entry points."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from gates.node import fleet
from gates.node.fleet import Fleet, FleetError, Member

MOST_NODES = 26
DEFAULT = ".federation"
_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


@click.command("node", context_settings=_PASSED_ON, short_help="Run one node of the reference federation.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def node(arguments: tuple[str, ...]) -> None:
    """Run one node with ARGUMENTS until SIGTERM; `gates node --help` shows them."""
    os.execv(sys.executable, [sys.executable, "-m", "gates.node", *arguments])


@click.group("federation", short_help="Start, show and end a reference federation.")
def federation() -> None:
    """Start, show and end reference nodes on this machine."""


@federation.command("up")
@click.option(
    "-n", "--nodes", "count", type=click.IntRange(1, MOST_NODES), default=3, show_default=True, help="How many nodes."
)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of their data, kept afterwards.")
@click.option("--detach", is_flag=True, help=f"Leave them running; without --data on {DEFAULT}.")
@click.option("--json", "as_json", is_flag=True, help="Print the nodes as JSON.")
def up(count: int, data: Path | None, detach: bool, as_json: bool) -> None:
    """Start nodes that know each other, and show where they are. They run until Ctrl-C, or with --detach until `down`."""
    with _told(), _folder(data, detach) as folder:
        started = fleet.up(count, folder.absolute(), detached=detach)
        if detach:
            _show_started(started, as_json)
            return
        try:
            _show_started(started, as_json)
            _stay(started)
        finally:
            fleet.down(started.folder)


@federation.command("status")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT, show_default=True, help="Their folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print the states as JSON.")
def status(data: Path, as_json: bool) -> None:
    """Show each node's readiness, peers, root and jobs. Exit codes: 0 all ready, 1 not."""
    with _told():
        known = fleet.load(data.absolute())
    states = [_state(known, member) for member in known.members]
    if as_json:
        click.echo(json.dumps(states, indent=2))
    else:
        columns = ("name", "state", "peers", "blocks", "root", "jobs")
        _table(columns, [[str(state[column]) for column in columns] for state in states])
    raise click.exceptions.Exit(0 if all(state["state"] == "ready" for state in states) else 1)


@federation.command("down")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT, show_default=True, help="Their folder."
)
def down(data: Path) -> None:
    """End the nodes that were started on the folder, and no other process. Their data stays."""
    with _told():
        ended = fleet.down(data.absolute())
    names = ", ".join(member.name for member in ended)
    click.echo(f"ended {names}" if names else "no node was running", err=True)


# --- up ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _told() -> Iterator[None]:
    """What keeps a federation from running is one line and exit code 1, not a traceback."""
    try:
        yield
    except FleetError as error:
        click.echo(f"error: {error}", err=True)
        raise click.exceptions.Exit(1) from None


@contextmanager
def _folder(data: Path | None, detach: bool) -> Iterator[Path]:
    """Where the nodes keep their data: a folder that is deleted afterwards, unless somebody will ask for it."""
    if data is not None or detach:
        yield data or Path(DEFAULT)
    else:
        with tempfile.TemporaryDirectory(prefix="federation-") as folder:
            yield Path(folder)


def _stay(started: Fleet) -> None:
    """Return when the user ends it; exit with 1 when a node ends by itself."""
    click.echo("running until Ctrl-C", err=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        lost = fleet.watch(started)
    except KeyboardInterrupt:
        click.echo("ending the nodes", err=True)
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    raise FleetError(f"{lost.name} has ended; its log is {lost.data}.log")


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _show_started(started: Fleet, as_json: bool) -> None:
    if as_json:
        nodes = [{"name": each.name, "url": each.url, "did": each.did, "data": each.data} for each in started.members]
        click.echo(json.dumps({"api_key": started.key, "nodes": nodes}, indent=2))
        return
    _table(("name", "url", "did", "data"), [[each.name, each.url, each.did, each.data] for each in started.members])
    click.echo(f"\nAPI key: {started.key} (header X-API-Key)")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
    for row in (columns, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# --- status -----------------------------------------------------------------------------------------------------------


def _state(known: Fleet, member: Member) -> dict[str, Any]:
    """What one node says of itself; `?` for what it does not say."""
    code = known.ask(member, "/ready")[0]
    state = "ready" if code == 200 else "not ready" if code else "does not answer" if fleet.is_running(member) else "ended"
    federation, root = _json(known, member, "/federation/status"), _json(known, member, "/dag/root")
    peers = federation.get("members", [])
    alive = sum(peer.get("state") == "alive" for peer in peers)
    return {
        "name": member.name,
        "state": state,
        "peers": f"{alive}/{len(peers)} alive" if federation else "?",
        "blocks": root.get("blocks", "?"),
        "root": str(root.get("root") or "?")[:16],
        "jobs": _jobs(known, member),
    }


def _json(known: Fleet, member: Member, path: str) -> dict[str, Any]:
    code, body = known.ask(member, path)
    try:
        value = json.loads(body) if code == 200 else {}
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}


def _jobs(known: Fleet, member: Member) -> str:
    """The stored jobs by status, as the metrics count them."""
    code, body = known.ask(member, "/metrics")
    lines = body.decode(errors="replace").splitlines() if code == 200 else []
    counts = [line[len('icn_jobs{status="') :].partition('"} ') for line in lines if line.startswith('icn_jobs{status="')]
    return ", ".join(f"{float(count):.0f} {name}" for name, _, count in counts if float(count)) or ("0" if lines else "?")
