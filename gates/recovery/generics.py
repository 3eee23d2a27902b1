"""Stand-ins for what `typing` does at run time, so that the import path of the package is free of `typing` (6 ms)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Generic:
    """A base that takes parameters and forgets them: type checkers see `typing.Generic` in its place."""

    __slots__ = ()

    def __class_getitem__(cls, parameters: object) -> type[Self]:
        return cls


def overload(function: object) -> object:
    """The signature of an overload, which only type checkers read."""
    return function
