"""Places in what a person writes of a target.

`{port}`, `{port:NAME}`, `{url}`, `{url:NAME}` and `{data}` stand in the commands and environments of its processes,
`{env:NAME}` in the headers that every request to it carries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gates.target.error import TargetError
from gates.target.ports import LOCALHOST

_ENVIRONMENT = re.compile(r"\{env:([^{}]*)\}")
_PLACE = re.compile(r"\{(port|url|data)(?::([^{}]+))?\}")


def url_of(port: int, host: str = LOCALHOST) -> str:
    """The base URL of a server on *port* of *host*, by default this machine."""
    return f"http://{host}:{port}"


def fill(text: str, *, name: str, ports: Mapping[str, int], data: Path, hosts: Mapping[str, str] = MappingProxyType({})) -> str:
    """*text* with its places filled in for the process *name*; braces around anything else stay as they are.

    Other processes are on localhost, or where *hosts* says.
    """

    def replace(match: re.Match[str]) -> str:
        what, other = match[1], match[2] or name
        if what == "data":
            return str(data)
        if other not in ports:
            raise TargetError(f"{match[0]} names a process that is not there; there is {', '.join(ports)}", location=name)
        host = hosts.get(other, LOCALHOST) if other != name else LOCALHOST
        return str(ports[other]) if what == "port" else url_of(ports[other], host)

    return _PLACE.sub(replace, text)


def with_environment(headers: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """*headers* with every `{env:NAME}` filled in from *environ*.

    Raises TargetError for a variable that is not set, and for a value that would start another header; neither shows a value.
    """
    return {name: _filled(name, value, environ) for name, value in headers.items()}


def _filled(name: str, value: str, environ: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if not environ.get(match[1]):
            raise TargetError(
                f"the header {name} wants the environment variable {match[1]}, which is not set",
                location="target",
                hint=f"set it before the run: export {match[1]}=... (variables of GitHub and of gates don't reach a gate)",
            )
        return environ[match[1]]

    filled = _ENVIRONMENT.sub(replace, value)
    if not filled.isascii() or not filled.isprintable():
        raise TargetError(f"the header {name} would hold a line break or a character beyond ASCII", location="target")
    return filled
