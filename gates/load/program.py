"""Flows made ready to run against one endpoint: request bytes encoded as far as they are known, checks taken apart."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from gates.load.check import Checker
from gates.load.flows import Flow, Step
from gates.load.template import Template, Values, compact, in_header, in_json, in_path, plain

_NONE: Values = MappingProxyType({})
SLOTS = 16


class Request:
    """A step's request: bytes that are known, or templates that each arrival fills.

    *right* is a whole response, head and body, that passed all checks under *right_code*, where another arrival that gets the
    same bytes may rely on that.
    """

    __slots__ = (
        "_body", "_fill", "_given", "_head", "_path", "_same", "checker", "repeats", "right", "right_code", "static", "wanted",
    )  # fmt: skip

    def __init__(self, step: Step, url: str, constants: Values, given: Values) -> None:
        parts = urlsplit(url)
        headers = {"host": parts.netloc, "user-agent": "readiness-gates"} | {k.lower(): v for k, v in step.headers.items()}
        # as they are: a secret may hold braces
        self._given = "".join(f"{name}: {value}\r\n" for name, value in given.items() if name.lower() not in headers)
        is_text = isinstance(step.body, str)
        text = "" if step.body is None else step.body if is_text else compact(step.body)
        if step.body is not None:
            headers.setdefault("content-type", "text/plain; charset=utf-8" if is_text else "application/json")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name != "content-length")
        self._path = Template(f"{step.method} {parts.path.rstrip('/')}{step.path} HTTP/1.1\r\n", constants, in_path)
        self._head = Template(lines, constants, in_header)
        self._body = Template(text, constants, plain if is_text else in_json)
        self._fill = int(step.fill)
        # rendered once where no arrival changes it: fifty mebibytes a request would hold the generator up
        self._same = None if self._body.wanted else self._filled({})
        self.checker = Checker(step.check, step.capture, constants)
        self.repeats = self.checker.repeats
        self.right: bytes | None = None
        self.right_code = 0
        self.wanted = self._path.wanted | self._head.wanted | self._body.wanted | self.checker.wanted
        known = not (self._path.wanted or self._head.wanted or self._body.wanted)
        self.static = self._encode({}, has_body=step.body is not None) if known else None

    def encode(self, values: Values) -> bytes:
        """The request's bytes for an arrival. Raises UnfillableError."""
        return self.static if self.static is not None else self._encode(values, has_body=False)

    def _filled(self, values: Values) -> bytes:
        return self._body.render(values).encode().ljust(self._fill)

    def _encode(self, values: Values, *, has_body: bool) -> bytes:
        body = self._filled(values) if self._same is None else self._same
        length = f"Content-Length: {len(body)}\r\n" if body or has_body else ""
        head = f"{self._path.render(values)}{self._head.render(values)}{self._given}{length}\r\n"
        return head.encode() + body


class Program:
    """A flow against one endpoint; *headers* go with every request, unless a step has its own under that name.

    *number* gives an arrival's number in the whole schedule, from which its key and its values derive, by that in the slice.
    In a closed loop *times* are its service times since they were last counted, in seconds, and *took* takes another.
    """

    __slots__ = (
        "_needs_slot", "_needs_uuid", "_number", "_seed", "_value",
        "name", "requests", "times", "took", "wants_headers", "wants_values",
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
        number: Callable[[int], int] = int,
    ) -> None:
        flow = Flow.model_validate(definition)
        constants = {"endpoint": endpoint} | {key: _text(value) for key, value in flow.variables.items()}
        self.name = name
        self._number = number
        self.requests = tuple(Request(step, url, constants, headers) for step in flow.steps)
        self._value = None if flow.value is None else Template(compact(flow.value), constants, in_json)
        wanted = frozenset().union(*(request.wanted for request in self.requests))
        wanted_at_all = wanted if self._value is None else wanted | self._value.wanted
        self._needs_uuid, self._needs_slot = "uuid" in wanted_at_all, "slot" in wanted_at_all
        self.wants_headers = any(request.checker.wants_headers for request in self.requests)
        self.wants_values = bool(wanted) or any(step.capture for step in flow.steps) or self._value is not None
        self.times: list[float] = []
        self.took = self.times.append
        self._seed = seed.to_bytes(16, "little", signed=True)

    def values(self, n: int) -> dict[str, str]:
        """What the places of arrival *n* are filled with, before anything was captured."""
        values = {"n": str(self._number(n)), "key": self.key(n)}
        if self._needs_uuid:
            values["uuid"] = str(uuid.UUID(bytes=self._digest(n, b"uuid"), version=4))
        if self._needs_slot:
            values["slot"] = str(self._digest(n, b"slot")[0] % SLOTS)
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
        return {name: text for name, text in values.items() if name not in ("n", "key", "uuid", "slot")} or None

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
    number: Callable[[int], int] = int,
) -> list[list[Program]]:
    """For each endpoint the programs of *names*, in order."""
    return [
        [Program(name, flows[name], endpoint, url, seed=seed, headers=headers, number=number) for name in names]
        for endpoint, url in endpoints.items()
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
