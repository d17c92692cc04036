"""Whole networks by oneDNN against Flax's: logits, kernels laid out once, networks kept apart."""

import gc
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musclejax.models.cpu import onednn_network
from musclejax.models.cpu.onednn_library import library
from musclejax.models.fold import fold_batch_norm
from musclejax.models.network import Network
from musclejax.models.spec import NetworkSpec
from musclejax.prediction import engines
from tests.conftest import quick_jit
from tests.networks import STRUCTURES, drawn, needs_bfloat16, needs_library, network_of

pytestmark = needs_library
SPEC = NetworkSpec(widths=(4, 5), strides=(1, 2))
ROUNDINGS = 2**-5
"""A dozen layers, each of which rounds activations by 2^-9 of their size."""


def network(spec: NetworkSpec = SPEC, **changes: Any) -> Network:
    spec = replace(spec, **changes)
    return network_of(spec, "thigh", drawn(spec, "thigh"))


def images(spec: NetworkSpec, batch: int = 2) -> np.ndarray:
    multiple = spec.size_multiple
    shape = batch, 4 * multiple, 6 * multiple, 1
    return np.random.default_rng(0).random(shape, np.float32)


def whole(network: Network, precision: str = "float32") -> onednn_network.OneDNNNetwork:
    module, variables = fold_batch_norm(network, precision, "onednn")
    return onednn_network.OneDNNNetwork(module.spec, variables["params"])


def logits(prepared: onednn_network.OneDNNNetwork, x: np.ndarray) -> np.ndarray:
    apply = quick_jit(lambda operands, x: onednn_network.logits(prepared, operands, x))
    return np.asarray(apply(prepared.operands, x))


def expected(network: Network, x: np.ndarray) -> np.ndarray:
    """Logits of Flax's network in float32, in patches as ours."""
    apply = quick_jit(lambda v, x: network.module.apply(v, x, train=False))
    found, patch = np.asarray(apply(network.variables, x)), network.spec.strides[0]
    b, h, w, n = found.shape
    split = found.reshape(b, h // patch, patch, w // patch, patch, n)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // patch, w // patch, -1)


@pytest.mark.parametrize("name", [n for n, s in STRUCTURES.items() if s.norm != "group"])
@pytest.mark.parametrize(
    ("precision", "close"),
    [("float32", 1e-5), pytest.param("bfloat16", ROUNDINGS, marks=needs_bfloat16)],
)
def test_logits_of_every_structure(name: str, precision: str, close: float) -> None:
    made = network(STRUCTURES[name])
    x = images(made.spec)
    reference = expected(made, x)
    found = logits(whole(made, precision), x)
    np.testing.assert_allclose(found, reference, rtol=0, atol=close * np.abs(reference).max())


@pytest.mark.parametrize("change", [{"units": 3}, {"units": 3, "residual": False}])
def test_logits_of_more_units(change: dict[str, Any]) -> None:
    made = network(**change)
    x = images(made.spec)
    reference = expected(made, x)
    np.testing.assert_allclose(
        logits(whole(made), x), reference, rtol=0, atol=1e-5 * np.abs(reference).max()
    )


@pytest.mark.parametrize("change", [{"norm": "group"}, {"units": 1}])
def test_what_does_not_fit_is_computed_layer_by_layer(change: dict[str, Any]) -> None:
    made = network(**change)
    assert not onednn_network.fits(fold_batch_norm(made)[0].spec)
    x = images(made.spec)
    ours, theirs = (engines.predict_function(made, name)(x) for name in ("onednn", "jax"))
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_kernels_are_laid_out_once() -> None:
    prepared = whole(network())
    laid: list[str] = []
    original = onednn_network.reorder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn_network, "reorder", lambda *a: laid.append("kernel") or original(*a))
        for batch in (1, 1, 2, 1):
            logits(prepared, images(SPEC, batch))
    assert len(prepared._plans) == 2
    equal = library().dnnl_memory_desc_equal
    for entries in prepared._laid.values():  # one of each layout that some size wants
        layouts = [layout for layout, _, _ in entries]
        assert [sum(map(partial(equal, one), layouts)) for one in layouts] == [1] * len(layouts)
    assert len(laid) == sum(map(len, prepared._laid.values()))


def test_networks_of_one_shape_are_kept_apart() -> None:
    """XLA compiles one function for both: which one is meant is an operand."""
    one, x = network(), images(SPEC)
    other = network_of(SPEC, "thigh", jax.tree.map(lambda a: a * 0.5, one.variables))
    prepared = [whole(one), whole(other)]
    apply = quick_jit(lambda operands, x: onednn_network.logits(prepared[0], operands, x))
    for made, ready in zip((one, other), prepared, strict=True):
        reference = expected(made, x)
        found = np.asarray(apply(ready.operands, jnp.asarray(x)))
        np.testing.assert_allclose(found, reference, rtol=0, atol=1e-5 * np.abs(reference).max())


def test_a_network_goes_with_its_function() -> None:
    gc.collect()
    before = len(onednn_network._networks)
    predict = engines.ENGINES["onednn"].make(network(), "float32", False)
    predict(images(SPEC))
    assert len(onednn_network._networks) == before + 1
    del predict
    jax.clear_caches()
    gc.collect()
    assert len(onednn_network._networks) == before
