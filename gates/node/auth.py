"""Who asks, and whether it asks too often: signatures, API keys, bearer tokens, and a rate limit a client."""

from __future__ import annotations

import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from gates.node.clock import now_ms
from gates.node.errors import Refusal
from gates.node.metrics_federation import FederationMetrics
from gates.node.settings import Settings
from gates.node.signatures import RECIPIENT, Message, Nonces, check, claim, unsigned
from gates.recovery import Overloaded, RateLimiter

MOST_CLIENTS = 10_000
PEER_RATE = 10
"""Nodes of the federation may ask so many times as often as a client."""
_KEYID = re.compile(rb';keyid="([^"]{1,120})"')
_KEY, _TOKEN, _RECIPIENT = b"x-api-key", b"authorization", RECIPIENT.encode()
_SIGNED = frozenset({b"signature-input", b"signature"})
_ONCE = (b"signature-input", b"signature", b"content-digest", b"idempotency-key", _RECIPIENT, _KEY, _TOKEN)
_TWICE = b"\0 more than one"

Kind = Literal["signature", "key", "token", "anonymous"]
PROOFS: tuple[Kind, ...] = ("signature", "key", "token")
Shown = dict[bytes, bytes]
Client = tuple[str, str, str | int]

EXEMPT = frozenset({"/live", "/health", "/ready", "/startup", "/metrics", "/openapi.json"})
"""Paths that anybody may ask, as often as they like: probes and scrapers have no keys."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request acts for.

    Attributes:
        did: the DID that it acts as.
        kind: how that was proved.
        peer: whether it is another node of the federation.
    """

    did: str
    kind: Kind
    peer: bool = False


_ANONYMOUS = Principal("", "anonymous")


class Clients:
    """A rate limiter a client, for a bounded number of clients.

    Who has not asked for as long as its burst takes to come back is forgotten when room is needed. While all are busy, those
    who are new share one limiter: a flood of made-up clients slows itself down.
    """

    def __init__(
        self, rate: float, burst: int, *, most: int = MOST_CLIENTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst = rate, burst
        self._most, self._clock = most, clock
        self._limiters: OrderedDict[Client, tuple[RateLimiter, float]] = OrderedDict()
        self._others = self._limiter(1)

    def __len__(self) -> int:
        return len(self._limiters)

    def take(self, client: Client, times: int = 1) -> None:
        """Count one request of *client*, who has *times* the rate. Raises Refusal with 429."""
        try:
            self._of(client, times).enter()
        except Overloaded as full:
            raise Refusal(429, "too many requests from this client", retry_after=full.retry_after) from None

    def _of(self, client: Client, times: int) -> RateLimiter:
        known = self._limiters.pop(client, None)
        if known is None and not self._room():
            return self._others
        limiter = self._limiter(times) if known is None else known[0]
        self._limiters[client] = limiter, self._clock()
        return limiter

    def _room(self) -> bool:
        if len(self._limiters) < self._most:
            return True
        oldest, (_, used) = next(iter(self._limiters.items()))
        if self._clock() - used < self.burst / self.rate:
            return False
        del self._limiters[oldest]
        return True

    def _limiter(self, times: int) -> RateLimiter:
        return RateLimiter(self.rate * times, self.burst * times, name="this client", clock=self._clock)


class Gatekeeper:
    """Says whom a request acts for, or why it is not let in.

    Args:
        settings: API key, token, principals and the rate of a client.
        did: the node's own DID; requests with its API key or token act as it.
        known: whether a DID is another node of the federation.
        now: wall clock, milliseconds.
    """

    def __init__(
        self,
        settings: Settings,
        did: str,
        *,
        known: Callable[[str], bool],
        metrics: FederationMetrics,
        now: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.did = did
        self._known, self._metrics, self._now, self._clock = known, metrics, now, clock
        self._did = did.encode()
        keys = {**settings.principals, **({settings.api_key: did} if settings.api_key else {})}
        self._keys = {key.encode(): Principal(whose, "key") for key, whose in keys.items()}
        self._tokens = {f"Bearer {settings.token}".encode(): Principal(did, "token")} if settings.token else {}
        self._admitted = {kind: metrics.authentications.labels(kind, "admitted") for kind in PROOFS}
        self._counted = 0
        self._nonces, self._since = Nonces(), now()
        self._burst = settings.client_burst
        self._clients = Clients(settings.client_rate, self._burst, clock=clock)

    @property
    def rate(self) -> float:
        """Requests a second that one client may send."""
        return self._clients.rate

    def limit(self, rate: float) -> None:
        """Allow each client *rate* requests a second from now on, and at once no more than that."""
        self._clients = Clients(rate, max(1, min(self._burst, int(rate))), clock=self._clock)

    def admit(self, request: Request, body: bytes, *, peer: bool = False) -> Principal:
        """`pace`, and then `prove`."""
        self.pace(request)
        return self.prove(request, body, peer=peer)

    def pace(self, request: Request) -> None:
        """Count the request against its client, before its body is read. Raises Refusal with 429.

        A client is an address and what it claims to be, so that who only claims to be somebody slows down nobody else.
        """
        kind, claimed = _claimed(_shown(request))
        client = request.scope["client"]
        known = kind == "signature" and self._known(str(claimed))
        try:
            self._clients.take((client[0] if client else "", kind, claimed), PEER_RATE if known else 1)
        except Refusal:
            self._metrics.limited.labels(kind).inc()
            raise
        if len(self._clients) != self._counted:
            self._counted = len(self._clients)
            self._metrics.clients.set(self._counted)

    def prove(self, request: Request, body: bytes, *, peer: bool = False) -> Principal:
        """Whom the request acts for. Raises Refusal: 401 without a good proof, 403 where only nodes may ask (*peer*).

        Everything that the request shows must be good; a signature says more than a key.
        """
        shown = _shown(request)
        try:
            principal = self._proved(request, shown, body)
            self._fits(shown, principal, peer)
        except Refusal as refusal:
            kind, _ = _claimed(shown)
            self._metrics.authentications.labels(kind, "forbidden" if refusal.code == 403 else "refused").inc()
            raise
        self._admitted[principal.kind].inc()
        return principal

    def anonymous(self) -> Principal:
        """Whom a request for what is public acts for."""
        return _ANONYMOUS

    def _proved(self, request: Request, shown: Shown, body: bytes) -> Principal:
        if _TWICE in shown.values():
            raise unsigned(f"expected one header each of {', '.join(name.decode() for name in _ONCE)}")
        by_signature = self._by_signature(request, body) if shown.keys() & _SIGNED else None
        by_key = _looked_up(self._keys, shown.get(_KEY), "missing or invalid api key")
        by_token = _looked_up(self._tokens, _bearer(shown.get(_TOKEN)), "missing or invalid bearer token")
        principal = by_signature or by_key or by_token
        if principal is None:
            raise Refusal(401, "expected a signed request (RFC 9421), an API key as X-API-Key, or a bearer token")
        return principal

    def _by_signature(self, request: Request, body: bytes) -> Principal | None:
        claimed = claim(request.headers)
        if claimed is None:
            return None
        began, now = self._clock(), self._now()
        proof = check(claimed, _message(request, body), now=now, since=self._since)
        self._nonces.use(proof, now)
        self._metrics.verification.observe(self._clock() - began)
        self._metrics.nonces.set(len(self._nonces))
        return Principal(proof.did, "signature", peer=proof.did != self.did and self._known(proof.did))

    def _fits(self, shown: Shown, principal: Principal, peer: bool) -> None:
        """Refuse what was meant for another node: what a node signs for one peer must not be good at the next."""
        recipient = shown.get(_RECIPIENT)
        if recipient is not None and recipient != self._did:
            raise Refusal(401, f"meant for {recipient[:100].decode('latin-1')}; this node is {self.did}")
        if peer and not principal.peer:
            raise Refusal(403, "only another node of the federation may ask for this")
        if peer and recipient is None:
            raise Refusal(401, "expected a header Icn-Recipient with the DID of this node, signed with the rest")


def _shown(request: Request) -> Shown:
    """The headers that say who asks, looked for once a request."""
    found: Shown | None = request.scope.get("icn.shown")
    if found is None:
        found = {}
        for name, value in request.scope["headers"]:
            if name in _ONCE:
                found[name] = _TWICE if name in found else value
        request.scope["icn.shown"] = found
    return found


def _claimed(shown: Shown) -> tuple[Kind, str | int]:
    """The kind of proof that a request shows, and who it says to be; of secrets only a hash is kept."""
    if (given := shown.get(b"signature-input")) is not None:
        found = _KEYID.search(given)
        return "signature", found[1].decode("latin-1") if found else ""
    if (key := shown.get(_KEY)) is not None:
        return "key", hash(key)
    if (token := shown.get(_TOKEN)) is not None:
        return "token", hash(token)
    return "anonymous", ""


def _bearer(given: bytes | None) -> bytes | None:
    """The header with its scheme as it is kept; schemes have no case."""
    return b"Bearer " + given[7:].strip() if given is not None and given[:7].lower() == b"bearer " else given


def _looked_up(secrets: Mapping[bytes, Principal], given: bytes | None, refusal: str) -> Principal | None:
    """Whose secret was *given*, in the same time for the first and the last. Raises Refusal with 401 when it is nobody's."""
    if given is None:
        return None
    found = None
    for secret, principal in secrets.items():
        if hmac.compare_digest(secret, given):
            found = principal
    if found is None:
        raise Refusal(401, refusal)
    return found


def _message(request: Request, body: bytes) -> Message:
    path = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope["query_string"].decode("latin-1")
    return Message(request.method, path.partition(b"?")[0].decode("latin-1"), query, request.headers, body)
