"""readiness.json for people and machines: Markdown, HTML, JUnit, GitHub, the terminal; each a pure function of the report."""
