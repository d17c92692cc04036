"""Weights that ship with the package, one folder per set."""

DEFAULT_WEIGHTS = "phantom"
"""Name of the weights that `segment` and `demo` use by default."""
