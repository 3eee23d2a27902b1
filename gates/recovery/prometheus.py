"""Metrics of breakers and retries for Prometheus, as text or through `prometheus_client`.

| metric | type | labels |
|---|---|---|
| recovery_breaker_state | gauge, 1 for the present state | breaker, state |
| recovery_breaker_transitions_total | counter | breaker, before, after |
| recovery_calls_total | counter | breaker, outcome |
| recovery_stale_results_total | counter | breaker |
| recovery_rejections_total | counter | breaker |
| recovery_retries_total | counter | service |
| recovery_given_up_total | counter | service, why |
| recovery_budget_tokens | gauge | budget |

Watching a breaker costs a call about half a microsecond; a collector that is asked changes nothing.
"""

from __future__ import annotations

from gates.recovery.breaker import CircuitBreaker
from gates.recovery.budget import RetryBudget
from gates.recovery.circuit import STATES
from gates.recovery.configuration import instance, text
from gates.recovery.events import watchable
from gates.recovery.locks import shared_lock
from gates.recovery.registry import BreakerRegistry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from gates.recovery.events import Event
    from gates.recovery.retry import Retry

HELP = {
    "recovery_breaker_state": "1 for the state that the breaker is in.",
    "recovery_breaker_transitions_total": "Changes of a breaker's state.",
    "recovery_calls_total": "Calls that ended, by what that means.",
    "recovery_stale_results_total": "Results that came after their generation was gone.",
    "recovery_rejections_total": "Calls that a breaker refused.",
    "recovery_retries_total": "Attempts after the first.",
    "recovery_given_up_total": "Retried calls that ended without a result.",
    "recovery_budget_tokens": "Retries that could be made now.",
}
_COUNTED = {
    "transition": ("recovery_breaker_transitions_total", ("before", "after")),
    "outcome": ("recovery_calls_total", ("outcome",)),
    "stale": ("recovery_stale_results_total", ()),
    "rejected": ("recovery_rejections_total", ()),
    "retry": ("recovery_retries_total", ()),
    "gave_up": ("recovery_given_up_total", ("why",)),
}


class Collector:
    """Counts what it is told to watch: `text()` is the exposition format, `collect()` is what a CollectorRegistry asks for."""

    def __init__(self) -> None:
        self._lock = shared_lock()
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._breakers: list[Iterable[CircuitBreaker]] = []
        self._budgets: list[tuple[str, RetryBudget]] = []

    def watch(self, source: CircuitBreaker | BreakerRegistry | Retry) -> None:
        """Count what happens to *source* from now on. Breakers and retries must have names that tell them apart."""
        watchable("Collector.watch", source, "; a RetryBudget goes to watch_budget(name, budget)")
        source.listen(self._told)
        if isinstance(source, CircuitBreaker):
            self._breakers.append((source,))
        elif isinstance(source, BreakerRegistry):
            self._breakers.append(source)

    def watch_budget(self, name: str, budget: RetryBudget) -> None:
        """Show the tokens of *budget*, under a *name* of its own."""
        text("Collector.watch_budget.name", name)
        instance("Collector.watch_budget.budget", budget, RetryBudget, "a RetryBudget")
        self._budgets.append((name, budget))

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Every metric: name, labels, value."""
        for breakers in self._breakers:
            for breaker in breakers:
                now = breaker.state
                for state in STATES:
                    yield "recovery_breaker_state", {"breaker": breaker.name, "state": str(state)}, float(state is now)
        for name, budget in self._budgets:
            yield "recovery_budget_tokens", {"budget": name}, budget.tokens
        with self._lock:
            counts = sorted(self._counts.items())
        for (metric, labels), count in counts:
            yield metric, dict(labels), float(count)

    def text(self) -> str:
        """All metrics in the text format 0.0.4."""
        lines: list[str] = []
        for metric, samples in self._families().items():
            lines += [f"# HELP {metric} {HELP[metric]}", f"# TYPE {metric} {_type(metric)}"]
            for labels, value in samples:
                shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
                lines.append(f"{metric}{{{shown}}} {_figure(value)}")
        return "\n".join([*lines, ""])

    def collect(self) -> Iterator[Any]:
        """All metrics as families of `prometheus_client`, which is imported here."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for metric, samples in self._families().items():
            kind = CounterMetricFamily if _type(metric) == "counter" else GaugeMetricFamily
            family: Any = kind(metric, HELP[metric], labels=list(samples[0][0]))
            for labels, value in samples:
                family.add_metric(list(labels.values()), value)
            yield family

    def _families(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for metric, labels, value in self.samples():
            found.setdefault(metric, []).append((labels, value))
        return found

    def _told(self, event: Event) -> None:
        if event.kind not in _COUNTED:
            return
        metric, names = _COUNTED[event.kind]
        who = "service" if event.kind in ("retry", "gave_up") else "breaker"
        key = metric, ((who, event.source), *((name, str(event.detail[name])) for name in names))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1


def _type(metric: str) -> str:
    return "counter" if metric.endswith("_total") else "gauge"


def _figure(value: float) -> str:
    """*value* with every digit: a counter that is rounded stands still."""
    return f"{value:.0f}" if value.is_integer() else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
