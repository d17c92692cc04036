"""Saved weights: round trips, lazy reading, whole files at any kill, the words about them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from musclejax.anatomy import TASKS
from musclejax.errors import InputError
from musclejax.models import variants, weight_file
from musclejax.models.fold import fold_batch_norm
from musclejax.models.initialization import initialize
from musclejax.models.network import Network, build
from musclejax.models.provenance import UNTRAINED, Provenance
from musclejax.models.shapes import flatten_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import VARIANTS
from musclejax.models.weights import Weights, list_weights, load_weights, save_weights
from tests.conftest import quick_jit
from tests.networks import drawn, network_of

FILES = sorted(f"{task}.safetensors" for task in TASKS)


@pytest.fixture(scope="module")
def networks(weights_folder: Path) -> dict[str, Network]:
    return dict(load_weights(weights_folder).networks)


def assert_equal_arrays(one: Network, other: Network) -> None:
    jax.tree.map(np.testing.assert_array_equal, dict(one.variables), dict(other.variables))


def test_round_trip_keeps_every_array_and_setting(weights_folder: Path, tmp_path: Path) -> None:
    weights = load_weights(weights_folder)
    assert set(weights.networks) == set(TASKS)
    assert not weights.trained
    save_weights(tmp_path / "copy", weights.networks, weights.provenance)
    copy = load_weights(tmp_path / "copy")
    assert copy.hash == weights.hash
    assert copy.provenance == weights.provenance
    for task, network in weights.networks.items():
        again = copy.networks[task]
        assert (again.config, again.spec) == (network.config, network.spec)
        assert again.hash == network.hash == replace(network).hash  # as the file says; as computed
        assert_equal_arrays(again, network)
    for file in FILES:  # the same content is the same bytes
        assert (tmp_path / "copy" / file).read_bytes() == (weights_folder / file).read_bytes()


def test_half_precision_halves_the_kernels_on_disk(
    networks: dict[str, Network], tmp_path: Path
) -> None:
    for name, half in (("whole", False), ("half", True)):
        save_weights(tmp_path / name, networks, Provenance(), half=half)
    sizes = [
        sum(p.stat().st_size for p in (tmp_path / name).rglob("*") if p.is_file())
        for name in ("half", "whole")
    ]
    assert sizes[0] < 0.65 * sizes[1]
    again = load_weights(tmp_path / "half").networks["leg"].variables
    before = networks["leg"].variables
    for found, array in zip(jax.tree.leaves(again), jax.tree.leaves(before), strict=True):
        assert found.dtype == np.float32
        # Half precision has 11 bits; arrays with one axis are stored whole.
        bound = 2.0**-11 if array.ndim > 1 else 0.0
        np.testing.assert_allclose(found, array, rtol=bound, atol=1e-7)


def test_a_network_is_read_when_it_is_used(weights_folder: Path, tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / file).write_bytes((weights_folder / file).read_bytes())
    flip(tmp_path / "leg.safetensors", -1)  # in its arrays, the header is whole
    weights = load_weights(tmp_path)
    assert "leg" in weights.networks
    assert len(weights.hash) == 12
    assert weights.networks["thigh"] is weights.networks["thigh"]
    with pytest.raises(InputError, match="checksum"):
        weights.networks["leg"]


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_weights_load_where_the_table_lacks_or_changed_their_variant(
    weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_weights(weights_folder)
    for table in ({}, {"compact4": VARIANTS["paper"]}):
        monkeypatch.setattr(variants, "VARIANTS", table)
        weights = load_weights(weights_folder)
        network = weights.networks["leg"]
        assert network.spec == before.networks["leg"].spec
        assert_equal_arrays(network, before.networks["leg"])
        assert fold_batch_norm(network)[0].spec.widths == (4, 8, 16, 32, 64, 128)
        image = jax.ShapeDtypeStruct((1, 48, 48, 1), np.float32)
        apply = partial(network.module.apply, train=False)
        logits = jax.eval_shape(apply, dict(network.variables), image)
        assert logits.shape == (1, 48, 48, 7)


def test_a_specification_of_ones_own_is_saved_like_a_row(tmp_path: Path) -> None:
    spec = NetworkSpec(widths=(2, 3, 4), strides=(1, 2, 3), norm="group", upsampling="nearest")
    network = initialize("thigh", spec, seed=1)
    assert network.config.variant == variants.UNLISTED
    assert initialize("region", VARIANTS["half16"]).config.variant == "half16"
    save_weights(tmp_path, {"thigh": network}, Provenance())
    again = load_weights(tmp_path).networks["thigh"]
    assert again.spec == spec
    assert_equal_arrays(again, network)


def test_saving_replaces_the_weights_in_a_folder(
    networks: dict[str, Network], tmp_path: Path
) -> None:
    save_weights(tmp_path / "w", networks, Provenance(version="1"))
    save_weights(tmp_path / "w", {"leg": networks["leg"]}, Provenance(version="2"))
    again = load_weights(tmp_path / "w")
    assert (set(again.networks), again.version) == ({"leg"}, "2")
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["leg.safetensors"]


def test_a_failed_save_leaves_the_old_weights(networks: dict[str, Network], tmp_path: Path) -> None:
    save_weights(tmp_path / "w", networks, Provenance(version="1"))
    with pytest.raises(TypeError, match="JSON"):
        save_weights(tmp_path / "w", networks, Provenance(data={"n": object()}))
    bare = {"leg": replace(networks["leg"], variables={})}
    with pytest.raises(InputError, match="no array batch_stats/contract_0"):
        save_weights(tmp_path / "w", bare, Provenance())
    with pytest.raises(InputError, match="found a network of task leg; accepted: thigh"):
        save_weights(tmp_path / "w", {"thigh": networks["leg"]}, Provenance())
    assert load_weights(tmp_path / "w").version == "1"
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == FILES


def test_saving_spares_files_of_other_programs(
    networks: dict[str, Network], tmp_path: Path
) -> None:
    (tmp_path / "leg.safetensors").write_text("precious")
    (tmp_path / "scan.nii.gz").write_text("precious too")
    with pytest.raises(InputError, match="found a file that is no weights; .* Remove it"):
        save_weights(tmp_path, networks, Provenance())
    assert {p.read_text() for p in tmp_path.iterdir()} == {"precious", "precious too"}


KILLED = """
import sys
from musclejax.models.provenance import Provenance
from musclejax.models.weights import load_weights, save_weights

source, folder = sys.argv[1:]
networks = dict(load_weights(source).networks)
for version in range(10**6):
    save_weights(folder, networks, Provenance(version=str(version)))
"""


def test_a_killed_process_leaves_the_old_or_the_new_file(
    weights_folder: Path, networks: dict[str, Network], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(weights_folder), str(tmp_path / "w")]
    process = subprocess.Popen(command)
    while not (tmp_path / "w" / FILES[-1]).exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    weights = load_weights(tmp_path / "w")
    for task, network in networks.items():
        assert_equal_arrays(weights.networks[task], network)
    save_weights(tmp_path / "w", networks, Provenance())  # and what was begun is removed
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == FILES


def test_hash_changes_with_one_number_one_setting_and_one_choice(
    networks: dict[str, Network],
) -> None:
    leg = networks["leg"]
    changed = jax.tree.map(np.array, dict(leg.variables))
    changed["params"]["head"]["bias"][0] += 0.25
    config = leg.config.copy_and_resolve_references()
    config.intensity.percentile = 98.0
    others = (
        replace(leg, variables=changed),
        replace(leg, config=config),
        replace(leg, spec=replace(leg.spec, momentum=0.98)),
    )
    hashes = {Weights("w", {"leg": network}).hash for network in (leg, *others)}
    assert len(hashes) == 4


def test_initialization_is_seeded() -> None:
    first, again, other = (initialize("region", "compact4", seed) for seed in (1, 1, 2))
    kernels = [n.variables["params"]["head"]["kernel"] for n in (first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0


def test_missing_weights_name_the_bundled_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such weights; accepted: a bundled name \("):
        load_weights("nothing")
    with pytest.raises(InputError, match="Did you mean phantom"):
        load_weights("fantom")
    with pytest.raises(InputError, match=r"a folder without region\.safetensors, level"):
        load_weights(tmp_path)


def test_bundled_weights_say_what_they_are() -> None:
    bundled = list_weights()
    assert "phantom" in bundled
    for name, weights in bundled.items():
        assert weights.name == name
        assert weights.version
        for provenance in weights.provenance.values():
            assert provenance.description
            assert provenance.license != "not stated"
            assert provenance.data["train"]["subjects"]
        assert set(load_weights(name).networks) == set(weights.networks)


def test_the_summary_is_one_short_line(networks: dict[str, Network]) -> None:
    phantom = {"train": {"source": "phantom", "subjects": ["a", "b"], "slices": 9}}
    scans = {"train": {"subjects": ["b", "c", "d"], "slices": 7}}
    metrics = {"thigh": {"validation_dsc": 0.9451}, "leg": {"validation_dsc": 0.9}}
    records = {
        "region": Provenance(version="3", metrics={"validation_accuracy": 0.5}, data=scans),
        "thigh": Provenance(version="3", metrics=metrics["thigh"], data=phantom),
        "leg": Provenance(version="3", metrics=metrics["leg"], data=phantom, warning="<careful>"),
    }
    weights = Weights("mine", networks, records)
    line = "weights mine 3: trained on synthetic slices of 2 subjects; validation DSC 0.945 thigh, "
    assert weights.summary == line + "0.900 leg"
    assert repr(weights) == f"<{weights.summary} (region, level, thigh, leg)>"
    assert repr(weights.networks["thigh"]).startswith("<Network thigh: variant compact4, ")
    assert weights.warning == "leg: <careful>"
    page = weights._repr_html_()
    assert "&lt;careful&gt;" in page
    assert weights.hash in page
    mixed = Weights("mine", networks, {**records, "leg": replace(records["leg"], data=scans)})
    assert "on 7 slices of 3 subjects and synthetic slices of 2 subjects" in mixed.summary
    version = replace(records["thigh"], version="4")
    assert (
        Weights("m", networks, {**records, "thigh": version}).version == "region, leg: 3; thigh: 4"
    )
    region = Weights("r", {"region": networks["region"]}, {"region": records["region"]})
    assert region.summary == (
        "weights r 3: trained on 7 slices of 3 subjects; validation accuracy 0.500 region"
    )
    imported = Weights("2021", networks, dict.fromkeys(networks, Provenance(description="Old")))
    assert imported.summary == "weights 2021: Old"
    assert Weights("bare", networks).summary == "weights bare"


def test_untrained_weights_say_so(weights_folder: Path) -> None:
    weights = load_weights(weights_folder)
    assert weights.summary == "weights random4: random, not trained"
    assert weights.warning == UNTRAINED


def test_labeling_imports_neither_checkpoints_nor_plots() -> None:
    """Orbax takes a second to import, and only training needs it; matplotlib a fifth."""
    code = (
        "import sys; from musclejax.models.weights import load_weights;"
        "load_weights('phantom').networks['thigh']; import musclejax.models.fold;"
        "import musclejax.app.measure, musclejax.app.segment;"
        "unused = ('orbax', 'h5py', 'matplotlib', 'safetensors.torch', 'torch');"
        "print([m for m in unused if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_format_number_is_in_the_header(weights_folder: Path) -> None:
    with weight_file.safe_open(weights_folder / "leg.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        names = set(file.keys())
    assert metadata["format"] == f"musclejax {weight_file.FORMAT}"
    assert set(metadata) == {
        *("format", "task", "spec", "config", "provenance", "musclejax", "hash", "metadata_hash"),
    }
    variables = load_weights(weights_folder).networks["leg"].variables
    assert names == {"/".join(path) for path in flatten_arrays(variables)}


@pytest.mark.parametrize("task", ["leg", "region"])
@pytest.mark.parametrize("change", [{}, {"residual": False}, {"upsampling": "nearest"}])
def test_folded_network_computes_the_same(change: dict, task: str) -> None:
    spec = replace(NetworkSpec(widths=(3, 4, 5), strides=(1, 2, 2)), **change)
    network = network_of(spec, task, drawn(spec, task))
    px = 128 if task == "region" else 16
    image = jax.numpy.asarray(np.random.default_rng(1).normal(size=(2, px, px, 1)), "float32")
    module, variables = fold_batch_norm(network)
    assert (module.spec.norm, set(variables)) == ("none", {"params"})
    assert module == build(replace(spec, norm="none"), task)

    def both(whole, folded):
        return (
            network.module.apply(whole, image, train=False),
            module.apply(folded, image, train=False),
        )

    expected, found = quick_jit(both)(dict(network.variables), variables)
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale)


def test_folding_refuses_unknown_precisions(networks: dict[str, Network]) -> None:
    with pytest.raises(InputError, match="precision: found 'float16'"):
        fold_batch_norm(networks["leg"], precision="float16")
