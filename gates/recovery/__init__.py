"""Recovery primitives: the standard library alone, right under every interleaving, and woven into one frame.

from gates.recovery import CircuitBreaker, Retry

breaker = CircuitBreaker("prices")

@Retry(attempts=4)
@breaker
def price(item: str) -> int: ...
"""

from gates.recovery.adaptive import AdaptiveLimit, priority
from gates.recovery.backoff import Constant, Custom, Exponential
from gates.recovery.breaker import CircuitBreaker
from gates.recovery.budget import RetryBudget
from gates.recovery.bulkhead import Bulkhead
from gates.recovery.circuit import CircuitBreakerConfig, CircuitState, Snapshot
from gates.recovery.classification import DefaultErrorClassifier, ErrorClassifier, Outcome
from gates.recovery.configuration import ConfigurationError
from gates.recovery.deadline import Deadline, TimeLimit, remaining
from gates.recovery.entrance import ErrorRecoveryConfig, resilient_operation, retry_with_backoff, with_timeout
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
from gates.recovery.fallback import Fallback
from gates.recovery.hedge import Hedge
from gates.recovery.limiter import RateLimiter
from gates.recovery.policy import Policy
from gates.recovery.registry import BreakerRegistry
from gates.recovery.retry import Retry
from gates.recovery.retry_after import parse_retry_after
from gates.recovery.window import CountWindow, TimeWindow

__all__ = [
    "AdaptiveLimit",
    "BreakerRegistry",
    "BudgetExhausted",
    "Bulkhead",
    "Cancelled",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerOpen",
    "CircuitState",
    "ConfigurationError",
    "Constant",
    "CountWindow",
    "Custom",
    "Deadline",
    "DeadlineExceeded",
    "DefaultErrorClassifier",
    "ErrorClassifier",
    "ErrorRecoveryConfig",
    "ExhaustedRetries",
    "Exponential",
    "FailedAttempt",
    "Fallback",
    "Hedge",
    "Outcome",
    "Overloaded",
    "Permanent",
    "Policy",
    "RateLimiter",
    "RecoveryError",
    "ResultRejected",
    "Retry",
    "RetryBudget",
    "Snapshot",
    "TimeLimit",
    "TimeWindow",
    "Timeout",
    "parse_retry_after",
    "priority",
    "remaining",
    "resilient_operation",
    "retry_with_backoff",
    "with_timeout",
]
