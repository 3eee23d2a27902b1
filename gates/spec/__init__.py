"""readiness.yaml becomes a plan, or every error at once with file, line and column."""

from gates.spec.problems import Problem, SpecErrors
from gates.spec.resolve import Resolved, profiles, read_yaml, resolve

__all__ = ["Problem", "Resolved", "SpecErrors", "profiles", "read_yaml", "resolve"]
