"""The metadata of an exported network: its input, its outputs, where it comes from."""

from dataclasses import asdict
from typing import Any

import musclejax
from musclejax.anatomy import TASKS
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance
from musclejax.models.variants import task_spec
from musclejax.models.weights import Weights

USE = "Research use only; not a medical device."
_ORIENTATION = (
    "axial slices; row 0 anterior, column 0 the patient's right, slices from feet to head"
)
_RESAMPLING = {
    "slice": "resample each axis in plane with a cubic spline to spacing_mm (after a Gaussian of "
    "sigma = (step - 1) / 2 pixels if step = spacing_mm / own spacing > 1); center the field of "
    "view on size_px x size_px pixels and pad with 0; cut a wider one around the middle of its "
    "signal",
    "thumbnail": "first as for the segmentation networks to slice_px x slice_px pixels of "
    "spacing_mm and scaled as intensity says; then shrink each slice to size_px x size_px, "
    "cubic with anti-aliasing (skimage.transform.resize, order 3), within the slice's own range",
}
_WINDOW = (
    "trained on windows of window_px around the limbs: after scaling, cut one around the body, "
    "larger by multiples of 48 pixels where it needs more; what lies beyond is background"
)
_INTENSITY = {
    "raw": "values as stored",
    "divide": "values / divisor",
    "percentile": "values / the given percentile of those voxels of the whole scan (all model "
    "slices) that are above the scan's mean",
}


def network_metadata(weights: Weights, task: str) -> dict[str, Any]:
    """Return what a user of an exported network must know; JSON-able.

    Args:
        weights: Weights that hold the network.
        task: "region", or the name of a region.
    """
    network = weights.networks[task]
    provenance = weights.provenance.get(task, Provenance())
    return {
        "name": f"musclejax {task}",
        "use": USE,
        "warning": weights.warning,
        "trained": provenance.trained,
        "license": provenance.license,
        "description": provenance.description,
        "musclejax": musclejax.__version__,
        "weights": weights.name,
        "weights_version": provenance.version,
        "weights_hash": weights.hash,
        "network_hash": network.hash,
        "task": task,
        "variant": network.config.variant,
        "spec": asdict(task_spec(network.spec, task)),
        "batch_norm": "folded" if network.spec.norm == "batch" else "none",
        "classes": list(TASKS[task].class_names),
        "labels": dict(enumerate(TASKS[task].class_names)),
        "input": _input(network),
    }


def _input(network: Network) -> dict[str, Any]:
    """Return the way from a scan to the network's input."""
    config, task = network.config, TASKS[network.task]
    mode, spec = config.intensity.mode, task_spec(network.spec, task.name)
    metadata = {
        "type": "float32",
        "channels": 1,
        "size_px": task.input_px,
        "size_multiple": spec.size_multiple,
        "spacing_mm": config.grid.spacing_mm,
        "orientation": _ORIENTATION,
        "resampling": _RESAMPLING["thumbnail" if task.is_classifier else "slice"],
        "intensity": {**config.intensity.to_dict(), "rule": _INTENSITY[mode]},
    }
    if task.is_classifier:
        metadata["slice_px"] = config.grid.size_px
    elif tuple(config.data.crop_px) != (config.grid.size_px,) * 2:
        metadata |= {"window_px": list(config.data.crop_px), "window": _WINDOW}
    return metadata
