"""The proxy of links, held against an oracle: what a plain socket on the other side measures, on both event loops."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gates.model import Traffic
from gates.target import TargetError
from gates.target.links import Control
from gates.target.ports import LOCALHOST, free_ports
from gates.target.proxy.flow import Line

pytestmark = pytest.mark.end_to_end

THERE, BACK = ("a", "b"), ("b", "a")
PATIENCE = 5.0


@dataclass
class Board:
    """A switchboard process with one link, before a server that gives back what it gets."""

    control: Control
    port: int
    server: socket.socket
    pid: int

    def shape(self, *pairs: tuple[str, str], **traffic: object) -> None:
        how = asdict(Traffic(**traffic))  # type: ignore[arg-type]
        self.control.ask(do="shape", traffic=[[*pair, how] for pair in pairs])

    @property
    def state(self) -> list[Any]:
        """Both ends, connections accepted and open, bytes there and back, bytes waiting."""
        found: list[Any] = self.control.ask(do="state")["state"][0]
        return found

    def disturb(self, how: str) -> None:
        self.control.ask(do="disturb", pairs=[THERE], how=how)

    def connect(self) -> socket.socket:
        return socket.create_connection((LOCALHOST, self.port), PATIENCE)

    @contextmanager
    def talking(self) -> Iterator[socket.socket]:
        """A connection through the link that has been answered."""
        with self.connect() as connection:
            assert echo(connection, b"hello") == b"hello"
            yield connection


def echo(connection: socket.socket, data: bytes) -> bytes:
    """What comes back for *data*."""
    connection.sendall(data)
    return receive(connection, len(data))


def receive(connection: socket.socket, size: int) -> bytes:
    """The next *size* bytes."""
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def took(connection: socket.socket, data: bytes) -> float:
    """Seconds until all of *data* is back."""
    start = time.monotonic()
    assert echo(connection, data) == data
    return time.monotonic() - start


def serve(server: socket.socket) -> None:
    """Give back what comes, connection by connection, each in a thread; the end of what comes ends the answer."""

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()


def _ask_once(board: Board) -> None:
    with board.connect() as connection:
        connection.sendall(b"x")
        assert connection.recv(1) != b"", "ended politely"


def _feed(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.sendall(bytes(3_000_000))


@pytest.fixture(params=["asyncio", "uvloop"], scope="module")
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A switchboard on each event loop."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    control = tmp_path_factory.mktemp("a" * 60) / ("b" * 60)  # a path that is too long for a Unix socket
    with socket.create_server((LOCALHOST, 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        (port,) = free_ports(1, Random())
        row = [*THERE, LOCALHOST, port, LOCALHOST, server.getsockname()[1]]
        command = [sys.executable, "-m", "gates.target.proxy.switchboard", str(control), json.dumps([row]), "7", request.param]
        with subprocess.Popen(command) as process:
            try:
                until = time.monotonic() + PATIENCE
                while not control.exists():
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.01)
                yield Board(Control(control), port, server, process.pid)
            finally:
                process.terminate()
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def plain(board: Board) -> Iterator[None]:
    """Every test leaves the link as it was."""
    yield
    board.shape(THERE, BACK)
    board.disturb("none")


def test_all_bytes_pass_in_their_order(board: Board) -> None:
    """A megabyte comes back as it was, and the end of what was sent ends the answer."""
    data = Random(1).randbytes(1_000_000)
    with board.connect() as connection:
        threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR))).start()
        assert receive(connection, len(data)) == data
        assert connection.recv(1) == b""


def test_latency_is_added_in_its_direction_only(board: Board) -> None:
    """50 ms there are 50 ms of the round trip, and 50 ms both ways are 100 ms."""
    with board.talking() as connection:
        board.shape(THERE, latency=0.05)
        one = statistics.median(took(connection, b"x") for _ in range(3))
        board.shape(BACK, latency=0.05)
        both = statistics.median(took(connection, b"x") for _ in range(3))
    assert 0.05 <= one < 0.08
    assert 0.1 <= both < 0.14


def test_jitter_spreads_and_keeps_the_order(board: Board) -> None:
    """Round trips lie within the latency more or less the jitter, and what was sent later does not come earlier."""
    board.shape(THERE, latency=0.03, jitter=0.03)
    with board.talking() as connection:
        times = [took(connection, b"x") for _ in range(10)]
        text = bytes(range(200))
        for byte in text:
            connection.sendall(bytes([byte]))
        assert receive(connection, len(text)) == text
    assert max(times) < 0.1
    assert max(times) - min(times) > 0.015


def test_bandwidth_is_never_more_than_asked_for(board: Board) -> None:
    """50 kB at 200 kB/s take a quarter of a second, whatever the sizes of the reads; also when two connections share them."""
    board.shape(THERE, rate=200_000)
    with board.talking() as connection:
        alone = took(connection, bytes(50_000))
    with board.talking() as one, board.talking() as other:
        start = time.monotonic()
        for connection in (one, other):
            connection.sendall(bytes(25_000))
        for connection in (one, other):
            receive(connection, 25_000)
        shared = time.monotonic() - start
    assert 0.245 <= alone < 0.4
    assert 0.245 <= shared < 0.4


def test_a_slow_line_does_not_send_at_once_what_fits_into_one_read(board: Board) -> None:
    """The first bytes come early and the last late: half of them after half of the time."""
    board.shape(BACK, rate=200_000)
    with board.talking() as connection:
        start = time.monotonic()
        connection.sendall(bytes(40_000))
        receive(connection, 20_000)
        half = time.monotonic() - start
        receive(connection, 20_000)
        whole = time.monotonic() - start
    assert half >= 0.09
    assert whole >= 0.19
    assert half < 0.7 * whole


def test_the_time_of_a_latency_is_no_time_on_the_line(board: Board) -> None:
    """What is still under way does not pass the line meanwhile: 10 kB at 100 kB/s need their tenth of a second after it."""
    with board.talking() as connection:
        board.shape(THERE, rate=100_000, latency=0.1)
        connection.sendall(b"x")
        time.sleep(0.05)
        start = time.monotonic()
        connection.sendall(bytes(10_000))
        receive(connection, 10_001)
        assert time.monotonic() - start >= 0.195


def test_the_time_of_a_cut_is_no_time_on_the_line(board: Board) -> None:
    """What waited for the end of a cut comes no faster than the line is, however long it waited."""
    with board.talking() as connection:
        board.shape(BACK, rate=100_000)
        connection.sendall(bytes(30_000))
        received = len(receive(connection, 2000))
        board.shape(BACK, cut=True)
        connection.settimeout(0.3)
        with suppress(TimeoutError):
            while True:
                received += len(connection.recv(65536))
        connection.settimeout(PATIENCE)
        start = time.monotonic()
        board.shape(BACK, rate=100_000)
        receive(connection, 30_000 - received)
        assert received < 25_000
        assert time.monotonic() - start >= 0.95 * (30_000 - received) / 100_000


def test_slices_are_of_the_size_asked_for(board: Board) -> None:
    """Every read of the client gets one slice."""
    with board.talking() as connection:
        board.shape(BACK, slice=10, pause=0.005)
        connection.sendall(bytes(100))
        assert [len(connection.recv(1000)) for _ in range(10)] == [10] * 10


def test_what_a_cut_link_holds_arrives_after_the_heal(board: Board) -> None:
    """Nothing passes, nobody is told, and the held byte is the first to come."""
    with board.talking() as connection:
        board.shape(THERE, BACK, cut=True)
        connection.sendall(b"z")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE)
        board.shape(THERE, BACK)
        assert connection.recv(1) == b"z"


def test_one_way_is_one_way(board: Board) -> None:
    """The server gets what is sent; its answer is held."""
    with board.talking() as connection:
        before = board.state[5]
        board.shape(BACK, cut=True)
        connection.sendall(b"z")
        until = time.monotonic() + PATIENCE
        while board.state[5] == before and time.monotonic() < until:
            time.sleep(0.01)
        assert board.state[5] == before + 1
        board.shape(BACK)
        assert connection.recv(1) == b"z"


def test_no_handshake_passes_a_cut_link(board: Board) -> None:
    """Who gives up a new connection before the heal has sent nothing; who waits is served then."""
    board.shape(THERE, BACK, cut=True)
    with board.connect() as given_up, board.connect() as patient:
        given_up.sendall(b"never")
        given_up.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert given_up.recv(1) == b""
        before = board.state[5]
        patient.sendall(b"later")
        board.shape(THERE, BACK)
        assert receive(patient, 5) == b"later"
    assert board.state[5] - before == len(b"later")


def test_a_reset_strikes_open_and_new_connections(board: Board) -> None:
    """Both get RST, and afterwards new connections are served."""
    with board.talking() as connection:
        board.disturb("reset")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionError):
        _ask_once(board)
    board.disturb("none")
    with board.talking():
        pass


def test_a_half_open_connection_leads_nowhere_until_it_is_reset(board: Board) -> None:
    """The old one is silent, a new one is served, and after the heal the old one gets RST."""
    with board.talking() as old:
        board.disturb("half-open")
        old.sendall(b"x")
        old.settimeout(0.2)
        with pytest.raises(TimeoutError):
            old.recv(1)
        with board.talking():
            pass
        board.disturb("none")
        old.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            old.recv(1)


def test_a_slow_reader_makes_the_server_wait(board: Board) -> None:
    """Little is taken from the server, so that it can't get rid of its answer, however much of it there is."""
    board.shape(BACK, rate=10_000, buffer=4096)
    with board.talking() as connection:
        before = board.state
        threading.Thread(target=_feed, args=(connection,), daemon=True).start()
        time.sleep(0.4)
        assert board.state[5] - before[5] < 400_000


def test_a_switchboard_says_what_it_does_not_understand(board: Board) -> None:
    """Unknown lines and commands are errors, and nothing has changed."""
    rows = board.control.ask(do="state")["state"]
    assert rows[0][:2] == [*THERE]
    with pytest.raises(TargetError, match="no line from"):
        board.control.ask(do="shape", traffic=[["a", "nobody", {}]])
    with pytest.raises(TargetError, match="unknown command"):
        board.control.ask(do="sing")


def test_lost_segments_stall_for_the_time_of_their_repetition() -> None:
    """Of single segments the share asked for stalls for 0.2 s at least, and none is lost for good."""
    line = Line(Random(3))
    line.shape(Traffic(loss=0.1))
    stalls = [line.delay(100) for _ in range(5000)]
    assert 0.08 < sum(stall > 0 for stall in stalls) / 5000 < 0.12
    assert {round(stall, 1) for stall in stalls} >= {0.0, 0.2, 0.6}
    assert min(stall for stall in stalls if stall) == pytest.approx(0.2)


def test_the_socket_of_the_control_is_found_however_long_its_path(board: Board) -> None:
    """A Unix socket's path may have 107 bytes; the tree that a run is in may be deeper."""
    assert len(str(board.control.path)) > 107
    assert Path(board.control.path).exists()
