"""The proxy as a process of the target."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gates.model import ProcessSpec, Ready


def proxy_process(name: str, upstream: str, injection: Mapping[str, Any], *, log: Path, seed: str) -> ProcessSpec:
    """The process that listens for *name* and forwards to *upstream* (a URL, or a template that becomes one)."""
    # braces of JSON never look like a template's place, which is a bare {port}, {url} or {data}
    command = (sys.executable, "-m", "gates.target.proxy", "{port}", upstream, str(log), seed, json.dumps(injection))
    return ProcessSpec(name, command, Ready(tcp=True, within=15.0), proxy=True)
