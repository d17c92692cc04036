"""A segmentation without a network, for tests of everything around it; `python -m tests.pretend`
is the command line with it."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from musclejax.cli.main import main
from musclejax.loops import Stage
from musclejax.prediction.result import Segmentation
from musclejax.scan.sides import Sides
from musclejax.scan.volume import Volume


def pretend_steps(volume: Volume, *_: Any) -> Generator[Stage, None, Segmentation]:
    """Label the bright voxels sartorius of the right thigh."""
    yield Stage("network")
    labels = (volume.data > volume.data.mean()).astype(np.uint8)
    return Segmentation(
        volume=volume,
        labels=labels,
        confidence=np.full(labels.shape, 255, np.uint8),
        sides=Sides(np.full(labels.shape, 2, np.uint8), "gap"),
        covered=np.ones(labels.shape, bool),
        region="thigh",
        region_probability=None,
        weights="none",
        trained=False,
        warnings=volume.warnings,
    )


def pretend_picture(result: Segmentation, path: Path, **_: Any) -> None:
    """Write a file where the contact sheet would be."""
    path.write_bytes(b"picture of " + result.labels.tobytes())


if __name__ == "__main__":
    from musclejax.app import one_scan
    from musclejax.reports import segmentation

    one_scan.segment_steps = pretend_steps
    segmentation.draw = pretend_picture
    main()
