"""A node that is told to end, under load."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
import uvicorn
from node_process import ECHO, KEY, RunningNode, Start
from waiting import PATIENCE, Bound, await_that, soon

from gates.node import draining

pytestmark = pytest.mark.end_to_end


def most_resets() -> int:
    """None where a node may tell the kernel to let nobody in; elsewhere those who come in the instant of the closing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return 0 if draining.turn_away(listener) else 2


def told_of_the_end(node: RunningNode, worker: int) -> tuple[list[str], Counter[str]]:
    """Submit on one connection after the other until nobody listens; the jobs that were acknowledged, and what else came."""
    jobs: list[str] = []
    seen: Counter[str] = Counter()
    in_time = Bound("a node that was told to end listens no more")
    while True:
        in_time()
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
        with closing(connection):
            try:
                connection.connect()
            except ConnectionRefusedError:
                return jobs, seen
            body = json.dumps(ECHO).encode()
            headers = {"X-API-Key": KEY, "Idempotency-Key": f"{worker}-{seen.total()}"}
            try:
                connection.request("POST", "/mesh/submit", body, headers)
                answer = connection.getresponse()
                text = answer.read()
            except (ConnectionError, http.client.HTTPException) as error:
                seen[type(error).__name__] += 1
                continue
            seen[str(answer.status)] += 1
            if answer.status == 200:
                jobs.append(json.loads(text)["job_id"])


def test_no_request_is_dropped_when_a_node_is_told_to_end(start: Start) -> None:
    """Eight clients with a new connection for each request: every one that was let in is answered, and kept."""
    node = start("--mana", "1000000")
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(told_of_the_end, node, worker) for worker in range(8)]
        await_that(lambda: len(node.jobs()) >= 200, "200 jobs are stored")
        node.process.send_signal(signal.SIGTERM)
        answers = [client.result() for client in clients]
    assert node.process.wait(10) == 0
    seen = sum((each for _, each in answers), Counter())
    assert seen.total() - seen["200"] <= most_resets(), seen
    promised = {job for jobs, _ in answers for job in jobs}
    assert len(promised) >= 190
    assert {job["job_id"] for job in start().jobs()} >= promised


HEAD = f"POST /mesh/submit HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(json.dumps(ECHO))}\r\n"


async def keep_asking(port: int, name: str, seen: Counter[str]) -> None:
    """Submit on one connection for as long as the node keeps it, then on the next, until nobody listens."""
    number = 0
    in_time = Bound("a node that was told to end listens no more")
    while True:
        in_time()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        with closing(writer):
            head = ""
            while in_time() and "connection: close" not in head:
                number += 1
                writer.write(f"{HEAD}Idempotency-Key: {name}-{number}\r\n\r\n{json.dumps(ECHO)}".encode())
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
                except (OSError, asyncio.IncompleteReadError) as error:
                    seen[type(error).__name__] += 1
                    break
                seen[head[9:12]] += 1


def test_hundreds_of_clients_that_keep_their_connections_are_all_answered(start: Start) -> None:
    """300 at once, more than are let in between two looks: nobody waits in the queue of a socket that is closed."""
    node = start("--mana", "1000000")
    seen: Counter[str] = Counter()

    async def ask() -> None:
        clients = [asyncio.create_task(keep_asking(node.port, str(number), seen)) for number in range(300)]
        await soon(lambda: seen["200"] >= 600, "600 submissions are answered")
        node.process.send_signal(signal.SIGTERM)
        _, waiting = await asyncio.wait(clients, timeout=PATIENCE)
        assert not waiting, f"{len(waiting)} clients have no answer {PATIENCE:g} s after the node was told to end"
        await asyncio.gather(*clients)

    asyncio.run(ask())
    assert node.process.wait(10) == 0
    assert seen.total() - seen["200"] <= most_resets(), seen


def half_sent(node: RunningNode) -> bool:
    """Whether a request besides the one for the metrics is under way."""
    return node.metric("icn_requests_in_flight") >= 2


def test_a_request_that_is_under_way_is_finished_and_ready_says_no_at_once(start: Start) -> None:
    """Half a body was sent when the signal came: /ready is 503 on a new connection, and the request is carried out."""
    node = start()
    body = json.dumps(ECHO).encode()
    head = f"POST /mesh/submit HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with closing(socket.create_connection(("127.0.0.1", node.port), timeout=10)) as client:
        client.sendall(head + body[:5])
        await_that(lambda: half_sent(node), "half a body was taken")
        node.process.send_signal(signal.SIGTERM)
        await_that(lambda: node.ask("GET", "/ready")[0] == 503, "/ready says no")
        assert node.ask("GET", "/ready")[1]["draining"] is True
        assert node.ask("GET", "/live")[0] == 200
        client.sendall(body[5:])
        received = client.recv(65536)
        while chunk := client.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in received
    assert node.process.wait(10) == 0


def test_a_second_signal_ends_a_node_that_waits(start: Start) -> None:
    """A client that never sends its body can hold up the end for as long as the settings say; a second signal does not wait."""
    node = start()
    with closing(socket.create_connection(("127.0.0.1", node.port), timeout=10)) as client:
        client.sendall(f"POST /mesh/submit HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 100\r\n\r\n".encode())
        await_that(lambda: half_sent(node), "the head of a request was taken")
        node.process.send_signal(signal.SIGTERM)
        with suppress(ConnectionError):
            await_that(lambda: node.ask("GET", "/ready")[0] != 200, "/ready says no")
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(3) == 0


def test_a_node_whose_draining_fails_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a mistake on the way to the end would leave a node that can only be killed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = draining.DrainingServer(uvicorn.Config(lambda: None), None, listener)

        async def fail() -> None:
            raise PermissionError

        monkeypatch.setattr(server, "_finish_work", fail)
        with pytest.raises(PermissionError):
            asyncio.run(server._drain(signal.SIGTERM))
    assert server.should_exit
