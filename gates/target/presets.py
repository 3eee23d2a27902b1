"""The target presets `command` and `url` (entry point `gates.targets`)."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, field_validator, model_validator

from gates.fields import Duration, Settings
from gates.model import CLIENTS, ProcessSpec, Ready, TargetLayout

MAIN = "main"
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
_Port = Annotated[int, Field(ge=0, le=65535)]
_Within = Annotated[Duration, PlainSerializer(lambda seconds: f"{seconds!r} s", return_type=str)]

_OTHER = re.compile(r"\{(?:port|url):([^{}]+)\}")
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


class ProcessSettings(Settings):
    """One of several processes of a server of one's own: `run` is its command, with `{port}` where its port belongs."""

    run: Annotated[tuple[str, ...], Field(min_length=1)]
    ready: ReadySettings = ReadySettings()
    env: dict[str, str] = {}
    port: _Port = 0


class CommandSettings(Settings):
    """A server of one's own: `run` is its command, with `{port}` where its port belongs; or several `processes`, by name."""

    run: tuple[str, ...] = ()
    ready: ReadySettings = ReadySettings()
    env: dict[str, str] = {}
    headers: Headers = {}
    name: _Name = MAIN
    port: _Port = 0
    processes: dict[_Name, ProcessSettings] = {}

    @model_validator(mode="after")
    def _makes_sense(self) -> CommandSettings:
        if bool(self.run) == bool(self.processes):
            raise ValueError("expected either run or processes, and not empty")
        alone = {"ready": self.ready, "env": self.env, "name": self.name, "port": self.port}
        strays = [key for key, value in alone.items() if self.processes and value != type(self).model_fields[key].default]
        if strays:  # by their values, since a plan writes every setting, also those that were not given
            raise ValueError(f"{', '.join(strays)} belongs to each of the processes, not beside them")
        for name, process in self.each().items():
            _check_places(name, process, tuple(self.each()))
        return self

    def each(self) -> dict[str, ProcessSettings]:
        """All processes by their names; the only one when there is one."""
        return self.processes or {
            self.name: ProcessSettings(run=self.run, ready=self.ready, env=self.env, port=self.port),
        }


def _check_places(name: str, process: ProcessSettings, names: tuple[str, ...]) -> None:
    """Refuse what could not be filled in when the process *name* is started."""
    texts = _texts(process)
    if name == CLIENTS:
        raise ValueError(f"{CLIENTS} is the name of whoever sends requests; give the process another")
    own = ("{port}", "{url}", f"{{port:{name}}}", f"{{url:{name}}}")
    if not process.port and not any(place in text for text in texts for place in own):
        who = "the server" if names == (MAIN,) else name
        raise ValueError(f"{who} is not told its port: put {{port}} into the command or env, or fix it with port:")
    for place in (match for text in texts for match in _OTHER.finditer(text)):
        if place[1] not in names:
            raise ValueError(f"{place[0]} names a process that is not there; there is {', '.join(names)}")


def _texts(process: ProcessSettings) -> tuple[str, ...]:
    return (*process.run, *process.env.values())


class CommandPreset:
    """Starts the user's own server, waits until it is ready, can kill, start and pause it and look into its data folder."""

    name = "command"
    settings = CommandSettings
    shorthand = "run"

    def layout(self, settings: CommandSettings) -> TargetLayout:
        processes = tuple(_process(name, process) for name, process in settings.each().items())
        return TargetLayout(processes, controls=("kill", "start", "pause", "data", "links"), headers=settings.headers)


def _process(name: str, settings: ProcessSettings) -> ProcessSpec:
    """Whose URL or port a process is told, to that it speaks."""
    wanted = settings.ready
    ready = Ready(wanted.http, wanted.tcp or not (wanted.http or wanted.log), wanted.log, wanted.within)
    told = dict.fromkeys(place[1] for text in _texts(settings) for place in _OTHER.finditer(text))
    links = tuple(other for other in told if other != name)
    return ProcessSpec(name, settings.run, ready, settings.env, port=settings.port, links=links)


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
