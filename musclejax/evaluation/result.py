"""What an evaluation finds: rows per muscle, slice and case, and where its scenes are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Decision:
    """The classifier's decision on a scan whose region is known.

    Attributes:
        region: The most probable region.
        probability: Of that region, 0 to 1.
        split: The scan's role in training the classifier.
    """

    region: str
    probability: float
    split: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Measures of one case or, put together, of many.

    Attributes:
        muscles: A row per muscle and side; see `compare.compare`.
        slices: A row per slice.
        cases: A row per case: means over the muscles, both sides as one label.
    """

    muscles: pd.DataFrame
    slices: pd.DataFrame
    cases: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The comparison of all cases, to be reported.

    Attributes:
        what: What was compared, one line.
        method: Which slices count, one line.
        comparison: The rows of all cases; `cases` with the classifier's columns.
        warnings: What a reader must know before relying on the numbers.
        scenes: Folder with a `CASE.npz` per case, for the pictures (see `scene`); None if none
            were kept.
    """

    what: str
    method: str
    comparison: Comparison
    warnings: Sequence[str] = ()
    scenes: Path | None = None
