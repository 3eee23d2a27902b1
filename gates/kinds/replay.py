"""Clients that retry: operations sent once more under the same key with the same body, after the faults are healed.

Only flows that send their key are retried; without one a second request is a second wish.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from urllib.parse import urlsplit

from gates.history.statements import undecided
from gates.load.failure import REFUSALS
from gates.load.plan import LoadPlan
from gates.load.program import Program
from gates.load.variables import NO_VARIABLES, Variables
from gates.model import Operation

RETRIER = -1
PATIENCE = 5.0


def chosen(plan: LoadPlan, history: Sequence[Operation], share: float, random: Random) -> tuple[Operation, ...]:
    """What is retried: every operation of unknown outcome, and a *share* of the acknowledged ones, in order of sending."""
    retriable = {flow for flow, definition in plan.flows.items() if "{key}" in json.dumps(definition)}
    unknown = {(operation.endpoint, operation.key) for operation in undecided(history)}
    return tuple(
        operation
        for operation in history
        if operation.kind in retriable
        and ((operation.endpoint, operation.key) in unknown or (operation.status == "ok" and random.random() < share))
    )


def changes(plan: LoadPlan, flow: str) -> bool:
    """Whether *flow* asks for a change, so that an unknown outcome leaves something open."""
    definition = plan.flows[flow]
    return "python" in definition or any(step.get("method", "GET") not in ("GET", "OPTIONS") for step in definition["steps"])


class Retrier:
    """Sends operations of one load again, one after the other, over a connection an endpoint.

    *clock* tells seconds from the start of load, as in the history that is continued; *headers* are the target's, and *given*
    is what the load's set-up captured.
    """

    def __init__(
        self,
        plan: LoadPlan,
        endpoints: Mapping[str, str],
        *,
        seed: int,
        clock: Callable[[], float],
        headers: Mapping[str, str] | None = None,
        given: Mapping[str, str] = NO_VARIABLES,
    ) -> None:
        self._plan, self._endpoints, self._seed, self._clock = plan, endpoints, seed, clock
        self._headers = headers or {}
        self._variables = Variables(plan, seed=seed, given=given)
        self._programs: dict[tuple[str, str], Program] = {}
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def again(self, operations: Iterable[Operation]) -> tuple[Operation, ...]:
        """The operations of the retries, with what came back."""
        try:
            return tuple(self._one(operation) for operation in operations)
        finally:
            for connection in self._connections.values():
                connection.close()

    def _one(self, operation: Operation) -> Operation:
        program = self._program(operation)
        values = program.values(
            operation.process
        )  # a load numbers its operations by arrival, from which keys and bodies derive
        invoked = self._clock()
        status, code = self._walk(program, values, operation.endpoint)
        answer = program.answer(values) if status == "ok" else None
        return Operation(
            process=RETRIER,
            kind=operation.kind,
            endpoint=operation.endpoint,
            key=operation.key,
            status=status,
            invoked=invoked,
            completed=self._clock(),
            code=code,
            value=operation.value,
            answer=answer,
        )

    def _walk(self, program: Program, values: dict[str, str], endpoint: str) -> tuple[str, int]:
        """All steps in order; the status for the history and the last code."""
        code = 0
        for number, request in enumerate(program.requests):
            try:
                code, headers, body = self._exchange(endpoint, request.encode(values))
            except ConnectionRefusedError:
                return ("fail" if number == 0 else "unknown"), 0
            except (OSError, http.client.HTTPException):
                return "unknown", 0
            if request.checker.look(code, headers, body, values) is not None:
                return ("fail" if number == 0 and code in REFUSALS else "unknown"), code
        return "ok", code

    def _exchange(self, endpoint: str, request: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = self._connection(endpoint)
        try:
            connection.sock.sendall(request)
            answer = http.client.HTTPResponse(connection.sock, method=request.split(b" ", 1)[0].decode())
            answer.begin()
            body = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def _connection(self, endpoint: str) -> http.client.HTTPConnection:
        if endpoint not in self._connections:
            parts = urlsplit(self._endpoints[endpoint])
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connections[endpoint] = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
        connection = self._connections[endpoint]
        if connection.sock is None:
            connection.connect()
        return connection

    def _program(self, operation: Operation) -> Program:
        place = operation.kind, operation.endpoint
        if place not in self._programs:
            definition, url = self._plan.flows[operation.kind], self._endpoints[operation.endpoint]
            self._programs[place] = Program(
                operation.kind,
                definition,
                operation.endpoint,
                url,
                seed=self._seed,
                headers=self._headers,
                variables=self._variables,
            )
        return self._programs[place]
