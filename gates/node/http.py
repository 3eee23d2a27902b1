"""What every handler of the node meets: a call with its bounded body, a route, checked JSON in and JSON out."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gates.node.errors import Refusal

LARGEST_BODY = 1024 * 1024
DEEPEST = 64
LONGEST_PAGE = 1000
HIGHEST = 2**53


class QuickRequest(Request):
    """A request whose headers are looked up in one step; it is asked for several that it does not have.

    Attributes:
        raw: the last value of each header.
    """

    def __init__(self, scope: Any, receive: Any) -> None:
        super().__init__(scope, receive)
        self.raw: dict[bytes, bytes] = dict(scope["headers"])

    def header(self, name: bytes) -> str | None:
        """The header *name*, or None."""
        found = self.raw.get(name)
        return None if found is None else found.decode("latin-1")


class Caller(Protocol):
    """Whom a request acts for.

    Attributes:
        did: the DID that it acts as.
        kind: how that was proved: `signature`, `key`, `token` or `anonymous`.
        peer: whether it is another node of the federation.
    """

    @property
    def did(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def peer(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through a handler.

    Attributes:
        node: the node that was asked.
        request: path, query and headers; its body was already read.
        principal: whom it acts for.
        body: the whole body, at most `LARGEST_BODY` bytes.
    """

    node: Any
    request: Request
    principal: Caller
    body: bytes

    def path(self, name: str) -> str:
        """The path's part *name*."""
        found: str = self.request.path_params[name]
        return found

    def header(self, name: str) -> str | None:
        """The header *name*, or None."""
        return self.request.headers.get(name)

    def json(self, required: Collection[str] = (), optional: Collection[str] = ()) -> dict[str, Any]:
        """The body as an object that has the *required* fields, and none but these and the *optional* ones."""
        return fields(load_json(self.body), required, optional)

    def number(self, name: str, default: int, *, lowest: int = 0, highest: int = HIGHEST) -> int:
        """The whole number *name* of the query. Raises Refusal with 400."""
        text = self.request.query_params.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18 or not lowest <= int(text) <= highest:
            raise Refusal(400, f"{name}: expected a whole number from {lowest} to {highest}")
        return int(text)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the interface.

    Attributes:
        public: it is answered without proof of who asks.
        priority: 0 is shed last and 7 first, when the request's `Priority` header says nothing.
        peer: only other nodes of the federation may ask.
        writes: it changes the ledger, so it is refused in read-only mode; every POST does unless told otherwise.
    """

    method: str
    path: str
    handler: Handler
    public: bool = False
    priority: int = 3
    peer: bool = False
    writes: bool | None = None

    @property
    def changes(self) -> bool:
        """Whether it is refused in read-only mode."""
        return self.method != "GET" and not self.peer if self.writes is None else self.writes


def json_answer(value: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """*value* as a JSON response."""
    body = _encode(value).encode()
    return Response(body, code, headers, "application/json")


def refused(refusal: Refusal) -> Response:
    """A refusal in the interface's shape: `{"error": text, …}`, with Retry-After when asking again may help."""
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{max(1, round(refusal.retry_after))}"}
    return json_answer({"error": str(refusal), **refusal.details}, refusal.code, headers)


def load_json(body: bytes, what: str = "the body") -> Any:
    """The JSON in *body*. Raises Refusal with 400 for what is no UTF-8 JSON or nested too deeply, 422 for half a character."""
    try:
        value = _decode(body.decode())
    except (ValueError, RecursionError):
        raise Refusal(400, f"{what}: not valid UTF-8 JSON") from None
    if body.count(b"[") + body.count(b"{") > DEEPEST and _deeper(value, DEEPEST):
        raise Refusal(400, f"{what}: nested more than {DEEPEST} levels deep")
    if b"\\u" in body and not _encodable(value):
        raise Refusal(422, f"{what}: a string holds half of a surrogate pair")
    return value


def fields(
    value: Any, required: Collection[str] = (), optional: Collection[str] = (), what: str = "the body"
) -> dict[str, Any]:
    """*value* as an object with exactly these fields. Raises Refusal with 422."""
    if not isinstance(value, dict):
        raise Refusal(422, f"{what}: expected an object")
    missing = [name for name in required if name not in value]
    if missing:
        raise Refusal(422, f"{what}: {missing[0]} is missing")
    unknown = sorted(set(value) - {*required, *optional})
    if unknown:
        raise Refusal(422, f"{what}: unknown key {unknown[0][:40]!r}")
    return value


def text(values: Mapping[str, Any], name: str, *, longest: int = 4096, shortest: int = 1, default: str | None = None) -> str:
    """The string *name* of *values*. Raises Refusal with 422."""
    found = values.get(name, default)
    if not isinstance(found, str) or not shortest <= len(found) <= longest:
        raise Refusal(422, f"{name}: expected a string of {shortest} to {longest} characters")
    return found


def integer(
    values: Mapping[str, Any], name: str, *, lowest: int = 0, highest: int = HIGHEST, default: int | None = None
) -> int:
    """The integer *name* of *values*; true, 1.5 and "1" are none. Raises Refusal with 422."""
    found = values.get(name, default)
    if type(found) is not int or not lowest <= found <= highest:
        raise Refusal(422, f"{name}: expected an integer from {lowest} to {highest}")
    return found


def number(values: Mapping[str, Any], name: str, *, lowest: float, highest: float, default: float | None = None) -> float:
    """The number *name* of *values*. Raises Refusal with 422."""
    found = values.get(name, default)
    if type(found) not in (int, float) or not lowest <= float(found or 0) <= highest:
        raise Refusal(422, f"{name}: expected a number from {lowest} to {highest}")
    return float(found or 0)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _number(digits: str) -> float | int:
    """JSON has one kind of numbers: 1.0 is the integer 1."""
    found = float(digits)
    if not math.isfinite(found):
        raise ValueError(digits)
    return int(found) if found.is_integer() and abs(found) <= HIGHEST else found


_decode = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_number).decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _deeper(value: Any, levels: int) -> bool:
    """Whether *value* is nested more than *levels* deep."""
    layer = [value]
    for _ in range(levels):
        layer = [
            child
            for each in layer
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, (dict, list))
        ]
    return bool(layer)


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
