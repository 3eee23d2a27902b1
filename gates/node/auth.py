"""Who asks, and whether it asks too often: signatures, API keys, bearer tokens, and a rate limit a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["signature", "key", "token", "anonymous"]

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
