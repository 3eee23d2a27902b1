"""The JSON Schema of readiness.yaml, generated from the models, for editors and for people without the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from gates import registry
from gates.spec.choices import LEVELS
from gates.spec.context import Plugins
from gates.spec.models import ProfileModel, SpecModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_CHOICE = "#/$defs/choice"
_KEPT = frozenset({ProfileModel.__name__, SpecModel.__name__})


def schema(plugins: Plugins = registry.plugins) -> dict[str, Any]:
    """The schema of readiness.yaml with the settings of the kinds and targets that *plugins* knows.

    Every value of a gate may be a choice by profile, so each is its own type or a mapping of quick, standard and full.
    """
    whole = SpecModel.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = whole.pop("$defs")
    kinds, presets = plugins(registry.KINDS), plugins(registry.TARGETS)
    definitions["target"] = _target(presets, definitions)
    gate = definitions["GateModel"]
    gate["properties"]["target"] = {"$ref": "#/$defs/target"}
    whole["properties"]["target"] = {"$ref": "#/$defs/target"}
    if kinds:
        gate["properties"]["kind"] |= {"enum": sorted(kinds)}
        gate["allOf"] = [_when(name, _settings(kinds[name].settings, name, gate, definitions)) for name in sorted(kinds)]
    gate.pop("additionalProperties", None)
    chosen = {name: part if name in _KEPT else _with_choices(part) for name, part in sorted(definitions.items())}
    chosen["choice"] = _choice()
    return {"$schema": DIALECT, **whole, "title": "readiness.yaml", "$defs": chosen}


def choosable(whole: dict[str, Any]) -> dict[str, Any]:
    """The schema *whole* of a file that a spec names, with every value inside allowed to be a choice by profile."""
    definitions = {name: _with_choices(part) for name, part in whole.get("$defs", {}).items()}
    return {"$schema": DIALECT, **_with_choices(whole), "$defs": {**definitions, "choice": _choice()}}


def _target(presets: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    settings = {
        name: {"anyOf": [_model(preset.settings, f"target.{name}", definitions), {"type": ["string", "array", "null"]}]}
        for name, preset in sorted(presets.items())
    }
    one = {"type": "object", "properties": settings, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    return {"description": "The system under test.", "anyOf": [one, {"enum": sorted(presets)}]} if presets else {}


def _model(model: type[Any], name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the schema of *model*, put into *definitions* under *name*."""
    found = TypeAdapter(model).json_schema(by_alias=True, ref_template=f"#/$defs/{name}.{{model}}")
    for inner, part in found.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = part
    definitions[name] = found
    return {"$ref": f"#/$defs/{name}"}


def _settings(model: type[Any], kind: str, gate: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the settings of *kind*, which lie beside the keys of every gate."""
    reference = _model(model, f"kind.{kind}", definitions)
    own = definitions[f"kind.{kind}"]
    own["properties"] = {**own.get("properties", {}), **{key: {} for key in gate["properties"]}}
    return reference


def _when(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"kind": {"const": kind}}}, "then": settings}


def _with_choices(part: dict[str, Any]) -> dict[str, Any]:
    """*part* with every value inside allowed to be a choice."""
    changed = dict(part)
    if "properties" in part:
        changed["properties"] = {name: _or_choice(inner) for name, inner in part["properties"].items()}
    if isinstance(part.get("additionalProperties"), dict):
        changed["additionalProperties"] = _or_choice(part["additionalProperties"])
    if isinstance(part.get("items"), dict):
        changed["items"] = _or_choice(part["items"])
    if "anyOf" in part:
        changed["anyOf"] = [_with_choices(inner) for inner in part["anyOf"]]
    return changed


def _or_choice(part: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {key: part[key] for key in ("title", "description", "default") if key in part}
    inner = _with_choices({key: value for key, value in part.items() if key not in described})
    return {**described, "anyOf": [inner, {"$ref": _CHOICE}]} if inner else described


def _choice() -> dict[str, Any]:
    return {
        "description": "A value by profile; a profile that is not given takes the next lower one.",
        "type": "object",
        "properties": {name: {} for name in LEVELS},
        "additionalProperties": False,
        "minProperties": 1,
    }
