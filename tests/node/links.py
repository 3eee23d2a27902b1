"""The way from one node to another, which a test can cut: what is sent meanwhile waits, as it does when a network is down."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

CHUNK = 65536


class Link:
    """A port of its own whose connections lead to *target*, while the link is up."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._up = threading.Event()
        self._up.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through."""
        self._up.clear()

    def mend(self) -> None:
        """Let everything through, first of all what has waited."""
        self._up.set()

    def close(self) -> None:
        """End all connections."""
        self._up.set()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._up.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        self._open.append(far)
        threading.Thread(target=self._carry, args=(far, near), daemon=True).start()
        self._carry(near, far)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._up.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Links:
    """A link for every ordered pair of nodes."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Link] = {}

    def route(self, source: str, target: str, port: int) -> str:
        """The URL under which *source* reaches *target*, which listens on *port*."""
        link = self._links[source, target] = Link(port)
        return f"http://127.0.0.1:{link.port}"

    @contextmanager
    def cut_off(self, *names: str) -> Iterator[None]:
        """Nothing passes between the nodes *names* and the others."""
        between = [link for pair, link in self._links.items() if (pair[0] in names) != (pair[1] in names)]
        with ExitStack() as stack:
            for link in between:
                link.cut()
                stack.callback(link.mend)
            yield

    def close(self) -> None:
        """End all connections."""
        for link in self._links.values():
            link.close()
