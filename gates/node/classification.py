"""The errors of ICN, every variant classified explicitly, and what is different from the original and why.

The original asks one question, "recoverable?", answers yes for ten variants by a catch-all, and never looks into a wrapped
CommonError. Here each of the 26 + 37 variants has an outcome, a new one must be given one before it can be made, and a
wrapped error means what it means.
"""

from __future__ import annotations

from gates.node.errors import Refusal, StoreUnavailable, Undecided
from gates.recovery import ErrorClassifier, Outcome

RETRYABLE, OVERLOAD, PERMANENT, CANCELLED = Outcome.RETRYABLE, Outcome.OVERLOAD, Outcome.PERMANENT, Outcome.CANCELLED

HOST_ABI: dict[str, Outcome] = {
    "InvalidParameters": PERMANENT,
    "AuthenticationFailed": PERMANENT,
    "InsufficientMana": PERMANENT,
    "SerializationError": PERMANENT,
    "JobNotFound": PERMANENT,
    "InvalidJobState": PERMANENT,
    "ConfigurationError": PERMANENT,
    "InternalError": RETRYABLE,
    "DagOperationFailed": RETRYABLE,
    "NetworkError": RETRYABLE,
    "SignatureError": PERMANENT,
    "GovernanceError": PERMANENT,
    "OperationTimeout": RETRYABLE,
    "ExecutionFailed": PERMANENT,
    "NodeNotFound": RETRYABLE,
    "ResourceLimitExceeded": OVERLOAD,
    "NotImplemented": PERMANENT,
    "AccountNotFound": PERMANENT,
    "JobSubmissionFailed": RETRYABLE,
    "CryptoError": PERMANENT,
    "PermissionDenied": PERMANENT,
    "WasmExecutionError": PERMANENT,
    "InvalidSystemApiCall": PERMANENT,
    "Common": RETRYABLE,
    "InvalidInput": PERMANENT,
    "DagError": RETRYABLE,
}
"""The variants of HostAbiError. `Common` holds for one that wraps nothing; otherwise the wrapped error is asked."""

COMMON: dict[str, Outcome] = {
    "ValidationError": PERMANENT,
    "InvalidParameters": PERMANENT,
    "DeserializationError": PERMANENT,
    "SerializationError": PERMANENT,
    "DeserError": PERMANENT,
    "SerError": PERMANENT,
    "InvalidInputError": PERMANENT,
    "CryptoError": PERMANENT,
    "PermissionDenied": PERMANENT,
    "PolicyDenied": PERMANENT,
    "IdentityError": PERMANENT,
    "ConfigError": PERMANENT,
    "DagValidationError": PERMANENT,
    "NotImplemented": PERMANENT,
    "NotImplementedError": PERMANENT,
    "DuplicateMessage": PERMANENT,
    "InsufficientFunds": PERMANENT,
    "ResourceNotFound": PERMANENT,
    "PeerNotFound": RETRYABLE,
    "NotFound": PERMANENT,
    "InternalError": RETRYABLE,
    "NetworkError": RETRYABLE,
    "StorageError": RETRYABLE,
    "TimeoutError": RETRYABLE,
    "RateLimitError": OVERLOAD,
    "ServiceUnavailable": OVERLOAD,
    "NetworkSetupError": RETRYABLE,
    "MessageSendError": RETRYABLE,
    "NetworkUnhealthy": RETRYABLE,
    "IoError": RETRYABLE,
    "CancelledError": CANCELLED,
    "DatabaseError": RETRYABLE,
    "ApiError": RETRYABLE,
    "NodeOffline": RETRYABLE,
    "LockError": RETRYABLE,
    "CRDTError": RETRYABLE,
    "UnknownError": RETRYABLE,
}
"""The variants of CommonError."""

DIFFERENCES: dict[str, str] = {
    "HostAbiError.SignatureError": "a signature that does not verify does not verify the second time",
    "HostAbiError.GovernanceError": "what governance decided is an answer",
    "HostAbiError.ExecutionFailed": "the job ran and failed; running it again is another job, and would be paid twice",
    "HostAbiError.ResourceLimitExceeded": "the limit is a sign of too much load, so it says overload",
    "HostAbiError.NotImplemented": "what is not implemented is not implemented a second later",
    "HostAbiError.AccountNotFound": "an account does not appear by asking again",
    "HostAbiError.CryptoError": "the same key and bytes give the same error",
    "HostAbiError.PermissionDenied": "asking again gives no permission",
    "HostAbiError.WasmExecutionError": "the same module fails in the same way, and would be paid twice",
    "HostAbiError.InvalidSystemApiCall": "the call is wrong, not the host",
    "HostAbiError.InvalidInput": "the input is wrong, and stays so",
    "HostAbiError.Common": "the wrapped error is asked; the original called every wrapped error recoverable, PolicyDenied too",
    "CommonError.PeerNotFound": "peers come and go; it is retried as HostAbiError.NodeNotFound is",
    "CommonError.RateLimitError": "the limit is a sign of too much load, so it says overload",
    "CommonError.ServiceUnavailable": "a service that refuses for now is overloaded or about to be",
    "CommonError.CancelledError": "whoever cancelled does not want it tried again, and it says nothing about the dependency",
}
"""Where we differ from the original, and why."""


class IcnError(Exception):
    """An error of ICN.

    Attributes:
        variant: its name in the original.
        variants: what the names may be, with their outcomes.
        recovery_outcome: what it means to retries and breakers.
    """

    variants: dict[str, Outcome] = {}

    def __init__(self, variant: str, message: str = "") -> None:
        if variant not in self.variants:
            todo = "give it an outcome in gates/node/classification.py"
            raise ValueError(f"{type(self).__name__} has no variant {variant!r}; {todo}")
        super().__init__(variant, message)
        self.variant = variant
        self.message = message
        self.recovery_outcome = self.variants[variant]

    def __str__(self) -> str:
        return f"{self.variant}: {self.message}" if self.message else self.variant


class CommonError(IcnError):
    """An error of the common crate, 37 variants."""

    variants = COMMON


class HostAbiError(IcnError):
    """An error of the runtime's host interface, 26 variants.

    Attributes:
        wrapped: the error inside the variant `Common`.
    """

    variants = HOST_ABI

    def __init__(self, variant: str, message: str = "", wrapped: CommonError | None = None) -> None:
        super().__init__(variant, message)
        self.wrapped = wrapped
        if wrapped is not None:
            self.recovery_outcome = wrapped.recovery_outcome


class IcnErrorClassifier(ErrorClassifier):
    """Classifies what ICN raises by its variant; anything else is permanent: a mistake of ours does not pass by waiting."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(retryable=(OSError, TimeoutError), otherwise=PERMANENT)


class NodeClassifier(IcnErrorClassifier):
    """Says of the node's own errors which variant of ICN they are; a refusal is an answer, whoever refuses."""

    __slots__ = ()

    def classify(self, error: BaseException) -> Outcome:
        """The outcome of the variant that *error* stands for."""
        if isinstance(error, StoreUnavailable) and getattr(error, "recovery_outcome", None) is None:
            return COMMON["DatabaseError"]
        if isinstance(error, Undecided):
            return COMMON["StorageError"]
        if isinstance(error, Refusal):
            return COMMON["ServiceUnavailable" if error.code in (429, 503) else "PolicyDenied"]
        return super().classify(error)
