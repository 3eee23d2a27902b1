"""What a report draws of the target's resources, and the file that its numbers rest on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from gates.load.resources import Resources
from gates.load.sampler import PERIOD, Sample, Taken
from gates.model import Criterion, Exhibit, Limit, Line, Measurement, Series, Table, Unit, Window
from gates.quantity import show

MOST_POINTS = 480
MOST_PROCESSES = 4
Points = tuple[tuple[float, float], ...]


def resource_exhibits(
    taken: Taken, resources: Resources, criteria: Iterable[Criterion], windows: Sequence[Window]
) -> tuple[Exhibit, ...]:
    """Plots over time of memory, processor time, descriptors, threads and storage, and a table of them. *windows* are phases
    or faults.
    """
    if not any(taken.samples.values()):
        return ()
    held, drawn = tuple(criteria), tuple(windows)
    return (
        Series("Memory of the target", Unit.BYTES, _lines(taken, lambda each: each.rss), _limits(held, "rss.max"), drawn),
        Series("Processor time of the target, of one core", Unit.RATIO, _rates(taken), (), drawn),
        Series("Open files, sockets and threads of the target", Unit.COUNT, tuple(_counts(taken)), (), drawn),
        Series("Bytes written to storage since the start", Unit.BYTES, _risen(taken), _limits(held, "disk.written"), drawn),
        _table(taken, resources),
    )


def write_samples(taken: Taken, folder: Path) -> Path | None:
    """Write resources.csv, a row a process and look; None when nothing was sampled."""
    rows = [(name, sample) for name in taken.names for sample in taken.samples.get(name, ())]
    if not rows:
        return None
    columns = [each.name for each in fields(Sample)]
    path = folder / "resources.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("process", *columns))
        for name, sample in sorted(rows, key=lambda row: row[1].at):
            values = [getattr(sample, column) for column in columns]
            writer.writerow((name, *("" if value is None else _cell(value) for value in values)))
    return path


def _cell(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


# --- plots ------------------------------------------------------------------------------------------------------------


def _limits(criteria: Sequence[Criterion], metric: str) -> tuple[Limit, ...]:
    return tuple(
        Limit(f"{criterion.id} {comparison.comparator.replace('_', ' ')} {comparison.text}", comparison.limit)
        for criterion in criteria
        if criterion.metric == metric and criterion.selector
        for comparison in criterion.comparisons
    )


def _lines(taken: Taken, column: Callable[[Sample], float | None], what: str = "") -> tuple[Line, ...]:
    found = []
    for name in taken.names:
        values = [(sample.at, column(sample)) for sample in taken.samples.get(name, ())]
        points = tuple((at, float(value)) for at, value in values if value is not None)
        if points:
            found.append(Line(f"{name} {what}".rstrip(), thinned(points)))
    return tuple(found)


def _counts(taken: Taken) -> Iterator[Line]:
    """Of many processes the files alone, sockets among them: three lines of each can't be told apart. The table has all."""
    yield from _lines(taken, lambda each: each.files, "files")
    if len(taken.names) > MOST_PROCESSES:
        return
    yield from _lines(taken, lambda each: each.sockets, "sockets")
    yield from _lines(taken, lambda each: each.threads, "threads")


def _rates(taken: Taken) -> tuple[Line, ...]:
    """Over a second each, since the kernel counts in hundredths."""
    found = []
    for name in taken.names:
        samples = taken.samples.get(name, ())
        pairs = zip(samples, samples[round(1 / PERIOD) :], strict=False)
        points = tuple(
            (late.at, max(0.0, late.cpu - early.cpu) / (late.at - early.at)) for early, late in pairs if early.pid == late.pid
        )
        if points:
            found.append(Line(name, thinned(points)))
    return tuple(found)


def _risen(taken: Taken) -> tuple[Line, ...]:
    found = []
    for name in taken.names:
        samples = [(each.at, each.written) for each in taken.samples.get(name, ())]
        risen, before = 0.0, None
        points = []
        for at, written in samples:
            if written is not None:
                risen += max(0, written - before) if before is not None else 0
                before = written
                points.append((at, risen))
        if points:
            found.append(Line(name, thinned(tuple(points))))
    return tuple(found)


def thinned(points: Points) -> Points:
    """At most so many of *points* as a plot can show: of each stretch the highest, so that no peak is lost."""
    if len(points) <= MOST_POINTS:
        return points
    width = -(-len(points) // MOST_POINTS)
    return tuple(max(points[i : i + width], key=lambda point: point[1]) for i in range(0, len(points), width))


# --- the table --------------------------------------------------------------------------------------------------------

_COLUMNS = (
    ("processor", "cpu.mean"),
    ("RSS at most", "rss.max"),
    ("RSS grew by", "rss.growth"),
    ("files at most", "files.max"),
    ("sockets at most", "sockets.max"),
    ("threads at most", "threads.max"),
    ("read", "disk.read"),
    ("written", "disk.written"),
    ("received", "network.received"),
    ("sent", "network.sent"),
)


def _table(taken: Taken, resources: Resources) -> Table:
    found = {(each.metric, each.selector): each for each in resources.measurements if not each.phase}
    names = [*taken.names, ""] if len(taken.names) > 1 else list(taken.names)
    rows = [
        (name or "all", *(_shown(found.get((metric, name)), resources.absent.get(metric, "")) for _, metric in _COLUMNS))
        for name in names
    ]
    looks = f"{taken.looks:,} looks, {show(taken.cost / max(1, taken.looks), Unit.SECONDS)} of processor time each"
    return Table(f"Resources of the target's processes ({looks})", ("process", *(word for word, _ in _COLUMNS)), tuple(rows))


def _shown(measurement: Measurement | None, why: str) -> str:
    if measurement is None:
        return "can't be told" if why.startswith("the kernel") else "not measured"
    return show(measurement.value, measurement.unit)
