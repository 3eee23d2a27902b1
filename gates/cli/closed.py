"""What `gates load --closed` prints: service times and rates, by flow and endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gates import codec
from gates.cli.columns import aligned
from gates.cli.console import console
from gates.errors import Exit
from gates.model import Unit
from gates.quantity import show

if TYPE_CHECKING:
    from gates.load.closed import ClosedOutcome

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
MILLION = 1e6
CAVEAT = (
    "Service times of a closed loop: a client that waits for its answer before it asks again does not see what users see\n"
    "while the target is slow. For latency leave out --closed."
)


def as_text(outcome: ClosedOutcome) -> str:
    """Tables for people."""
    columns = ("flow on endpoint", "right", "right/s", *(f"service {name}" for name in QUANTILES))
    rows = [
        (
            f"{flow} on {endpoint}",
            f"{histogram.total:,}",
            f"{histogram.total / outcome.seconds:,.0f}",
            *(show(histogram.percentile(quantile) / MILLION, Unit.SECONDS) for quantile in QUANTILES.values()),
        )
        for (flow, endpoint), histogram in outcome.service.items()
        if histogram.total
    ]
    said = f"{outcome.requests:,} requests in {outcome.seconds:.1f} s, {_cost(outcome):.1f} µs of processor time here for each"
    blocks = [aligned(said, columns, rows), *([_errors(outcome)] if outcome.failures else []), CAVEAT]
    return "\n\n".join(blocks)


def _errors(outcome: ClosedOutcome) -> str:
    rows = [(kind.word, f"{count:,}", outcome.examples[kind][0]) for kind, count in outcome.failures.items()]
    return aligned("Errors", ("class", "requests", "for example"), rows)


def as_json(outcome: ClosedOutcome, seed: int) -> str:
    """Everything that was measured."""
    return codec.dumps(
        {
            "loop": "closed",
            "seed": seed,
            "seconds": outcome.seconds,
            "requests": outcome.requests,
            "right": outcome.right,
            "stopped": outcome.stopped,
            "processor": {"seconds": outcome.processor, "microseconds a request": _cost(outcome)},
            "failures": {kind.name.lower(): count for kind, count in outcome.failures.items()},
            "examples": {kind.name.lower(): list(texts) for kind, texts in outcome.examples.items()},
            "service": {
                f"{flow}@{endpoint}": {
                    "count": histogram.total,
                    **{name: histogram.percentile(quantile) / MILLION for name, quantile in QUANTILES.items()},
                    "histogram": histogram.encode_text(),
                }
                for (flow, endpoint), histogram in outcome.service.items()
                if histogram.total
            },
        }
    ).rstrip("\n")


def _cost(outcome: ClosedOutcome) -> float:
    return outcome.processor / max(1, outcome.requests) * MILLION


def code(outcome: ClosedOutcome) -> Exit:
    """How the command ends: without a right answer nothing was measured."""
    if outcome.right:
        return Exit.READY
    console.error("no right answer at all: nothing was measured but errors")
    return Exit.INCONCLUSIVE
