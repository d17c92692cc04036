"""One table of network variants, and what can be told of them without running them."""

import difflib
import math
import operator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from musclejax import anatomy
from musclejax.config import SLICE_PX, THUMBNAIL_PX
from musclejax.errors import InputError
from musclejax.models.region import RegionClassifier
from musclejax.models.spec import NetworkSpec
from musclejax.models.vnet import VNet

CLASSIFIER_STRIDE = 16
"""The classifier has the levels of the segmentation network down to a sixteenth of the input: the
first five (paper, Fig. 3)."""
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
"""Name -> segmentation network; add a variant by adding a row."""


@dataclass(frozen=True)
class Description:
    """What `musclejax describe` prints of one network.

    Attributes:
        task: "region", "thigh" or "leg".
        input_px: Height and width that the figures are for.
        size_multiple: Valid heights and widths are multiples of this; for the classifier only
            `input_px` itself is valid.
        num_classes: Outputs, background included.
        trainable_parameters: Weights that training changes.
        statistics: Batch-norm means and variances.
        receptive_fields: Height (= width) in pixels seen by each convolution of each
            contracting block, counted as in the paper's Table 1.
        receptive_fields_exact: The same, counted exactly; see `receptive_fields`.
        gmac: 10^9 multiply-accumulates for one slice.
    """

    task: str
    input_px: int
    size_multiple: int
    num_classes: int
    trainable_parameters: int
    statistics: int
    receptive_fields: list[list[int]]
    receptive_fields_exact: list[list[int]]
    gmac: float


def find(name: str) -> NetworkSpec:
    """Return the variant of that name.

    Raises:
        InputError: If there is none; the nearest name is suggested.
    """
    if name not in VARIANTS:
        near = difflib.get_close_matches(name, VARIANTS, n=1)
        hint = f"Did you mean {near[0]}?" if near else ""
        raise InputError("variant", repr(name), ", ".join(VARIANTS), hint)
    return VARIANTS[name]


def task_spec(spec: NetworkSpec, task: str) -> NetworkSpec:
    """Return what `task` uses of a variant: the classifier takes its first levels only."""
    if task != "region":
        return spec
    levels = sum(stride <= CLASSIFIER_STRIDE for stride in accumulate(spec.strides, operator.mul))
    return replace(spec, widths=spec.widths[:levels], strides=spec.strides[:levels])


def build_network(spec: NetworkSpec, task: str) -> nn.Module:
    """Return the Flax module of one network of the tree.

    Args:
        spec: The variant, as in `VARIANTS`.
        task: "region" for the classifier, else the name of a region.

    Raises:
        InputError: If `task` is not one of `anatomy.TASKS`.
    """
    if task not in anatomy.TASKS:
        raise InputError("task", repr(task), ", ".join(anatomy.TASKS))
    spec = task_spec(spec, task)
    if task == "region":
        return RegionClassifier(spec, len(anatomy.REGIONS))
    return VNet(spec, anatomy.REGIONS[task].num_classes)


def build(variant: str, task: str) -> nn.Module:
    """Return the network `task` of the variant of that name; see `build_network`."""
    return build_network(find(variant), task)


def input_px(task: str) -> int:
    """Return the height and width of the input that `task` is applied to."""
    return THUMBNAIL_PX if task == "region" else SLICE_PX


def input_shape(task: str) -> jax.ShapeDtypeStruct:
    """Return the shape and type of one input of `task`."""
    px = input_px(task)
    return jax.ShapeDtypeStruct((1, px, px, 1), jnp.float32)


def expected_variables(spec: NetworkSpec, task: str) -> dict[str, Any]:
    """Return the shape and type of every array of one network, without computing any."""
    module, key = build_network(spec, task), jax.random.key(0)
    return dict(jax.eval_shape(lambda x: module.init(key, x, train=False), input_shape(task)))


def receptive_fields(spec: NetworkSpec, *, as_paper: bool = True) -> list[list[int]]:
    """Return the receptive field after each convolution of each contracting block, in pixels.

    Args:
        spec: The network.
        as_paper: Count as the paper's Table 1 does. It gives the block with stride 3 a field of
            188, 284, 380 where a kernel of 3 on pixels 16 apart sees 172, 268, 364: its numbers
            are those of a kernel of 4. With False, what the network really sees.

    Source: paper, Table 1; the difference is tested by gradient.
    """
    rows, field, jump = [], 1, 1
    for stride in spec.strides:
        row: list[int] = []
        even = stride + stride % 2 if stride > 1 else 1
        for kernel in (even if as_paper else stride, *[3] * spec.units):
            field += (kernel - 1) * jump
            jump *= stride if not row else 1
            row.append(field)
        rows.append(row)
    return rows


def describe(spec: NetworkSpec, task: str) -> Description:
    """Count what a network has and costs, without running it."""
    px, variables = input_px(task), expected_variables(spec, task)

    def count(collection: str) -> int:
        return sum(math.prod(a.shape) for a in jax.tree.leaves(variables.get(collection, {})))

    spec = task_spec(spec, task)
    return Description(
        task=task,
        input_px=px,
        size_multiple=spec.size_multiple,
        num_classes=build_network(spec, task).num_classes,
        trainable_parameters=count("params"),
        statistics=count("batch_stats"),
        receptive_fields=receptive_fields(spec),
        receptive_fields_exact=receptive_fields(spec, as_paper=False),
        gmac=_multiply_accumulates(spec, variables["params"], px) / 1e9,
    )


def _multiply_accumulates(spec: NetworkSpec, params: Any, px: int) -> int:
    """Sum, over the layers, kernel elements times the pixels at which the kernel is applied."""
    total = 0
    for block_name, block in params.items():
        if block_name == "head":
            outputs = 1 if px == THUMBNAIL_PX else (px // spec.strides[0]) ** 2
            total += math.prod(block["kernel"].shape) * outputs
            continue
        kind, level = block_name.split("_")
        pixels = (px // math.prod(spec.strides[: int(level) + 1])) ** 2
        for unit_name, unit in block.items():
            # A transposed kernel is applied once for each pixel of the coarser level.
            coarse = kind == "expand" and unit_name == "resample"
            applied = pixels // spec.strides[int(level) + 1] ** 2 if coarse else pixels
            total += math.prod(unit["kernel"].shape) * applied
    return total
