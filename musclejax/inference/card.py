"""What travels with an exported network: how to feed it, what it gives, where it comes from."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import musclejax
from musclejax import anatomy
from musclejax.models.variants import input_px, task_spec
from musclejax.models.weights import Network, Weights

USE = "Research use only; not a medical device."
_ORIENTATION = (
    "axial slices; row 0 anterior, column 0 the patient's right, slices from feet to head"
)
_RESAMPLING = {
    "slice": "resample each axis in plane with a cubic spline to spacing_mm (after a Gaussian of "
    "sigma = (step - 1) / 2 pixels if step = spacing_mm / own spacing > 1); centre the field of "
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


def describe(weights: Weights, task: str) -> dict[str, Any]:
    """Return what a user of an exported network must know; JSON-able.

    Args:
        weights: Weights that hold the network.
        task: "region", or the name of a region.
    """
    network = weights.networks[task]
    provenance = weights.provenance
    licence = provenance.get("licence", "not stated")
    return {
        "name": f"musclejax {task}",
        "use": USE,
        "caution": weights.caution,
        "trained": weights.trained,
        "licence": licence.get(task, "not stated") if isinstance(licence, Mapping) else licence,
        "description": provenance.get("description", ""),
        "musclejax": musclejax.__version__,
        "weights": weights.name,
        "weights_hash": weights.hash,
        "config_hash": network.hash,
        "task": task,
        "variant": network.config.variant,
        "spec": asdict(task_spec(network.spec, task)),
        "batch_norm": "folded" if network.spec.norm == "batch" else "none",
        "classes": class_names(task),
        "labels": dict(enumerate(class_names(task))),
        "input": _input(network),
    }


def class_names(task: str) -> list[str]:
    """Return a name for each class, in the order of the network's outputs."""
    if task == "region":
        return list(anatomy.REGIONS)
    muscles = anatomy.REGIONS[task].muscles
    return ["background", *(f"{m.abbreviation} {m.name}" for m in muscles)]


def _input(network: Network) -> dict[str, Any]:
    """Return the way from a scan to the network's input."""
    config, task = network.config, network.task
    mode, spec = config.intensity.mode, task_spec(network.spec, task)
    described = {
        "type": "float32",
        "channels": 1,
        "size_px": input_px(task),
        "size_multiple": spec.size_multiple,
        "spacing_mm": config.grid.spacing_mm,
        "orientation": _ORIENTATION,
        "resampling": _RESAMPLING["thumbnail" if task == "region" else "slice"],
        "intensity": {**config.intensity.to_dict(), "rule": _INTENSITY[mode]},
    }
    if task == "region":
        described["slice_px"] = config.grid.size_px
    elif tuple(config.data.crop_px) != (config.grid.size_px,) * 2:
        described |= {"window_px": list(config.data.crop_px), "window": _WINDOW}
    return described
