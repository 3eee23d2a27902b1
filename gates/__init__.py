"""Readiness Gates: decide from measured evidence whether a build may be released."""
