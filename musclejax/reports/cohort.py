"""Which scans of a cohort a person should look at first."""

from collections.abc import Mapping
from typing import Any

from musclejax.prediction.estimate import show_flagged

LISTED = 10
"""Scans that are named at most."""
Flagged = dict[str, float]
"""Side and muscle -> estimated DSC, of the flagged ones; the lowest first."""


def read_flagged(record: Mapping[str, Any]) -> Flagged:
    """Return the flagged muscles of a run record; none of a record without them."""
    found = record.get("flagged")
    table = found if isinstance(found, dict) else {}
    return {str(name): float(dsc) for name, dsc in table.items() if isinstance(dsc, float)}


def order_by_need(scans: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line per scan with flagged muscles: most of them first, then the lowest estimate.

    Args:
        scans: Name of each scan, and its flagged muscles as in `Flagged`.
    """
    found = {name: flagged for name, flagged in scans.items() if flagged}
    order = sorted(found, key=lambda name: (-len(found[name]), min(found[name].values()), name))
    lines = [f"{name}: {show_flagged(found[name])}" for name in order[:LISTED]]
    return [*lines, *([f"{len(order) - LISTED} more"] if len(order) > LISTED else [])]
