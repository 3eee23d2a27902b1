"""What a circuit breaker and a retry must do, as checks that any implementation can run.

Write an adapter (a subclass of `Breakers` or `Retries`), then `asyncio.run(check_all(adapter))`, or `testing.run` for virtual
time. Each check raises Nonconforming with one sentence about what was seen.
"""

from __future__ import annotations

from gates.recovery.conformance.adapters import Breakers, Nonconforming, Retries
from gates.recovery.conformance.breakers import CHECKS as BREAKER_CHECKS
from gates.recovery.conformance.breakers import TRAPS as BREAKER_TRAPS
from gates.recovery.conformance.retries import CHECKS as RETRY_CHECKS

__all__ = ["BREAKER_CHECKS", "BREAKER_TRAPS", "RETRY_CHECKS", "Breakers", "Nonconforming", "Retries", "check_all"]


async def check_all(adapter: Breakers | Retries) -> dict[str, str]:
    """What each check says about *adapter*: an empty text where it conforms."""
    checks = BREAKER_CHECKS if isinstance(adapter, Breakers) else RETRY_CHECKS
    said: dict[str, str] = {}
    for check in checks:
        try:
            await check(adapter)  # type: ignore[arg-type]  # each list is of its adapter's checks
            said[check.__name__] = ""
        except Nonconforming as error:
            said[check.__name__] = str(error)
        except Exception as error:
            said[check.__name__] = f"raised {type(error).__name__}: {error}"
    return said
