"""`--set PATH=VALUE`: values of the command line in place of those of the file."""

from __future__ import annotations

from collections.abc import Sequence

from gates.spec import yaml
from gates.spec.nodes import Node, Path, Place, Source
from gates.spec.problems import COMMAND_LINE, Problem, SpecErrors, did_you_mean

_FREE_KEYS = {("gates",), ("profiles",), ("claims",), ()}


def override(root: Node, overrides: Sequence[str], problems: list[Problem]) -> Node:
    """*root* with every `PATH=VALUE` of *overrides* put in.

    Ids of criteria hold dots, so the longest existing key wins at each step. The last step of a gate, target or criterion may
    be a key that the file left out (`gates.unit.limit`); whether it is known is for the models to say.
    """
    for text in overrides:
        root = _override(root, text, problems)
    return root


def _override(root: Node, text: str, problems: list[Problem]) -> Node:
    source = Source(COMMAND_LINE, (text,))
    path_text, equals, value_text = text.partition("=")
    if not equals or not path_text.strip():
        problems.append(Place(source, 1, 1).problem("", "expected PATH=VALUE", "such as gates.unit.limit=2 min"))
        return root
    path_text = path_text.strip()
    node, taken, rest = root.walk_dotted(path_text)
    if rest and not _may_add(node, taken, rest):
        known = [str(key) for key in (node.entries or {})]
        message = f"there is no {rest!r}" + (f" in {'.'.join(map(str, taken))}" if taken else "")
        problems.append(Place(source, 1, len(path_text) - len(rest) + 1).problem(path_text, message, _closest(rest, known)))
        return root
    value = _value(value_text, len(path_text) + 1, source, problems)
    return root.replaced((*taken, rest) if rest else taken, value) if value is not None else root


def _closest(rest: str, known: Sequence[str]) -> str:
    whole = did_you_mean(rest, known)
    return whole if whole.startswith("did") else did_you_mean(rest.partition(".")[0], known)


def _may_add(node: Node, taken: Path, rest: str) -> bool:
    return node.entries is not None and taken not in _FREE_KEYS and "." not in rest and taken[-1:] != ("criteria",)


def _value(text: str, offset: int, source: Source, problems: list[Problem]) -> Node | None:
    place = Place(source, 1, offset + 1 + len(text) - len(text.lstrip()))
    if not text.strip():
        return Node(place, scalar="", key=Place(source, 1, 1))
    try:
        return _placed(yaml.parse(text, COMMAND_LINE), place)
    except SpecErrors as error:
        problems.extend(place.problem("", problem.message, problem.hint) for problem in error.problems)
        return None


def _placed(node: Node, place: Place) -> Node:
    """*node* with every place in it put at *place*, the value on the command line."""
    entries = None if node.entries is None else {key: _placed(entry, place) for key, entry in node.entries.items()}
    items = None if node.items is None else tuple(_placed(item, place) for item in node.items)
    return Node(place, node.scalar, items, entries, place)
