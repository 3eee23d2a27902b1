"""The errors of ICN: every variant has an outcome, and every difference from the original has a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gates
from gates.node.classification import COMMON, DIFFERENCES, HOST_ABI, CommonError, HostAbiError, IcnErrorClassifier
from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitState, Constant, Outcome, Retry

RECOVERABLE_HOST_ABI = {
    "InternalError",
    "DagOperationFailed",
    "NetworkError",
    "SignatureError",
    "GovernanceError",
    "OperationTimeout",
    "ExecutionFailed",
    "NodeNotFound",
    "ResourceLimitExceeded",
    "NotImplemented",
    "AccountNotFound",
    "JobSubmissionFailed",
    "CryptoError",
    "PermissionDenied",
    "WasmExecutionError",
    "InvalidSystemApiCall",
    "Common",
    "InvalidInput",
    "DagError",
}
RECOVERABLE_COMMON = {
    "InternalError",
    "NetworkError",
    "StorageError",
    "TimeoutError",
    "RateLimitError",
    "ServiceUnavailable",
    "NetworkSetupError",
    "MessageSendError",
    "NetworkUnhealthy",
    "IoError",
    "CancelledError",
    "DatabaseError",
    "ApiError",
    "NodeOffline",
    "LockError",
    "CRDTError",
    "UnknownError",
}
"""What the original called recoverable, the nine explicit ones and the ten of its catch-all."""


def test_every_variant_has_an_outcome():
    """26 of the host interface and 37 of the common crate, as the original has them."""
    assert (len(HOST_ABI), len(COMMON)) == (26, 37)
    assert set(HOST_ABI) >= RECOVERABLE_HOST_ABI
    assert set(COMMON) >= RECOVERABLE_COMMON


def test_exactly_the_differences_from_the_original_have_a_reason():
    """Retryable here and recoverable there agree; everything else is listed, and nothing that agrees is."""
    different = set()
    for family, outcomes, recoverable in (
        ("HostAbiError", HOST_ABI, RECOVERABLE_HOST_ABI),
        ("CommonError", COMMON, RECOVERABLE_COMMON),
    ):
        for variant, outcome in outcomes.items():
            expected = Outcome.RETRYABLE if variant in recoverable else Outcome.PERMANENT
            if outcome is not expected:
                different.add(f"{family}.{variant}")
    # A bare `Common` is as retryable as it was; the difference is in what it wraps.
    assert different | {"HostAbiError.Common"} == set(DIFFERENCES)
    assert all(DIFFERENCES.values())


def test_a_wrapped_error_means_what_it_means():
    """The original retried every wrapped error, a denied policy too."""
    classifier = IcnErrorClassifier()
    assert classifier.is_permanent(HostAbiError("Common", wrapped=CommonError("PolicyDenied")))
    assert classifier.is_recoverable(HostAbiError("Common", wrapped=CommonError("NetworkError")))
    assert classifier.classify(CommonError("RateLimitError")) is Outcome.OVERLOAD
    assert classifier.classify(CommonError("CancelledError")) is Outcome.CANCELLED
    assert classifier.is_recoverable(ConnectionResetError())
    assert classifier.is_permanent(TypeError("a mistake of ours"))


def test_five_users_with_bad_input_do_not_open_the_breaker_and_are_not_retried():
    """In the original they did: a denial of service for everybody else."""
    breaker = CircuitBreaker("mesh", CircuitBreakerConfig(5), classifier=IcnErrorClassifier())
    calls = []

    @Retry(4, Constant(0), classifier=IcnErrorClassifier())
    @breaker
    def submit() -> None:
        calls.append(1)
        raise HostAbiError("InsufficientMana", "balance 3, needed 50")

    for _ in range(5):
        with pytest.raises(HostAbiError, match="InsufficientMana: balance 3, needed 50"):
            submit()
    assert (len(calls), breaker.state) == (5, CircuitState.CLOSED)


def test_a_variant_that_nobody_classified_can_not_be_made():
    """There is no catch-all: a new variant is given an outcome first."""
    with pytest.raises(ValueError, match="HostAbiError has no variant 'Novel'; give it an outcome"):
        HostAbiError("Novel")


def test_the_page_lists_every_difference_with_its_reason():
    """docs/recovery/icn.md and the code say the same."""
    page = (Path(gates.__path__[0]).parent / "docs" / "recovery" / "icn.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| \w+ \| (.+?) \|$", page, re.M))
    assert rows == DIFFERENCES
