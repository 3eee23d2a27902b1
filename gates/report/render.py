"""Every rendering of a report, written beside readiness.json."""

from __future__ import annotations

from pathlib import Path

from gates import codec
from gates.model import Report
from gates.report import html, junit, markdown


def render_all(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.md, report.html and report.junit.xml into *folder*, each at once, and return their paths."""
    renderings = {"report.md": markdown.render, "report.html": html.render, "report.junit.xml": junit.render}
    return tuple(_write(folder / name, render(report)) for name, render in renderings.items())


def _write(path: Path, content: str) -> Path:
    codec.replace(path, content.encode())
    return path
