"""Settings: recipes, changes as text, ranges, and errors that name file and line."""

import ast
from pathlib import Path
from typing import Any

import click
import pytest

from musclejax.cli.main import main
from musclejax.config import (
    RANGES,
    apply_settings,
    check_setting,
    config_hash,
    default_config,
    from_dict,
    load_recipe,
    recipe_names,
)
from musclejax.errors import InputError
from musclejax.files import flatten

ROOT = Path(__file__).parents[1]
OWN = """\
from musclejax.config import default_config
def get_config():
    config = default_config()
"""
"""The beginning of a recipe, three lines."""


def test_recipes_ship_and_differ_only_in_their_task_and_sigma() -> None:
    assert {"region", "thigh", "leg"} <= set(recipe_names())
    for name in ("region", "thigh", "leg"):
        config = load_recipe(name)
        assert config.task == name
        config.task = default_config().task
        config.loss.border_sigma_px = default_config().loss.border_sigma_px
        assert config == default_config()


@pytest.mark.parametrize(
    "file",
    [*sorted((ROOT / "configs").glob("*.py")), ROOT / "examples" / "huashan.py"],
    ids=lambda file: file.stem,
)
def test_the_header_of_a_recipe_states_command_data_time_and_result(file: Path) -> None:
    header = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert "\n    musclejax t" in header
    for word in ("Data:", "Time:", "Result:"):
        assert word in header


def test_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean thigh"):
        load_recipe("thihg")


def test_recipe_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{OWN}    config.variant = 'compact8'\n    return config\n")
    assert load_recipe(file).variant == "compact8"
    assert load_recipe(file, ["variant=paper"]).variant == "paper"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no python\n", "line 1: found SyntaxError: invalid syntax"),
        ("\0", "line 1: found SyntaxError: source code string cannot contain null bytes"),
        ("x = 1\n", r"line 1: found no get_config\(\)"),
        (OWN, "line 1: found NoneType from get_config"),
        (f"{OWN}    config.optim.learningrate = 1.0\n", "line 4: .*Did you mean learning_rate?"),
        (f"{OWN}    config.optim.l2 = 'much'\n", "line 4: found TypeError: .*'l2'"),
        (f"{OWN}    raise RuntimeError('two\\nlines')\n", "line 4: found RuntimeError: two lines;"),
        ("import sys\nsys.exit(3)\n", "line 2: found SystemExit: 3"),
        ("from musclejax import nothing\n", "line 1: found ImportError: cannot import"),
        (
            "from musclejax.config import load_recipe\ndef get_config():\n"
            "    return load_recipe('thihg')\n",
            "line 3: recipe: found thihg; .*Did you mean thigh?",
        ),
        (
            f"{OWN}    config.optim.l2 = 1.0\n    config.optim.l2 = -1.0\n    return config\n",
            "line 5: optim.l2: found -1.0; accepted: 0 or more",
        ),
        (f"{OWN}    config.optim.l2 = None\n    return config\n", "line 4: optim.l2: found None"),
        (
            f"{OWN}    optim = config.optim\n    optim.beta1 = 1.0\n    return config\n",
            "line 5: optim.beta1: found 1.0",
        ),
        (
            f"{OWN}    config.optim.update(beta1=1.0)\n    return config\n",
            r"mine\.py: optim.beta1: found 1.0",
        ),
    ],
)
def test_a_recipe_that_fails_is_one_line(text: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(InputError, match=found) as error:
        load_recipe(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("optim.amsgrad=false", False),
        ("optim.amsgrad=True", True),
        ("optim.amsgrad=0", False),
        ("optim.l2=0", 0.0),
        ("optim.learning_rate=1e-3", 0.001),
        ("train.epochs=7", 7),
        ("data.crop_px=192,336", (192, 336)),
        ("data.crop_px=(192, 336)", (192, 336)),
        ("data.crop_px=[192,336]", (192, 336)),
        ("augment.elastic_sigma_px=5,10", (5.0, 10.0)),
        ("variant=compact8", "compact8"),
        ("variant='compact8'", "compact8"),
        ('variant="compact8"', "compact8"),
        ("data.absent=AL,BFS", "AL,BFS"),
        ("data.absent=", ""),
    ],
)
def test_changes_as_text(change: str, value: Any) -> None:
    """As `ml_collections.config_flags` reads them."""
    name = change.partition("=")[0]
    found = flatten(apply_settings(default_config(), [change]))[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.learningrate=1", "Did you mean optim.learning_rate"),
        ("optim.l2", "NAME=VALUE"),
        ("optim.l2=abc", "found 'abc'; accepted: a value like the default, 0.01"),
        ("optim.l2=None", "found 'None'; accepted: a value like the default, 0.01"),
        ("optim.amsgrad=perhaps", "a value like the default, True"),
        ("train.epochs=2.5", "a value like the default, 40"),
        ("data.crop_px=192", r"a value like the default, \(432, 432\)"),
        ("variant='x", "a value like the default, 'paper'"),
        ("train.epochs=-1", "train.epochs: found -1; accepted: 1 or more"),
        ("optim.l2=nan", "optim.l2: found nan; accepted: 0 or more"),
        ("optim.learning_rate=0", "optim.learning_rate: found 0.0; accepted: more than 0"),
        ("optim.dropout=1", "optim.dropout: found 1.0; accepted: 0 to less than 1"),
        ("data.crop_px=0,48", r"found \(0, 48\); accepted: each 1 or more"),
        ("augment.elastic_sigma_px=9,5", "LOW <= HIGH"),
    ],
)
def test_changes_that_cannot_be(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        apply_settings(default_config(), [change])


def test_a_value_out_of_range_is_that_of_the_option_or_of_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{OWN}    config.optim.l2 = -1.0\n    return config\n")
    assert load_recipe(file, ["optim.l2=1"]).optim.l2 == 1
    with pytest.raises(InputError, match="^--set optim.l2: found -2.0; accepted: 0 or more"):
        load_recipe(file, ["optim.l2=-2"])
    with pytest.raises(InputError, match="line 4: optim.l2: found -1.0"):
        load_recipe(file, ["train.epochs=2"])


def test_ranges_are_checked_after_the_last_change() -> None:
    changes = ["tune.dropout=0.6,0.5", "tune.dropout=0.4,0.5", "optim.l2=-1", "optim.l2=1"]
    assert apply_settings(default_config(), changes).optim.l2 == 1


def test_every_number_has_a_range_that_holds_its_default() -> None:
    named = {name for names in RANGES.values() for name in names.split()}
    defaults = flatten(default_config())
    numbers = {
        name
        for name, value in defaults.items()
        if isinstance(value, int | float | tuple) and not isinstance(value, bool)
    }
    assert named == numbers
    for name in named:
        check_setting(name, defaults[name])


def test_recipe_options_are_the_same_in_all_commands() -> None:
    dataset = main.commands["dataset"]
    assert isinstance(dataset, click.Group)
    commands = [main.commands[name] for name in ("train", "tune", "augment")]
    shared = [
        {p.name: (p.opts, p.help, p.metavar, p.multiple) for p in command.params if p.name in NAMES}
        for command in (*commands, dataset.commands["show"])
    ]
    assert all(options == shared[0] for options in shared)
    assert set(shared[0]) == NAMES
    assert "is executed" in shared[0]["config"][1]


NAMES = {"config", "data", "set"}


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
