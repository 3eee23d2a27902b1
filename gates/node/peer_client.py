"""Calls to the other nodes: signed, on kept connections, with a breaker a peer, and retried only where that is harmless.

Every call has a total time, never more than what is left of the deadline that the caller runs under; what is left travels in
the header `X-Request-Deadline-Ms`. A call that is not idempotent is sent once.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from yarl import URL

from gates.node.cid import decode, encode
from gates.node.clock import now_ms
from gates.node.directory import Peer
from gates.node.errors import PeerUnavailable, Refusal
from gates.node.identity import Identity, valid
from gates.node.metrics_federation import FederationMetrics
from gates.node.signatures import RECIPIENT, Message, sign
from gates.recovery import (
    BreakerRegistry,
    BudgetExhausted,
    CircuitBreakerConfig,
    CircuitBreakerOpen,
    Deadline,
    DeadlineExceeded,
    ErrorClassifier,
    ExhaustedRetries,
    Exponential,
    Outcome,
    Policy,
    Retry,
    RetryBudget,
    parse_retry_after,
    remaining,
)

DEADLINE = "X-Request-Deadline-Ms"
HELLO = "icn/hello"
CBOR = "application/vnd.ipld.dag-cbor"
LARGEST_ANSWER = 4 * 1024 * 1024
CONNECTIONS, CONNECTIONS_A_PEER, KEPT = 64, 16, 30.0
ATTEMPTS = 3
PATIENT = 0.5
"""Who has not answered in so many seconds was missed."""
SHORTEST = 0.1
"""A call that had less time than this says nothing about the peer when its time is over."""
_MOST_POLICIES = 64
BREAKERS: Mapping[str, CircuitBreakerConfig] = {
    "production": CircuitBreakerConfig(5, 1.0, 1, break_multiplier=2.0, max_recovery_timeout=5.0, break_jitter=0.2),
    "development": CircuitBreakerConfig(5, 0.5, 1),
    "testing": CircuitBreakerConfig(3, 0.1, 1),
}


class PeerFailed(PeerUnavailable):
    """A peer gave no answer that can be used.

    Attributes:
        sent: whether the peer may have carried out what was asked.
        retry_after: seconds that the peer asked to be left alone for, or None.
        recovery_outcome: what the failure means to retries and breakers.
    """

    def __init__(
        self, text: str, *, sent: bool, retry_after: float | None = None, outcome: Outcome = Outcome.RETRYABLE
    ) -> None:
        super().__init__(text)
        self.sent, self.retry_after, self.recovery_outcome = sent, retry_after, outcome


class Members(Protocol):
    """Who can be called, and who is told how it went; `Federation` is this."""

    def peer(self, name_or_did: str) -> Peer | None: ...
    def heard(self, name: str) -> None: ...
    def missed(self, name: str, *, refused: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of a peer."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class PeerClient:
    """Calls members of the federation, by name or DID.

    Attributes:
        breakers: one a peer, by name.
        budget: what all retries are paid from.
        retry: the step that retries, for those who watch it.
    """

    def __init__(
        self,
        identity: Identity,
        members: Members,
        *,
        metrics: FederationMetrics,
        preset: str = "production",
        now: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity, self._members, self._metrics, self._now = identity, members, metrics, now
        meaning = ErrorClassifier(permanent=Refusal)
        self.breakers = BreakerRegistry(BREAKERS[preset], classifier=meaning, clock=clock)
        self.budget = RetryBudget(ratio=0.1, burst=10, reserve=0.5)
        self.retry = Retry(ATTEMPTS, Exponential(0.02, 0.5), classifier=meaning, budget=self.budget, service="peers")
        self._policies: dict[tuple[float, bool], Callable[[Peer, _Request], Awaitable[Any]]] = {}
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Open the pool of connections, in the event loop of the calls."""
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, limit_per_host=CONNECTIONS_A_PEER, keepalive_timeout=KEPT)
        jar = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False)

    async def close(self) -> None:
        """Close every connection; calls under way end with PeerUnavailable."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        peer: str | Peer,
        method: str,
        path: str,
        body: Any = None,
        *,
        idempotent: bool = True,
        timeout: float = 2.0,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """What *peer* answers to *method* *path* with *body*: parsed JSON, or bytes when it is none.

        *body* is sent as it is when it is bytes, else as JSON. *timeout*: seconds for everything, retries included.
        Raises Refusal when the peer refuses, and PeerUnavailable (a `PeerFailed` that tells whether the peer may have done it,
        where anything was sent) when there is no such peer, no answer in time, or its breaker is open.
        """
        found = self._members.peer(peer) if isinstance(peer, str) else peer
        if found is None or found.did is None:
            raise PeerUnavailable(f"{peer if isinstance(peer, str) else peer.name}: no member that was met")
        request = _request(method, path, body, {**(headers or {}), RECIPIENT: found.did})
        began = time.perf_counter()
        outcome = "unavailable"
        self._metrics.in_flight.inc()
        try:
            answer = await self._policy(timeout, idempotent)(found, request)
            outcome = "done"
        except Refusal:
            outcome = "refused"
            raise
        except CircuitBreakerOpen as error:
            outcome = "open"
            raise PeerUnavailable(f"{found.name}: {error}") from None
        except (ExhaustedRetries, BudgetExhausted, DeadlineExceeded) as error:
            raise _ended(found, error.last_error) from error
        finally:
            self._metrics.in_flight.dec()
            self._metrics.calls.labels(found.name, outcome).inc()
            self._metrics.call_time.labels(found.name).observe(time.perf_counter() - began)
        return answer

    def _policy(self, timeout: float, idempotent: bool) -> Callable[[Peer, _Request], Awaitable[Any]]:
        """The guarded attempt for calls of this kind; callers use few timeouts, so each is woven once."""
        kind = timeout, idempotent
        if kind not in self._policies:
            if len(self._policies) >= _MOST_POLICIES:
                self._policies.clear()
            steps = (Deadline(timeout), self.retry) if idempotent else (Deadline(timeout),)
            self._policies[kind] = Policy(*steps)(self._attempt)
        return self._policies[kind]

    async def _attempt(self, peer: Peer, request: _Request) -> Any:
        async with self.breakers[peer.name].guard():
            return await self._send(peer, request)

    async def _send(self, peer: Peer, request: _Request) -> Any:
        """One request, and what its answer means."""
        left = remaining()
        # A little less than what is left, so that the attempt ends by itself, and the breaker learns of it.
        limit = 1.0 if left is None else max(0.001, left * 0.95)
        self._metrics.attempts.labels(peer.name).inc()
        try:
            status, headers, data = await self._exchange(peer.url, request, limit)
        except aiohttp.ClientConnectorError as error:
            self._members.missed(peer.name, refused=isinstance(error.os_error, ConnectionRefusedError))
            raise PeerFailed(f"{peer.name}: can't be reached: {error.os_error.strerror}", sent=False) from None
        except TimeoutError:
            if limit >= PATIENT:
                self._members.missed(peer.name)
            outcome = Outcome.EXHAUSTED if limit >= SHORTEST else Outcome.IGNORED  # no time is left to try again
            raise PeerFailed(f"{peer.name}: no answer in {limit:.3g} s", sent=True, outcome=outcome) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._members.missed(peer.name)
            raise PeerFailed(f"{peer.name}: {type(error).__name__}: {error}", sent=True) from None
        self._members.heard(peer.name)
        self._metrics.sent.labels(peer.name).inc(len(request.body))
        self._metrics.received.labels(peer.name).inc(len(data))
        return _meaning(peer.name, status, headers, data)

    async def _exchange(self, url: str, request: _Request, limit: float) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer. Raises aiohttp.ClientError, OSError, TimeoutError, ValueError."""
        if self._session is None or self._session.closed:
            raise PeerFailed("this node is closing", sent=False, outcome=Outcome.IGNORED)
        path, _, query = request.path.partition("?")
        message = Message(request.method, path, query, request.headers, request.body)
        proof = sign(self._identity, message, now=self._now(), nonce=secrets.token_hex(12))
        headers = {**request.headers, **proof, DEADLINE: f"{max(1, int(limit * 1000))}"}
        target, patience = URL(url + request.path, encoded=True), aiohttp.ClientTimeout(total=limit)
        async with self._session.request(
            request.method, target, data=request.body or None, headers=headers, timeout=patience, allow_redirects=False
        ) as response:
            return response.status, response.headers, await _bounded(response)

    # --- what the federation itself asks ------------------------------------------------------------------------------

    async def probe(self, peer: Peer, timeout: float) -> bool:
        """Whether GET /health of *peer* answers 200 in *timeout* seconds; a miss is told to the members."""
        if self._session is None or self._session.closed:
            return False
        patience = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.get(f"{peer.url}/health", timeout=patience, allow_redirects=False) as response:
                await _bounded(response)
                answered = response.status == 200
        except aiohttp.ClientConnectorError as error:
            self._members.missed(peer.name, refused=isinstance(error.os_error, ConnectionRefusedError))
            return False
        except (aiohttp.ClientError, OSError, ValueError):
            answered = False
        if not answered:
            self._members.missed(peer.name)
        return answered

    async def greet(self, url: str, greeting: Mapping[str, Any], nonce: str, timeout: float) -> dict[str, Any]:
        """The signed answer of the node at *url* to *greeting*. Raises PeerUnavailable, and Refusal."""
        request = _Request("POST", "/peer/hello", encode({**greeting, "nonce": nonce}), {"content-type": CBOR})
        try:
            status, headers, data = await self._exchange(url, request, timeout)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PeerUnavailable(f"{url}: {str(error) or 'no answer in time'}") from None
        answer = _meaning(url, status, headers, data)
        found = decode(answer) if isinstance(answer, bytes) else None
        if not isinstance(found, dict) or (found.get("nonce"), found.get("to")) != (nonce, self._identity.did):
            raise PeerUnavailable(f"{url}: the answer to a greeting was expected")
        if not valid(HELLO, found, str(found.get("did"))):
            raise Refusal(409, f"{url}: the greeting is not signed by {str(found.get('did'))[:100]}")
        return found


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises ValueError when it is too long."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise ValueError(f"the answer is larger than {LARGEST_ANSWER} bytes")
    return bytes(body)


def _request(method: str, path: str, body: Any, headers: Mapping[str, str]) -> _Request:
    if body is None:
        return _Request(method, path, b"", headers)
    if isinstance(body, bytes):
        return _Request(method, path, body, {"content-type": CBOR, **headers})
    data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    return _Request(method, path, data, {"content-type": "application/json", **headers})


def _meaning(name: str, status: int, headers: Mapping[str, str], data: bytes) -> Any:
    """What an answer gives. Raises Refusal for what asking again can't mend, PeerFailed for the rest."""
    value = _parsed(name, headers, data)
    if status < 300:
        return value
    text = value.pop("error", "") if isinstance(value, dict) else ""
    retry_after = parse_retry_after(headers.get("Retry-After"))
    if status in (429, 503):
        raise PeerFailed(f"{name}: {status} {text}", sent=False, retry_after=retry_after, outcome=Outcome.OVERLOAD)
    if status >= 500 or status < 400:
        raise PeerFailed(f"{name}: {status} {text}", sent=True)
    details = {key: member for key, member in value.items() if key not in _OWN} if isinstance(value, dict) else {}
    raise Refusal(status, str(text) or f"{name}: {status}", retry_after=retry_after, **details)


_OWN = ("code", "text", "retry_after")


def _parsed(name: str, headers: Mapping[str, str], data: bytes) -> Any:
    if not headers.get("Content-Type", "").startswith("application/json"):
        return data
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise PeerFailed(f"{name}: the answer is no JSON", sent=True) from None


def _ended(peer: Peer, last: object) -> PeerFailed:
    """What a call that ended without an answer raises; *last* is what its last attempt raised."""
    if isinstance(last, PeerFailed):
        return PeerFailed(str(last), sent=last.sent, retry_after=last.retry_after)
    return PeerFailed(f"{peer.name}: no answer in time", sent=True)
