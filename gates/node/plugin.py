"""The target preset `federation`: reference nodes that know each other. Reached by an entry point."""

from __future__ import annotations

import string
import sys
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gates.model import ProcessSpec, Ready, TargetLayout

API_KEY = "federation-of-gates"
"""What the gate's clients show the nodes that it starts: no secret, since both live for one gate on one machine."""
Defect = Literal[
    "",
    "ack-before-durable",
    "blind-detector",
    "blocks-before-jobs",
    "commit-without-sync",
    "connection-leak",
    "double-charge",
    "double-refund",
    "double-spend-on-retry",
    "double-vote",
    "forget-keys",
    "hoarded-bodies",
    "illegal-transition",
    "impatient-outbox",
    "late-breaker",
    "limping-restart",
    "lost-outbox",
    "memory-leak",
    "no-retry-after",
    "ready-always-yes",
    "refuse-when-peer-down",
    "retry-storm",
    "skipped-block",
    "slow-restart",
    "sticky-refusals",
    "stale-pins",
    "stale-while-locked",
    "stuck-breaker",
    "stuck-job",
    "unverified-receipt",
    "wrong-tally",
]


class FederationSettings(BaseModel):
    """`target: {federation: {nodes: 3}}`.

    Attributes:
        nodes: how many reference nodes are started, named node-a, node-b and so on.
        mana: minted for each node's own account, once.
        api_key: what clients show as X-API-Key; they act as the node that they ask.
        defect: a seeded defect that every node is given, for drills.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int = Field(default=3, ge=1, le=10)
    mana: int = Field(default=10_000_000, ge=0, le=10**15)
    api_key: str = Field(default=API_KEY, pattern=r"^[\x21-\x7e]{8,200}$")
    defect: Defect = ""


class Federation:
    """Reference nodes that know each other."""

    name = "federation"
    settings = FederationSettings

    def layout(self, settings: FederationSettings) -> TargetLayout:
        """One process a node, each with all others as its peers."""
        names = tuple(f"node-{letter}" for letter in string.ascii_lowercase[: settings.nodes])
        return TargetLayout(
            processes=tuple(_process(name, names, settings) for name in names),
            controls=("kill", "start", "pause", "data", "links", "namespaces", "power"),
            headers={"X-API-Key": settings.api_key},
        )


def _process(name: str, names: Sequence[str], settings: FederationSettings) -> ProcessSpec:
    peers = ",".join(f"{peer}={{url:{peer}}}" for peer in names if peer != name)
    module = ("gates.node.defects", settings.defect, "--") if settings.defect else ("gates.node",)
    options = ("--port", "{port}", "--data", "{data}", "--name", name, "--mana", str(settings.mana))
    command = (sys.executable, "-m", *module, *options, "--api-key", settings.api_key, "--peers", peers)
    return ProcessSpec(name, command, Ready(http="/ready"), links=tuple(peer for peer in names if peer != name))
