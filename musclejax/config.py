"""Every setting once, with its unit and source; recipes in `configs/` state only differences."""

import difflib
import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from musclejax.errors import InputError

SLICE_PX = 432
"""Height and width of the model grid. Source: paper, section "Segmentation Networks"."""
SLICE_SPACING_MM = 1.037037
"""Pixel spacing of the model grid. Source: 2021 code; the paper rounds it to 1.04 mm."""
THUMBNAIL_PX = 128
"""Height and width of the classifier's input. Source: paper, "Classification Network"."""


def default_config() -> ConfigDict:
    """Return every setting of one network with its default."""
    config = ConfigDict()
    # Which network of the tree: "region" (the classifier), "thigh" or "leg".
    config.task = "thigh"
    # Name in `musclejax.models.variants.VARIANTS`.
    config.variant = "paper"

    # How scanner intensities become network input.
    config.intensity = ConfigDict()
    # "percentile": divide by `percentile` of the voxels above the scan's mean, so that scanners
    # with any scale look alike (ours); "raw": as stored (2021 code, segmentation networks);
    # "divide": divide by `divisor` (2021 code, classifier).
    config.intensity.mode = "percentile"
    config.intensity.percentile = 99.0
    config.intensity.divisor = 4096.0

    # The grid that slices are resampled to before any network sees them.
    config.grid = ConfigDict()
    config.grid.size_px = SLICE_PX
    config.grid.spacing_mm = SLICE_SPACING_MM
    config.grid.thumbnail_px = THUMBNAIL_PX
    return config.lock()  # a misspelt setting is an error, not a new setting


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(path.stem for path in _recipe_folder().glob("[!_]*.py"))


def load_recipe(name_or_file: str | Path) -> ConfigDict:
    """Return the default with the changes of a recipe.

    Args:
        name_or_file: Name of a recipe that ships with the package, or a Python file with a
            function `get_config()`; it is run, so run only what you trust.

    Raises:
        InputError: If there is no such recipe.
    """
    file = Path(name_or_file)
    if file.suffix != ".py":
        file = _recipe_folder() / f"{name_or_file}.py"
    if not file.is_file():
        names = recipe_names()
        near = difflib.get_close_matches(str(name_or_file), names, n=1)
        hint = f"Did you mean {near[0]}?" if near else ""
        raise InputError("recipe", str(name_or_file), f"a file, or {', '.join(names)}", hint)
    config: ConfigDict = runpy.run_path(str(file))["get_config"]()
    return config


def from_dict(values: dict[str, Any]) -> ConfigDict:
    """Return the default with `values` laid over it.

    Raises:
        InputError: If `values` has a setting that does not exist, or one of another type.
    """
    config = default_config()
    try:
        config.update(values)
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError("configuration", str(error), "the settings of default_config()") from None
    return config


def config_hash(config: dict[str, Any]) -> str:
    """Return 12 hexadecimal digits that change when any setting does."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _recipe_folder() -> Path:
    """Return `configs/`: inside an installed package, beside it in a source tree."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
