"""A policy: several primitives as one, woven into one frame, outermost first.

    policy = Policy(Retry(attempts=3, budget=budget), breaker, TimeLimit(1.0))

Each attempt is one call of the breaker, and each has a second. The other way round (`Policy(breaker, Retry(...))`) a whole
sequence of attempts is one call of the breaker.
"""

from __future__ import annotations

from gates.recovery.configuration import ConfigurationError
from gates.recovery.weaving import ASYNC, SYNC, Awaitable, Step, block, caller, colour_of, looked_at, nest, waited_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any, ParamSpec, TypeVar

    from gates.recovery.weaving import Source

    P = ParamSpec("P")
    R = TypeVar("R")


class Policy(Step):
    """Steps in order, outermost first; as a decorator, a call and a context manager.

    Attributes:
        steps: the primitives; policies among them are taken apart.
    """

    __slots__ = ("_blocks", "_callers", "steps")

    def __init__(self, *steps: Step) -> None:
        flat: list[Step] = []
        for step in steps:
            if not isinstance(step, Step):
                raise ConfigurationError("Policy.steps", step, "primitives such as Retry(), CircuitBreaker(), Deadline(5)")
            flat.extend(step.steps if isinstance(step, Policy) else (step,))
        self.steps: tuple[Step, ...] = tuple(flat)
        self._callers: dict[str, Callable[..., Any]] = {}
        self._blocks: dict[str, Callable[[], Any]] = {}

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write every step around the next."""
        nest(self.steps, source, inner)

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call *function* inside the policy; what gives an awaitable gives one here. The decorator is the fast form."""
        colour = colour_of(function)
        answer: R
        if colour != SYNC:
            answer = self._caller(colour)(function, *args, **kwargs)
            return answer
        try:
            answer = self._caller(SYNC)(looked_at, function, *args, **kwargs)
            return answer
        except Awaitable as found:
            first = list(found.args)
        answer = self._caller(ASYNC)(waited_for, first, function, *args, **kwargs)
        return answer

    def _caller(self, colour: str) -> Callable[..., Any]:
        if colour not in self._callers:
            self._callers[colour] = caller(self.steps, colour)
        return self._callers[colour]

    def guard(self) -> PolicyGuard:
        """A context for `with` and `async with`, good for one use. A step that would have to run the block twice refuses."""
        return PolicyGuard(self)

    def block(self, colour: str) -> Any:
        """The policy around a block, as a generator that stops where the block is."""
        if colour not in self._blocks:
            self._blocks[colour] = block(self.steps, colour)
        return self._blocks[colour]()


class PolicyGuard:
    """One block inside a policy."""

    __slots__ = ("_policy", "_running", "_running_async")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __enter__(self) -> None:
        self._running: Generator[None, None, None] = self._policy.block(SYNC)
        next(self._running)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None:
                next(self._running)
            else:
                self._running.throw(error)
        except StopIteration:
            return
        except BaseException as raised:
            if not _same(raised, error):
                raise

    async def __aenter__(self) -> None:
        self._running_async: AsyncGenerator[None, None] = self._policy.block(ASYNC)
        await anext(self._running_async)

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None:
                await anext(self._running_async)
            else:
                await self._running_async.athrow(error)
        except StopAsyncIteration:
            return
        except BaseException as raised:
            if not _same(raised, error):
                raise


def _same(raised: BaseException, error: BaseException | None) -> bool:
    """Whether *raised* is the block's *error*, also where the generator has wrapped it, as it does with StopIteration."""
    wrapped = isinstance(error, (StopIteration, StopAsyncIteration)) and isinstance(raised, RuntimeError)
    return raised is error or (wrapped and raised.__cause__ is error)
