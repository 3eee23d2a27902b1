"""Flows made ready to run against one endpoint: request bytes encoded as far as they are known, checks taken apart."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from gates import registry
from gates.load.arrival import Arrival, Doing
from gates.load.check import Checker
from gates.load.feeds import used_by
from gates.load.flows import Flow, Step, python_flow
from gates.load.rows import content
from gates.load.template import Template, Values, compact, in_header, in_json, in_path, plain
from gates.load.variables import Variables

_NONE: Values = MappingProxyType({})
SLOTS = 16
CHUNK = 16 * 1024
_NOTHING = {"path": "/"}


class Request:
    """A step's request: bytes that are known, or templates that each arrival fills.

    *right* is a whole response, head and body, that passed all checks under *right_code*, where another arrival that gets the
    same bytes may rely on that.
    """

    __slots__ = (
        "_body", "_chunked", "_fill", "_given", "_has_body", "_head", "_path", "_same",
        "checker", "repeats", "right", "right_code", "static", "thought", "wanted",
    )  # fmt: skip

    def __init__(self, step: Step, url: str, constants: Values, given: Values, root: Path | None = None) -> None:
        parts = urlsplit(url)
        headers = {"host": parts.netloc, "user-agent": "readiness-gates"} | {k.lower(): v for k, v in step.headers.items()}
        # as they are: a secret may hold braces
        self._given = "".join(f"{name}: {value}\r\n" for name, value in given.items() if name.lower() not in headers)
        is_text = isinstance(step.body, str)
        text = "" if step.body is None else step.body if is_text else compact(step.body)
        sent = None if step.body_file is None else content((root or Path.cwd()) / step.body_file, step.body_file)
        self._fill = int(step.fill)
        self._chunked = step.chunked
        self._has_body = step.body is not None or sent is not None or self._fill > 0
        self.thought = step.thought
        if step.body is not None or sent is not None:
            usual = "application/json" if sent is None else "application/octet-stream"
            headers.setdefault("content-type", "text/plain; charset=utf-8" if is_text else usual)
        framing = ("content-length", "transfer-encoding") if step.chunked else ("content-length",)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name not in framing)
        self._path = Template(f"{step.method} {parts.path.rstrip('/')}{step.path} HTTP/1.1\r\n", constants, in_path)
        self._head = Template(lines, constants, in_header)
        self._body = Template(text, constants, plain if is_text else in_json)
        # rendered once where no arrival changes it: fifty mebibytes a request would hold the generator up
        self._same = None if self._body.wanted else self._filled({}) if sent is None else sent.ljust(self._fill)
        self.checker = Checker(step.check, step.capture, constants)
        self.repeats = self.checker.repeats
        self.right: bytes | None = None
        self.right_code = 0
        self.wanted = self._path.wanted | self._head.wanted | self._body.wanted | self.checker.wanted
        known = not (self._path.wanted or self._head.wanted or self._body.wanted)
        self.static = self._encode({}) if known else None

    def encode(self, values: Values) -> bytes:
        """The request's bytes for an arrival. Raises UnfillableError."""
        return self.static if self.static is not None else self._encode(values)

    def parts(self, values: Values) -> tuple[str, str, list[tuple[str, str]], bytes]:
        """Method, path, headers and body for an arrival, for a client that frames them itself. Raises UnfillableError."""
        method, path, _ = self._path.render(values).split(" ", 2)
        lines = f"{self._head.render(values)}{self._given}".split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines if line)]
        return method, path, headers, self._content(values)

    def _content(self, values: Values) -> bytes:
        return self._filled(values) if self._same is None else self._same

    def _filled(self, values: Values) -> bytes:
        return self._body.render(values).encode().ljust(self._fill)

    def _encode(self, values: Values) -> bytes:
        body = self._content(values)
        framing = f"Content-Length: {len(body)}\r\n" if self._has_body else ""
        if self._chunked:
            framing, body = "Transfer-Encoding: chunked\r\n", _in_chunks(body)
        head = f"{self._path.render(values)}{self._head.render(values)}{self._given}{framing}\r\n"
        return head.encode() + body


def _in_chunks(body: bytes) -> bytes:
    parts = (body[at : at + CHUNK] for at in range(0, len(body), CHUNK))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Program:
    """A flow against one endpoint; *headers* go with every request, unless a step has its own under that name.

    *number* gives an arrival's number in the whole schedule, from which its key and its values derive, by that in the slice.
    In a closed loop *times* are its service times since they were last counted, in seconds, and *took* takes another.
    """

    __slots__ = (
        "_feeds", "_needs_slot", "_needs_uuid", "_number", "_seed", "_value", "_variables",
        "doing", "headers", "name", "requests", "thinks", "times", "took", "wants_headers", "wants_values",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        definition: Mapping[str, Any],
        endpoint: str,
        url: str,
        *,
        seed: int,
        headers: Values = _NONE,
        variables: Variables | None = None,
        number: Callable[[int], int] = int,
    ) -> None:
        self.name = name
        self._number = number
        self.headers = headers
        self._variables = variables
        self.doing: Doing | None = None
        if "python" in definition:
            self.doing = python_flow(definition["python"], registry.plugins(registry.FLOWS))
            definition = {"steps": [_NOTHING]}
        flow = Flow.model_validate(definition)
        given = variables.constants if variables else _NONE
        constants = {"endpoint": endpoint, **given} | {key: _text(value) for key, value in flow.variables.items()}
        root = variables.root if variables else Path.cwd()
        self.requests = tuple(Request(step, url, constants, headers, root) for step in flow.steps)
        self.thinks = sum(request.thought[1] for request in self.requests)
        self._feeds = sorted(used_by(definition) & (variables.feeds if variables else frozenset()))
        self._value = None if flow.value is None else Template(compact(flow.value), constants, in_json)
        wanted = frozenset().union(*(request.wanted for request in self.requests))
        wanted_at_all = wanted if self._value is None else wanted | self._value.wanted
        self._needs_uuid, self._needs_slot = "uuid" in wanted_at_all, "slot" in wanted_at_all
        self.wants_headers = any(request.checker.wants_headers for request in self.requests)
        self.wants_values = bool(wanted) or any(step.capture for step in flow.steps) or self._value is not None
        self.wants_values |= bool(self.thinks)
        self.times: list[float] = []
        self.took = self.times.append
        self._seed = seed.to_bytes(16, "little", signed=True)

    def arrival(self, n: int, endpoint: str) -> Arrival:
        """What a flow in Python knows of arrival *n*."""
        return Arrival(self._number(n), self.key(n), self._digest(n, b"uuid"), endpoint, self._variables)

    def thought(self, n: int, step: int) -> float:
        """For how many seconds the user of arrival *n* thinks before *step*."""
        low, high = self.requests[step].thought
        if low == high:
            return low
        return low + (high - low) * int.from_bytes(self._digest(n, b"think %d" % step)[:7], "little") / 2**56

    def values(self, n: int) -> dict[str, str]:
        """What the places of arrival *n* are filled with, before anything was captured."""
        values = {"n": str(self._number(n)), "key": self.key(n)}
        if self._needs_uuid:
            values["uuid"] = str(uuid.UUID(bytes=self._digest(n, b"uuid"), version=4))
        if self._needs_slot:
            values["slot"] = str(self._digest(n, b"slot")[0] % SLOTS)
        if self._feeds and self._variables:
            values |= self._variables.of(self._number(n), self._feeds)
        return values

    def key(self, n: int) -> str:
        """The idempotency key of arrival *n*."""
        return self._digest(n, b"key").hex()

    def recorded_value(self, values: Values) -> Any:
        """What a history records as asked for; None when it needs something that was not captured."""
        if self._value is None or not self._value.wanted <= values.keys():
            return None
        return json.loads(self._value.render(values))

    def answer(self, values: Values) -> dict[str, str] | None:
        """What a history records as the answer: all that was captured."""
        own = {name: text for name, text in values.items() if name not in ("n", "key", "uuid", "slot") and "." not in name}
        return own or None

    def _digest(self, n: int, purpose: bytes) -> bytes:
        number = self._number(n).to_bytes(8, "little")
        return hashlib.blake2b(number, digest_size=16, key=self._seed, person=purpose).digest()


def programs(
    flows: Mapping[str, Any],
    endpoints: Mapping[str, str],
    names: tuple[str, ...],
    *,
    seed: int,
    headers: Values = _NONE,
    variables: Variables | None = None,
    number: Callable[[int], int] = int,
) -> list[list[Program]]:
    """For each endpoint the programs of *names*, in order."""
    given: Any = {"seed": seed, "headers": headers, "variables": variables, "number": number}
    return [[Program(name, flows[name], endpoint, url, **given) for name in names] for endpoint, url in endpoints.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
