"""What a server means by Retry-After: seconds, or a date."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 10 * 365 * 86400.0
"""Longer than this, in seconds, nobody means."""


def parse_retry_after(header: str | None, wall_clock: Callable[[], float] = time.time) -> float | None:
    """The seconds that the value of a Retry-After *header* asks for, at least 0; None when it is missing or makes no sense.

    A date is held against *wall_clock* (seconds since 1970), because a date is what the server sent. Set the answer as
    `retry_after` on the error that you raise, and retries and breakers honour it.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:12])
        return seconds if len(text) <= 12 and seconds <= LONGEST else None
    return _until(text, wall_clock())


def _until(date: str, now: float) -> float | None:
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(date)
        # The date of a header is in Greenwich's time in each of its three forms, and one of them does not say so.
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, seconds) if seconds <= LONGEST else None
