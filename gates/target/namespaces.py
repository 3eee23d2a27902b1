"""Links that are network namespaces: packets between two nodes pass a bridge, and rules in the namespaces drop or slow them.

Clients stay where they are: the switchboard takes their connections here, and goes on from the hub. See `gates.model.Links`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gates.model import CLIENTS, Pair, TargetLayout, Traffic
from gates.target.error import TargetError
from gates.target.links import ProxyLinks, Row
from gates.target.network import HUB_ADDRESS, address_of, enter

NAMESPACE = "namespace"
FASTEST = "10gbit"
NORMAL = Traffic()


class NamespaceLinks(ProxyLinks):
    """Links between namespaces."""

    way = NAMESPACE

    def __init__(self, layout: TargetLayout, ports: Mapping[str, int], free: Sequence[int], home: Path, seed: int) -> None:
        if layout.urls:
            raise TargetError("what runs already can't be put into a namespace", location=next(iter(layout.urls)))
        super().__init__(layout, ports, free, home, seed)
        names = [spec.name for spec in layout.processes]
        self._hosts = {name: address_of(number) for number, name in enumerate(names)}
        self._where = {**self._hosts, CLIENTS: HUB_ADDRESS}
        self._addresses = {name: (self._hosts[name], ports[name]) for name in names}
        self._traffic: dict[Pair, Traffic] = {}
        self._before: dict[Pair, int] = {}
        self._paths: dict[str, str] = {}

    @property
    def hosts(self) -> Mapping[str, str]:
        return self._hosts

    def ports_for(self, name: str, ports: Mapping[str, int]) -> dict[str, int]:
        return dict(ports)

    def own_url(self, name: str, port: int) -> str:
        return self.url(CLIENTS, name)

    def rows(self) -> list[Row]:
        return [row for row in super().rows() if row[0] == CLIENTS]

    def command(self) -> tuple[str, ...]:
        return (*super().command(), "uvloop", json.dumps(self._hosts))

    def start(self, spawner: ThreadPoolExecutor) -> None:
        super().start(spawner)
        self._paths = self._control.ask(do="namespaces")["namespaces"]

    def namespace(self, name: str) -> str:
        return self._paths[name]

    # --- gates.model.Links ---

    def shape(self, traffic: Mapping[Pair, Traffic]) -> None:
        self._check(traffic)
        for pair, how in traffic.items():
            if how.slice or how.buffer:
                raise TargetError(f"packets can't be sliced or read slowly from {pair[0]} to {pair[1]}; the proxy can")
        senders = {pair[0] for pair, how in traffic.items() if _slows(how) or _slows(self._traffic.get(pair, NORMAL))}
        receivers = {pair[1] for pair, how in traffic.items() if _drops(how) or _drops(self._traffic.get(pair, NORMAL))}
        self._before.update(self._counts([pair for pair in {**self._traffic, **traffic} if pair[1] in receivers]))
        self._traffic.update(traffic)
        for receiver in sorted(receivers):
            self._drop_at(receiver)
        for sender in sorted(senders):
            self._slow_at(sender)

    def restore(self, pairs: Collection[Pair]) -> None:
        self.shape(dict.fromkeys(pairs, NORMAL))

    def disturb(self, pairs: Collection[Pair], how: str) -> None:
        if any(source != CLIENTS and (source, target) in self.opened for source, target in pairs):
            raise TargetError(f"connections between namespaces can't be made {how}; those through the proxy can")
        super().disturb(pairs, how)

    def dropped(self, pairs: Collection[Pair]) -> int | None:
        return sum(self._counts(pairs).values())

    def connect(self, source: str, target: str, patience: float) -> socket.socket:
        if source == CLIENTS:
            return super().connect(source, target, patience)
        self._check([(source, target)])
        return self._from(source, self.address(target), patience)

    def listens(self, name: str, patience: float) -> bool:
        try:
            self._from("", self.address(name), patience).close()
        except OSError:
            return False
        return True

    # --- rules ---

    def _drop_at(self, receiver: str) -> None:
        """The rules of what *receiver* does not get."""
        rules = ["flush chain ip gates cuts"]
        for (source, target), how in self._traffic.items():
            lost = f" numgen random mod 10000 < {round(how.loss * 10_000)}" if not how.cut else ""
            if target == receiver and _drops(how):
                rules.append(f"add rule ip gates cuts ip saddr {self._where[source]}{lost} counter drop")
        self._run(receiver, "nft", "-f", "-", given=rules)

    def _slow_at(self, sender: str) -> None:
        """The queues of what *sender* sends."""
        device = "br0" if sender == CLIENTS else "eth0"
        slowed = [(target, how) for (source, target), how in self._traffic.items() if source == sender and _slows(how)]
        lines = [f"qdisc replace dev {device} root handle 1: htb default 1"]
        lines.append(f"class replace dev {device} parent 1: classid 1:1 htb rate {FASTEST} quantum 60000")
        for number, (target, how) in enumerate(slowed, start=2):
            rate = f"{max(8, round(how.rate * 8))}bit burst 3000 cburst 3000" if how.rate else FASTEST
            lines.append(f"class add dev {device} parent 1: classid 1:{number} htb rate {rate} quantum 3000")
            if how.latency or how.jitter:
                delay = f"{how.latency * 1000:g}ms {how.jitter * 1000:g}ms"
                lines.append(f"qdisc add dev {device} parent 1:{number} handle {number}: netem delay {delay}")
            match = f"u32 match ip dst {self._where[target]}/32 flowid 1:{number}"
            lines.append(f"filter add dev {device} protocol ip parent 1: prio 1 {match}")
        removed = f"qdisc del dev {device} root"
        self._run(sender, "tc", "-force", "-batch", "-", given=[removed], may_fail=True)
        if slowed:
            # the kernel would let through at once what it has not cut into packets yet
            self._run(sender, "ip", "link", "set", "dev", device, "gso_max_segs", "1")
            self._run(sender, "tc", "-batch", "-", given=lines)

    def _counts(self, pairs: Collection[Pair]) -> dict[Pair, int]:
        """Packets that were dropped on each of *pairs*, those of rules before the present ones too."""
        counts = {pair: self._before.get(pair, 0) for pair in pairs}
        # without a rule at the receiver, nothing has been dropped since
        for receiver in {target for (_, target), how in self._traffic.items() if _drops(how)} & {to for _, to in pairs}:
            found = json.loads(self._run(receiver, "nft", "-j", "list", "chain", "ip", "gates", "cuts"))
            now = {address: packets for rule in found["nftables"] for address, packets in _counter(rule.get("rule", {}))}
            for source, target in pairs:
                if target == receiver:
                    counts[source, target] += now.get(self._where[source], 0)
        return counts

    def _run(self, name: str, *command: str, given: Sequence[str] = (), may_fail: bool = False) -> str:
        """What *command* printed in the namespace of *name*. Raises TargetError with its own words."""
        path = self._paths["" if name == CLIENTS else name]
        done = subprocess.run(
            ("nsenter", f"--net={path}", *command),
            input="\n".join(given) + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not may_fail:
            said = (done.stderr.strip().splitlines() or [str(done.returncode)])[0]
            raise TargetError(f"{command[0]} says: {said}", location=name)
        return done.stdout

    def _from(self, name: str, address: tuple[str, int], patience: float) -> socket.socket:
        """A connection to *address* from the namespace of *name*: a socket stays in the one that it was made in."""
        connection = _socket_in(self._paths[name])
        try:
            connection.settimeout(patience)
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
        return connection


def _slows(how: Traffic) -> bool:
    return bool(how.rate or how.latency or how.jitter)


def _drops(how: Traffic) -> bool:
    return how.cut or how.loss > 0


def _counter(rule: Mapping[str, object]) -> list[tuple[str, int]]:
    """Source address and packets of a rule as nft prints it."""
    parts = rule.get("expr", [])
    assert isinstance(parts, list)
    address = next((part["match"]["right"] for part in parts if "payload" in str(part.get("match", {}).get("left"))), None)
    packets = next((part["counter"]["packets"] for part in parts if "counter" in part), None)
    return [(address, packets)] if address is not None and packets is not None else []


def _socket_in(path: str) -> socket.socket:
    """A socket of the namespace at *path*; the thread that makes it is in no other any more, and ends."""
    with ThreadPoolExecutor(1, thread_name_prefix="namespace") as pool:
        return pool.submit(_made_in, path).result()


def _made_in(path: str) -> socket.socket:
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    finally:
        os.close(namespace)
