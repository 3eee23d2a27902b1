"""The comparison of the recovery primitives as Markdown: what is aimed at, what holds it, and why the rest does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gates.recovery.conformance import BREAKER_TRAPS, RETRY_CHECKS

TARGETS = {
    ("sync success", "gates.recovery breaker"): 50,
    ("sync success", "gates.recovery breaker, count window"): 90,
    ("sync success", "gates.recovery breaker, time window"): 130,
    ("sync success", "gates.recovery breaker, time window and slow calls"): 200,
    ("sync success", "gates.recovery retry"): 30,
    ("sync success", "gates.recovery retry + breaker + budget"): 100,
    ("async success", "gates.recovery breaker"): 110,
    ("async success", "gates.recovery retry"): 110,
    ("async success", "gates.recovery retry + breaker + budget + bulkhead"): 200,
    ("async success", "gates.recovery time limit"): 1000,
    ("sync rejection", "gates.recovery"): 140,
    ("async rejection", "gates.recovery"): 140,
    ("sync two failures", "gates.recovery retry"): 1400,
    ("async two failures", "gates.recovery retry"): 1800,
    ("sync two failures", "gates.recovery retry, zero delay"): 1500,
    ("async two failures", "gates.recovery retry, zero delay"): 1500,
    ("sync asking", "gates.recovery try_acquire()"): 60,
}
"""Nanoseconds: added to the bare call, for two failures in all."""

FLOOR = (
    "the target is the whole time of a prototype without classification, Retry-After, history, deadline, budget or events; "
    "two failures by hand take the bare time above, and being told a failure takes ours about 240 ns, part by part in "
    "[retry](retry.md#what-a-failure-costs)"
)
CLOCK = "the reading of a clock (`time.monotonic()` takes 40 ns here)"
WHY = {
    ("sync success", "gates.recovery breaker, time window and slow calls"): (
        f"a duration is {CLOCK} twice, where the window alone needs one; over the time window's figure there is only a "
        "subtraction and a comparison; the target leaves no room for a noisy machine"
    ),
    ("async success", "gates.recovery breaker"): (
        "a coroutine by hand that only awaits the operation takes 76 ns, 80 when it keeps the result for a moment, and 91 to "
        "99 when it reads a breaker's two fields as well"
    ),
    ("sync two failures", "gates.recovery retry"): FLOOR,
    ("sync two failures", "gates.recovery retry, zero delay"): FLOOR,
    ("async two failures", "gates.recovery retry"): f"{FLOOR}; the two pauses that are awaited take another 160 ns",
    ("async two failures", "gates.recovery retry, zero delay"): FLOOR,
    ("sync asking", "gates.recovery try_acquire()"): (
        f"it is {CLOCK} and a call of a Python method (17 ns when it is empty): 57 of the 60 ns, before two fields are read "
        "and compared; the same method with nothing but the clock and a constant to compare with takes 67 ns"
    ),
}
"""Why a target is missed, where it is; the figures were profiled on the machine of the published comparison."""

TOTALS = ("sync two failures", "async two failures")


def is_met(table: str, name: str, measured_: dict[str, float]) -> bool:
    """Whether a case of a table holds its target: the added time, for two failures of the whole."""
    held = measured_[name] if table in TOTALS else measured_[name] - measured_["bare"]
    return held <= TARGETS[table, name]


def reasons(speed_: dict[str, dict[str, float]]) -> list[str]:
    """A line for every target that is missed, with its reason."""
    missed = [key for key in TARGETS if key[1] in speed_.get(key[0], {}) and not is_met(*key, speed_[key[0]])]
    said = [f"- {table}, {name}: {WHY.get((table, name), 'not known; to be looked into')}." for table, name in missed]
    return ["### Targets that are missed, and why", "", *said] if said else ["Every target is met."]


def rendered(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    parts = (_measured(result), _costs(result["speed"]), _sizes(result), _traps(result["conformance"]))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _measured(result: dict[str, Any]) -> Iterator[str]:
    yield from ("# Comparison with the peers", "")
    yield f"Measured by `benchmarks/compare_recovery.py` on Python {result['python']}: {result['rounds']} rounds of all cases,"
    yield "one after the other in each; the figures are medians of the processor time, all sleeping left out."
    yield f"Peers: {', '.join(f'{name} {number}' for name, number in result['versions'].items())}."


def _part(title: str, *lines: str) -> tuple[str, ...]:
    """The beginning of a part: its title, and what is said before its table."""
    return f"## {title}", "", *lines


def _costs(speed: dict[str, dict[str, float]]) -> Iterator[str]:
    yield from _part(
        "What a call costs",
        "Nanoseconds a call; *added* is over the bare call of the same run. Targets are of the added time; for two failures,",
        "of the whole.",
    )
    for table, cases in speed.items():
        yield from ("", f"### {table.capitalize()}", "", "| case | ns | added | target | |", "|---|---:|---:|---:|---|")
        for name, nanoseconds in cases.items():
            target = TARGETS.get((table, name))
            mark = "" if target is None else ("met" if is_met(table, name, cases) else "**missed**")
            yield f"| {name} | {nanoseconds:.0f} | {nanoseconds - cases['bare']:.0f} | {target or ''} | {mark} |"
    yield from ("", *reasons(speed), "")
    yield "A listener costs what telling every outcome costs; without one nothing is spent."


def _sizes(result: dict[str, Any]) -> Iterator[str]:
    yield from (*_part("Size and import"), "| what | measured | target |", "|---|---:|---:|")
    yield f"| bytes a keyed breaker | {result['bytes']['none']:.0f} | 120 |"
    yield f"| bytes a keyed breaker with a window of 100 calls | {result['bytes']['count']:.0f} | 240 |"
    yield f"| import, ms | {result['import_ms']:.1f} | 5 |"


def _traps(conformance: dict[str, dict[str, str]]) -> Iterator[str]:
    yield from _part(
        "Who falls into which trap",
        "What the [conformance suite](conformance.md) says; empty is as it should be. pybreaker's decorator guards no",
        "coroutine function, so it is asked through its block, `with breaker.calling():`.",
        "",
    )
    yield from ("| implementation | of the traps | where it falls |", "|---|---|---|")
    traps = {check.__name__ for check in (*BREAKER_TRAPS, *RETRY_CHECKS)}
    for name, said in conformance.items():
        trapped = [sentence for check, sentence in said.items() if check in traps]
        fallen = "; ".join(filter(None, trapped))
        yield f"| {name} | {trapped.count('')} of {len(trapped)} | {fallen} |"
