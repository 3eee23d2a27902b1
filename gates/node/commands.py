"""`gates node` and `gates federation`: the reference nodes, for people who want to look at them. Reached by entry points."""

from __future__ import annotations

import json
import os
import signal
import sys
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
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="Folder of their keys, databases and logs; kept, and taken up again by the next `up`.",
)
@click.option("--detach", is_flag=True, help="Leave them running until `down`.")
@click.option("--json", "as_json", is_flag=True, help="Print the nodes as JSON.")
def up(count: int, data: Path, detach: bool, as_json: bool) -> None:
    """Start nodes that know each other, and show where they are. They run until Ctrl-C, or with --detach until `down`."""
    with _told():
        started = fleet.up(count, data.absolute(), detached=detach)
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
    """Show each node's readiness, peers, root and jobs. Equal roots: equal blocks. Exit codes: 0 all ready, 1 not."""
    with _told():
        known = fleet.load(data.absolute())
    states = [_state(known, member) for member in known.members]
    if as_json:
        click.echo(json.dumps(states, indent=2))
    else:
        columns = ("name", "url", "state", "peers", "blocks", "root")
        rows = [[*(str(state[column]) for column in columns), _counted(state["jobs"])] for state in states]
        _table((*columns, "jobs"), rows)
        if any(state["state"] == "ended" for state in states):
            click.echo(f"`{_group()} start` starts what has ended, on its data and port", err=True)
    raise click.exceptions.Exit(0 if all(state["state"] == "ready" for state in states) else 1)


@federation.command("down")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT, show_default=True, help="Their folder."
)
def down(data: Path) -> None:
    """End the nodes that were started on the folder, and no other process. Their data stays."""
    with _told():
        known = fleet.load(data.absolute())
        ended = fleet.down(data.absolute())
    names = ", ".join(member.name for member in ended)
    click.echo(f"ended {names}" if names else "no node was running", err=True)
    for member in known.members:
        if known.ask(member, "/live")[0]:
            click.echo(f"{member.name} still answers at {member.url}: somebody started it by hand, and has to end it", err=True)


@federation.command("start")
@click.argument("names", nargs=-1)
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT, show_default=True, help="Their folder."
)
def start(names: tuple[str, ...], data: Path) -> None:
    """Start NAMES again, or all that have ended, on their data and port, until `down`."""
    with _told():
        begun = ", ".join(member.name for member in fleet.start(data.absolute(), names))
    click.echo(f"started {begun}" if begun else "all of them are running", err=True)


# --- up ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _told() -> Iterator[None]:
    """What keeps a federation from running is one line and exit code 1, not a traceback."""
    try:
        yield
    except FleetError as error:
        remedy = f"; see: {_group()} {error.remedy}" if error.remedy else ""
        click.echo(f"error: {error}{remedy}", err=True)
        raise click.exceptions.Exit(1) from None


def _group() -> str:
    """This group of commands, in the form in which it was started."""
    path = click.get_current_context().command_path
    return path.rpartition(" ")[0]


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
        "url": member.url,
        "did": member.did,
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


def _jobs(known: Fleet, member: Member) -> dict[str, int] | None:
    """The stored jobs by status, as the metrics count them; None when the node does not say."""
    code, body = known.ask(member, "/metrics")
    if code != 200:
        return None
    lines = body.decode(errors="replace").splitlines()
    counts = [line[len('icn_jobs{status="') :].partition('"} ') for line in lines if line.startswith('icn_jobs{status="')]
    return {name: int(float(count)) for name, _, count in counts if float(count)}


def _counted(jobs: dict[str, int] | None) -> str:
    if jobs is None:
        return "?"
    return ", ".join(f"{count:,} {name}" for name, count in jobs.items()) or "0"
