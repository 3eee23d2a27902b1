"""The JSON Schema of readiness.json, generated from the dataclasses of the model."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from gates.codec import TAG
from gates.model import Exhibit, Report

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Any: {},
}
_TAGGED = frozenset(typing.get_args(Exhibit))


def schema() -> dict[str, Any]:
    """The schema of a report, as plain JSON values, always in the same order."""
    definitions: dict[str, Any] = {}
    whole = _of(Report, definitions)
    return {
        "$schema": DIALECT,
        "$id": "readiness.schema.json",
        "title": "readiness.json",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if member is type(None) else _of(member, definitions) for member in arguments]}
    if origin is tuple:
        return _array(arguments, definitions)
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions) or True}
    return _definition(hint, definitions)


def _array(arguments: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _of(arguments[0], definitions)}
    items = [_of(argument, definitions) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _definition(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # holds the place, should a class ever contain itself
        definitions[cls.__name__] = _enum(cls) if issubclass(cls, Enum) else _object(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _enum(cls: type[Enum]) -> dict[str, Any]:
    return {"description": _first_sentence(cls), "enum": [member.value for member in cls]}


def _object(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {field.name: _of(hints[field.name], definitions) for field in dataclasses.fields(cls)}
    required = [field.name for field in dataclasses.fields(cls) if _is_required(field)]
    if cls in _TAGGED:
        properties, required = {TAG: {"const": cls.__name__.lower()}, **properties}, [TAG, *required]
    return {
        "description": _first_sentence(cls),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _first_sentence(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
