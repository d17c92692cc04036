"""Weights that ship with the package, a folder each."""

DEFAULT_WEIGHTS = "phantom"
"""What `segment` and `demo` use if nothing else is asked for."""
