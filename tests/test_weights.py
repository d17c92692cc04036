"""Saved networks: round trip, folding, and folders that are damaged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from musclejax.errors import InputError
from musclejax.models.fold import fold_batch_norm
from musclejax.models.variants import VARIANTS, build_network
from musclejax.models.weights import (
    draw_variables,
    initialise,
    list_weights,
    load_weights,
    save_weights,
)
from tests.conftest import quick_jit


def randomised(variables: dict, seed: int = 0) -> dict:
    """Variables as after training: no statistic is 0 or 1."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: (
            np.asarray(np.abs(a) * 0.5 + rng.uniform(0.1, 1, a.shape), np.float32)
            if a.ndim == 1
            else np.asarray(a)
        ),
        variables,
    )


def test_round_trip_keeps_every_array_and_setting(weights_folder: Path, tmp_path: Path) -> None:
    weights = load_weights(weights_folder)
    assert set(weights.networks) == {"region", "thigh", "leg"}
    assert not weights.trained
    save_weights(tmp_path / "copy", weights.networks, weights.provenance)
    copy = load_weights(tmp_path / "copy")
    assert copy.hash == weights.hash
    for task, network in weights.networks.items():
        assert copy.networks[task].config == network.config
        jax.tree.map(
            np.testing.assert_array_equal, copy.networks[task].variables, network.variables
        )


def test_half_precision_halves_the_kernels_on_disk(weights_folder: Path, tmp_path: Path) -> None:
    networks = load_weights(weights_folder).networks
    for name, half in (("whole", False), ("half", True)):
        save_weights(tmp_path / name, networks, {}, half=half)
    sizes = [
        sum(p.stat().st_size for p in (tmp_path / name).rglob("*") if p.is_file())
        for name in ("half", "whole")
    ]
    assert sizes[0] < 0.65 * sizes[1]
    again = load_weights(tmp_path / "half").networks["leg"].variables
    before = networks["leg"].variables
    for found, array in zip(jax.tree.leaves(again), jax.tree.leaves(before), strict=True):
        assert found.dtype == np.float32
        # Half precision has 11 bits; what has one axis is stored whole.
        bound = 2.0**-11 if array.ndim > 1 else 0.0
        np.testing.assert_allclose(found, array, rtol=bound, atol=1e-7)


def test_saving_replaces_what_was_there(weights_folder: Path, tmp_path: Path) -> None:
    networks = load_weights(weights_folder).networks
    save_weights(tmp_path / "w", networks, {"n": 1})
    save_weights(tmp_path / "w", {"leg": networks["leg"]}, {"n": 2})
    again = load_weights(tmp_path / "w")
    assert (set(again.networks), again.provenance["n"]) == ({"leg"}, 2)
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == ["leg", "weights.json"]


def test_a_failed_save_leaves_the_old_weights(weights_folder: Path, tmp_path: Path) -> None:
    networks = load_weights(weights_folder).networks
    save_weights(tmp_path / "w", networks, {"n": 1})
    with pytest.raises(TypeError, match="JSON"):
        save_weights(tmp_path / "w", networks, {"n": object()})
    assert load_weights(tmp_path / "w").provenance["n"] == 1
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == [*sorted(networks), "weights.json"]


def test_saving_spares_folders_that_are_no_weights(weights_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "leg").mkdir()
    (tmp_path / "leg" / "scan.nii.gz").write_text("precious")
    with pytest.raises(OSError, match="not empty"):
        save_weights(tmp_path, load_weights(weights_folder).networks, {})
    assert (tmp_path / "leg" / "scan.nii.gz").read_text() == "precious"


def test_hash_changes_with_one_number(weights_folder: Path, tmp_path: Path) -> None:
    weights = load_weights(weights_folder)
    leg = weights.networks["leg"]
    changed = jax.tree.map(np.array, dict(leg.variables))
    changed["params"]["head"]["bias"][0] += 0.25
    save_weights(tmp_path / "w", {**weights.networks, "leg": replace(leg, variables=changed)}, {})
    assert load_weights(tmp_path / "w").hash != weights.hash


def test_initialisation_is_seeded() -> None:
    first, again, other = (initialise("region", "compact4", seed) for seed in (1, 1, 2))
    kernels = [n.variables["params"]["head"]["kernel"] for n in (first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0


def damage_index(folder: Path) -> None:
    (folder / "weights.json").write_text("{")


def damage_format(folder: Path) -> None:
    index = json.loads((folder / "weights.json").read_text())
    (folder / "weights.json").write_text(json.dumps({**index, "format": 99}))


def damage_arrays(folder: Path) -> None:
    shutil.rmtree(folder / "leg")


def damage_variant(folder: Path) -> None:
    index = json.loads((folder / "weights.json").read_text())
    index["networks"]["leg"]["variant"] = "compact8"
    (folder / "weights.json").write_text(json.dumps(index))


def damage_setting(folder: Path) -> None:
    index = json.loads((folder / "weights.json").read_text())
    index["networks"]["leg"]["colour"] = "blue"
    (folder / "weights.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_index, "JSONDecodeError"),
        (damage_format, "format 99"),
        (damage_arrays, "leg: found no readable arrays"),
        (damage_variant, r"of shape \(4,\); accepted: \(8,\) as variant compact8"),
        (damage_setting, "colour"),
    ],
)
def test_damaged_folders_are_refused(
    damage,
    message: str,
    weights_folder: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(weights_folder, tmp_path / "w")
    damage(tmp_path / "w")
    with pytest.raises(InputError, match=message) as error:
        load_weights(tmp_path / "w")
    assert "\n" not in str(error.value)


def test_missing_weights_name_the_bundled_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such weights; accepted: a bundled name \("):
        load_weights("nothing")
    with pytest.raises(InputError, match=r"a folder without weights\.json"):
        load_weights(tmp_path)


def test_bundled_weights_load_and_say_what_they_are() -> None:
    bundled = list_weights()
    assert "phantom" in bundled
    for name, index in bundled.items():
        assert index["provenance"]["description"]
        assert index["provenance"]["licence"]
        assert set(load_weights(name).networks) == set(index["networks"])


@pytest.mark.parametrize("name", ["paper", "unet", "nearest"])
@pytest.mark.parametrize("task", ["leg", "region"])
def test_folded_network_computes_the_same(name: str, task: str) -> None:
    spec = replace(VARIANTS[name], widths=(3, 4, 5, 6, 7, 8))
    module = build_network(spec, task)
    px = 128 if task == "region" else 48
    image = jax.numpy.asarray(np.random.default_rng(1).normal(size=(2, px, px, 1)), "float32")
    variables = randomised(draw_variables(spec, task, 0))
    folded = build_network(replace(spec, norm="none"), task)
    expected = quick_jit(lambda v: module.apply(v, image, train=False))(variables)
    found = quick_jit(lambda v: folded.apply(v, image, train=False))(fold_batch_norm(variables))
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale)
