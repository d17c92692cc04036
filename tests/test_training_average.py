"""The moving average: what it is, that it changes no step, that it is validated and exported."""

from pathlib import Path

import jax
import numpy as np
import pytest

from musclejax.data.batches import make_batch
from musclejax.data.sampler import training_indices
from musclejax.errors import InputError
from musclejax.training import checkpoint, loop
from musclejax.training.events import RunStopped
from musclejax.training.setup import Data, initial_variables
from musclejax.training.step import initial_state
from musclejax.training.to_weights import read_network
from musclejax.training.workdir import read_metrics
from tests.test_training_loop import data, folder, same, small, steps_of, stop_after, train

__all__ = ["data", "folder"]
DECAY = "optim.ema_decay=0.5"
pytestmark = pytest.mark.usefixtures("quick_compilation", "small_variants")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Data) -> Path:
    """A run that nothing stopped."""
    run = tmp_path_factory.mktemp("whole")
    train(run, data, small(DECAY))
    return run


def test_it_is_the_recursion_it_says(data: Data) -> None:
    config = small(DECAY)
    steps = loop.make_steps(config, 2 * 48 * 96)  # compiled once, with `whole`
    variables = initial_variables(config, None)[0]
    state = steps.place(initial_state(config, variables, 2 * 48 * 96))
    expected = jax.tree.map(np.array, variables)
    sampler = data.samplers["train"]
    for step in range(12):
        indices, seeds = training_indices(sampler, step, 2)
        batch = make_batch(sampler, indices, seeds, data.classes, config)
        state, _ = steps.train(state, steps.to_global(batch), np.float32(1e-3))
        kept = min(0.5, (1 + step) / (10 + step))
        now = {"params": state.params, "batch_stats": state.batch_stats}
        expected = jax.tree.map(lambda a, v, k=kept: k * a + (1 - k) * v, expected, now)
    for found, wanted in zip(*map(jax.tree.leaves, (state.average, expected)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_it_changes_no_step_and_is_validated_and_exported(
    tmp_path: Path, data: Data, whole: Path
) -> None:
    train(tmp_path, data)
    plain, average = (read_metrics(run) for run in (tmp_path, whole))
    for a, b in zip(plain, average, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["validation_loss"] != pytest.approx(b["validation_loss"], rel=1e-4)
    saved = checkpoint.load(whole, "last")
    assert saved is not None
    exported = read_network(whole, "last")[0].variables
    for name in ("params", "batch_stats"):
        pairs = zip(*map(jax.tree.leaves, (exported[name], saved[0]["average"][name])), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    kernel = exported["params"]["head"]["kernel"]
    assert not np.array_equal(kernel, saved[0]["params"]["head"]["kernel"])


def test_stopped_and_resumed_it_ends_the_same(tmp_path: Path, data: Data, whole: Path) -> None:
    run = tmp_path / "parts"
    assert stop_after(4, steps_of(run, data, small(DECAY)))[-1] == RunStopped(4)
    train(run, data, small(DECAY), resume=True)
    assert same(run, whole)


@pytest.mark.parametrize("decay", ["-0.1", "1.0"])
def test_a_decay_that_cannot_be(tmp_path: Path, data: Data, decay: str) -> None:
    with pytest.raises(InputError, match="optim.ema_decay"):
        train(tmp_path, data, small(f"optim.ema_decay={decay}"))
