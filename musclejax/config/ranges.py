"""Ranges of the settings that are numbers."""

import math
import sys
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from musclejax.errors import InputError
from musclejax.files import flatten


class Range(NamedTuple):
    """Numbers that a setting may have.

    Attributes:
        low: The least.
        high: The greatest.
        above: Whether `low` itself is left out.
        below: Whether `high` itself is left out.
    """

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float | int) -> bool:
        """Return whether a number lies in the range; no range holds infinity, or beyond floats."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high and abs(value) <= sys.float_info.max

    def __str__(self) -> str:
        """Return the range in words."""
        low = f"more than {self.low:g}" if self.above else f"{self.low:g}"
        if math.isinf(self.high):
            return low if self.above else f"{low} or more"
        return f"{low} to {'less than ' if self.below else ''}{self.high:g}"


_SHARE = Range(0, 1, below=True)
RANGES = {
    Range(0): (
        "data.channel data.min_muscles data.clean_px phantom.people phantom.deformation "
        "phantom.artifacts split.seed augment.piecewise_scale augment.elastic_strength_px seed "
        "loss.border_weight optim.l2 plateau.min_delta train.checkpoint_minutes tune.l2"
    ),
    Range(0, above=True): (
        "intensity.divisor grid.spacing_mm augment.elastic_sigma_px loss.border_sigma_px "
        "optim.learning_rate optim.epsilon tune.learning_rate"
    ),
    Range(1): (
        "grid.size_px grid.thumbnail_px data.crop_px phantom.validation_slices plateau.patience "
        "train.epochs train.batch_size train.epoch_slices train.early_stopping_patience "
        "tune.max_epochs"
    ),
    Range(2): "augment.piecewise_points augment.set_size tune.eta",
    _SHARE: (
        "split.validation split.test optim.dropout optim.beta1 optim.beta2 "
        "optim.batch_norm_momentum optim.ema_decay tune.dropout phantom.empty data.synthetic_share"
    ),
    Range(0, 1): "augment.probability phantom.whole",
    Range(0, 1, above=True, below=True): "plateau.factor",
    Range(0, 100, above=True): "intensity.percentile",
    Range(-1, 3): "phantom.levels",
    Range(0, 180): "augment.rotation_deg",
}
"""Range -> settings that must lie in it; of a setting with several numbers, each of them."""
_RANGE_OF = {name: range_ for range_, names in RANGES.items() for name in names.split()}
_LOW_AND_HIGH = [
    "phantom.levels",
    "augment.piecewise_scale",
    "augment.elastic_strength_px",
    "augment.elastic_sigma_px",
    "tune.learning_rate",
    "tune.dropout",
    "tune.l2",
]
"""Settings that are the two ends of a range."""


def check_settings(config: ConfigDict) -> None:
    """Check that every number lies in its range of `RANGES`.

    Raises:
        InputError: If one does not, is missing, or if a low end is above its high end.
    """
    for name, value in flatten(config).items():
        check_setting(name, value)


def check_setting(name: str, value: Any) -> None:
    """Check one setting; see `check_settings`."""
    if value is None:
        raise InputError(name, "None", "a value")
    range_ = _RANGE_OF.get(name)
    if range_ is None:
        return
    several = isinstance(value, tuple | list)
    if not all(range_.holds(number) for number in (value if several else (value,))):
        accepted = f"{'each ' if several else ''}{range_}"
        raise InputError(name, str(value), accepted)
    if name in _LOW_AND_HIGH and (len(value) != 2 or value[0] > value[1]):
        raise InputError(name, str(value), "(LOW, HIGH) with LOW <= HIGH")
