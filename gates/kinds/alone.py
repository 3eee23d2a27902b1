"""The command that offers the load of a gate alone, as a person would paste it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from gates.load.plan import LoadPlan
from gates.model import Request


def alone(request: Request, plan: LoadPlan, lasting: Mapping[str, str]) -> str:
    """`gates load` with everything that the gate was given. *lasting* are the addresses that are still there; without any, the
    person has to start a target first.
    """
    scale = request.gate.settings.get("scale")
    command = (
        f"{request.command} load {shlex.quote(plan.scenario)} {addresses(lasting)}{_headers(request)}"
        f"{_amount(plan)}{_profile(request.profile)} --seed {request.seed}{f' --scale {scale}' if scale else ''}"
    )
    return command if lasting else f"against one that you started: {command}"


def _headers(request: Request) -> str:
    """The options of `gates load` that give the target's headers, as they were written: no secret is filled in."""
    given = request.gate.target.settings.get("headers", {}) if request.gate.target else {}
    return "".join(f" --header {shlex.quote(f'{name}: {value}')}" for name, value in given.items())


def _amount(plan: LoadPlan) -> str:
    """The options of `gates load` that give exactly this rate and time; a replay has its own."""
    rate, seconds = (repr(float(number)).removesuffix(".0") for number in (plan.rate, plan.seconds))
    return "" if plan.replay else f" --rate {rate}/s --duration {seconds}s"


def _profile(name: str) -> str:
    """The option of `gates load` that takes the values of this profile, where it has one of its own."""
    return f" --profile {name}" if name in ("standard", "full") else ""


def addresses(urls: Mapping[str, str]) -> str:
    """The options of `gates load` that name the target; where it ran at ports of its own, which the person has to fill in."""
    if not urls:
        return "--target http://127.0.0.1:PORT"
    if len(urls) == 1:
        return f"--target {shlex.quote(next(iter(urls.values())))}"
    return " ".join(f"--target {shlex.quote(f'{name}={url}')}" for name, url in urls.items())
