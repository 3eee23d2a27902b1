"""Tables, shares with their intervals and curves of the regression gate's error rates, as Markdown and SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scipy import stats

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 270, 46, 34, 48
COLOURS = ("#0b6e4f", "#b3261e", "#c77700", "#5b5f97", "#7a7a7a")
FARTHEST = 0.10


def percent(count: int, of: int) -> str:
    """A share in percent; `0` and `100` only where it is exactly that."""
    if not of:
        return "–"
    if count in (0, of):
        return f"{100 * count // of} %"
    share = 100 * count / of
    return f"{share:.3f} %" if min(share, 100 - share) < 0.1 else f"{share:.2f} %"


def share(count: int, of: int) -> str:
    """A share with its 95 % interval."""
    low, high = interval(count, of)
    return f"{count:,} of {of:,} ({100 * low:.2g} to {100 * high:.2g} %)"


def interval(count: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share."""
    low = 0.0 if count == 0 else float(stats.beta.ppf(0.025, count, of - count + 1))
    high = 1.0 if count == of else float(stats.beta.ppf(0.975, count + 1, of - count))
    return low, high


def least(of: int, rate: float) -> float:
    """The fewest of *of* that chance leaves at *rate*: one in ten thousand is below."""
    return float(stats.binom.ppf(0.0001, of, rate))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def figure(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """An SVG: how often a benchmark fails, against its true slowdown up to 10 %."""
    right = WIDTH - 280
    place = lambda x, y: (  # noqa: E731
        LEFT + x / FARTHEST * (right - LEFT),
        HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - TOP),
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="18" font-size="14">{title}</text>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        (x, y), (end, _) = place(0, tick), place(FARTHEST, tick)
        parts.append(f'<path d="M{x:.0f} {y:.1f}H{end:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{tick:.0%}</text>')
    for tick in (0, 0.02, 0.05, 0.1):
        x, y = place(tick, 0)
        parts.append(f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">+{tick:.0%}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">true slowdown; how often it fails</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points if x <= FARTHEST)
        width = 3 if number == 0 else 1.5
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        parts.append(f'<text x="{right + 12}" y="{TOP + 10 + 18 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def write(page: Path, part: str, text: str, figures: Mapping[str, str]) -> None:
    """Put *text* between the marks of *part* in *page*, and *figures* beside it in `images/`."""
    start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no part {part}: it must hold the lines {start} and {end}")
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")
    folder = page.parent / "images"
    folder.mkdir(exist_ok=True)
    for name, drawing in figures.items():
        (folder / f"regression-{name}.svg").write_text(drawing, encoding="utf-8")
