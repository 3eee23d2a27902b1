"""Recovery primitives: the standard library alone, right under every interleaving, and woven into one frame.

from gates.recovery import CircuitBreaker, Retry

breaker = CircuitBreaker("prices")

@Retry(attempts=4)
@breaker
def price(item: str) -> int: ...
"""

from gates.recovery.backoff import Constant, Custom, Exponential
from gates.recovery.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState, Snapshot
from gates.recovery.classification import DefaultErrorClassifier, ErrorClassifier, Outcome
from gates.recovery.configuration import ConfigurationError
from gates.recovery.errors import (
    BudgetExhausted,
    Cancelled,
    CircuitBreakerOpen,
    DeadlineExceeded,
    ExhaustedRetries,
    FailedAttempt,
    Overloaded,
    Permanent,
    RecoveryError,
    ResultRejected,
    Timeout,
)
from gates.recovery.retry import ErrorRecoveryConfig, Retry, retry_with_backoff

__all__ = [
    "BudgetExhausted",
    "Cancelled",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerOpen",
    "CircuitState",
    "ConfigurationError",
    "Constant",
    "Custom",
    "DeadlineExceeded",
    "DefaultErrorClassifier",
    "ErrorClassifier",
    "ErrorRecoveryConfig",
    "ExhaustedRetries",
    "Exponential",
    "FailedAttempt",
    "Outcome",
    "Overloaded",
    "Permanent",
    "RecoveryError",
    "ResultRejected",
    "Retry",
    "Snapshot",
    "Timeout",
    "retry_with_backoff",
]
