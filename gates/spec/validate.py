"""Pydantic's errors as problems at the lines that caused them."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gates.spec.choices import LEVELS
from gates.spec.nodes import Node, Path
from gates.spec.problems import Problem, did_you_mean, got

M = TypeVar("M")
_COERCED = {"bool_type", "int_type", "float_type", "int_from_float"}
_PLAIN_WORDS = {
    "valid dictionary": "mapping",
    "an object": "a mapping",
    "valid tuple": "list",
    "valid list": "list",
    "valid array": "list",
    "valid string": "text",
    "valid integer": "whole number",
    "valid number": "number",
    "valid boolean": "true or false",
    "a true or false": "true or false",
    "a text": "text",
}


def validate(
    schema: type[M], node: Node, path: Path, problems: list[Problem], *, skip: Iterable[str] = (), also: Iterable[str] = ()
) -> M | None:
    """*node* as a *schema*, or None after adding what is wrong with it to *problems*.

    Text never turns into a number or a truth value on the way, so `010` and `on` can't mean something by surprise.
    *path* is where the node lies in its file; *skip* are keys of it that are not handed to the schema, and *also* are keys
    that a suggestion may name beside the schema's.
    """
    data = node.plain()
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if key not in set(skip)}
    model: Any = schema
    valid, details = None, list[Any]()
    try:
        valid = model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    details += _coercions(model, data, {detail["loc"] for detail in details})
    problems.extend(_merged(_problem(schema, node, path, detail, also) for detail in details))
    return None if details else typing.cast(M, valid)


def _coercions(model: Any, data: Any, known: set[Any]) -> list[Any]:
    """The errors of strict validation, beside those *known*, that mean: pydantic took a text for a number or a truth value."""
    try:
        model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if detail["loc"] not in known]
        found = [each for each in details if each["type"] in _COERCED and isinstance(each["input"], (str, float, bool))]
        # Where other members of a union complain too, a text may rightly be one of them: then nothing is said.
        return found if len(found) == len(details) else []
    return []


def _problem(schema: Any, node: Node, path: Path, detail: Any, also: Iterable[str]) -> Problem:
    found, taken = node.deepest(detail["loc"])
    last = detail["loc"][-1] if detail["loc"] else ""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return found.named.problem((*path, *taken), f"{last} is missing", "")
    if kind == "extra_forbidden":
        known = [*_keys(schema, detail["loc"][:-1]), *(also if len(detail["loc"]) == 1 else ())]
        return found.named.problem((*path, *taken), "unknown key", did_you_mean(str(last), known))
    place = found.named if last == "[key]" else found.place
    value = taken[-1] if taken and last == "[key]" else detail["input"]
    if kind in ("literal_error", "enum"):
        expected = re.findall(r"'([^']*)'", context.get("expected", ""))
        hint = did_you_mean(value, expected) if isinstance(value, str) else ""
        hint = hint if hint.startswith("did") else ""
        return place.problem((*path, *taken), f"expected {context.get('expected')} {got(value)}", hint)
    message = str(context["error"]) if kind == "value_error" else _words(detail["msg"])
    shown = "" if "(got " in message or (kind == "value_error" and isinstance(value, dict)) else f" {got(value)}"
    return place.problem((*path, *taken), message + shown, _hint(kind, value))


def _hint(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return f'quote it when it is text: "{json.dumps(value)}"'
    if isinstance(value, dict) and set(value) & set(LEVELS):
        return f"a choice by profile has no other keys than {', '.join(LEVELS)}"
    return ""


def _words(message: str) -> str:
    text = message.replace("Input should be ", "expected ")
    for theirs, ours in _PLAIN_WORDS.items():
        text = text.replace(theirs, ours)
    text = re.sub(r"\w+ should have (at \w+ \d+ items?) after validation, not \d+", r"expected \1", text)
    text = re.sub(r", unable to parse .*| or an object to extract fields from|or instance of \w+", "", text)
    return (text[:1].lower() + text[1:]).replace("a true or false", "true or false").replace("a text", "text").strip()


def _merged(problems: Iterable[Problem]) -> list[Problem]:
    """One problem a place: what the members of a union expected is joined by "or", and a member whose shape did not fit is
    left out where another one's did."""
    listed = list(problems)
    kept = [one for one in listed if not (_expected(one) and any(other.path.startswith(f"{one.path}.") for other in listed))]
    by_place: dict[tuple[int, int, str, bool], Problem] = {}
    for problem in kept:
        spot = (problem.line, problem.column, problem.path if _expected(problem) else problem.message, bool(_expected(problem)))
        by_place[spot] = _joined(by_place[spot], problem) if spot in by_place else problem
    return list(by_place.values())


def _joined(first: Problem, second: Problem) -> Problem:
    wants, other = _expected(first), _expected(second)
    if not other or other in wants.split(" or "):
        return first
    return replace(first, message=first.message.replace(f"expected {wants}", f"expected {wants} or {other}", 1))


def _expected(problem: Problem) -> str:
    match = re.fullmatch(r"expected (.+?) \(got .*\)", problem.message, re.DOTALL)
    return match[1] if match else ""


def _keys(schema: Any, steps: Iterable[str | int]) -> list[str]:
    """The keys that the model at *steps* inside *schema* knows; empty when it can't be told."""
    here = {schema}
    for step in steps:
        inner = {found for member in here for found in _inside(member, step)}
        here = inner or here
    models = [member for member in here if isinstance(member, type) and issubclass(member, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _inside(hint: Any, step: str | int) -> list[Any]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        named = [field.annotation for name, field in hint.model_fields.items() if step in (name, field.alias)]
        return [member for annotation in named for member in _members(annotation)]
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return _members(arguments[1])
    if isinstance(step, int) and arguments:
        return [member for argument in arguments if argument is not Ellipsis for member in _members(argument)]
    return []


def _members(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [found for member in typing.get_args(hint) for found in _members(member)]
    if typing.get_origin(hint) is typing.Annotated:
        return _members(typing.get_args(hint)[0])
    return [hint]
