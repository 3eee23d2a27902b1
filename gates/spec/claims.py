"""Claims: sentences bound to criteria; one that is bound to nothing is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from gates.model import Claim
from gates.spec.models import ClaimModel
from gates.spec.nodes import Node
from gates.spec.problems import Problem, did_you_mean, got


def bind(
    claims: Iterable[ClaimModel], node: Node, known: Mapping[str, Iterable[str]], problems: list[Problem]
) -> tuple[Claim, ...]:
    """*claims* with their wildcards written out, against the ids of the criteria *known* of every gate of the file."""
    bound = []
    every = [f"{name}:{each}" for name, ids in known.items() for each in ids]
    for index, claim in enumerate(claims):
        ids: dict[str, None] = {}
        for position, text in enumerate(claim.by):
            found, complaint = _match(text, known, every)
            if complaint is not None:
                place = node.deepest((index, "by", position))[0].place
                problems.append(place.problem(("claims", index, "by", position), *complaint))
            ids.update(dict.fromkeys(found))
        bound.append(Claim(claim.say, tuple(ids)))
    return tuple(bound)


def _match(text: str, known: Mapping[str, Iterable[str]], every: Sequence[str]) -> tuple[list[str], tuple[str, str] | None]:
    gate, colon, criterion = text.partition(":")
    if not colon or not gate or not criterion:
        return [], (f"expected gate:criterion {got(text)}", "such as unit:failed")
    if criterion in known.get(gate, ()):
        return [text], None
    found = [each for each in every if fnmatchcase(each, _pattern(text))] if "*" in text else []
    if found:
        return found, None
    if gate not in known and "*" not in gate:
        return [], (f"there is no gate {gate!r}", did_you_mean(gate, known))
    if "*" in text:
        return [], (f"{text!r} matches no criterion", "a claim needs something that shows it")
    return [], (f"the gate {gate!r} has no criterion {criterion!r}", did_you_mean(criterion, known[gate]))


def _pattern(text: str) -> str:
    """*text* with only `*` as a wildcard; ids may hold brackets and question marks."""
    return text.replace("[", "[[]").replace("?", "[?]")
