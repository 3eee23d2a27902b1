"""Cutting a byte stream into whole HTTP/1.1 messages: enough of the protocol for drills, and strict about what it can't cut."""

from __future__ import annotations

from dataclasses import dataclass

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024


class UncutError(Exception):
    """Bytes that are no HTTP/1.1 message, or one that is too large; the connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message as it came: *start* is the first line, *raw* everything."""

    start: str
    raw: bytes
    close: bool

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def path(self) -> str:
        parts = self.start.split(" ")
        return parts[1] if len(parts) > 1 else ""

    @property
    def status(self) -> int:
        word = self.start.split(" ")[1:2]
        return int(word[0]) if word and word[0].isdigit() else 0


class Cutter:
    """Collects bytes of one direction and gives whole messages. *responses* says which direction."""

    def __init__(self, *, responses: bool) -> None:
        self._responses = responses
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self, *, without_body: bool = False, ended: bool = False) -> Message | None:
        """The next whole message, or None when more bytes are needed. *ended* says that no more will come."""
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            if len(self._buffer) > MAX_HEAD:
                raise UncutError("endless headers")
            return None
        start, headers = _parsed(bytes(self._buffer[:head]))
        length = self._length(head + 4, start, headers, without_body, ended)
        if length is None or len(self._buffer) < head + 4 + length:
            return None
        raw = bytes(self._buffer[: head + 4 + length])
        del self._buffer[: head + 4 + length]
        return Message(start, raw, _closes(start, headers))

    def _length(self, body: int, start: str, headers: dict[str, str], without_body: bool, ended: bool) -> int | None:
        if self._responses and (without_body or _bodiless(start)):
            return 0
        if "chunked" in headers.get("transfer-encoding", ""):
            return self._chunked(body)
        if "content-length" in headers:
            return _number(headers["content-length"], 10)
        if not self._responses:
            return 0
        return len(self._buffer) - body if ended else None

    def _chunked(self, body: int) -> int | None:
        at = body
        while (line := self._buffer.find(b"\r\n", at)) >= 0:
            size = _number(self._buffer[at:line].split(b";")[0].decode("latin-1"), 16)
            at = line + 2 + size + 2
            if size == 0:
                return self._after_trailers(line + 2, body)
        return None

    def _after_trailers(self, at: int, body: int) -> int | None:
        if self._buffer[at : at + 2] == b"\r\n":
            return at + 2 - body
        end = self._buffer.find(b"\r\n\r\n", at)
        return end + 4 - body if end >= 0 else None


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    if "HTTP/1." not in start or any(not colon for _, colon, _ in pairs):
        raise UncutError(f"not HTTP/1.1: {start[:60]!r}")
    return start, {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


def _number(text: str, base: int) -> int:
    try:
        number = int(text.strip(), base)
    except ValueError:
        number = -1
    if not 0 <= number <= MAX_BODY:
        raise UncutError(f"a length of {text[:20]!r}")
    return number


def _bodiless(start: str) -> bool:
    status = start.split(" ")[1:2]
    return bool(status) and (status[0] in ("204", "304") or status[0].startswith("1"))


def _closes(start: str, headers: dict[str, str]) -> bool:
    connection = headers.get("connection", "")
    return "close" in connection or ("HTTP/1.0" in start and "keep-alive" not in connection)
