"""Drawing in SVG: elements, scales and ticks. Colours come from classes, so that one drawing serves light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gates.report.prose import text

CHARACTER = 6.7  # the mean width of a character at the font size of plots, in pixels
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440)


def element(name: str, *children: str, **attributes: str | float) -> str:
    """An element; `class_` is `class`, other underscores are hyphens, *children* are markup."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def _attribute(value: str | float) -> str:
    return text(value) if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A coordinate with one decimal at most, the same on every machine."""
    written = f"{value:.1f}".removesuffix(".0")
    return "0" if written == "-0" else written


def label(x: float, y: float, words: str, class_: str, anchor: str = "start") -> str:
    """A text whose baseline starts (or ends, or is centred) at (x, y)."""
    return element("text", text(words), x=x, y=y, class_=class_, text_anchor=anchor)


def drawing(width: float, height: float, title: str, class_: str, parts: Iterable[str]) -> str:
    """A whole picture; *title* is what a person hears who can't see it."""
    return element(
        "svg",
        element("title", text(title)),
        *parts,
        role="img",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        class_=class_,
        aria_label=title,
    )


def wide(words: str) -> float:
    """About how wide *words* are drawn."""
    return len(words) * CHARACTER


def shorten(words: str, room: float) -> str:
    """*words*, cut with an ellipsis when they don't fit into *room* pixels."""
    fitting = max(int(room / CHARACTER), 2)
    return words if len(words) <= fitting else words[: fitting - 1] + "…"


@dataclass(frozen=True, slots=True)
class Scale:
    """From values between *low* and *high* to pixels between *start* and *end*, through *warp*."""

    low: float
    high: float
    start: float
    end: float
    warp: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        first, last = self.warp(self.low), self.warp(self.high)
        inside = min(max(value, self.low), self.high)
        return self.start + (self.warp(inside) - first) / ((last - first) or 1.0) * (self.end - self.start)


def nines(quantile: float) -> float:
    """The quantile scale that gives 90 %, 99 % and 99.9 % the same room."""
    return -math.log10(max(1.0 - quantile, 1e-7))


def linear_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round values between *low* and *high*, about so many."""
    if high <= low:
        return [low]
    rough = (high - low) / max(about - 1, 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    return [float(f"{step * index:.12g}") for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def byte_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Multiples of a power of two, which are round in KiB and MiB."""
    if high <= low:
        return [low]
    step = 2.0 ** max(0, math.ceil(math.log2((high - low) / max(about - 1, 1)) - 1e-9))
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def time_ticks(low: float, high: float, about: int = 7) -> list[float]:
    """Round times in seconds; whole minutes or hours when there are many of them."""
    if high - low <= 300:
        return linear_ticks(low, high, about)
    rough = (high - low) / 60 / max(about - 1, 1)
    step = 60.0 * next((minutes for minutes in _MINUTES if minutes >= rough), 1440)
    return [step * index for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade; only the decades when there are more than three."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1, 5) if last - first <= 3 else (1,)
    ticks = [float(f"{factor * 10.0**decade:.12g}") for decade in range(first, last + 1) for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def apart(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Positions near *wanted*, in the same order of input, at least *distance* apart, between *low* and *high*."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed: list[float] = []
    for index in order:
        placed.append(max(wanted[index], placed[-1] + distance if placed else low))
    ceiling = high
    for at in range(len(placed) - 1, -1, -1):
        placed[at] = min(placed[at], ceiling)
        ceiling = placed[at] - distance
    result = [0.0] * len(wanted)
    for position, index in zip(placed, order, strict=True):
        result[index] = position
    return result


def thin(points: Sequence[tuple[float, float]], columns: int) -> list[tuple[float, float]]:
    """At most the lowest and the highest of each of *columns* stretches of x, so that no peak is lost."""
    if len(points) <= 2 * columns:
        return list(points)
    first, last = points[0][0], points[-1][0]
    stretches: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        stretches.setdefault(int((point[0] - first) / ((last - first) or 1.0) * columns), []).append(point)
    kept = ({min(some, key=lambda p: p[1]), max(some, key=lambda p: p[1])} for some in stretches.values())
    return [point for some in kept for point in sorted(some)]
