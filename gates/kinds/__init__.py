"""The kinds of gates, one module a kind."""
