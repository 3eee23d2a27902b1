"""A network of namespaces for one target: one for each node, joined by a bridge in a further one, the hub.

The namespaces have no names and are mounted nowhere: they exist while a process is in them or holds them open, which are the
switchboard and the nodes. So whatever becomes of the gate, nothing of them is left, and nobody else's network is touched.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
HUB_ADDRESS, PREFIX = "10.213.0.1", 24
LOCALHOST = "127.0.0.1"
OWN = "/proc/self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def address_of(number: int) -> str:
    """The address of the node *number*, from 0."""
    return f"10.213.0.{number + 2}"


def enter(namespace: int) -> None:
    """Put this thread into the network namespace of the open file *namespace*. Raises OSError."""
    _checked(_libc.setns(namespace, CLONE_NEWNET), "setns")


def _leave_for_a_new_one() -> int:
    """Put this thread into a new network namespace and hold that open."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")
    return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Network:
    """The namespaces of *addresses*, by name of a node; made by a process of one thread, which is in the hub from then on."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._hub = _leave_for_a_new_one()
        self._nodes = {name: _leave_for_a_new_one() for name in addresses}
        enter(self._hub)
        self._make_hub()
        for name in addresses:
            self._make_node(name)

    def paths(self) -> dict[str, str]:
        """Files by which others enter: of every node by its name, and of the hub by an empty one."""
        return {name: f"/proc/{os.getpid()}/fd/{file}" for name, file in {"": self._hub, **self._nodes}.items()}

    def _make_hub(self) -> None:
        lines = ["link set lo up", "link add br0 type bridge", f"addr add {HUB_ADDRESS}/{PREFIX} dev br0", "link set br0 up"]
        for number, path in enumerate(self.paths()[name] for name in self._addresses):
            lines.append(f"link add port{number} type veth peer name eth0 netns {path}")
            lines.append(f"link set port{number} master br0 up")
        _run("ip", "-batch", "-", given=lines)
        _run("nft", "-f", "-", given=[*_table("input")])

    def _make_node(self, name: str) -> None:
        address = self._addresses[name]
        with self._inside(self._nodes[name]):
            _run("ip", "-batch", "-", given=["link set lo up", f"addr add {address}/{PREFIX} dev eth0", "link set eth0 up"])
            # a server that listens on localhost only is reached from the other namespaces all the same
            Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
            lines = [
                "add chain ip gates address { type nat hook prerouting priority -100 ; }",
                f"add rule ip gates address ip daddr {address} dnat to {LOCALHOST}",
            ]
            _run("nft", "-f", "-", given=[*_table("input"), *lines])

    @contextmanager
    def _inside(self, namespace: int) -> Iterator[None]:
        enter(namespace)
        try:
            yield
        finally:
            enter(self._hub)


def _table(hook: str) -> tuple[str, ...]:
    return ("add table ip gates", f"add chain ip gates cuts {{ type filter hook {hook} priority 0 ; }}")


def _run(*command: str, given: list[str]) -> None:
    """Run *command* with the lines *given* as its input. Raises OSError with its own words."""
    done = subprocess.run(command, input="\n".join(given) + "\n", capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise OSError(f"{command[0]}: {said[0] if said else done.returncode}")
