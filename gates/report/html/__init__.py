"""The report as one self-contained HTML file: no script, no request, light and dark, phone to print."""

from gates.report.html.page import render

__all__ = ["render"]
