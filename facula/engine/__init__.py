"""Automatic differentiation: the graph of recorded operations, its walk, and what holds in a thread."""
