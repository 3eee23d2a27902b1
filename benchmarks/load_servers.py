"""The servers of the comparison of load engines: nginx on one core, and one that blocks for a second in every five."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from gates.errors import Exit, GatesError
from gates.target.ports import LOCALHOST, free_ports

BODY = b'{"status":"ok","node":"node-a","version":"0.1.0","peers":2,"height":123,"uptime_seconds":5}'
STATIC, CHANGING = "/static.json", "/changing"
NGINX = """
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  default_type application/json;
  sendfile on;
  open_file_cache max=10 inactive=1h;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {folder}/www;
    location = /changing {{ return 200 '{{"status":"ok","node":"node-a","height":123,"id":"$request_id"}}'; }}
  }}
}}
"""
PERIOD, STALL = 5.0, 1.0
# On the clock that all processes share: the stall begins in the middle of each five seconds.
STALLING = """
import asyncio, sys, time, uvloop
PERIOD, STALL = 5.0, 1.0
ANSWER = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 12\\r\\n\\r\\n{"ok": true}'
class Server(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(ANSWER * data.count(b"\\r\\n\\r\\n"))
def stall(loop, start):
    time.sleep(max(0.0, start - time.monotonic()))
    time.sleep(max(0.0, start + STALL - time.monotonic()))
    plan(loop, start + PERIOD)
def plan(loop, start):
    loop.call_later(max(0.0, start - time.monotonic() - 0.001), stall, loop, start)
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    plan(loop, (time.monotonic() // PERIOD + 1) * PERIOD + 2.0)
    await server.serve_forever()
uvloop.run(main())
"""


class MissingPeerError(GatesError):
    """A program that the comparison needs is not installed."""

    code = Exit.USAGE


def program(name: str, line: str) -> str:
    """The path of *name*. Raises MissingPeerError, which names the *line* that installs it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingPeerError(f"{name} is not installed", hint=line)
    return found


@contextmanager
def nginx(folder: Path, *cores: int) -> Iterator[str]:
    """The URL of a Debian nginx with a worker for each of *cores*, which gives 91 bytes of JSON."""
    (port,) = free_ports(1, Random())
    (folder / "www").mkdir(parents=True)
    (folder / "www" / STATIC[1:]).write_bytes(BODY)
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, workers=len(cores)))
    command = [program("nginx", "apt-get install nginx"), "-c", str(configuration), "-e", str(folder / "error.log")]
    with subprocess.Popen(["taskset", "-c", ",".join(map(str, cores)), *command], stderr=subprocess.DEVNULL) as server:
        try:
            _await(port)
            yield f"http://{LOCALHOST}:{port}"
        finally:
            server.terminate()


@contextmanager
def stalling(core: int) -> Iterator[str]:
    """The URL of a server on *core* that does nothing at all for 1 s in each 5 s."""
    command = ["taskset", "-c", str(core), sys.executable, "-c", STALLING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://{LOCALHOST}:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def _await(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((LOCALHOST, port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
