"""Steps woven around a callable into one frame.

A wrapper that takes `*args, **kwargs` costs 90 ns a layer, four times what a breaker does. So the steps of a policy write
their lines around the call, outermost first, and the whole is compiled once as a function with the callee's own signature:

    def call(url, *, timeout):                 # what a breaker around `fetch` becomes
        _r_permit0 = _r_breaker1.gate or _r_breaker1.admit()
        try:
            _r_result = _r_callee(url, timeout=timeout)
        except BaseException as _r_error:
            _r_breaker1.failed(_r_permit0, _r_error)
            raise
        if _r_breaker1.alert:
            _r_breaker1.succeeded(_r_permit0)
        return _r_result
"""

from __future__ import annotations

from sys import modules

from gates.recovery.configuration import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FunctionType
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

SYNC, ASYNC, GENERATOR, ASYNC_GENERATOR = "sync", "async", "generator", "async generator"
_VARARGS, _VARKEYWORDS = 0x04, 0x08
_COLOURS = ((0x80 | 0x100, ASYNC), (0x200, ASYNC_GENERATOR), (0x20, GENERATOR))
_PREFIX = "_r_"
_compiled: dict[tuple[str, str], CodeType] = {}


class Source:
    """The lines of a wrapper while it is being written.

    Attributes:
        colour: sync, async or generator; what the callee is.
        name: the callee's name, for messages.
        block_only: whether it is a `with` block, which can't be run twice and has no value.
        tail: whether nothing follows what is written next, so that the value may be returned where it arises.
        returned: whether the call that was written last returns its value.
    """

    __slots__ = ("_depth", "_lines", "block_only", "bound", "colour", "name", "returned", "tail")

    def __init__(self, colour: str, name: str, block_only: bool = False) -> None:
        self.colour = colour
        self.name = name
        self.block_only = block_only
        self.tail = not block_only
        self.returned = False
        self.bound: dict[str, object] = {}
        self._lines: list[str] = []
        self._depth = 2

    @property
    def waits(self) -> str:
        """`await ` where the wrapper is a coroutine."""
        return "await " if self.colour == ASYNC else ""

    def line(self, *texts: str) -> None:
        """Write *texts* as lines at the present depth."""
        self._lines.extend("    " * self._depth + text for text in texts)

    def block(self, header: str) -> _Block:
        """Write *header*; what is written inside `with` is its body."""
        self.line(header)
        return _Block(self)

    def bind(self, value: object, hint: str) -> str:
        """A name under which the wrapper knows *value*."""
        name = f"{_PREFIX}{hint}{len(self.bound)}"
        self.bound[name] = value
        return name

    def local(self, hint: str) -> str:
        """A fresh local name."""
        return self.bind(None, hint)

    def text(self, signature: str) -> str:
        """The module that makes the wrapper: `make(callee, values bound)`."""
        keyword = "async def" if self.colour == ASYNC else "def"
        outer = f"def make({', '.join([_PREFIX + 'callee', *self.bound])}):"
        return "\n".join([outer, f"    {keyword} call({signature}):", *self._lines, "    return call", ""])


class _Block:
    """The body of a header; `before` puts a line in front of the header when the body is written."""

    __slots__ = ("_place", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._place = len(source._lines) - 1

    def before(self, text: str) -> None:
        """Put *text* before the header."""
        self._source._lines.insert(self._place, "    " * self._source._depth + text)

    def __enter__(self) -> None:
        self._source._depth += 1

    def __exit__(self, *_: object) -> None:
        self._source._depth -= 1


class Step:
    """One primitive of a policy; as a decorator it is a policy of itself alone.

    Attributes:
        keeps_tail: whether the step writes nothing after what it guards, except in a `finally`.
    """

    __slots__ = ()

    keeps_tail = False

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the step's lines; *inner* writes what it guards, which leaves its value in `_r_result`."""
        raise NotImplementedError

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """*function*, guarded; it keeps its signature, its colour and its name."""
        return weave((self,), function)


def weave(steps: Sequence[Step], function: Callable[P, R]) -> Callable[P, R]:
    """*function* inside *steps*, outermost first.

    Raises ConfigurationError when *function* can't be called, or is of a colour that a step has no way to guard.
    """
    given: object = function
    if isinstance(given, (staticmethod, classmethod)):
        raise ConfigurationError("the decorated object", function, "the function below @staticmethod or @classmethod")
    if not callable(function):
        raise ConfigurationError("the decorated object", function, "something callable")
    colour = colour_of(function)
    if colour == ASYNC_GENERATOR:
        raise ConfigurationError("the decorated object", function, "a function, coroutine function or generator function")
    if colour == SYNC and _stands_before_a_coroutine(function):
        return _dressed(_found_out(steps, function), function)
    declared, passed = _signature(function)
    name = getattr(function, "__name__", type(function).__name__)
    wrapper = _assemble(steps, Source(colour, name), function, declared, passed)
    return _dressed(wrapper, function)


def caller(steps: Sequence[Step], colour: str) -> Callable[..., Any]:
    """A function of *colour* that calls its first argument with the others inside *steps*."""
    return _assemble(steps, Source(colour, "call"), None, f"{_PREFIX}given, /, *args, **kwargs", "*args, **kwargs")


def block(steps: Sequence[Step], colour: str) -> Callable[[], Any]:
    """A generator function (an async one where *colour* is async) of *steps* around one bare `yield`."""
    return _assemble(steps, Source(colour, "a block", block_only=True), None, "", "")


def colour_of(function: object) -> str:
    """What calling *function* gives: a value (sync), a coroutine (async), a generator or an async generator."""
    # A mock has every attribute that it is asked for, so what is taken for a partial must look like one inside.
    while isinstance(getattr(function, "keywords", None), dict) and callable(partial := getattr(function, "func", None)):
        function = partial
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004 - its code is meant
    flags = getattr(code, "co_flags", 0)
    return next((colour for bits, colour in _COLOURS if flags & bits), ASYNC if _marked(function) else SYNC)


def _marked(function: object) -> bool:
    """Whether *function* was marked as a coroutine function, by the value of asyncio or of inspect (from 3.12 on)."""
    known = (("asyncio.coroutines", "_is_coroutine"), ("inspect", "_is_coroutine_mark"))
    marks = [(name, getattr(modules.get(module), name, None)) for module, name in known]
    return any(mark is not None and getattr(function, name, None) is mark for name, mark in marks)


def _stands_before_a_coroutine(function: object) -> bool:
    """Whether a plain *function* wraps a coroutine function, as functools.wraps and functools.cache tell.

    What it gives is then an awaitable or, where it runs the coroutine itself, a value: only a call shows which.
    """
    known = [function]
    while (below := getattr(known[-1], "__wrapped__", None)) is not None and all(below is not each for each in known):
        if colour_of(below) == ASYNC:
            return True
        known.append(below)
    return False


def _found_out(steps: Sequence[Step], function: Callable[..., Any]) -> FunctionType:
    """*function* inside *steps*, in the colour that each call of it turns out to have."""
    plain, waiting = caller(steps, SYNC), caller(steps, ASYNC)

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return plain(looked_at, function, *args, **kwargs)
        except Awaitable as found:
            first = list(found.args)
        return waiting(waited_for, first, function, *args, **kwargs)

    return call  # type: ignore[return-value]  # a function is one


class Awaitable(BaseException):  # noqa: N818 - no error: it carries an awaitable out of the steps that can't await it
    """What a function without a colour turned out to give; no Exception, so that no step makes anything of it."""


def looked_at(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What *function* gives, which is raised as an Awaitable if it is one."""
    result = function(*args, **kwargs)
    if hasattr(result, "__await__"):
        raise Awaitable(result)
    return result


async def waited_for(first: list[Any], function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What *function* gives in the end; the *first* time what it gave already."""
    return await (first.pop() if first else function(*args, **kwargs))


def nest(steps: Sequence[Step], source: Source, inner: Callable[[], None]) -> None:
    """Write *steps*, outermost first, around what *inner* writes."""
    if not steps:
        inner()
        return
    tail = source.tail
    source.tail = tail and steps[0].keeps_tail
    steps[0].weave(source, lambda: nest(steps[1:], source, inner))
    source.tail = tail


def refuse_generators(step: str, source: Source) -> None:
    """Raise ConfigurationError around a generator: a context variable set in one is seen by whoever takes its items."""
    if source.colour == GENERATOR:
        raise ConfigurationError(step, source.name, "a function, a coroutine function or a block")


def _assemble(steps: Sequence[Step], source: Source, function: object, declared: str, passed: str) -> FunctionType:
    callee = f"{_PREFIX}callee" if function is not None else f"{_PREFIX}given"
    waits = {ASYNC: "await ", GENERATOR: "yield from "}.get(source.colour, "")

    value = "yield" if source.block_only else f"{waits}{callee}({passed})"

    def write_call() -> None:
        source.returned = source.tail
        source.line(f"return {value}" if source.tail else f"{_PREFIX}result = {value}")

    nest(steps, source, write_call)
    if not source.block_only:
        source.line(f"return {_PREFIX}result")
    text = source.text(declared)
    where = f"<recovery around {source.name}>"
    code = _compiled.get((text, where))
    if code is None:
        if len(_compiled) > 1000:
            _compiled.clear()
        code = _compiled[text, where] = compile(text, where, "exec")
    room: dict[str, Any] = {}
    exec(code, room)
    # Taken out, because `make` and the room that it lives in would keep each other alive.
    make: Callable[..., FunctionType] = room.pop("make")
    return make(function, *source.bound.values())


def _signature(function: object) -> tuple[str, str]:
    """The parameters of *function* as they are declared and as they are passed on, without defaults."""
    bound = 1 if hasattr(function, "__self__") and hasattr(function, "__func__") else 0
    code: Any = getattr(function, "__code__", None)
    # A mock of a coroutine function has a mock of code, which some versions of Python let pass as an instance of the class.
    if type(code) is not type(_signature.__code__) or code.co_argcount < bound:
        return "*args, **kwargs", "*args, **kwargs"
    # A bound method has the code of its function, whose first parameter is taken.
    count, positional_only = code.co_argcount - bound, max(0, code.co_posonlyargcount - bound)
    stars = bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
    names = list(code.co_varnames[bound : code.co_argcount + code.co_kwonlyargcount + stars])
    if any(name.startswith(_PREFIX) for name in names):
        raise ConfigurationError(
            "the decorated function's parameters", tuple(names), f"names that don't start with {_PREFIX!r}"
        )
    declared, passed = names[:count], names[:count]
    if positional_only:
        declared = [*names[:positional_only], "/", *names[positional_only:count]]
    keyword_only = names[count : count + code.co_kwonlyargcount]
    after = count + code.co_kwonlyargcount
    if code.co_flags & _VARARGS:
        declared, passed = [*declared, "*" + names[after]], [*passed, "*" + names[after]]
        after += 1
    elif keyword_only:
        declared = [*declared, "*"]
    declared += keyword_only
    passed = [*passed, *(f"{name}={name}" for name in keyword_only)]
    if code.co_flags & _VARKEYWORDS:
        declared, passed = [*declared, "**" + names[after]], [*passed, "**" + names[after]]
    return ", ".join(declared), ", ".join(passed)


def _dressed(wrapper: FunctionType, function: Any) -> FunctionType:
    """*wrapper* with the name, the documentation and the defaults of *function*."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        if (value := getattr(function, attribute, None)) is not None:
            setattr(wrapper, attribute, value)
    if hasattr(function, "__code__"):
        wrapper.__defaults__ = getattr(function, "__defaults__", None)
        wrapper.__kwdefaults__ = getattr(function, "__kwdefaults__", None)
        wrapper.__annotations__ = getattr(function, "__annotations__", {})
        wrapper.__dict__.update(function.__dict__)
    wrapper.__wrapped__ = function  # type: ignore[attr-defined]  # what functools.wraps sets
    return wrapper
