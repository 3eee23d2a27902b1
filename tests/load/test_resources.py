"""Measurements of resources: what they are made of, and when there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gates.load.resource_exhibits import MOST_POINTS, resource_exhibits, thinned
from gates.load.resources import NAMES, catalogue, expected, measured, planned_samples, unseen
from gates.load.sampler import Sample, Taken
from gates.model import Comparator, Comparison, Criterion, Rule, Series, Table, Unit, Window

MIB = 2**20
PHASES = {"warmup": (0.0, 2.0), "steady": (2.0, 10.0)}


def course(
    seconds: float = 10.0, *, start: float = 0.0, pid: int = 7, rss: float = 0.0, cpu: float = 0.5, first: int = 100 * MIB
) -> list[Sample]:
    """Samples four times a second of a process that grows by *rss* bytes and takes *cpu* seconds in every second."""
    moments = [start + number / 4 for number in range(round(seconds * 4))]
    return [
        Sample(at, pid, (at - start) * cpu, int(first + (at - start) * rss), 3, 10, 4, int(1000 * at), int(4000 * at))
        for at in moments
    ]


def taken(**samples: Sequence[Sample]) -> Taken:
    """What a sampler took that met these processes, all in the machine's own network."""
    return Taken(tuple(samples), {name: tuple(each) for name, each in samples.items()}, frozenset(samples), 0.01, 40)


def values(found: Taken, end: float = 10.0) -> dict[str, float]:
    """Every measurement by its key."""
    return {each.key: each.value for each in measured(found, PHASES, end).measurements}


def criterion(name: str) -> Criterion:
    """A criterion of that id."""
    return Criterion(name, Unit.BYTES, Rule.SINGLE, (Comparison(Comparator.BELOW, 1.0, text="1 B"),), 1)


def test_levels_have_their_highest_and_their_growth_from_the_first_third_to_the_last() -> None:
    """Over 8 s of steady phase at 1 MiB a second, the middles of first and last third lie two thirds of it apart."""
    found = values(taken(it=course(rss=MIB)))
    assert found["rss.max@steady/it"] == 100 * MIB + 9.75 * MIB
    assert found["rss.growth@steady/it"] == pytest.approx(2 / 3 * 8 * MIB, rel=0.05)
    assert (found["files.growth@steady/it"], found["threads.max@warmup/it"], found["sockets.max/it"]) == (0, 3, 4)


def test_one_tall_moment_is_the_highest_and_no_growth() -> None:
    """Growth is between medians, so that a collection or a burst does not count as a leak."""
    samples = course()
    samples[-1] = replace(samples[-1], rss=900 * MIB)
    found = values(taken(it=samples))
    assert (found["rss.max/it"], found["rss.growth/it"]) == (900 * MIB, 0)


def test_counters_are_measured_by_how_far_they_rose_within_the_phase() -> None:
    """What came before is not part of it."""
    found = values(taken(it=course(cpu=0.75)))
    assert found["cpu.mean@steady/it"] == pytest.approx(0.75)
    assert found["disk.written@steady/it"] == pytest.approx(8 * 4000)
    assert found["disk.read@warmup/it"] == pytest.approx(2 * 1000, rel=0.15)


def test_the_busiest_second_is_found_between_quiet_ones() -> None:
    """One second of two cores in ten quiet ones."""
    samples = course(cpu=0.0)
    busy = [replace(each, cpu=min(2.0, max(0.0, (each.at - 5) * 2))) for each in samples]
    assert values(taken(it=busy))["cpu.max/it"] == pytest.approx(2.0)


def test_all_processes_together_have_no_selector_and_are_summed_at_each_moment() -> None:
    """Two peaks at different times are not one tall peak."""
    one, other = course(), course(pid=8)
    one[8] = replace(one[8], rss=300 * MIB)
    other[30] = replace(other[30], rss=200 * MIB)
    found = values(taken(one=one, other=other))
    assert found["rss.max"] == 400 * MIB
    assert found["rss.max/other"] == 200 * MIB
    assert found["cpu.mean"] == pytest.approx(1.0)
    assert found["disk.written@steady"] == pytest.approx(2 * 8 * 4000)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "was never sampled"),
        (course(6.0), "was gone from 5.75 s on"),
        (course(7.0, start=3.0), "was not there before 3.00 s"),
        ([*course(4.0), *course(3.0, start=7.0)], "was not sampled from 3.75 s to 7.00 s"),
    ],
)
def test_a_process_that_was_not_seen_throughout_has_no_measurement_and_neither_have_all_together(
    samples: list[Sample], said: str
) -> None:
    """What nobody saw is no data, and the reason is told with every metric."""
    found = measured(taken(it=samples, other=course(pid=8)), PHASES, 10.0)
    whole = [each for each in found.measurements if not each.phase]
    assert {each.selector for each in whole} == {"other"}
    assert set(found.absent) == NAMES
    assert found.absent["rss.max"] == f"it {said}"


def test_a_process_that_died_in_the_steady_phase_was_measured_in_the_warm_up() -> None:
    """Each phase stands by itself."""
    found = values(taken(it=course(6.0)))
    assert "rss.max@warmup/it" in found
    assert "rss.max@steady/it" not in found


def test_a_process_that_was_started_again_counts_from_zero_and_does_not_grow() -> None:
    """A fault killed it: what both took together is known, but they are not one process that grew."""
    found = values(taken(it=[*course(4.0), *course(4.0, start=6.0, pid=9, first=150 * MIB)]))
    assert found["rss.max/it"] == 150 * MIB
    assert "rss.growth/it" not in found
    assert found["cpu.mean/it"] * 9.75 == pytest.approx((3.75 + 3.75) * 0.5)


def test_a_load_that_was_stopped_is_measured_as_far_as_it_came() -> None:
    """Phases end with the load."""
    found = values(taken(it=course(5.0)), end=5.0)
    assert "rss.max@steady/it" in found
    assert not [key for key in values(taken(it=course(1.5)), end=1.5) if "@steady" in key]


def test_what_the_kernel_does_not_tell_is_not_measured() -> None:
    """Descriptors of somebody else's process; bytes of a shared network, with the reason."""
    hidden = [replace(each, files=None, read=None) for each in course()]
    found = measured(taken(it=hidden), PHASES, 10.0)
    names = {each.metric for each in found.measurements}
    assert {"files.max", "disk.read", "network.sent"}.isdisjoint(names)
    assert {"sockets.max", "disk.written"} < names
    assert "by network namespace, not by process" in found.absent["network.sent"]


def test_bytes_of_a_network_of_its_own_are_measured() -> None:
    """Ten kilobytes a second."""
    own = [replace(each, received=int(each.at * 10_000), sent=0) for each in course()]
    found = measured(Taken(("it",), {"it": tuple(own)}), PHASES, 10.0)
    assert {each.key: each.value for each in found.measurements}["network.received@steady/it"] == pytest.approx(80_000)
    assert found.absent == {}


def test_every_measurement_is_of_the_catalogue_with_its_unit_and_enough_samples() -> None:
    """A result with an undeclared metric would be thrown away."""
    specs = {spec.name: spec for spec in catalogue(tuple(PHASES))}
    found = measured(taken(it=course(), other=course(pid=8)), {"steady": (2.0, 10.0)}, 10.0).measurements
    assert {each.metric for each in found} == NAMES - {"network.received", "network.sent"}
    for each in found:
        assert specs[each.metric].unit is each.unit
        assert each.n >= specs[each.metric].at_least


def test_the_plan_knows_how_often_it_will_look() -> None:
    """Four times a second, in the phase that is asked for."""
    found = planned_samples([criterion("rss.max@steady/it"), criterion("latency.max"), criterion("rss.max")], PHASES, 10.0)
    assert {name: each.n for name, each in found.items()} == {"rss.max@steady/it": 32, "rss.max": 40}
    assert found["rss.max"].advice(12).startswith("a phase of 3 s would do")


def test_a_star_must_find_every_process() -> None:
    """One that is missing is no data, not a smaller sum."""
    assert expected([criterion("rss.max/*"), criterion("files.max"), criterion("errors.ratio/*")], taken(a=[], b=[])) == {
        "rss.max": ("a", "b")
    }


def test_plots_have_a_line_a_process_with_limits_and_windows_and_a_table_of_all() -> None:
    """What was measured can be seen, and what can't be told says so."""
    found = taken(one=course(), other=course(pid=8))
    windows = [Window("warmup", 0.0, 2.0)]
    drawn = resource_exhibits(found, measured(found, PHASES, 10.0), [criterion("rss.max@steady/*")], windows)
    memory, *_ = (each for each in drawn if isinstance(each, Series))
    assert [line.name for line in memory.lines] == ["one", "other"]
    assert (memory.limits[0].text, memory.windows) == ("rss.max@steady/* below 1 B", tuple(windows))
    (table,) = (each for each in drawn if isinstance(each, Table))
    assert [row[0] for row in table.rows] == ["one", "other", "all"]
    assert {row[-1] for row in table.rows} == {"can't be told"}
    assert resource_exhibits(taken(), measured(taken(), PHASES, 10.0), [], []) == ()


@pytest.mark.parametrize(("processes", "lines"), [(4, 12), (5, 5)])
def test_of_many_processes_the_files_alone_are_drawn(processes: int, lines: int) -> None:
    """Ten nodes would have thirty lines, which nobody can tell apart."""
    found = taken(**{f"node-{number}": course(pid=number) for number in range(processes)})
    drawn = resource_exhibits(found, measured(found, PHASES, 10.0), [], [])
    (opened,) = (each for each in drawn if isinstance(each, Series) and each.title.startswith("Open files"))
    assert len(opened.lines) == lines


def test_long_lines_are_thinned_and_keep_their_peaks() -> None:
    """Five minutes are 1,200 looks."""
    points = tuple((float(at), 1.0 if at != 777 else 9.0) for at in range(1200))
    assert len(thinned(points)) <= MOST_POINTS
    assert (777.0, 9.0) in thinned(points)


def test_a_phase_shorter_than_the_blind_time_must_be_seen_in_its_second_half_too() -> None:
    """A warm-up of half a second is not covered by one look at its start."""
    assert unseen([Sample(0.0, 7, 0.0, 1, 1)], (0.0, 0.8)) == "was gone from 0.00 s on"
    assert unseen(course(1.0), (0.0, 0.8)) == ""
