"""One table of network variants: add a variant by adding a row."""

import operator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from musclejax.anatomy import TASKS
from musclejax.errors import InputError
from musclejax.models.spec import NetworkSpec

CLASSIFIER_STRIDE = 16
"""The classifier has the levels of the segmentation network down to a sixteenth of the input: the
first five (paper, Fig. 3)."""
UNLISTED = "unlisted"
"""The variant in the settings of a network whose specification is no row of the table."""
_PAPER = NetworkSpec()


def _width(first: int, **changes: Any) -> NetworkSpec:
    """Return the paper's network with its widths scaled to start at `first`."""
    return replace(_PAPER, widths=tuple(w * first // 32 for w in _PAPER.widths), **changes)


VARIANTS: dict[str, NetworkSpec] = {
    # The network of the paper: Fig. 4, Table 1.
    "paper": _PAPER,
    # Compact: the same depth at a fraction of the width; cost falls with the square. Ours.
    "compact4": _width(4),
    "compact8": _width(8),
    "compact16": _width(16),
    # Compact, and its finest level sees patches of 2 x 2 pixels: no narrow layers at full
    # resolution, which fill half of a processor's vectors. Ours; patches as in Shi et al. 2016,
    # "Real-time single image super-resolution".
    "half16": replace(_PAPER, widths=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2, 3)),
    "half32": replace(_PAPER, widths=(32, 64, 128, 256, 512), strides=(2, 2, 2, 2, 3)),
    # half32 with fewer channels where pixels are coarse, which cost little time and are most of
    # its parameters (5.0 of 11.4 million stay): nnU-Net caps them too. What musclejax ships. Ours.
    "slim32": replace(_PAPER, widths=(32, 64, 128, 192, 256), strides=(2, 2, 2, 2, 3)),
    # No shortcut inside the blocks: a U-Net (Ronneberger et al. 2015; paper, section "Deep
    # learning analysis", names it as the alternative).
    "unet": replace(_PAPER, residual=False),
    # Independent of the batch: Wu and He 2018, "Group Normalization".
    "groupnorm": replace(_PAPER, norm="group"),
    # No checkerboard from the resampling kernel: Odena et al. 2016, distill.pub.
    "nearest": replace(_PAPER, upsampling="nearest"),
    # One level more and one less than the paper's six. Ours.
    "deeper": replace(_PAPER, widths=(*_PAPER.widths, 1024), strides=(*_PAPER.strides, 3)),
    "shallower": replace(_PAPER, widths=_PAPER.widths[:5], strides=_PAPER.strides[:5]),
}
"""Name -> specification of the segmentation network."""


def find(variant_or_spec: str | NetworkSpec) -> NetworkSpec:
    """Return the variant of that name; a specification is returned as it is.

    Raises:
        InputError: If there is none; the nearest name is suggested.
    """
    if isinstance(variant_or_spec, NetworkSpec):
        return variant_or_spec
    if variant_or_spec not in VARIANTS:
        raise InputError.choice("variant", variant_or_spec, VARIANTS)
    return VARIANTS[variant_or_spec]


def variant_name(spec: NetworkSpec) -> str:
    """Return the name of the row that a specification equals, or `UNLISTED`."""
    return next((name for name, row in VARIANTS.items() if row == spec), UNLISTED)


def task_spec(variant_or_spec: str | NetworkSpec, task: str) -> NetworkSpec:
    """Return the part of a variant that a task uses: the classifier has its first levels only.

    Raises:
        InputError: If the variant or the task does not exist, or the strides do not fit the task's
            input.
    """
    spec = find(variant_or_spec)
    if task not in TASKS:
        raise InputError.choice("task", task, TASKS)
    px = TASKS[task].input_px
    if TASKS[task].is_classifier:
        products = accumulate(spec.strides, operator.mul)
        levels = sum(stride <= CLASSIFIER_STRIDE for stride in products)
        spec = replace(spec, widths=spec.widths[:levels], strides=spec.strides[:levels])
    if px % spec.size_multiple:
        raise InputError("strides", str(spec.strides), f"factors of {px}, the {task} input's size")
    return spec
