"""The reference ICN node: the system that the embedded federation consists of.

Nobody imports this package: a node is started by `python -m gates.node` and spoken to over HTTP. What is ICN's own reaches the
pipeline through `gates.node.plugin`.
"""
