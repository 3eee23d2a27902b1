"""The words of the field, as they stand in files."""

from __future__ import annotations

from enum import StrEnum


class Execution(StrEnum):
    """What became of a gate as a process."""

    COMPLETED = "completed"
    STOPPED = "stopped"  # by itself, at a sustained breach: what it had proven stands, what would pass does not
    FAILED_TO_RUN = "failed_to_run"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    NOT_RUN = "not_run"


class Outcome(StrEnum):
    """What a criterion says of its measurement."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not_applicable"


class Disposition(StrEnum):
    """How an outcome enters the verdict."""

    COUNTED = "counted"
    ADVISORY = "advisory"
    WAIVED = "waived"
    QUARANTINED = "quarantined"


class Severity(StrEnum):
    """What the author of a criterion wants it to do: block, advise or only inform."""

    BLOCKING = "blocking"
    ADVISORY = "advisory"
    INFORMATIONAL = "informational"


class Verdict(StrEnum):
    """The whole."""

    READY = "ready"
    NOT_READY = "not_ready"
    INCONCLUSIVE = "inconclusive"


class Unit(StrEnum):
    """Base units; every measurement and limit is held in one of these."""

    SECONDS = "s"
    RATIO = "ratio"
    COUNT = "count"
    BYTES = "B"
    RATE = "/s"
    FACTOR = "x"


class Rule(StrEnum):
    """What kind of number a metric is; it decides the interval that it must carry and the fewest samples that may pass."""

    PERCENTILE = "percentile"
    RATIO = "ratio"
    CENSUS = "census"
    SINGLE = "single"
    SLOWDOWN = "slowdown"
    FACTOR = "factor"


class Comparator(StrEnum):
    """The right side of a limit."""

    BELOW = "below"
    AT_MOST = "at_most"
    ABOVE = "above"
    AT_LEAST = "at_least"
    EQUALS = "equals"


class Level(StrEnum):
    """How grave a finding is. Only ERROR keeps a run from READY."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
