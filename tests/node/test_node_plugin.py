"""The node's plug-in: what the preset resolves to, and flows that the load engine takes."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from gates.load.flows import Flow
from gates.node.defects import DEFECTS
from gates.node.flows import FLOWS
from gates.node.plugin import API_KEY, Defect, Federation, FederationSettings


def test_a_federation_is_nodes_that_know_each_other() -> None:
    """Three by default; each is given the others' URLs, its own port and folder, and can be killed, started and paused."""
    layout = Federation().layout(FederationSettings())
    assert [process.name for process in layout.processes] == ["node-a", "node-b", "node-c"]
    command = layout.processes[1].command
    assert command[1:3] == ("-m", "gates.node")
    assert command[command.index("--peers") + 1] == "node-a={url:node-a},node-c={url:node-c}"
    assert {"{port}", "{data}", "node-b"} < set(command)
    assert layout.controls == ("kill", "start", "pause", "data", "links", "namespaces", "power")


def test_nodes_and_clients_share_a_key() -> None:
    """Every request to the target carries what the nodes were started with."""
    layout = Federation().layout(FederationSettings(api_key="another-key"))
    assert layout.headers == {"X-API-Key": "another-key"}
    assert all(process.command[process.command.index("--api-key") + 1] == "another-key" for process in layout.processes)
    assert Federation().layout(FederationSettings()).headers == {"X-API-Key": API_KEY}


def test_a_defect_is_given_to_every_node() -> None:
    """The wrapper puts it in before the node starts; the node's own module stays as it is."""
    layout = Federation().layout(FederationSettings(nodes=2, defect="double-charge"))
    assert [process.command[2:5] for process in layout.processes] == [("gates.node.defects", "double-charge", "--")] * 2


def test_every_defect_can_be_asked_for() -> None:
    """The preset and the module of defects know the same names."""
    assert set(get_args(Defect)) == {"", *DEFECTS}


@pytest.mark.parametrize(
    "bad",
    [
        {"nodes": 0},
        {"nodes": 11},
        {"mana": -1},
        {"defect": "none"},
        {"size": 3},
        {"api_key": "short"},
        {"api_key": "a b c d e f"},
    ],
)
def test_a_federation_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    """Settings are checked where they are written."""
    with pytest.raises(ValidationError):
        FederationSettings.model_validate(bad)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_have_the_shape_of_flows(name: str) -> None:
    """Every flow of the plug-in is one that the load engine accepts."""
    assert Flow.model_validate(FLOWS[name]).summary
