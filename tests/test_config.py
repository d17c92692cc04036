"""Recipes, and settings that do not exist."""

from pathlib import Path

import pytest

from musclejax.config import config_hash, default_config, from_dict, load_recipe, recipe_names
from musclejax.errors import InputError


def test_recipes_ship_and_differ_only_in_their_task_and_sigma() -> None:
    assert {"region", "thigh", "leg"} <= set(recipe_names())
    for name in ("region", "thigh", "leg"):
        config = load_recipe(name)
        assert config.task == name
        config.task = default_config().task
        config.loss.border_sigma_px = default_config().loss.border_sigma_px
        assert config == default_config()


def test_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean thigh"):
        load_recipe("thihg")


def test_recipe_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from musclejax.config import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.variant = 'compact8'\n"
        "    return config\n"
    )
    assert load_recipe(file).variant == "compact8"


def test_from_dict_round_trip_and_unknown_setting() -> None:
    config = default_config()
    config.intensity.mode = "raw"
    assert from_dict(config.to_dict()) == config
    with pytest.raises(InputError, match="varaint"):
        from_dict({"varaint": "paper"})


def test_hash_changes_with_any_setting() -> None:
    config = default_config()
    before = config_hash(config.to_dict())
    config.intensity.percentile = 98.0
    assert config_hash(config.to_dict()) != before
