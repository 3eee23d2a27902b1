"""Who is let in, as whom, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from gates.node.auth import Clients, Gatekeeper, Principal
from gates.node.errors import Refusal
from gates.node.identity import Identity
from gates.node.metrics_federation import FederationMetrics
from gates.node.settings import Settings
from gates.node.signatures import Message, sign
from gates.recovery.testing import VirtualClock

NOW = 1_700_000_000_000
OWN, PEER, USER = (Identity.from_seed(bytes([seed]) * 32) for seed in (1, 2, 3))
SETTINGS = Settings(
    "node-a",
    Path("data"),
    api_key="own-key-1",
    token="own-token-1",
    principals={"user-key-1": USER.did},
    client_rate=10,
    client_burst=5,
)


class Door:
    """A gatekeeper and its clocks."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.clock, self.now, self.registry = VirtualClock(0.0), NOW, CollectorRegistry()
        self.keeper = Gatekeeper(
            settings,
            OWN.did,
            known={PEER.did}.__contains__,
            metrics=FederationMetrics(self.registry),
            now=lambda: self.now,
            clock=self.clock,
        )

    def code(self, request: Request, body: bytes = b"", *, peer: bool = False) -> int:
        """The code that *request* is refused with; 0 when it is let in."""
        try:
            self.keeper.admit(request, body, peer=peer)
        except Refusal as refusal:
            return refusal.code
        return 0


def request(headers: Mapping[str, str], path: str = "/mesh/submit", query: str = "", host: str = "10.0.0.1") -> Request:
    """A POST with *headers*."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": query.encode()}
    return Request({**scope, "headers": raw, "client": (host, 1), "server": ("x", 80), "scheme": "http"})


def signed(who: Identity, body: bytes = b"", *, nonce: str = "nonce-01", query: str = "", **headers: str) -> Request:
    """A POST that *who* has signed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    proof = sign(who, Message("POST", "/mesh/submit", query, named, body), now=NOW, nonce=nonce)
    return request({**named, **proof}, query=query)


def test_each_proof_says_who_asks() -> None:
    """The node's own key and token act as the node, a principal's key as its DID, a signature as the signer."""
    admit = Door().keeper.admit
    assert admit(request({"X-API-Key": "own-key-1"}), b"") == Principal(OWN.did, "key")
    assert admit(request({"X-API-Key": "user-key-1"}), b"") == Principal(USER.did, "key")
    for scheme in ("Bearer", "bearer", "BEARER "):
        assert admit(request({"Authorization": f"{scheme} own-token-1"}), b"") == Principal(OWN.did, "token")
    assert admit(signed(USER, b"{}", query="a=1"), b"{}") == Principal(USER.did, "signature")
    assert admit(signed(PEER), b"") == Principal(PEER.did, "signature", peer=True)
    assert not admit(signed(OWN), b"").peer


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"X-API-Key": ""}, {"X-API-Key": "own-key-2"}, {"X-API-Key": "own-token-1"}, {"X-API-Key": "own-key-1 "},
        {"Authorization": "own-token-1"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer own-key-1"},
        {"Authorization": "Basic own-token-1"}, {"X-API-Key": "own-key-1", "Authorization": "Bearer wrong"},
        {"X-API-Key": "é"}, {"Signature": "sig=:x:", "X-API-Key": "own-key-1"},
    ],
)  # fmt: skip
def test_what_proves_nothing_is_401(headers: dict[str, str]) -> None:
    """Nothing shown, a wrong one, the wrong header, or one good proof beside a bad one."""
    assert Door().code(request(headers)) == 401


def test_a_node_without_key_and_token_lets_in_nobody_but_signers() -> None:
    """The empty text is no key."""
    door = Door(Settings("node-a", Path("data")))
    assert (
        door.code(request({"X-API-Key": ""}))
        == door.code(request({"Authorization": "Bearer "}))
        == door.code(request({}))
        == 401
    )
    assert door.code(signed(USER)) == 0


def test_a_signed_request_is_good_once() -> None:
    """The same request again is refused, and one with another nonce is not."""
    door = Door()
    assert [door.code(signed(USER)), door.code(signed(USER)), door.code(signed(USER, nonce="nonce-02"))] == [0, 401, 0]


def test_a_signature_header_that_is_there_twice_is_refused() -> None:
    """Two readers might take different ones."""
    once = signed(USER)
    for name in (b"signature", b"content-digest", b"icn-recipient"):
        twice = Request({**once.scope, "headers": [*once.scope["headers"], (name, b"x"), (name, b"x")]})
        assert Door().code(twice) == 401


def test_another_body_than_the_signed_one_is_refused() -> None:
    """The digest is compared with what really came."""
    assert Door().code(signed(USER, b"{}"), b"[]") == 401


def test_only_a_node_may_ask_what_is_for_nodes_and_only_if_this_one_is_meant() -> None:
    """403 for everybody else; 401 for a node's request that was signed for another node, or for any."""
    door = Door()
    assert door.code(request({"X-API-Key": "own-key-1"}), peer=True) == 403
    assert door.code(signed(USER, icn_recipient=OWN.did), peer=True) == 403
    assert door.code(signed(PEER, nonce="nonce-02"), peer=True) == 401
    assert door.code(signed(PEER, nonce="nonce-03", icn_recipient=USER.did), peer=True) == 401
    assert door.code(signed(PEER, nonce="nonce-04", icn_recipient=OWN.did), peer=True) == 0


def test_a_client_that_asks_too_often_is_slowed_down_alone() -> None:
    """Its burst, then 429 with the time to wait; other keys and other addresses go on."""
    door = Door()
    own = request({"X-API-Key": "own-key-1"})
    assert [door.code(own) for _ in range(6)] == [0] * 5 + [429]
    assert door.code(request({"X-API-Key": "user-key-1"})) == 0
    assert door.code(request({"X-API-Key": "own-key-1"}, host="10.0.0.2")) == 0
    with pytest.raises(Refusal) as caught:
        door.keeper.admit(own, b"")
    assert caught.value.retry_after == pytest.approx(0.1)
    door.clock.advance(0.1)
    assert [door.code(own), door.code(own)] == [0, 429]
    assert door.registry.get_sample_value("icn_rate_limited_total", {"kind": "key"}) == 3


def test_wrong_keys_slow_down_only_who_shows_them() -> None:
    """Who guesses is refused with 429 after its burst, and the real key still works."""
    door = Door()
    assert [door.code(request({"X-API-Key": "guess"})) for _ in range(6)] == [401] * 5 + [429]
    assert door.code(request({"X-API-Key": "own-key-1"})) == 0


def test_nodes_may_ask_more_often_and_a_new_rate_counts_at_once() -> None:
    """Ten times as often; a changed rate replaces the old one for everybody."""
    door = Door()
    assert [door.code(signed(PEER, nonce=f"nonce-{number}")) for number in range(100, 151)] == [0] * 50 + [429]
    door.keeper.limit(1000)
    assert door.keeper.rate == 1000
    assert door.code(signed(PEER, nonce="nonce-200")) == 0


def test_a_flood_of_clients_is_bounded_and_slows_down_itself() -> None:
    """Beyond the bound new clients share one limiter; who was there keeps its own; the idle make room."""
    clock = VirtualClock(0.0)
    clients = Clients(10, 5, most=3, clock=clock)
    for client in "abc":
        clients.take(("10.0.0.1", "key", client))
    for number in range(5):
        clients.take(("10.0.0.1", "key", number))
    with pytest.raises(Refusal):
        clients.take(("10.0.0.1", "key", 9))
    assert len(clients) == 3
    clients.take(("10.0.0.1", "key", "a"))
    clock.advance(0.5)
    clients.take(("10.0.0.1", "key", 9))
    assert len(clients) == 3


def test_what_the_door_decides_is_counted() -> None:
    """By kind of proof and outcome."""
    door = Door()
    door.code(signed(USER))
    door.code(signed(USER))
    door.code(request({"X-API-Key": "own-key-1"}), peer=True)
    value = door.registry.get_sample_value
    assert value("icn_authentications_total", {"kind": "signature", "outcome": "admitted"}) == 1
    assert value("icn_authentications_total", {"kind": "signature", "outcome": "refused"}) == 1
    assert value("icn_authentications_total", {"kind": "key", "outcome": "forbidden"}) == 1
    assert value("icn_signature_nonces") == 1
