"""The target presets `command` and `url` (entry point `gates.targets`)."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, field_validator, model_validator

from gates.fields import Duration, Settings
from gates.model import ProcessSpec, Ready, TargetLayout

MAIN = "main"
_Within = Annotated[Duration, PlainSerializer(lambda seconds: f"{seconds!r} s", return_type=str)]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_THE_CONNECTION = frozenset({"connection", "content-length", "host", "transfer-encoding"})


def _headers(given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _OF_THE_CONNECTION:
            raise ValueError(f"the header {name} belongs to each request, and can't be given for all of them")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{name}: expected printable ASCII characters on one line")
        if "{env:" in value and not re.search(r"\{env:[A-Za-z_]\w*\}", value):
            raise ValueError(f"{name}: expected the name of an environment variable, such as {{env:API_KEY}}")
    return given


Headers = Annotated[
    dict[str, str],
    AfterValidator(_headers),
    Field(description="go with every request to the target; {env:NAME} stands for an environment variable, for secrets"),
]


class ReadySettings(Settings):
    """How the server shows that it is ready: one of `http`, `tcp` and `log`; `tcp: true` when none is given."""

    http: str = ""
    tcp: bool = False
    log: str = ""
    within: _Within = 30.0

    @model_validator(mode="after")
    def _one(self) -> ReadySettings:
        if (self.http != "") + self.tcp + (self.log != "") > 1:
            raise ValueError("expected only one of http, tcp and log")
        if self.http and not self.http.startswith("/"):
            raise ValueError(f"expected http to be a path such as /health (got {self.http!r})")
        if not 0 < self.within <= 600:
            raise ValueError(f"expected within to be between 0 s and 10 min (got {self.within:g} s)")
        return self


class CommandSettings(Settings):
    """A server of one's own: `run` is its command, with `{port}` where its port belongs."""

    run: Annotated[tuple[str, ...], Field(min_length=1)]
    ready: ReadySettings = ReadySettings()
    env: dict[str, str] = {}
    headers: Headers = {}
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")] = MAIN
    port: Annotated[int, Field(ge=0, le=65535)] = 0

    @model_validator(mode="after")
    def _port_is_told(self) -> CommandSettings:
        if not self.port and not any("{port" in text or "{url" in text for text in (*self.run, *self.env.values())):
            raise ValueError("the server is not told its port: put {port} into the command or env, or fix it with port:")
        return self


class CommandPreset:
    """Starts the user's own server, waits until it is ready, can kill, start and pause it and look into its data folder."""

    name = "command"
    settings = CommandSettings
    shorthand = "run"

    def layout(self, settings: CommandSettings) -> TargetLayout:
        wanted = settings.ready
        ready = Ready(wanted.http, wanted.tcp or not (wanted.http or wanted.log), wanted.log, wanted.within)
        process = ProcessSpec(settings.name, settings.run, ready, settings.env, port=settings.port)
        return TargetLayout((process,), controls=("kill", "start", "pause", "data", "links"), headers=settings.headers)


class UrlSettings(Settings):
    """What runs already: one `url`, or several `urls` by endpoint name."""

    url: str = ""
    urls: dict[str, str] = {}
    headers: Headers = {}

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return base_url(value) if value else ""  # a plan writes every setting, so also the one that was not given

    @field_validator("urls")
    @classmethod
    def _urls(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: base_url(url) for name, url in value.items()}

    @model_validator(mode="after")
    def _some(self) -> UrlSettings:
        if bool(self.url) == bool(self.urls):
            raise ValueError("expected either url or urls, and not empty")
        return self


class UrlPreset:
    """Uses servers that run already; they can't be killed or paused, but our side of the way to them can be struck."""

    name = "url"
    settings = UrlSettings
    shorthand = "url"

    def layout(self, settings: UrlSettings) -> TargetLayout:
        urls = settings.urls or {MAIN: settings.url}
        plain = all(url.startswith("http://") for url in urls.values())  # a proxy of ours can't stand before TLS
        return TargetLayout(urls=urls, controls=("links",) if plain else (), headers=settings.headers)


def base_url(text: str) -> str:
    """*text* without a final slash. Raises ValueError when it is no http or https URL with a host, or holds a password."""
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
        raise ValueError(f"expected a URL such as http://127.0.0.1:8080 or https://staging.example (got {text!r})")
    if "@" in parts.netloc:
        raise ValueError("a URL with a user or password would stand in every plan and report; leave them out")
    return text.rstrip("/")
