"""What bfloat16 changes in training: the same steps in both precisions, and whole short trainings.

    python benchmarks/precision.py --steps 50 --seeds 3 --slices 800 -o benchmarks/precision.csv

The recipe of the bundled networks, convolutions by oneDNN. "curve" rows are the losses of the same
batches from the same random weights; "training" rows begin with the weights that ship, as the
recipe says, and end with the validation DSC of a short epoch, by seed. A training whose row is
there is not repeated.
"""

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from musclejax.config import load_recipe
from musclejax.data.batches import Batch, make_batch
from musclejax.data.sampler import training_indices
from musclejax.loops import result_of
from musclejax.models.weights import load_weights
from musclejax.training.loop import train_steps
from musclejax.training.setup import Data, initial_variables, load_data
from musclejax.training.step import initial_state, make_steps

PRECISIONS = ("float32", "bfloat16")
EMA_DECAY = 0.99
"""Of a short run: an average over its last 100 steps."""


def main() -> None:
    """Run, write the CSV, print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=800)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/precision.csv"))
    options = parser.parse_args()
    rows = _read(options.output)
    curves = {precision: _losses(precision, options.steps) for precision in PRECISIONS}
    ratio = np.array(curves["bfloat16"]) / np.array(curves["float32"]) - 1
    print(
        f"{options.steps} steps: loss {ratio.mean():+.3%}, at most {abs(ratio).max():.3%}",
        flush=True,
    )
    done = {(row["precision"], row["number"]) for row in rows if row["kind"] == "training"}
    for seed, precision in product(range(options.seeds), PRECISIONS):
        if (precision, seed) not in done:
            rows.append(_train(precision, seed, options.slices))
            _write(rows, options.output)
    rows = [row for row in rows if row["kind"] == "training"]
    for precision, losses in curves.items():
        rows += [_row("curve", precision, step, loss) for step, loss in enumerate(losses)]
    _write(rows, options.output)
    table = pd.DataFrame(rows)
    trained = table[table.kind == "training"].groupby("precision").value
    print(trained.agg(["count", "mean", "std", "min", "max"]).round(4).to_string())


def _settings(precision: str, seed: int) -> ConfigDict:
    config = load_recipe("phantom_bundled")
    config.seed, config.optim.ema_decay = seed, EMA_DECAY
    config.models.precision, config.models.convolutions = precision, "onednn"
    return config


def _losses(precision: str, steps: int) -> list[float]:
    """Return the losses of the first steps."""
    config = _settings(precision, 0)
    data, size = load_data([], config), int(config.train.batch_size)
    variables, _ = initial_variables(config, None)
    pixels = size * int(np.prod(config.data.crop_px))
    loop = make_steps(config, pixels)
    state = loop.place(initial_state(config, variables, pixels))
    rate, losses = jnp.float32(config.optim.learning_rate), []
    for step in range(steps):
        state, metrics = loop.train(state, loop.to_global(_batch(data, config, step, size)), rate)
        losses.append(float(metrics.data_loss))
    return losses


def _batch(data: Data, config: ConfigDict, step: int, size: int) -> Batch:
    sampler = data.samplers["train"]
    return make_batch(sampler, *training_indices(sampler, step, size), data.classes, config)


def _train(precision: str, seed: int, slices: int) -> dict:
    """Train for one epoch; return its row."""
    config = _settings(precision, seed)
    config.train.epoch_slices, config.train.epochs = slices, 1
    data, start = load_data([], config), time.perf_counter()
    variables, _ = initial_variables(config, load_weights("phantom"))
    with tempfile.TemporaryDirectory() as run:
        steps = train_steps(config, data, Path(run), variables, clock=time.perf_counter)
        (metrics,) = result_of(steps)
    print(precision, seed, f"{time.perf_counter() - start:.0f} s", flush=True)
    return _row("training", precision, seed, metrics["validation_dsc"])


def _row(kind: str, precision: str, number: int, value: float) -> dict:
    return {"kind": kind, "precision": precision, "number": number, "value": round(value, 6)}


def _read(path: Path) -> list[dict]:
    return pd.read_csv(path).to_dict("records") if path.is_file() else []


def _write(rows: list[dict], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


if __name__ == "__main__":
    main()
