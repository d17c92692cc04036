"""Parameters, receptive fields and cost of a network, counted without running it."""

import math

from musclejax.anatomy import TASKS
from musclejax.models.description import Description
from musclejax.models.shapes import PARAMS, STATISTICS, ArrayPath, Shape, expected_shapes
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import task_spec


def describe(variant_or_spec: str | NetworkSpec, task: str) -> Description:
    """Count parameters, receptive fields and cost of a network, without running it.

    Raises:
        InputError: If the variant or the task does not exist.
    """
    spec, shapes = task_spec(variant_or_spec, task), expected_shapes(variant_or_spec, task)

    def count(collection: str) -> int:
        return sum(math.prod(shape) for path, shape in shapes.items() if path[0] == collection)

    return Description(
        task=task,
        input_px=TASKS[task].input_px,
        size_multiple=spec.size_multiple,
        num_classes=TASKS[task].num_classes,
        trainable_parameters=count(PARAMS),
        statistics=count(STATISTICS),
        receptive_fields=receptive_fields(spec),
        receptive_fields_exact=receptive_fields(spec, as_paper=False),
        gmac=_multiply_accumulates(spec, shapes, task) / 1e9,
    )


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


def _multiply_accumulates(spec: NetworkSpec, shapes: dict[ArrayPath, Shape], task: str) -> int:
    """Sum, over the layers, kernel elements times the pixels at which the kernel is applied."""
    px, total = TASKS[task].input_px, 0
    for path, shape in shapes.items():
        if path[-1] == "kernel":
            total += math.prod(shape) * _pixels(spec, path[1], path[2], px, task)
    return total


def _pixels(spec: NetworkSpec, block: str, unit: str, px: int, task: str) -> int:
    """Return at how many pixels a layer is applied, for an input of px x px."""
    if block == "head":
        return 1 if TASKS[task].is_classifier else (px // spec.strides[0]) ** 2
    kind, level = block.split("_")
    # A kernel that upsamples is applied once for each pixel of the coarser level.
    below = kind == "expand" and unit == "resample"
    return (px // math.prod(spec.strides[: int(level) + 1 + below])) ** 2
