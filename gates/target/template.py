"""`{port}`, `{port:NAME}`, `{url}`, `{url:NAME}` and `{data}` in the commands and environments of a target's processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gates.target.error import TargetError
from gates.target.ports import LOCALHOST

_PLACE = re.compile(r"\{(port|url|data)(?::([^{}]+))?\}")


def url_of(port: int) -> str:
    """The base URL of a server on *port* of this machine."""
    return f"http://{LOCALHOST}:{port}"


def fill(text: str, *, name: str, ports: Mapping[str, int], data: Path) -> str:
    """*text* with its places filled in for the process *name*; braces around anything else stay as they are."""

    def replace(match: re.Match[str]) -> str:
        what, other = match[1], match[2] or name
        if what == "data":
            return str(data)
        if other not in ports:
            raise TargetError(f"{match[0]} names a process that is not there; there is {', '.join(ports)}", location=name)
        return str(ports[other]) if what == "port" else url_of(ports[other])

    return _PLACE.sub(replace, text)
