"""Free TCP ports for the processes of a target."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from random import Random

from gates.target.error import TargetError

LOCALHOST = "127.0.0.1"
LOWEST = 20_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Whether a server could listen on *port* of localhost now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free_ports(count: int, generator: Random) -> list[int]:
    """*count* different ports that nobody listens on.

    They lie below the range from which the kernel takes clients' ports: a client that knocks at a killed server's port from
    that range can connect to itself, and a client's port could take the place of a server that is about to come back.
    """
    highest = _first_client_port() - 1
    found: set[int] = set()
    for _ in range(50 * count):
        if len(found) == count:
            break
        port = generator.randint(LOWEST, highest)
        if port not in found and is_free(port):
            found.add(port)
    if len(found) < count:
        raise TargetError(f"no {count} free ports between {LOWEST} and {highest}", hint="end servers that are not needed")
    return sorted(found)


def _first_client_port() -> int:
    try:
        lowest = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return lowest if lowest > LOWEST + 1000 else 65_535
