"""The system under test: one preset with its settings, validated by the preset's own model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gates.model import TargetPlan, TargetPreset
from gates.spec.nodes import Node, Path
from gates.spec.problems import Problem, did_you_mean, got
from gates.spec.validate import validate


def read_target(node: Node, path: Path, presets: Mapping[str, Any], problems: list[Problem]) -> TargetPlan | None:
    """The target in *node*: `{PRESET: settings}`, or a preset's name alone; None after adding to *problems*.

    Settings that are no mapping (`command: [./server]`) are the value of the key that the preset calls its `shorthand`.
    """
    named = _preset(node, path, problems)
    if named is None:
        return None
    name, settings = named
    if name not in presets:
        problems.append(settings.named.problem((*path, name), f"unknown target {name!r}", did_you_mean(name, presets)))
        return None
    preset: TargetPreset = presets[name]
    settings = _written_out(settings, getattr(preset, "shorthand", ""))
    valid = validate(preset.settings, settings, (*path, name), problems)
    if valid is None:
        return None
    try:
        layout = preset.layout(valid)
    except ValueError as error:
        problems.append(settings.named.problem((*path, name), str(error)))
        return None
    endpoints = (*(process.name for process in layout.processes), *layout.urls)
    return TargetPlan(name, valid.model_dump(mode="json", by_alias=True), endpoints, tuple(layout.controls))


def _written_out(settings: Node, shorthand: str) -> Node:
    if settings.entries is not None or not shorthand:
        return settings
    return Node(settings.place, entries={shorthand: settings}, key=settings.key)


def _preset(node: Node, path: Path, problems: list[Problem]) -> tuple[str, Node] | None:
    if isinstance(node.scalar, str):
        return node.scalar, Node(node.place, entries={}, key=node.place)
    if node.entries is not None and len(node.entries) == 1:
        name, settings = next(iter(node.entries.items()))
        is_empty = settings.entries is None and settings.items is None and settings.scalar is None
        return name, Node(settings.place, entries={}, key=settings.key) if is_empty else settings
    message = "expected one target, such as `federation: {nodes: 3}`, `command: [...]` or `url: http://...`"
    problems.append(node.named.problem(path, f"{message} {got(node.plain())}"))
    return None
