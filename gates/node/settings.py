"""How one node is set up: a YAML file, the command line over it, and a default for all that neither names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from gates.node.identity import is_did

LONGEST_NAME = 63
MOST_MANA = 10**15
PRESETS = ("production", "development", "testing")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SECRET = re.compile(r"[\x21-\x7e]{8,200}")


class InvalidSettings(Exception):
    """The settings can't be used; the text has a line for each error, with file, line and field where there is a file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one node is given.

    Attributes:
        name: the node's name, unique in its federation.
        data: folder of its key and databases; made when it is not there.
        port: port on 127.0.0.1; 0 takes a free one.
        peers: URL by name of the other founding nodes.
        mana: minted once for the node's own account.
        grant: minted once for an account that a client opens.
        capacity: an account regenerates up to this balance.
        api_key, token: who shows one of them acts as the node's own DID; "" for none.
        principals: further API keys, and the DID that each acts as.
        client_rate, client_burst: requests a second of one client, and how many may come at once.
        bidding_window_ms: how long bids are collected.
        execution_limit_s: wall-clock limit of a job that computes.
        sync_every_ms: mean time between two rounds of anti-entropy.
        peer_pace_ms: mean time between two looks at a peer.
        closed: nodes that are not known yet can't join the federation here.
        max_in_flight: requests under way at once, before low priorities are shed.
        drain_s: how long a node that ends waits for requests under way.
        preset: figures of retries and breakers.
    """

    name: str
    data: Path
    port: int = 0
    peers: Mapping[str, str] = field(default_factory=dict)
    mana: int = 1_000_000
    grant: int = 1_000
    capacity: int = 10_000
    api_key: str = ""
    token: str = ""
    principals: Mapping[str, str] = field(default_factory=dict)
    client_rate: int = 5_000
    client_burst: int = 5_000
    bidding_window_ms: int = 50
    execution_limit_s: int = 5
    sync_every_ms: int = 500
    peer_pace_ms: int = 1_000
    closed: bool = False
    max_in_flight: int = 512
    drain_s: int = 5
    preset: str = "production"


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of a command line. Ends the process with 2 for wrong flags; raises InvalidSettings for the rest."""
    parser = argparse.ArgumentParser(prog="python -m gates.node", description="One node of the reference federation.")
    parser.add_argument("--config", type=Path, help="YAML file with any of the settings")
    parser.add_argument("--name", help="the node's name, unique in its federation")
    parser.add_argument("--data", help="folder of its key and databases; made when it is not there")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1; 0 takes a free one and prints it")
    parser.add_argument("--peers", type=_pairs, help="name=url,... of the other founding nodes")
    parser.add_argument("--mana", type=int, help="minted once for the node's own account")
    parser.add_argument("--api-key", help="who shows it as X-API-Key acts as the node")
    parser.add_argument("--token", help="who shows it as bearer token acts as the node")
    parser.add_argument("--client-rate", type=int, help="requests a second that one client may send")
    parser.add_argument("--preset", choices=PRESETS, help="figures of retries and breakers")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return load(given.pop("config", None), given)


def load(path: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """The settings of the file at *path* with *overrides* over them. Raises InvalidSettings with every error at once."""
    written, lines = _read(path) if path is not None else ({}, {})
    values = {**written, **overrides}
    checked, errors = _checked(values)
    if errors:
        places = {name: line for name, line in lines.items() if name not in overrides}
        places |= dict.fromkeys({"name", "data"} - values.keys(), 1)  # what is not there is missing where the file begins
        told = sorted((places.get(name, 0), name, text) for name, text in errors)
        raise InvalidSettings("\n".join(_error(path, *error) for error in told))
    return Settings(**checked)


def _checked(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The valid ones of *values*, and (name, text) of every error."""
    known = ", ".join(_CHECKS)
    errors = [(name, f"no such setting; there are {known}") for name in values.keys() - _CHECKS.keys()]
    errors += [(name, "is missing") for name in {"name", "data"} - values.keys()]
    checked: dict[str, Any] = {}
    for name in _CHECKS.keys() & values.keys():
        try:
            checked[name] = _CHECKS[name](values[name])
        except ValueError as error:
            errors.append((name, str(error)))
    if checked.get("name") in checked.get("peers", {}):
        errors.append(("peers", f"{checked['name']!r} is the node itself"))
    return checked, errors


def _error(path: Path | None, line: int, name: str, text: str) -> str:
    place = f"{path}:{line}: " if path is not None and line else ""
    return f"{place}{name}: {text}"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The file's settings, and the line of each."""
    import yaml  # only a node with a file needs it

    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path}: can't be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidSettings(f"{path}:{line}: no valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidSettings(f"{path}: no valid YAML: {str(error).splitlines()[0]}") from None
    if values is None:
        return {}, {}
    if not isinstance(tree, yaml.MappingNode) or not isinstance(values, dict):
        raise InvalidSettings(f"{path}:1: expected settings, such as `name: node-a`")
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in tree.value}
    twice = [key for key in lines if sum(str(other.value) == key for other, _ in tree.value) > 1]
    if twice:
        raise InvalidSettings(f"{path}:{lines[twice[0]]}: {twice[0]}: is given more than once")
    return {str(key): value for key, value in values.items()}, lines


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(separator for _, separator, _ in pairs):
        raise argparse.ArgumentTypeError("expected name=http://host:port,...")
    return {name: url for name, _, url in pairs}


def _whole(low: int, high: int, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"expected an integer from {low:,} to {high:,}, found {value!r}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"expected 1 to {LONGEST_NAME} lower-case letters, digits and dashes, found {value!r}")
    return value


def _folder(value: Any) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError(f"expected a folder, found {value!r}")
    return Path(value)


def _secret(value: Any) -> str:
    if value != "" and (not isinstance(value, str) or not _SECRET.fullmatch(value)):
        raise ValueError("expected 8 to 200 visible ASCII characters")
    return str(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")
    return value


def _preset(value: Any) -> str:
    if value not in PRESETS:
        raise ValueError(f"expected one of {', '.join(PRESETS)}, found {value!r}")
    return str(value)


def _peers(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("expected name: http://host:port")
    return MappingProxyType({_name(name): peer_url(url) for name, url in value.items()})


def peer_url(value: Any) -> str:
    """*value* as the URL of a node. Raises ValueError."""
    wrong = ValueError(f"expected http://host:port, found {str(value)[:100]!r}")
    if not isinstance(value, str):
        raise wrong
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "http" or not parts.hostname or not port or "@" in parts.netloc or parts.query or parts.fragment:
        raise wrong
    if parts.path not in ("", "/"):
        raise wrong
    return f"http://{parts.netloc}"


def _principals(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("expected API key: DID")
    for key, did in value.items():
        if not _secret(key) or not isinstance(did, str) or not is_did(did):
            raise ValueError(
                f"expected a key of 8 to 200 characters and a did:key of Ed25519, found the DID {str(did)[:100]!r}"
            )
    return MappingProxyType(dict(value))


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "name": _name,
    "data": _folder,
    "port": partial(_whole, 0, 65_535),
    "peers": _peers,
    "mana": partial(_whole, 0, MOST_MANA),
    "grant": partial(_whole, 0, MOST_MANA),
    "capacity": partial(_whole, 0, MOST_MANA),
    "api_key": _secret,
    "token": _secret,
    "principals": _principals,
    "client_rate": partial(_whole, 1, 1_000_000),
    "client_burst": partial(_whole, 1, 1_000_000),
    "bidding_window_ms": partial(_whole, 1, 60_000),
    "execution_limit_s": partial(_whole, 1, 600),
    "sync_every_ms": partial(_whole, 10, 600_000),
    "peer_pace_ms": partial(_whole, 10, 600_000),
    "closed": _boolean,
    "max_in_flight": partial(_whole, 1, 100_000),
    "drain_s": partial(_whole, 0, 600),
    "preset": _preset,
}
assert set(_CHECKS) == {setting.name for setting in fields(Settings)}

__all__ = ["InvalidSettings", "Settings", "load", "parse", "peer_url"]
