"""`gates load`: one scenario alone against a URL, with a readable table or JSON."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gates.cli.columns import aligned
from gates.cli.console import console
from gates.errors import Exit, UsageError
from gates.model import Unit

if TYPE_CHECKING:
    from gates.cli.dashboard import Screen
    from gates.load.outcome import SecondReport
    from gates.load.plan import LoadPlan
    from gates.load.scale import Scale
    from gates.load.selection import Outcome
    from gates.load.watching import Live, Stretch, Watching
    from gates.model import GateReport, Measurement, Table

T = TypeVar("T")
PATIENCE = 0.1
LAST = 10.0
NOT_CLOSED = {
    "--rate": "has no rate",
    "--pacing": "has no arrivals to pace",
    "--scale": "runs in one process",
    "--out": "writes no files; --json prints all that it measures",
    "--live": "is not drawn; -v says a line a second",
}
"""Options that make no sense with --closed, and why."""


@click.command("load")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--target", "targets", multiple=True, required=True, metavar="URL", help="Where to; again as NAME=URL for several."
)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Sent with every request; {env:NAME} is filled in."
)
@click.option("--rate", metavar="RATE", help="Arrivals a second, such as 200/s; else the scenario's.")
@click.option("--connections", type=click.IntRange(1, 10_000), help="The most connections at once; else the scenario's.")
@click.option("--duration", metavar="TIME", help="For how long requests come, such as 30s; else the scenario's.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of the order of flows and the keys; else drawn.")
@click.option("--pacing", type=click.Choice(["timer", "spin"]), help="spin: lateness of microseconds, for a core of its own.")
@click.option("--ca", metavar="FILE", help="Authorities in PEM that the target's certificate may be signed by.")
@click.option("--closed", is_flag=True, help="No rate: ask again as soon as answered, for what the target does at most.")
@click.option("--profile", default="quick", help="Whose values of the scenario: quick, standard or full.", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for time series, histograms, metrics.")
@click.option("--scale", metavar="WHERE", help="Over several processes, local:N, or the workers of dask://HOST:PORT.")
@click.option(
    "--live/--plain", default=None, help="Draw how it goes, or don't; by default on a terminal. A pipe gets a line a second."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def load_command(
    scenario: Path,
    targets: tuple[str, ...],
    headers: tuple[str, ...],
    rate: str | None,
    connections: int | None,
    duration: str | None,
    seed: int | None,
    pacing: str | None,
    ca: str | None,
    closed: bool,
    profile: str,
    out: Path | None,
    scale: str | None,
    live: bool | None,
    as_json: bool,
) -> int:
    """Run SCENARIO against a URL and print what its clients saw.

    Nothing is compared with limits, but a measurement that is none ends with 3: a late generator, requests that were never
    sent, or no right answer at all. Ctrl-C ends it early and keeps what was measured.
    """
    from gates.load.scenario import changed
    from gates.load.watching import Watching

    if closed:
        _check_closed({"--rate": rate, "--pacing": pacing, "--scale": scale, "--out": out, "--live": live or None})
    endpoints, given = _endpoints(targets), _headers(headers)
    seconds = _number(duration, Unit.SECONDS, "--duration", " s")
    per_second = _number(rate, Unit.RATE, "--rate", "/s")
    plan = changed(_read(scenario, profile), rate=per_second, seconds=seconds, connections=connections)
    plan = replace(plan, pacing=pacing or plan.pacing, ca=plan.ca if ca is None else ca)
    seed = secrets.randbits(32) if seed is None else seed
    if closed:
        return int(_closed(plan, endpoints, seed, given, as_json))
    console.talk(f"{plan.arrivals:,} arrivals at {plan.rate:g}/s for {plan.seconds:g} s, seed {seed}")
    screen = _screen(live)
    watching = Watching(plan, screen.tell if screen else _told(live), _stretches(plan))
    abandon = threading.Event()
    load = partial(_open_loop, plan, endpoints, seed, given, _scale(scale), watching, abandon)
    outcome, interrupted = _run(load, screen.draw if screen else None, abandon)
    if out is not None:
        _write(outcome, out)
    report = _judged(plan, outcome, seed)
    console.data(_json(report, outcome, seed) if as_json else _text(plan, outcome, report))
    return int(_code(outcome, report, interrupted))


class _Files:
    """Reads a scenario's files for the command line, from the working directory."""

    def __init__(self, profile: str) -> None:
        self.root = Path()
        self._profile = profile

    def read(self, path: str, schema: type[T], *, setting: str) -> T:
        from gates.spec import read_yaml

        return read_yaml(path, schema, self._profile)

    def plugins(self, group: str) -> Mapping[str, Any]:
        from gates import registry

        return registry.plugins(group)


def _read(path: Path, profile: str) -> LoadPlan:
    from gates.load.reading import read_scenario

    return read_scenario(str(path), _Files(profile))[1]


def _endpoints(targets: Sequence[str]) -> dict[str, str]:
    from gates.target.presets import MAIN, base_url

    found: dict[str, str] = {}
    for text in targets:
        name, equals, url = text.partition("=")
        named = bool(equals) and "://" not in name
        try:
            found[name if named else MAIN] = base_url(url if named else text)
        except ValueError as error:
            raise UsageError(str(error), location="--target") from None
    if len(found) < len(targets):
        raise UsageError(
            "several targets need names of their own", location="--target", hint="write --target a=URL --target b=URL"
        )
    return found


def _headers(given: Sequence[str]) -> dict[str, str]:
    from pydantic import ValidationError

    from gates.target.presets import UrlSettings
    from gates.target.template import with_environment

    pairs = {name.strip(): value.strip() for name, _, value in (text.partition(":") for text in given)}
    try:
        checked = UrlSettings(url="http://127.0.0.1", headers=pairs).headers
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"].removeprefix("Value error, "), location="--header") from None
    return with_environment(checked, os.environ)


def _number(text: str | None, unit: Unit, option: str, implied: str) -> float | None:
    """A quantity from the command line, where the option's name says the unit when none is given."""
    from gates.quantity import parse

    if text is None:
        return None
    try:
        number = parse(text if not text[-1:].isdigit() else text + implied, unit)
    except ValueError as error:
        raise UsageError(f"{error} (got {text!r})", location=option) from None
    most = 200_000 if unit is Unit.RATE else 86_400
    if not 0 < number <= most:
        raise UsageError(f"expected more than 0 and at most {most:,}{implied} (got {text!r})", location=option)
    return number


def _scale(text: str | None) -> Scale | None:
    from gates.load.scale import scale_of

    try:
        return None if text is None else scale_of(text)
    except ValueError as error:
        raise UsageError(f"{error} (got {text!r})", location="--scale") from None


def _write(outcome: Outcome, folder: Path) -> None:
    from gates.load.exhibits import write_evidence

    try:
        written = write_evidence(outcome, folder)
    except OSError as error:
        raise UsageError(f"it can't be written: {error}", location="--out") from None
    console.talk(f"wrote {', '.join(path.name for path in written)} into {folder}")


def _open_loop(
    plan: LoadPlan,
    endpoints: Mapping[str, str],
    seed: int,
    headers: Mapping[str, str],
    scale: Scale | None,
    watching: Watching,
    abandon: threading.Event,
    stop: threading.Event,
) -> Outcome:
    from gates.load.offer import offer

    return offer(plan, endpoints, seed=seed, scale=scale, headers=headers, on_second=watching, stop=stop, abandon=abandon)


def _check_closed(given: Mapping[str, object]) -> None:
    """Refuse options that a closed loop would ignore; None is one that was not given."""
    for option, why in NOT_CLOSED.items():
        if given[option] is not None:
            raise UsageError(f"a closed loop {why}", location=option, hint=f"leave out {option}, or --closed")


def _closed(plan: LoadPlan, endpoints: Mapping[str, str], seed: int, headers: Mapping[str, str], as_json: bool) -> Exit:
    from gates.cli import closed
    from gates.load.closed import run_closed

    console.talk(f"{plan.connections} connections ask again as soon as they are answered, for {plan.seconds:g} s, seed {seed}")
    outcome, interrupted = _run(
        lambda stop: run_closed(plan, endpoints, seed=seed, headers=headers, on_second=_tell, stop=stop)
    )
    console.data(closed.as_json(outcome, seed) if as_json else closed.as_text(outcome))
    return Exit.INTERRUPTED if interrupted else closed.code(outcome)


def _run(
    load: Callable[[threading.Event], T], draw: Callable[[], None] | None = None, abandon: threading.Event | None = None
) -> tuple[T, bool]:
    """Run in a thread, so that Ctrl-C reaches this one and stops the arrivals without losing what was measured.

    *draw* is called in this thread now and then, and once at the end. A second Ctrl-C sets *abandon* and raises
    KeyboardInterrupt once *load* has put away what it started, such as workers; or at once when there is no *abandon*.
    """
    stop, ended = threading.Event(), threading.Event()
    left: list[T | BaseException] = []

    def work() -> None:
        try:
            left.append(load(stop))
        except BaseException as error:
            left.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=work, name="load", daemon=True)
    thread.start()
    while not ended.is_set():
        try:
            ended.wait(PATIENCE)
            if draw is not None:
                draw()
        except KeyboardInterrupt:
            if stop.is_set():
                if abandon is not None:
                    abandon.set()
                    ended.wait(LAST)
                raise
            stop.set()
            console.talk("stopping; again Ctrl-C gives up what was measured")
    thread.join()
    if isinstance(left[0], BaseException):
        raise left[0]
    return left[0], stop.is_set()


def _screen(live: bool | None) -> Screen | None:
    """What the run is drawn on, where that can be done and is wanted."""
    import sys

    from gates.cli.console import live as can_be_drawn_over
    from gates.cli.dashboard import Screen

    wanted = live is not False and not console.quiet and (live or not console.verbose)
    return Screen(sys.stderr) if wanted and can_be_drawn_over(sys.stderr) else None


def _told(live: bool | None) -> Callable[[Live], None]:
    """What is said each second where nothing can be drawn: a line when that was asked for, or with -v."""
    from gates.cli.dashboard import line

    say = console.talk if live else console.detail
    return lambda state: say(line(state))


def _stretches(plan: LoadPlan) -> tuple[Stretch, ...]:
    from gates.load.watching import Stretch

    return tuple(Stretch(name, *span) for name, span in plan.phases.items())


def _tell(report: SecondReport) -> None:
    slowest = max(report.latencies, default=0.0)
    console.detail(f"{report.second:4} s  {report.done:6,} done  {report.errors:6,} errors  longest {slowest * 1e3:,.1f} ms")


def _judged(plan: LoadPlan, outcome: Outcome, seed: int) -> GateReport:
    """What `judge` says of the measurement itself: the valid.* criteria, nothing else."""
    from gates.load.measure import measurements
    from gates.load.validity import valid_criteria
    from gates.model import Execution, GateResult, PlannedGate
    from gates.pipeline.judge import judge_gate

    gate = PlannedGate("load", "load", {}, valid_criteria((), spins=plan.pacing == "spin"), 0.0, 0.0)
    found = measurements(outcome, phases=plan.phases, seed=seed, tags=plan.tags)
    return judge_gate(gate, GateResult("load", Execution.COMPLETED, "", outcome.end, found))


def _code(outcome: Outcome, report: GateReport, interrupted: bool) -> Exit:
    from gates.load.bottleneck import bottlenecks
    from gates.model import Outcome as Judged

    if interrupted:
        return Exit.INTERRUPTED
    if not outcome.select().right:
        console.error("no right answer at all: nothing was measured but errors")
        return Exit.INCONCLUSIVE
    doubts = [each.reason for each in report.criteria if each.outcome is not Judged.PASS]
    for doubt in doubts:
        console.talk(f"not a valid measurement: {doubt}")
    for found in bottlenecks(outcome, report.gate.criteria):
        console.talk(f"{found.message}; what helps: {found.hint}")
    return Exit.INCONCLUSIVE if doubts else Exit.READY


# --- output -----------------------------------------------------------------------------------------------------------


def _json(report: GateReport, outcome: Outcome, seed: int) -> str:
    from gates import codec

    assert report.result is not None
    return codec.dumps(
        {
            "seed": seed,
            "schedule": outcome.schedule_hash,
            "planned": outcome.planned,
            "stopped": outcome.stopped,
            "failures": {kind.name.lower(): count for kind, count in outcome.select().failures.items()},
            "examples": {kind.name.lower(): list(texts) for kind, texts in outcome.examples.items()},
            "measurements": report.result.measurements,
            "valid": {each.criterion.id: each.outcome for each in report.criteria},
        }
    ).rstrip("\n")


def _text(plan: LoadPlan, outcome: Outcome, report: GateReport) -> str:
    from gates.load.exhibits import exhibits
    from gates.model import Table

    assert report.result is not None
    tables = [each for each in exhibits(outcome) if isinstance(each, Table)]
    if not tables:
        return "nothing became due"
    blocks = [_drawn(table) for table in tables]
    phase = "steady" if plan.warmup else ""
    keys = {f"{name}@{phase}" if phase else name for name in ("latency.p50", "latency.p90", "latency.p99", "errors.ratio")}
    rows = [_interval(each) for each in report.result.measurements if each.key in keys]
    return "\n\n".join(
        [aligned(f"Intervals{f' ({phase})' if phase else ''}", ("metric", "value", "95 % interval"), rows), *blocks]
    )


def _interval(measurement: Measurement) -> tuple[str, ...]:
    from gates.quantity import show

    interval, unit = measurement.interval, measurement.unit
    span = f"{show(interval.low, unit)} to {show(interval.high, unit)}" if interval else "none"
    return measurement.key, show(measurement.value, unit), span


def _drawn(table: Table) -> str:
    return aligned(table.title, table.columns, table.rows)
