"""How much memory segmenting takes, told before it begins; and the batch size that fits."""

import math
from dataclasses import dataclass

import jax

from musclejax import anatomy
from musclejax.config import SLICE_PX
from musclejax.errors import InputError
from musclejax.models.spec import NetworkSpec
from musclejax.models.weights import Weights

MAX_BATCH_SIZE = 8
"""More slices at once give no speed. Source: ours; see `predictor.BATCH_SIZE`."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """What peak memory is made of, for one engine.

    Attributes:
        base_mib: Python, libraries, compiler, tables and picture.
        weight_copies: How often the weights are held: as loaded, folded, in the engine's layout.
        tensors: Float32 tensors of the finest level that a slice needs at the same time.
    """

    base_mib: float
    weight_copies: float
    tensors: float


COSTS = {
    "jax": Cost(580.0, 2.5, 7.0),
    "onednn": Cost(580.0, 3.5, 7.0),
    "onnxruntime": Cost(650.0, 3.0, 20.0),
    "openvino": Cost(720.0, 3.5, 8.0),
}
"""Engine -> cost. Source: fitted to lie above ours: `musclejax segment` of a scan of 31 slices of
320 x 320 on two cores peaked, in batches of 1, 2, 4 and 8, at 1489, 1617, 1856 and 2332 MiB with
the paper's networks (373 MiB), and at 755, 708, 767 and 930 MiB with compact8 (23 MiB; the first of
these compiled, which the others found in the cache). In batches of 1 and 4 onnxruntime peaked at
1898 and 3092, with compact8 at 713 and 969 MiB; openvino at 1896 and 2265, 736 and 882. With half16
(23 MiB), in batches of 1, 4 and 8: jax 666, 620 and 832, onnxruntime 647, 822 and 1026, openvino
670, 824 and 1024. XLA itself plans 3.5 to 4 such tensors, in either precision: `memory_analysis`
of the compiled function."""
CLASS_TENSORS = 6.0
"""Tensors of full resolution with a channel for each class: what a compact network's last layer and
its softmax need. Source: the same runs with half16."""
SCAN_BYTES = 48
"""Bytes for each voxel of the scan: as read, resampled, probabilities in the network's windows
until labels are brought back, labels, their measurement. With slim32 a scan of 31 slices of
320 x 320 peaked at 765 MiB where 1047 are estimated, one of 200 of 256 x 256 at 1360 of 1502."""
CLASS_BYTES = 6
"""Bytes for each voxel and class whose probabilities are kept."""


def estimate_peak_mib(
    spec: NetworkSpec,
    classes: int,
    weights_mib: float,
    batch_size: int,
    voxels: int,
    *,
    engine: str = "jax",
    probabilities: bool = False,
) -> float:
    """Return what peak resident memory stays below, in MiB.

    Args:
        spec: Of the segmentation network. Its finest level decides: each further one has twice the
            channels at a quarter of the pixels.
        classes: Of the segmentation network.
        weights_mib: Size of all networks that are loaded.
        batch_size: Slices at once.
        voxels: Of the scan; of slices of 256 x 256 or more.
        engine: One of `engines.ENGINES`.
        probabilities: Whether those of every class are kept.
    """
    cost = COSTS[engine]
    floats = max(cost.tensors * spec.widths[0] / spec.strides[0] ** 2, CLASS_TENSORS * classes)
    slice_mib = floats * SLICE_PX**2 * FLOAT_BYTES / 2**20
    scan_mib = voxels * (SCAN_BYTES + CLASS_BYTES * classes * probabilities) / 2**20
    return cost.base_mib + cost.weight_copies * weights_mib + batch_size * slice_mib + scan_mib


def fit_batch_size(
    limit_gb: float,
    weights: Weights,
    voxels: int,
    *,
    region: str = "auto",
    engine: str = "jax",
    probabilities: bool = False,
) -> int:
    """Return the largest batch, up to `MAX_BATCH_SIZE`, whose estimated peak fits.

    Args:
        limit_gb: Memory of the process, in units of 10^9 bytes.
        weights: What is loaded.
        voxels: Of the largest scan.
        region: As for `segment`; "auto" may take any segmentation network.
        engine: One of `engines.ENGINES`.
        probabilities: Whether those of every class are kept.

    Raises:
        InputError: If not even a batch of one slice fits.
    """
    tasks = anatomy.REGIONS if region == "auto" else (region,)
    used = [weights.networks[task] for task in tasks if task in weights.networks]
    arrays = (jax.tree.leaves(dict(n.variables)) for n in weights.networks.values())
    weights_mib = sum(array.nbytes for leaves in arrays for array in leaves) / 2**20

    def needed_gb(batch_size: int) -> float:
        peaks = (
            estimate_peak_mib(
                network.spec,
                anatomy.REGIONS[network.task].num_classes,
                weights_mib,
                batch_size,
                voxels,
                engine=engine,
                probabilities=probabilities,
            )
            for network in used
        )
        return max(peaks, default=0.0) * 2**20 / 1e9

    fitting = [size for size in range(1, MAX_BATCH_SIZE + 1) if needed_gb(size) <= limit_gb]
    if not fitting:
        least = math.ceil(10 * needed_gb(1)) / 10
        found = f"{limit_gb:g} GB, which one slice at a time may exceed"
        raise InputError("--memory", found, f"{least:g} or more for these weights and scans")
    return fitting[-1]
