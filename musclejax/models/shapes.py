"""Names and shapes of a network's arrays, by arithmetic: nothing is traced, no JAX is needed."""

from collections.abc import Iterator, Mapping
from typing import Any

from musclejax.anatomy import TASKS
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import task_spec

ArrayPath = tuple[str, ...]
"""Collection, block, unit ... name, as ("params", "contract_0", "resample", "kernel")."""
Shape = tuple[int, ...]
PARAMS, STATISTICS = "params", "batch_stats"
"""Flax's collections: what the optimizer changes, and the running statistics of batch norm."""


def expected_shapes(variant_or_spec: str | NetworkSpec, task: str) -> dict[ArrayPath, Shape]:
    """Return the shape of every array of a network, sorted by path; all are float32.

    Raises:
        InputError: If the variant or the task does not exist.
    """
    spec = task_spec(variant_or_spec, task)
    units = dict(_contracting(spec))
    if TASKS[task].is_classifier:
        side = TASKS[task].input_px // spec.size_multiple
        head = (side**2 * spec.widths[-1], TASKS[task].num_classes)
    else:
        units |= _expanding(spec)
        head = (spec.widths[0], TASKS[task].num_classes * spec.strides[0] ** 2)
    shapes: dict[ArrayPath, Shape] = {(PARAMS, "head", "kernel"): head}
    shapes[PARAMS, "head", "bias"] = head[1:]
    for unit, kernel in units.items():
        shapes |= {(PARAMS, *unit, "kernel"): kernel, (PARAMS, *unit, "bias"): kernel[-1:]}
        shapes |= dict.fromkeys(_norm_paths(spec, unit), kernel[-1:])
    return dict(sorted(shapes.items()))


def _contracting(spec: NetworkSpec) -> Iterator[tuple[ArrayPath, Shape]]:
    channels = 1
    for level, (width, stride) in enumerate(zip(spec.widths, spec.strides, strict=True)):
        block = f"contract_{level}"
        yield (block, "resample"), (stride, stride, channels, width)
        yield from _units(spec, block, width, width)
        channels = width


def _expanding(spec: NetworkSpec) -> dict[ArrayPath, Shape]:
    kernels: dict[ArrayPath, Shape] = {}
    for level, width in enumerate(spec.widths[:-1]):
        block = f"expand_{level}"
        side = 1 if spec.upsampling == "nearest" else spec.strides[level + 1]
        kernels[block, "resample"] = (side, side, spec.widths[level + 1], width)
        kernels |= dict(_units(spec, block, 2 * width, width))
    return kernels


def _units(
    spec: NetworkSpec, block: str, channels: int, width: int
) -> Iterator[tuple[ArrayPath, Shape]]:
    for number in range(spec.units):
        yield (block, f"unit_{number}"), (3, 3, width if number else channels, width)


def _norm_paths(spec: NetworkSpec, unit: ArrayPath) -> list[ArrayPath]:
    names = {
        "none": [],
        "group": [(PARAMS, "scale"), (PARAMS, "bias")],
        "batch": [
            (PARAMS, "scale"),
            (PARAMS, "bias"),
            (STATISTICS, "mean"),
            (STATISTICS, "var"),
        ],
    }
    return [(collection, *unit, "norm", name) for collection, name in names[spec.norm]]


def flatten_arrays(tree: Mapping[str, Any]) -> dict[ArrayPath, Any]:
    """Return nested dicts of arrays as one dict by path, sorted."""

    def walk(path: ArrayPath, node: Any) -> Iterator[tuple[ArrayPath, Any]]:
        if not isinstance(node, Mapping):
            yield path, node
            return
        for name, child in node.items():
            yield from walk((*path, name), child)

    return dict(sorted(walk((), tree)))


def nest_arrays(arrays: Mapping[ArrayPath, Any]) -> dict[str, Any]:
    """Undo `flatten_arrays`."""
    tree: dict[str, Any] = {}
    for (*parents, name), array in arrays.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return tree
