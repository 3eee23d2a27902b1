"""What a person may write under `target:`, and what it resolves to."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from gates.model import Ready
from gates.target.ports import LOWEST, free_ports
from gates.target.presets import CommandPreset, CommandSettings, UrlPreset, UrlSettings, base_url
from gates.target.template import fill


def test_a_command_waits_for_tcp_unless_told_otherwise() -> None:
    """The least that a server must do is to listen."""
    layout = CommandPreset().layout(CommandSettings.model_validate({"run": ["./server", "{port}"]}))
    assert layout.processes[0].name == "main"
    assert layout.processes[0].ready == Ready(tcp=True, within=30.0)
    assert set(layout.controls) == {"kill", "start", "pause", "data", "links"}


def test_settings_survive_the_way_through_the_plan() -> None:
    """plan.json holds what `model_dump` gives; validated again it is the same, times with units included."""
    first = CommandSettings.model_validate(
        {"run": ["x", "{port}"], "ready": {"http": "/up", "within": "1.5 s"}, "env": {"A": "b"}}
    )
    assert CommandSettings.model_validate(first.model_dump(mode="json")) == first
    assert first.ready.within == 1.5


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"run": []}, "expected either run or processes"),
        ({"run": ["./server"]}, "not told its port"),
        ({"run": ["x", "{port}"], "ready": {"http": "health"}}, "expected http to be a path"),
        ({"run": ["x", "{port}"], "ready": {"http": "/", "tcp": True}}, "only one of http, tcp and log"),
        ({"run": ["x", "{port}"], "ready": {"within": 30}}, "a unit is needed"),
        ({"run": ["x", "{port}"], "ready": {"within": "0 s"}}, "between 0 s and 10 min"),
        ({"run": ["x"], "port": 70000}, "65535"),
        ({"runs": ["x"]}, "Extra inputs"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(given: dict[str, Any], problem: str) -> None:
    """Each with a message that says what was expected."""
    with pytest.raises(ValidationError, match=problem):
        CommandSettings.model_validate(given)


PAIR = {"a": {"run": ["x", "{port}", "{url:b}"]}, "b": {"run": ["x", "{port}"], "env": {"PEERS": "{port:a},{url}"}}}


def test_a_command_may_be_several_processes_that_speak_to_each_other() -> None:
    """Each is an endpoint; who names another's URL or port speaks to it, and so has a link that a fault can strike."""
    settings = CommandSettings.model_validate(
        {"processes": {**PAIR, "c": {"run": ["y"], "port": 8099, "ready": {"http": "/up"}}}}
    )
    a, b, c = CommandPreset().layout(settings).processes
    assert (a.name, a.command, a.links) == ("a", ("x", "{port}", "{url:b}"), ("b",))
    assert (b.name, b.env, b.links) == ("b", {"PEERS": "{port:a},{url}"}, ("a",))
    assert (c.name, c.port, c.ready, c.links) == ("c", 8099, Ready(http="/up"), ())


@pytest.mark.parametrize(
    "given",
    [
        {"processes": PAIR},
        {"processes": {"a": {"run": ["x", "{port}"], "ready": {"tcp": True, "within": "1.5 s"}}}, "headers": {"X-A": "b"}},
    ],
)
def test_several_processes_come_back_from_a_plan(given: dict[str, Any]) -> None:
    """The gate's process reads its target from the plan, which holds every setting."""
    settings = CommandSettings.model_validate(given)
    assert CommandSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "expected either run or processes"),
        ({"run": ["x", "{port}"], "processes": PAIR}, "expected either run or processes"),
        ({"processes": {}}, "expected either run or processes"),
        ({"processes": {"a": {"run": ["x"]}}}, "a is not told its port"),
        ({"processes": {**PAIR, "c": {"run": ["x", "{url:b}"]}}}, "c is not told its port"),
        ({"processes": {"A b": {"run": ["x", "{port}"]}}}, "should match pattern"),
        ({"processes": {"clients": {"run": ["x", "{port}"]}}}, "clients is the name of whoever sends requests"),
        ({"processes": {"a": {"run": ["x", "{port}", "{url:c}"]}}}, "{url:c} names a process that is not there; there is a"),
        ({"run": ["x", "{port}", "{port:other}"]}, "{port:other} names a process that is not there; there is main"),
        ({"processes": PAIR, "env": {"A": "b"}}, "env belongs to each of the processes"),
        ({"processes": PAIR, "name": "shop"}, "name belongs to each of the processes"),
    ],
)
def test_processes_that_make_no_sense_are_refused(given: dict[str, Any], problem: str) -> None:
    """Before anything starts, and not by the first gate that starts them."""
    with pytest.raises(ValidationError, match=re.escape(problem)):
        CommandSettings.model_validate(given)


@pytest.mark.parametrize("text", ["localhost:80", "ftp://a", "http://", "http://a:99999", "http://a/?b=c", ""])
def test_what_is_no_base_url_is_refused(text: str) -> None:
    """A URL needs a scheme that we speak and a host; a query belongs to a flow."""
    with pytest.raises(ValidationError, match="expected"):
        UrlSettings.model_validate({"url": text})


def test_urls_have_names_and_lose_their_last_slash() -> None:
    """One URL is `main`; several have names of their own."""
    assert UrlPreset().layout(UrlSettings.model_validate({"url": "http://a:1/x/"})).urls == {"main": "http://a:1/x"}
    several = UrlSettings.model_validate({"urls": {"a": "http://a:1", "b": "https://b"}})
    assert UrlPreset().layout(several).urls == {"a": "http://a:1", "b": "https://b"}
    with pytest.raises(ValidationError, match="either url or urls"):
        UrlSettings.model_validate({"url": "http://a", "urls": {"b": "http://b"}})


@pytest.mark.parametrize("given", [{"url": "http://a:1"}, {"urls": {"a": "http://a:1", "b": "https://b"}}])
def test_settings_of_urls_come_back_from_a_plan(given: dict[str, object]) -> None:
    """A plan holds every setting, also the one of the two that was not given; the gate's process reads it from there."""
    settings = UrlSettings.model_validate(given)
    assert UrlSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_ports_are_different_and_below_those_of_clients() -> None:
    """A client's own port can then never be the one of a server that comes back."""
    ports = free_ports(20, Random(1))
    assert len(set(ports)) == 20
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest = int(file.read().split()[0])
    assert all(LOWEST <= port < lowest for port in ports)


def test_only_known_places_are_filled_in(tmp_path: Any) -> None:
    """Braces of shells and JSON stay as they are."""
    filled = fill('{port} {url} {port:b} {"port": 1} ${HOME} {other}', name="a", ports={"a": 1, "b": 2}, data=tmp_path)
    assert filled == '1 http://127.0.0.1:1 2 {"port": 1} ${HOME} {other}'


def test_a_password_in_a_url_is_refused() -> None:
    """It would be in plan.json, in every rendering of the report and in what CI uploads."""
    with pytest.raises(ValueError, match="a user or password"):
        base_url("https://me:hunter2@staging.example")
