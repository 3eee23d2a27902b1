"""Values that differ by profile: a mapping whose keys are all of quick, standard and full is a choice."""

from __future__ import annotations

from gates.spec.nodes import Node

LEVELS = ("quick", "standard", "full")


def choose(node: Node, level: str) -> Node:
    """*node* with every choice in it replaced by the value for *level*.

    The value is the level's own, else that of the next lower level that is given, else that of the lowest given.
    """
    if node.entries is not None:
        if node.entries and set(node.entries) <= set(LEVELS):
            chosen = choose(node.entries[_pick(set(node.entries), level)], level)
            return Node(chosen.place, chosen.scalar, chosen.items, chosen.entries, node.key)
        return Node(node.place, entries={key: choose(entry, level) for key, entry in node.entries.items()}, key=node.key)
    if node.items is not None:
        return Node(node.place, items=tuple(choose(item, level) for item in node.items), key=node.key)
    return node


def _pick(given: set[str], level: str) -> str:
    lower = [name for name in LEVELS[: LEVELS.index(level) + 1] if name in given]
    return lower[-1] if lower else next(name for name in LEVELS if name in given)
