"""Drills of growth: nodes that keep memory, connections or bodies. Reached by the entry point `gates.drills`."""

from __future__ import annotations

from gates.model import Base
from gates.node import sightings
from gates.node.drills import drill

MEBI = 1024 * 1024

GROWTH = Base(
    name="growth",
    gate="soak",
    criteria=("rss.growth/*", "files.growth/*"),
    scenario={"arrivals": {"shape": "soak", "rate": "80/s", "for": "20 s"}, "warmup": "4 s"},
    seconds=24.0,
)
BODIES = Base(
    name="bodies",
    gate="memory",
    criteria=("rss.max/*",),
    scenario={"arrivals": {"rate": "80/s", "for": "10 s"}, "warmup": "1 s"},
    seconds=14.0,
)

DRILLS = (
    drill(
        GROWTH,
        "memory-leak",
        "rss.growth/*",
        "Nodes keep half a mebibyte of every submission.",
        sightings.grown(
            32 * MEBI, "{struck} submissions left something behind, and by the kernel's count a node grew by {found} bytes"
        ),
    ),
    drill(
        GROWTH,
        "connection-leak",
        "files.growth/*",
        "Nodes open a connection for every submission, and close none.",
        sightings.grown(50, "{struck} connections were opened, and by the kernel's count a node has {found} more"),
    ),
    drill(
        BODIES,
        "hoarded-bodies",
        "rss.max/*",
        "Nodes take in bodies of any size, and keep them.",
        sightings.grown(64 * MEBI, "{struck} bodies were kept, and by the kernel's count a node grew by {found} bytes"),
    ),
)
