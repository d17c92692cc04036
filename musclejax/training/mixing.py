"""Fine-tuning on scans with synthetic slices among them, so that a network forgets less."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from musclejax.data.sampler import MixedSampler
from musclejax.phantom.sampler import PhantomSampler, phantom_samplers
from musclejax.training.setup import Data, origins, weigh_synthetic


def mix(data: Data, config: ConfigDict, known: Mapping[str, Any] | None = None) -> Data:
    """Return the data of a run with synthetic slices of its region among those to train on.

    Other runs than those that `data.synthetic_share` describes are returned as they are.
    Validation slices stay those of scans.

    Args:
        data: From `setup.start_from`.
        config: Settings.
        known: Record of the run, if it resumes: it continues as it began.
    """
    if known is not None:
        share = _recorded_share(known)
    else:
        share = float(config.data.synthetic_share) if is_fine_tuned(data.record, config) else 0.0
    if share == 0:
        return data
    synthetic = phantom_samplers(config)["train"]
    train = MixedSampler(data.samplers["train"], synthetic, share)
    return replace(
        data,
        samplers={**data.samplers, "train": train},
        classes=_with_absent(data.classes, synthetic, config),
        record={**data.record, "synthetic": {"share": share, **origins(synthetic)}},
    )


def is_fine_tuned(record: Mapping[str, Any], config: ConfigDict) -> bool:
    """Return whether a run on scans began with weights that were trained on synthetic slices.

    Not if it takes intensities as stored: they have a scale that synthetic slices do not know.

    Args:
        record: The data of the run.
        config: Its settings.
    """
    learned = any(part.get("source") == "phantom" for part in record.get("earlier", []))
    return learned and (config.data.source, config.intensity.mode) == ("dataset", "percentile")


def _recorded_share(known: Mapping[str, Any]) -> float:
    return float(known.get("data", {}).get("synthetic", {}).get("share", 0.0))


def _with_absent(
    classes: Float[np.ndarray, " k"], synthetic: PhantomSampler, config: ConfigDict
) -> Float[np.ndarray, " k"]:
    """Return class weights in which muscles that the scans never label count in synthetic slices.

    Else the network would forget them first.
    """
    if (classes > 0).all():
        return classes
    alike = config.loss.class_weights == "none"
    return np.where(classes > 0, classes, 1 if alike else weigh_synthetic(synthetic, config))
