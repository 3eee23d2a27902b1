"""Start what a preset resolves to, hand it over as a `model.Target`, and leave nothing behind."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from gates import registry
from gates.model import CLIENTS, Links, LogTail, ProcessSpec, TargetLayout, TargetPlan
from gates.target.error import TargetError
from gates.target.links import PROXY, ProxyLinks, links_of
from gates.target.namespaces import NAMESPACE, NamespaceLinks
from gates.target.ports import free_ports, is_free
from gates.target.process import Process
from gates.target.proxy.process import proxy_process
from gates.target.readiness import answers_tcp, wait_until_ready
from gates.target.template import fill, url_of, with_environment

PATIENCE = 3.0
ATTEMPTS = 3
LINKS: Mapping[str, type[ProxyLinks]] = {PROXY: ProxyLinks, NAMESPACE: NamespaceLinks}
_TAKEN = re.compile(r"address (is )?already in use|EADDRINUSE", re.IGNORECASE)


@contextmanager
def running(
    plan: TargetPlan,
    *,
    folder: Path,
    plugins: Callable[[str], Mapping[str, Any]] = registry.plugins,
    proxies: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    environ: Mapping[str, str] = os.environ,
    links: str = "",
    fit: Callable[[TargetLayout], TargetLayout] = lambda layout: layout,
) -> Iterator[RunningTarget]:
    """The target of *plan*, started and ready; logs and data lie in `folder/target`.

    *proxies* puts an injecting proxy before the named endpoints (`*` for all), each with what `ProxySettings.injection` gives;
    *seed* decides which responses it touches; *environ* is what the layout's headers may name variables of. *links* says what
    the ways between processes, and from clients to them, are made of, so that faults can strike them: `proxy` or `namespace`.
    *fit* changes the layout before anything is started, for faults that need a process to be started in another way.
    Raises TargetError when the target can't be started or reached; whatever was started is ended first.
    """
    layout = _layout(plan, plugins)
    layout = fit(replace(layout, headers=with_environment(layout.headers, environ)))
    home = folder / "target"
    home.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner") as spawner:
        target = _started(_with_proxies(layout, proxies or {}, home, seed), home, spawner, links, seed)
        try:
            yield target
        finally:
            target.stop()


class RunningTarget:
    """A running target; see the docstring of `gates.target` for what it offers."""

    def __init__(
        self,
        layout: TargetLayout,
        home: Path,
        ports: Mapping[str, int],
        spawner: ThreadPoolExecutor,
        links: ProxyLinks | None = None,
    ) -> None:
        self._specs = {spec.name: spec for spec in layout.processes}
        self._ports = ports
        self._home = home
        self._spawner = spawner
        self._links = links
        self._processes = {spec.name: self._process(spec, spawner) for spec in layout.processes}
        own = {name: url_of(ports[name]) for name in self._specs if name not in _proxy_names(layout)}
        proxied = {name: url_of(ports[proxy]) for name, proxy in _proxied(layout).items()}
        direct = {**own, **layout.urls, **proxied}
        linked = {name: links.url(CLIENTS, name) for name in direct if links.opens(CLIENTS, name)} if links else {}
        self.endpoints: Mapping[str, str] = {**direct, **linked}
        self.controls: frozenset[str] = frozenset(layout.controls)
        self.headers: Mapping[str, str] = dict(layout.headers)
        self.links: Links | None = links
        self.ready_paths: Mapping[str, str] = {name: spec.ready.http for name, spec in self._specs.items() if spec.ready.http}
        self.proxy_logs: Mapping[str, Path] = {name: _proxy_log(home, name) for name in proxied}

    def _process(self, spec: ProcessSpec, spawner: ThreadPoolExecutor) -> Process:
        ports = self._links.ports_for(spec.name, self._ports) if self._links else self._ports
        hosts = self._links.hosts if self._links else {}

        def filled(text: str) -> str:
            return fill(text, name=spec.name, ports=ports, data=self.data(spec.name), hosts=hosts)

        self.data(spec.name).mkdir(parents=True, exist_ok=True)
        return Process(
            spec.name,
            [filled(word) for word in spec.command],
            {key: filled(value) for key, value in spec.env.items()},
            log=self._home / f"{spec.name}.log",
            spawner=spawner,
        )

    def launch(self) -> None:
        """Start all processes, then wait until each is ready."""
        if self._links is not None:
            self._links.start(self._spawner)
        for name, process in self._processes.items():
            process.namespace = self._links.namespace(name) if self._links else ""
            process.start()
        for name in self._processes:
            self._wait_for(name)

    def kill(self, name: str) -> None:
        """SIGKILL *name*, with what it has started, and wait until it is gone."""
        self._controlled(name, "kill").kill()

    def start(self, name: str) -> None:
        """Start *name* again on its port and data, and wait until it is ready."""
        process = self._controlled(name, "start")
        if not process.is_running():
            process.start()
            self._wait_for(name)

    def spawn(self, name: str) -> None:
        """Start *name* again and don't wait until it is ready; see `wait`."""
        process = self._controlled(name, "start")
        if not process.is_running():
            process.start()

    def wait(self, name: str) -> None:
        """Wait until *name* is ready. Raises TargetError when it ends before that, or takes too long."""
        self._controlled(name, "start")
        self._wait_for(name)

    def end(self, name: str) -> None:
        """SIGTERM *name*, and SIGKILL when it does not end within 3 s; waits until it is gone."""
        self._controlled(name, "kill").stop(PATIENCE)

    def _wait_for(self, name: str) -> None:
        port = self._ports[name]
        url = self._links.own_url(name, port) if self._links else url_of(port)
        wait_until_ready(self._processes[name], self._specs[name].ready, url, headers=self.headers)

    def pause(self, name: str) -> None:
        """Freeze *name* and what it has started: it keeps its connections and answers nothing."""
        self._controlled(name, "pause").freeze()

    def resume(self, name: str) -> None:
        """Let a paused *name* go on."""
        self._controlled(name, "pause").thaw()

    def is_running(self, name: str) -> bool:
        """Whether the process *name* is there; always true of an endpoint that is only a URL."""
        return name not in self._processes or self._processes[name].is_running()

    def listens(self, name: str, patience: float) -> bool:
        """Whether *name* itself takes connections, whatever its links do."""
        if self._links is not None:
            return self._links.listens(name, patience)
        return answers_tcp(self.endpoints[name], patience)

    def data(self, name: str) -> Path:
        """The data folder of *name*."""
        return self._home / "data" / name

    def processes(self) -> Mapping[str, int]:
        """Process ids of what runs, by name, without the proxies."""
        proxies = set(_proxied_by(self._specs).values())
        return {name: process.pid for name, process in self._processes.items() if name not in proxies and process.is_running()}

    def died(self) -> Mapping[str, int]:
        """Exit codes of processes that ended though nobody asked, by name."""
        return {each.name: each.exit_code() or 0 for each in self._all() if each.died()}

    def logs(self) -> tuple[LogTail, ...]:
        """The last lines of every process' log."""
        return tuple(process.tail() for process in self._all())

    def _all(self) -> tuple[Process, ...]:
        own = self._links.process if self._links else None
        return (*self._processes.values(), *((own,) if own else ()))

    def stop(self) -> None:
        """End everything, last started first: TERM, then KILL."""
        for process in reversed(self._processes.values()):
            process.stop(PATIENCE)
        if self._links is not None:
            self._links.stop(PATIENCE)

    def _controlled(self, name: str, control: str) -> Process:
        if control not in self.controls:
            raise TargetError(f"this target has no control {control!r}; it has {', '.join(sorted(self.controls)) or 'none'}")
        if name not in self._processes:
            raise TargetError(f"there is no process {name!r}; there is {', '.join(self._processes)}")
        return self._processes[name]


def _layout(plan: TargetPlan, plugins: Callable[[str], Mapping[str, Any]]) -> TargetLayout:
    presets = plugins(registry.TARGETS)
    if plan.preset not in presets:
        raise TargetError(f"unknown target preset {plan.preset!r}; there is {', '.join(presets) or 'none'}")
    preset = presets[plan.preset]
    layout = preset.layout(preset.settings.model_validate(dict(plan.settings)))
    assert isinstance(layout, TargetLayout)
    return layout


def _started(layout: TargetLayout, home: Path, spawner: ThreadPoolExecutor, links: str, seed: int) -> RunningTarget:
    for name, url in layout.urls.items():
        if not answers_tcp(url, patience=5.0):
            raise TargetError(
                f"nothing accepts connections at {url}", location=name, hint="start it, or mend the URL in the spec"
            )
    for attempt in range(ATTEMPTS):
        ports, spare = _ports(layout, len(links_of(layout)) if links else 0)
        made = LINKS[links](layout, ports, spare, home, seed) if links else None
        target = RunningTarget(layout, home, ports, spawner, made)
        try:
            target.launch()
            return target
        except BaseException as error:
            target.stop()
            if attempt == ATTEMPTS - 1 or not _lost_the_port(error, layout):
                raise
    raise AssertionError("unreachable")


def _lost_the_port(error: BaseException, layout: TargetLayout) -> bool:
    """Whether another program took a port between our look and the process' own listen; only then others are tried."""
    if not isinstance(error, TargetError) or error.tail is None:
        return False
    fixed = {spec.name for spec in layout.processes if spec.port}
    return error.location not in fixed and any(_TAKEN.search(line) for line in error.tail.lines)


def _ports(layout: TargetLayout, more: int) -> tuple[dict[str, int], list[int]]:
    """A port for each process, and *more* free ones."""
    for spec in layout.processes:
        if spec.port and not is_free(spec.port):
            raise TargetError(
                f"port {spec.port} is in use",
                location=spec.name,
                hint="end what listens there, or use {port} and let a free one be found",
            )
    found = free_ports(sum(not spec.port for spec in layout.processes) + more, Random())
    free = iter(found[more:])
    return {spec.name: spec.port or next(free) for spec in layout.processes}, found[:more]


# --- proxies ----------------------------------------------------------------------------------------------------------

_PROXY = "proxy-"


def _with_proxies(layout: TargetLayout, proxies: Mapping[str, Mapping[str, Any]], home: Path, seed: int) -> TargetLayout:
    if not proxies:
        return layout
    upstream = {**{spec.name: f"{{url:{spec.name}}}" for spec in layout.processes}, **layout.urls}
    wanted = dict.fromkeys(upstream, proxies["*"]) if "*" in proxies else proxies
    for name in wanted:
        if name not in upstream:
            raise TargetError(f"a proxy is asked for before {name!r}, which is no endpoint; there is {', '.join(upstream)}")
    added = [
        proxy_process(_PROXY + name, upstream[name], settings, log=_proxy_log(home, name), seed=f"{seed}:{name}")
        for name, settings in wanted.items()
    ]
    return replace(layout, processes=(*layout.processes, *added))


def _proxy_log(home: Path, name: str) -> Path:
    return home / f"{_PROXY}{name}.jsonl"


def _proxied(layout: TargetLayout) -> dict[str, str]:
    return _proxied_by({spec.name: spec for spec in layout.processes})


def _proxied_by(specs: Mapping[str, ProcessSpec]) -> dict[str, str]:
    return {name.removeprefix(_PROXY): name for name, spec in specs.items() if spec.proxy}


def _proxy_names(layout: TargetLayout) -> set[str]:
    return set(_proxied(layout).values())
