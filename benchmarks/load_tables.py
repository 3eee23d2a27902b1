"""The comparison of load engines as Markdown: what was promised, what was measured, and why the rest is missed."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TRUTH = {"p90": 500.0, "p95": 750.0, "p99": 950.0}
"""Milliseconds: blocked for 1 s in each 5 s, uniform arrivals see P(latency > x) = 0.2 (1 - x)."""
ARRIVALS = 10_000
MEBIBYTE = 1024 * 1024
BARE, EVERYTHING, LOCUST = "ours, bare", "ours, everything", "Locust FastHttpUser"
CHANGED, WRK_CHANGED = "ours, everything, changing bodies", "wrk, changing bodies"

WHY: dict[str, str] = {}
"""Why a target is missed, by its name, where it is known."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A target and what was measured of it; *met* is None where it could not be measured. *doubt* is why it may be missed."""

    name: str
    target: str
    measured: str
    met: bool | None
    doubt: str = ""


def ratios(result: dict[str, Any], what: str, over: str, under: str) -> list[float]:
    """*what* of *over* divided by that of *under*, round by round."""
    pairs = zip(result["rounds"][over], result["rounds"][under], strict=True)
    return [above[what] / below[what] for above, below in pairs]


def promises(result: dict[str, Any]) -> Iterator[Promise]:
    """Every target, in the order in which they were set."""
    yield _at_most(result, "processor time a request, bare, over wrk's", "cost", BARE, "wrk", 1.05)
    yield _at_most(result, "the same with checks, tags and histograms", "cost", EVERYTHING, "wrk", 1.35)
    yield _at_least(result, "requests/s, bare, over wrk's", "rate", BARE, "wrk", 0.9)
    yield _at_least(result, "processor time of Locust over ours, bare", "cost", LOCUST, BARE, 10)
    yield _at_least(result, "the same with everything on", "cost", LOCUST, EVERYTHING, 8)
    yield _at_least(result, "processor time of hey over ours, bare", "cost", "hey", BARE, 2)
    yield from _stall(result["stall"]["ours"])
    yield from _lateness(result["lateness"])
    cheaper = [theirs / own for own, theirs in result["recording"]]
    yield Promise("recording, hdrhistogram over ours", "≥ 15", _spread(cheaper), statistics.median(cheaper) >= 15)
    memory = result["memory"]
    growth = f"{memory['growth'] / MEBIBYTE:.2f} MiB over {int(memory['requests']):,} requests"
    yield Promise("growth of memory over 10 million requests", "≤ 1 MiB", growth, _is_enough(memory))
    same = len(set(result["hashes"].values())) == 1
    yield Promise("hash of the schedule on 1, 2 and 8 workers", "the same", "the same" if same else "different", same)
    speed = result["workers"]
    yield Promise(
        "two workers against one", "measured", "not measured: fewer than 4 cores" if speed is None else f"{speed:.2f}", None
    )


def _is_enough(memory: dict[str, float]) -> bool | None:
    return memory["growth"] <= MEBIBYTE if memory["requests"] >= 10_000_000 else None


def _at_most(result: dict[str, Any], name: str, what: str, over: str, under: str, limit: float) -> Promise:
    found = ratios(result, what, over, under)
    return Promise(name, f"≤ {limit:g}", _spread(found), statistics.median(found) <= limit, _doubt(found, limit))


def _at_least(result: dict[str, Any], name: str, what: str, over: str, under: str, limit: float) -> Promise:
    found = ratios(result, what, over, under)
    return Promise(name, f"≥ {limit:g}", _spread(found), statistics.median(found) >= limit, _doubt(found, limit))


def _doubt(found: list[float], limit: float) -> str:
    both = min(found) <= limit <= max(found)
    return "the rounds lie on both sides of the target: the machine was too noisy to tell" if both else ""


def _stall(ours: dict[str, float]) -> Iterator[Promise]:
    for name, truth in TRUTH.items():
        off = ours[name] / truth - 1
        yield Promise(f"stall, {name} against {truth:g} ms", "± 2 %", f"{ours[name]:.1f} ms ({off:+.1%})", abs(off) <= 0.02)
    issued = ours["issued"] / ARRIVALS
    yield Promise("stall, arrivals issued", "100.0 %", f"{issued:.1%}", ours["issued"] == ARRIVALS)


def _lateness(found: dict[str, list[dict[str, float]]]) -> Iterator[Promise]:
    gains = [slow["p50"] / fast["p50"] for slow, fast in zip(found["asyncio.sleep"], found["timer"], strict=True)]
    yield Promise("lateness p50, asyncio.sleep over ours", "≥ 10", _spread(gains), statistics.median(gains) >= 10)
    shares = [each["cpu"] for each in found["timer"]]
    said = f"{statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
    yield Promise("processor at 1,000/s", "≤ 15 %", said, statistics.median(shares) <= 0.15)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def rendered(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    parts = (_head(result), _promises(result), _costs(result), _stalls(result["stall"]), _lates(result), _rest(result))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _paragraph(*lines: str) -> list[str]:
    return textwrap.wrap(" ".join(lines), 128, break_long_words=False, break_on_hyphens=False)


def _head(result: dict[str, Any]) -> Iterator[str]:
    machine, versions = result["machine"], result["versions"]
    count = len(result["rounds"]["wrk"])
    yield from ("# The load engine beside its peers", "")
    yield from _paragraph(
        f"Written by `./noxw -s compare_load`: {count} rounds of all clients in turn, {result['seconds']:g} s each,",
        "64 connections that are kept open. nginx has one core and answers with 91 bytes of JSON; the clients share another.",
        "Ratios are of the same round; figures are medians, with the lowest and the highest in brackets.",
    )
    yield ""
    yield f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']};"
    yield ", ".join(f"{name} {number}" for name, number in versions.items()) + "."


def _promises(result: dict[str, Any]) -> Iterator[str]:
    yield from ("## Targets", "", "| what | target | measured | |", "|---|---:|---:|---|")
    found = list(promises(result))
    for each in found:
        mark = {True: "met", False: "**missed**", None: "not measured" if "not measured" in each.measured else ""}[each.met]
        yield f"| {each.name} | {each.target} | {each.measured} | {mark} |"
    missed = [each for each in found if each.met is False]
    if missed:
        yield from ("", "Missed, and why:", "")
        yield from (f"- {each.name}: {WHY.get(each.name) or each.doubt or 'not known; to be looked into'}." for each in missed)


def _costs(result: dict[str, Any]) -> Iterator[str]:
    yield from ("## What a request costs", "")
    yield from _paragraph(
        "Processor time of the client, user and system, in microseconds. wrk and hey are measured whole; ours and Locust",
        "without their start. *Everything* is `gates load --closed` on a mix of three flows, each counted in a histogram of",
        "its own, with checks of status, header, text and three JSON values; *bare* looks at the status alone. A response that",
        "repeats byte for byte is recognised by comparing it with the last that passed its checks; of the *changing bodies*",
        "none repeats, and each is checked anew.",
    )
    yield ""
    yield "| client | µs a request | over wrk's | requests/s | over wrk's |"
    yield "|---|---:|---:|---:|---:|"
    for name, passes in result["rounds"].items():
        base = WRK_CHANGED if "changing" in name else "wrk"
        cost, rate = (_spread(ratios(result, what, name, base)) for what in ("cost", "rate"))
        costs, rates = ([each[what] for each in passes] for what in ("cost", "rate"))
        yield f"| {name} | {_spread(costs)} | {cost} | {statistics.median(rates):,.0f} | {rate} |"
    yield ""
    yield "Where the server's core is full the requests/s are its own limit; processor time is not touched by that."


def _stalls(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield from ("## Who tells the truth about a stall", "")
    yield from _paragraph(
        "A server does nothing at all for 1 s in each 5 s. 1,000 requests a second for 10 s see p90 500, p95 750, p99 950 ms,",
        "whatever the phase. Each tool is told so as well as it can be: hey 50 workers of 20/s, Locust 100 users of a constant",
        "throughput of 10/s; wrk has no rate, and corrects by itself.",
    )
    yield ""
    yield "| tool | requests | p50 ms | p90 ms | p95 ms | p99 ms | p90 too low by |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    yield "| truth | 10,000 | ~0 | 500 | 750 | 950 | |"
    for name, said in found.items():
        cells = " | ".join("not said" if said[each] is None else f"{said[each]:,.1f}" for each in ("p50", "p90", "p95", "p99"))
        low = TRUTH["p90"] / max(said["p90"], 1e-6)
        doubt = "" if said["valid"] else ", which says itself that it was late"
        yield f"| {name}{doubt} | {said['issued']:,} | {cells} | {f'{low:,.1f} times' if low > 1.02 else 'not'} |"


def _lates(result: dict[str, Any]) -> Iterator[str]:
    yield from ("## How late requests leave", "")
    yield "1,000/s against the same nginx, 3 s each, in turns, in the same engine; only the waiting differs."
    yield from ("", "| waiting | lateness p50 µs | p99 µs | processor |", "|---|---:|---:|---:|")
    for name, passes in result["lateness"].items():
        half, far, share = ([each[what] for each in passes] for what in ("p50", "p99", "cpu"))
        shown = f"{statistics.median(share):.1%}"
        yield f"| {name} | {_spread(half)} | {statistics.median(far):,.0f} | {shown} |"


def _rest(result: dict[str, Any]) -> Iterator[str]:
    own, theirs = ([pair[index] for pair in result["recording"]] for index in (0, 1))
    memory = result["memory"]
    yield from ("## Recording, memory, schedules", "", "| what | measured |", "|---|---:|")
    yield f"| recording a value, ours | {_spread(own)} ns |"
    yield f"| recording a value, hdrhistogram | {_spread(theirs)} ns |"
    yield f"| resident after a tenth of the requests | {memory['before'] / MEBIBYTE:.1f} MiB |"
    yield f"| resident at most after that | {memory['most'] / MEBIBYTE:.1f} MiB |"
    for workers, found in result["hashes"].items():
        yield f"| hash of the schedule, {workers} worker{'s' if int(workers) > 1 else ''} | `{found[:16]}` |"
