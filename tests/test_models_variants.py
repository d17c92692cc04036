"""The table of variants: counts and fields of the paper, and what every row must do."""

import json
from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from musclejax.anatomy import CLASSIFIER, REGIONS, TASKS
from musclejax.errors import InputError
from musclejax.models.counts import describe, receptive_fields
from musclejax.models.initialization import draw_variables, initialize
from musclejax.models.layers import ConvolutionUnit
from musclejax.models.network import Module, build
from musclejax.models.shapes import expected_shapes, flatten_arrays, nest_arrays
from musclejax.models.spec import NetworkSpec, spec_from_json
from musclejax.models.variants import UNLISTED, VARIANTS, find, task_spec, variant_name
from musclejax.models.vnet import contract
from tests.conftest import quick_jit
from tests.networks import STRUCTURES, shrunk


class ContractingPath(nn.Module):
    spec: NetworkSpec

    @nn.compact
    def __call__(self, image: jax.Array) -> list[jax.Array]:
        return contract(self.spec, image, train=False)


@pytest.mark.parametrize(
    ("task", "trainable", "statistics", "gmac"),
    # facts-2021, section Networks: counted in the published code.
    [
        ("thigh", 45_445_005, 18_048, 48.4),
        ("leg", 45_444_807, 18_048, 48.4),
        ("region", 7_056_130, 5_952, 1.65),
    ],
)
def test_counts_of_the_2021_networks(
    task: str, trainable: int, statistics: int, gmac: float
) -> None:
    found = describe(VARIANTS["paper"], task)
    assert (found.trainable_parameters, found.statistics) == (trainable, statistics)
    assert found.gmac == pytest.approx(gmac, rel=0.005)


def test_table_1_of_the_paper() -> None:
    # Paper, Table 1, typed in from there.
    assert receptive_fields(VARIANTS["paper"]) == [
        [1, 3, 5],
        [6, 10, 14],
        [16, 24, 32],
        [36, 52, 68],
        [76, 108, 140],
        [188, 284, 380],
    ]
    classifier = task_spec(VARIANTS["paper"], "region")
    assert receptive_fields(classifier) == receptive_fields(VARIANTS["paper"])[:5]


def test_a_network_on_patches_has_a_classifier_down_to_a_sixteenth_too() -> None:
    spec = VARIANTS["half16"]
    assert task_spec(spec, "region").strides == (2, 2, 2, 2)
    assert task_spec(spec, "region").widths == (16, 32, 64, 128)
    assert receptive_fields(spec)[0] == [2, 6, 10]
    # All but the first and the last layer cost a quarter of what they do at full resolution.
    full = replace(spec, strides=(1, 2, 2, 2, 3))
    first_and_last = 16 * (1 + 13) * 432**2 / 1e9
    expected = describe(full, "thigh").gmac + 3 * first_and_last
    assert 4 * describe(spec, "thigh").gmac == pytest.approx(expected)


def test_the_last_layer_gives_the_classes_of_a_patch_in_their_places() -> None:
    """A head of zeros but for one bias marks one pixel of each patch."""
    spec = replace(shrunk(VARIANTS["half16"]), norm="none")
    variables = draw_variables(spec, "leg", 0)
    head = variables["params"]["head"]
    bias = np.zeros((2, 2, 7), np.float32)
    bias[0, 1, 3] = 1
    variables["params"]["head"] = {"kernel": 0 * head["kernel"], "bias": bias.ravel()}
    image = jnp.ones((1, 48, 48, 1))
    variables = jax.tree.map(jnp.asarray, variables)
    apply = quick_jit(partial(build(spec, "leg").apply, train=False))
    logits = np.asarray(apply(variables, image))
    expected = np.zeros((48, 48, 7))
    expected[::2, 1::2, 3] = 1
    np.testing.assert_array_equal(logits[0], expected)


def test_exact_receptive_fields_are_what_the_gradient_reaches() -> None:
    """The last block sees 172, 268, 364 pixels, 16 fewer than Table 1 says."""
    exact = receptive_fields(VARIANTS["paper"], as_paper=False)
    assert exact[-1] == [172, 268, 364]
    assert exact[:5] == receptive_fields(VARIANTS["paper"])[:5]
    spec = replace(VARIANTS["paper"], widths=(1,) * 6, norm="none")
    path = ContractingPath(spec)
    image = jnp.ones((1, 432, 432, 1))
    shapes = jax.eval_shape(lambda x: path.init(jax.random.key(0), x), image)
    # Positive weights, so that no contribution cancels or dies in a ReLU.
    variables = jax.tree.map(lambda a: jnp.full(a.shape, 0.3), shapes)

    @quick_jit
    def gradient(image: jax.Array) -> jax.Array:
        return jax.grad(lambda x: path.apply(variables, x)[-1][0, 4, 4, 0])(image)

    rows = np.flatnonzero(np.asarray(gradient(image))[0, :, :, 0].any(1))
    assert rows[-1] - rows[0] + 1 == exact[-1][-1]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("task", [CLASSIFIER, *REGIONS])  # LEVEL has another head alone
def test_full_size_shapes(name: str, task: str) -> None:
    """Shapes by arithmetic are those that tracing finds, in the same order."""
    module = build(name, task)
    px = 128 if task == CLASSIFIER else 432
    image = jax.ShapeDtypeStruct((2, px, px, 1), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, train=False), image
    )
    expected = {"region": (2, 2), "thigh": (2, 432, 432, 13), "leg": (2, 432, 432, 7)}
    assert logits.shape == expected[task]
    assert ("batch_stats" in variables) == (VARIANTS[name].norm == "batch")
    traced = {path: leaf.shape for path, leaf in flatten_arrays(variables).items()}
    assert list(expected_shapes(name, task).items()) == list(traced.items())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_paths_and_nested_arrays_are_two_forms_of_the_same() -> None:
    shapes = expected_shapes("compact4", "region")
    arrays = {path: np.zeros(shape) for path, shape in shapes.items()}
    assert flatten_arrays(nest_arrays(arrays)) == arrays


def test_a_name_and_a_specification_are_taken_alike() -> None:
    for task in TASKS:
        assert build("half16", task) == build(VARIANTS["half16"], task)
        assert describe("half16", task) == describe(VARIANTS["half16"], task)
        assert isinstance(build("half16", task), Module)
        own = NetworkSpec(widths=(2, 3), strides=(2, 2), units=1)
        assert build(own, task).spec == own
        assert describe(own, task).trainable_parameters > 0
    assert variant_name(VARIANTS["half16"]) == "half16"
    assert variant_name(own) == UNLISTED


def test_a_specification_travels_through_json() -> None:
    for spec in VARIANTS.values():
        assert spec_from_json(json.loads(json.dumps(asdict(spec)))) == spec


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_parameter_learns(name: str) -> None:
    """A gradient in every parameter, but for biases that the normalization takes out again."""
    spec = STRUCTURES[name]
    module = build(spec, "leg")
    side = 4 * spec.size_multiple
    image = jnp.asarray(np.random.default_rng(1).normal(size=(2, side, side, 1)), jnp.float32)
    variables = draw_variables(spec, "leg", 0)
    # Where all biases are 0 a dead ReLU can hide a parameter; random ones do not.
    params = jax.tree.map(
        lambda a: a + 0.1 * np.random.default_rng(a.size).normal(size=a.shape).astype(np.float32),
        variables["params"],
    )

    def loss(params: dict) -> jax.Array:
        logits, _ = module.apply(
            {**variables, "params": params},
            image,
            train=True,
            mutable=["batch_stats"],
        )
        return jnp.cos(3 * logits).mean()

    gradients = quick_jit(jax.grad(loss))(params)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        key = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), key
        canceled = key.endswith("['bias']") and "norm" not in key and "head" not in key
        if not canceled:
            assert np.abs(gradient).max() > 1e-9, key


@pytest.mark.parametrize("name", VARIANTS)
def test_declared_strides(name: str) -> None:
    """Each level of the contracting path is smaller by its declared stride."""
    spec = VARIANTS[name]
    outputs, _ = jax.eval_shape(
        lambda x: ContractingPath(spec).init_with_output(jax.random.key(0), x),
        jax.ShapeDtypeStruct((1, 432, 432, 1), jnp.float32),
    )
    side = 432
    for output, stride, width in zip(outputs, spec.strides, spec.widths, strict=True):
        side //= stride
        assert output.shape == (1, side, side, width)


def test_initial_kernels_are_glorot_normal_as_flax_draws_them() -> None:
    unit = ConvolutionUnit(NetworkSpec(), 128, "plain")
    image = jax.ShapeDtypeStruct((1, 4, 4, 256), jnp.float32)
    flax = unit.lazy_init(jax.random.key(0), image, train=False)
    own = NetworkSpec(widths=(256, 128), strides=(1, 2), units=1)
    ours = initialize("leg", own).variables
    ours = {name: ours[name]["expand_0"]["unit_0"] for name in ("params", "batch_stats")}
    for kernel, inputs in ((flax["params"]["kernel"], 256), (ours["params"]["kernel"], 512)):
        # Glorot and Bengio 2010, Eq. 16, with fans of 9 * inputs and 9 * outputs.
        kernel = np.asarray(kernel)
        fans = 9 * inputs + 9 * kernel.shape[-1]
        assert kernel.shape[2] == inputs
        assert kernel.std() == pytest.approx(np.sqrt(2 / fans), rel=0.01)
        assert np.abs(kernel).max() == pytest.approx(2 * kernel.std() / 0.8796, rel=0.01)
    for name in ("scale", "bias"):
        found, expected = (v["params"]["norm"][name] for v in (ours, flax))
        assert set(np.asarray(found)) == set(np.asarray(expected))
    for name in ("mean", "var"):
        found, expected = (v["batch_stats"]["norm"][name] for v in (ours, flax))
        assert set(np.asarray(found)) == set(np.asarray(expected))


def test_strides_must_fit_the_input() -> None:
    for strides, task, message in (
        ((1, 5), "leg", "factors of 432, the leg input"),
        ((1, 3), "region", "factors of 128, the region input"),
        ((1, 3), "leg", ""),
    ):
        spec = NetworkSpec(widths=(2, 3), strides=strides)
        if not message:
            assert build(spec, task).spec == spec
            continue
        with pytest.raises(InputError, match=message):
            build(spec, task)


def test_unknown_variant_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean compact8"):
        find("compct8")
    for function in (build, describe, expected_shapes):
        with pytest.raises(InputError, match="region, level, thigh, leg"):
            function("paper", "arm")


@pytest.mark.parametrize(
    "change",
    [
        {"widths": ()},
        {"widths": (8, 0, 8, 8, 8, 8)},
        {"strides": (1, 2)},
        {"strides": (0, 2, 2, 2, 2, 3)},
        {"units": 0},
        {"norm": "layer"},
        {"upsampling": "bilinear"},
        {"dropout": 1.0},
        {"momentum": 1.0},
        {"precision": "float16"},
        {"convolutions": "cudnn"},
        {"widths": (9000,) * 6},
        {"units": 17},
    ],
)
def test_impossible_specifications_are_refused(change: dict) -> None:
    (field,) = change
    with pytest.raises(ValueError, match=field):
        replace(VARIANTS["paper"], **change)
