"""Metrics and traces: what they tell, and that asking changes nothing."""

from __future__ import annotations

import pytest

from gates.recovery import (
    BreakerRegistry,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    ConfigurationError,
    Constant,
    ExhaustedRetries,
    Retry,
    RetryBudget,
)
from gates.recovery.prometheus import HELP, Collector
from gates.recovery.testing import VirtualClock
from gates.recovery.tracing import Tracing


def broken() -> None:
    """Nothing answers."""
    raise ConnectionError("no answer")


@pytest.fixture
def collector() -> Collector:
    """A collector that has seen a breaker trip, reject, probe and close, a late result, and a retry give up."""
    clock, collector = VirtualClock(), Collector()
    breaker = CircuitBreaker("prices", CircuitBreakerConfig(2, 10.0, 1), clock=clock)
    retry, budget = Retry(3, Constant(0), service="orders"), RetryBudget(0.1, 5)
    collector.watch(breaker)
    collector.watch(retry)
    collector.watch_budget("all", budget)
    late = breaker.acquire()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            breaker(broken)()
    with pytest.raises(CircuitBreakerOpen):
        breaker(broken)()
    late.succeeded()
    clock.advance(10)
    for _ in range(3):
        breaker(lambda: 1)()
    with pytest.raises(ExhaustedRetries):
        retry(broken)()
    assert budget.withdraw()
    return collector


def test_the_text_says_what_happened(collector):
    """State, transitions, calls by outcome, rejections, late results, retries and the budget."""
    lines = set(collector.text().splitlines())
    assert {
        'recovery_breaker_state{breaker="prices",state="closed"} 1',
        'recovery_breaker_state{breaker="prices",state="open"} 0',
        'recovery_breaker_transitions_total{breaker="prices",before="closed",after="open"} 1',
        'recovery_breaker_transitions_total{breaker="prices",before="half_open",after="closed"} 1',
        'recovery_calls_total{breaker="prices",outcome="retryable"} 2',
        'recovery_calls_total{breaker="prices",outcome="success"} 3',
        'recovery_rejections_total{breaker="prices"} 1',
        'recovery_stale_results_total{breaker="prices"} 1',
        'recovery_retries_total{service="orders"} 2',
        'recovery_given_up_total{service="orders",why="ExhaustedRetries"} 1',
        'recovery_budget_tokens{budget="all"} 4',
    } <= lines


def test_every_metric_that_is_declared_is_exported(collector):
    """No metric is only promised."""
    assert {name for name, _, _ in collector.samples()} == set(HELP)


def test_prometheus_client_takes_it_as_a_collector(collector):
    """Registered, it gives the same samples in the client's own text."""
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    registry.register(collector)
    text = client.generate_latest(registry).decode()
    assert 'recovery_calls_total{breaker="prices",outcome="success"} 3.0' in text
    assert registry.get_sample_value("recovery_breaker_state", {"breaker": "prices", "state": "closed"}) == 1.0


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        (lambda: Collector().watch(RetryBudget()), "a RetryBudget goes to watch_budget(name, budget)"),
        (lambda: Collector().watch_budget("prices", 3), "Collector.watch_budget.budget is 3; allowed: a RetryBudget"),
        (lambda: Collector().watch_budget(RetryBudget(), "prices"), "Collector.watch_budget.name"),
        (lambda: Tracing(lambda: Span(True)).watch(3), "Tracing.watch is 3; allowed: a CircuitBreaker"),
    ],
)
def test_what_can_not_be_watched_is_refused_at_once_and_not_at_the_first_scrape(watch, said):
    """The error names what was handed in and what would do."""
    with pytest.raises(ConfigurationError) as refused:
        watch()
    assert said in str(refused.value)


def test_a_scrape_changes_nothing():
    """An open breaker past its time is open after any number of scrapes."""
    clock, collector = VirtualClock(), Collector()
    breaker = CircuitBreaker("prices", CircuitBreakerConfig(1, 10.0), clock=clock)
    collector.watch(breaker)
    with pytest.raises(ConnectionError):
        breaker(broken)()
    clock.advance(100)
    before = breaker.snapshot()
    assert collector.text() == collector.text()
    assert breaker.snapshot() == before


def test_a_registry_is_watched_with_all_its_breakers():
    """Those of keys that come later, too; names are escaped."""
    collector, registry = Collector(), BreakerRegistry(CircuitBreakerConfig(1))
    collector.watch(registry)
    with pytest.raises(ConnectionError):
        registry['peer "a"'].call(broken)
    assert 'recovery_breaker_state{breaker="peer \\"a\\"",state="open"} 1' in collector.text()


class Span:
    """A span as OpenTelemetry's are: it takes events while somebody records."""

    def __init__(self, recording: bool) -> None:
        self.recording = recording
        self.events: list[tuple[str, dict[str, object]]] = []

    def is_recording(self) -> bool:
        """Whether anybody reads."""
        return self.recording

    def add_event(self, name, attributes) -> None:
        """Keep it."""
        self.events.append((name, dict(attributes)))


@pytest.mark.parametrize("recording", [True, False])
def test_a_span_gets_what_happens_under_it(recording):
    """Transition and rejection, with plain attributes, and nothing when nobody records."""
    span = Span(recording)
    breaker = CircuitBreaker("prices", CircuitBreakerConfig(1))
    Tracing(lambda: span).watch(breaker)
    with pytest.raises(ConnectionError):
        breaker(broken)()
    with pytest.raises(CircuitBreakerOpen):
        breaker(broken)()
    names = ["recovery.transition", "recovery.rejected"] if recording else []
    assert [name for name, _ in span.events] == names
    assert all(type(value) in (str, int, float, bool) for _, attributes in span.events for value in attributes.values())
