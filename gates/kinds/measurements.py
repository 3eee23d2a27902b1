"""The JSON file of measurements that a command writes for the kind `command`.

    {"measurements": [
        {"metric": "startup", "value": 0.31, "unit": "s", "n": 1},
        {"metric": "latency.p99", "phase": "", "selector": "read", "value": 0.012, "unit": "s", "n": 4000,
         "interval": {"low": 0.010, "high": 0.015, "level": 0.95, "method": "order statistics"}}
    ]}

Values are in base units (seconds, bytes, ratios between 0 and 1); NaN and infinity are no numbers; unknown keys are errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from gates.model import Measurement


@dataclass(frozen=True, slots=True)
class MeasurementsFile:
    """All that a command measured."""

    measurements: tuple[Measurement, ...]
