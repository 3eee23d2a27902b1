"""What a gate says that could not be run to its end."""

from __future__ import annotations

from gates.errors import GatesError
from gates.model import Execution, GateResult, Request
from gates.target.error import TargetError


def failed_to_run(request: Request, error: GatesError, started: str, seconds: float) -> GateResult:
    """The result of a gate that *error* ended: the reason, what to do next, and the last lines of a target that failed."""
    tail = error.tail if isinstance(error, TargetError) else None
    return GateResult(
        request.gate.name,
        Execution.FAILED_TO_RUN,
        started,
        seconds,
        exhibits=(tail,) if tail else (),
        reason=error.said,
        steps=(error.hint,) if error.hint else (),
        attempt=request.attempt,
    )


__all__ = ["failed_to_run"]
