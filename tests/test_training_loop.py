"""The training loop: stop and resume, settings that cannot work, checkpoints, exports."""

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from musclejax.config import apply_settings, default_config, load_recipe
from musclejax.data.batches import make_batch
from musclejax.data.dataset import IGNORE
from musclejax.data.sampler import MixedSampler, training_indices, validation_indices
from musclejax.errors import InputError
from musclejax.loops import result_of
from musclejax.models.initialization import initialize
from musclejax.models.provenance import Provenance
from musclejax.models.weights import Weights, load_weights, save_weights
from musclejax.phantom.sampler import PhantomSampler
from musclejax.reports.training import save_run
from musclejax.training import checkpoint, forgetting, mixing
from musclejax.training.events import EpochDone, RunStopped, StepDone, TrainEvent
from musclejax.training.loop import train_steps
from musclejax.training.mixing import mix
from musclejax.training.setup import Data, beginning, initial_variables, load_data
from musclejax.training.step import _compile, drop_pixels, initial_state, make_steps
from musclejax.training.workdir import read_metrics, read_run
from tests import limbs
from tests.pages import Page, check_alone
from tests.small import VARIANT
from tests.test_cli import call

pytestmark = pytest.mark.usefixtures("quick_compilation", "small_variants")
SMALL = [
    "task=leg",
    f"variant={VARIANT}",
    "data.crop_px=(48, 96)",
    "train.batch_size=2",
    "train.epoch_slices=6",
    "train.epochs=2",
]
"""Two epochs of three steps on a corner of the limbs."""


def small(*changes: str) -> ConfigDict:
    return apply_settings(load_recipe("tiny"), [*SMALL, *changes])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return limbs.write_dataset(tmp_path_factory.mktemp("data"), subjects=3, slices=3, blank=1)


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return load_data([folder], small())


def steps_of(
    run: Path, data: Data, config: ConfigDict | None = None, **options: Any
) -> Generator[TrainEvent, bool | None, list[dict]]:
    config = config or small()
    variables = initial_variables(config, None)[0]
    return train_steps(config, data, run, variables, **{"clock": time.perf_counter, **options})


def train(run: Path, data: Data, config: ConfigDict | None = None, **options: Any) -> list[dict]:
    return result_of(steps_of(run, data, config, **options))


def stop_after(step: int, steps: Generator[TrainEvent, bool | None, Any]) -> list[TrainEvent]:
    """Request a stop after a step; return the events."""
    seen: list[TrainEvent] = []
    wish = None
    while True:
        try:
            seen.append(steps.send(wish))
        except StopIteration:
            return seen
        wish = isinstance(seen[-1], StepDone) and seen[-1].step == step


def test_trials_share_what_is_compiled(data: Data) -> None:
    """Other rates, dropout, L2 and seed: no compilation; each of them counts."""
    changes = ["dropout=0.2", "dropout=0.4", "l2=0.1", "learning_rate=0.01", "ema_decay=0.0"]
    configs = [small(*(f"optim.{c}" for c in ("dropout=0.3", change))) for change in changes]
    configs.append(small("optim.dropout=0.3", "seed=7"))
    misses = _compile.cache_info().misses
    pixels, sampler, results = 2 * 48 * 96, data.samplers["train"], []
    variables = initial_variables(configs[0], None)[0]
    batch = make_batch(sampler, *training_indices(sampler, 0, 2), data.classes, configs[0])
    for config in configs:
        steps = make_steps(config, pixels)
        state = steps.place(initial_state(config, variables, pixels))
        rate = np.float32(config.optim.learning_rate)
        state, metrics = steps.train(state, steps.to_global(batch), rate)
        kernel = np.asarray(state.params["head"]["kernel"])
        results.append((float(metrics.data_loss), float(metrics.penalty), float(kernel.sum())))
    assert len(set(results)) == len(results)
    assert _compile.cache_info().misses <= misses + 1


def test_dropped_pixels() -> None:
    """Kept pixels make up for the dropped ones (paper, section "Network architecture")."""
    image = jnp.ones((2, 64, 64, 1))
    dropped = np.asarray(drop_pixels(image, 0.25, jax.random.key(0)))
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
    assert abs((dropped == 0).mean() - 0.25) < 0.02
    assert (dropped != np.asarray(drop_pixels(image, 0.25, jax.random.key(1)))).any()


def leaves(run: Path, kind: str = "last") -> list[np.ndarray]:
    saved = checkpoint.load(run, kind)
    assert saved is not None
    return [np.asarray(a) for a in jax.tree.leaves(saved[0])]


def same(run: Path, other: Path) -> bool:
    pairs = zip(leaves(run), leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def figures(run: Path) -> list[dict]:
    """Return the metrics without what depends on the clock."""
    clocked = ("seconds", "validation_seconds", "wait_share")
    return [{k: v for k, v in m.items() if k not in clocked} for m in read_metrics(run)]


def events(run: Path) -> set[tuple[str, int]]:
    """Return the tags and epochs of the scalars in TensorBoard's files (TFRecord: length, its
    checksum, an event, its checksum)."""
    from tensorboardX.proto.event_pb2 import Event

    found = set()
    for path in (run / "tensorboard").glob("events*"):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found |= {(value.tag, event.step) for value in event.summary.value}
            at += 16 + size
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Data) -> Path:
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(run, data)
    return run


@pytest.mark.parametrize("step", [1, 3, 5])
def test_stopped_after_any_step_and_resumed_it_ends_the_same(
    step: int, whole: Path, tmp_path: Path, data: Data
) -> None:
    run = tmp_path / "run"
    seen = stop_after(step, steps_of(run, data))
    assert seen[-1] == RunStopped(step)
    assert sum(isinstance(event, StepDone) for event in seen) == step
    with pytest.raises(InputError, match="found a run; .*Give --resume"):
        train(run, data)
    train(run, data, resume=True)
    assert same(run, whole)
    assert figures(run) == figures(whole)
    assert len(figures(run)) == 2


def test_closed_after_a_step_and_resumed_it_ends_the_same(
    whole: Path, tmp_path: Path, data: Data
) -> None:
    run, steps = tmp_path / "run", steps_of(tmp_path / "run", data)
    assert [next(steps).step for _ in range(2)] == [1, 2]
    steps.close()
    saved = checkpoint.load(run, "last")
    assert saved is not None
    assert saved[0]["step"] == 2
    seen = list(steps_of(run, data, resume=True))
    assert [event.step for event in seen if isinstance(event, StepDone)] == [3, 4, 5, 6]
    assert [event.metrics["epoch"] for event in seen if isinstance(event, EpochDone)] == [1, 2]
    assert same(run, whole)


def test_killed_in_mid_run_and_resumed_it_ends_the_same(
    folder: Path, whole: Path, tmp_path: Path
) -> None:
    """SIGKILL while it trains and saves; through the command line, in processes of their own."""
    run = tmp_path / "run"
    options = [f"--set={change}" for change in [*SMALL, "train.checkpoint_minutes=0.0"]]
    command = [sys.executable, "-m", "tests.small", "train", "--config", "tiny", "--data", folder]
    command += ["--workdir", run, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(run.glob("checkpoints/last/[7-9]*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert "epoch 2/2" in done.stdout
    assert same(run, whole)
    assert figures(run) == figures(whole)
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert ("dsc/validation", 2) in events(run)
    page = Page(run / "report.html")
    check_alone(page)
    assert page.column("epoch", "epochs") == ["1", "2"]
    assert "2 of 2" in page.text
    assert "musclejax train --config tiny" in page.text


def test_the_page_of_a_run_and_a_file_in_its_place(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    hostile = "</script><b>$a$"
    record = {**json.loads((run / "run.json").read_text()), "warnings": [hostile]}
    (run / "run.json").write_text(json.dumps(record))
    save_run(run, hostile)
    page = Page(run / "report.html")
    check_alone(page)
    assert page.text.count(hostile) == 2
    history = read_metrics(run)
    best = [metrics for metrics in history if metrics["best"]][-1]
    assert f"best epoch{best['epoch']}" in page.text
    losses = page.column("train_loss", "epochs")
    assert [*map(float, losses)] == pytest.approx([m["train_loss"] for m in history], rel=0.01)
    (run / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report.html: found a file that musclejax did not"):
        save_run(run, hostile)


def test_a_longer_run_goes_on_and_another_config_does_not(
    whole: Path, tmp_path: Path, data: Data
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    history = train(run, data, small("train.epochs=3"), resume=True)
    assert [m["epoch"] for m in history] == [1, 2, 3]
    with pytest.raises(InputError, match=r"another config \(optim.l2: 0.0001 against 0.5\)"):
        train(run, data, small("optim.l2=0.5"), resume=True)
    other = load_data([limbs.write_dataset(tmp_path / "other", seed=5)], small())
    with pytest.raises(InputError, match="a run on other data"):
        train(run, other, resume=True)


def test_the_last_half_line_of_the_metrics_is_forgotten(
    whole: Path, tmp_path: Path, data: Data
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "train_lo')
    history = train(run, data, small("train.epochs=3"), resume=True)
    assert [m["epoch"] for m in history] == [m["epoch"] for m in read_metrics(run)] == [1, 2, 3]


def test_a_loss_that_is_no_number_names_step_and_slices(tmp_path: Path, data: Data) -> None:
    config = small()
    variables, _ = initial_variables(config, None)
    variables["params"]["head"]["bias"] = np.full(7, np.nan, np.float32)
    message = r"a loss of nan at step 1 on slices leg0\d:\d, leg0\d:\d; accepted: a finite loss"
    with pytest.raises(InputError, match=message):
        result_of(train_steps(config, data, tmp_path / "run", variables, clock=time.perf_counter))


def test_a_full_disk_is_told_before_the_first_step(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="1 MiB of room; accepted: .* MiB, for 3 checkpoints"):
        train(tmp_path / "run", data, small("variant=compact4"))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, write = tmp_path / "run", checkpoint._write

    def fill(folder: Path, kind: str, step: int, *rest: Any) -> None:
        if step > 7:
            raise OSError(28, "No space left on device")
        write(folder, kind, step, *rest)

    monkeypatch.setattr(checkpoint, "_write", fill)
    with pytest.raises(InputError, match="No space left on device.*Make room"):
        train(run, data)
    monkeypatch.undo()
    assert len(train(run, data, resume=True)) == 2


def test_early_stopping_is_a_flag(tmp_path: Path, data: Data) -> None:
    """A tiny learning rate changes next to nothing: soon no epoch is better than one before."""
    changes = ["optim.learning_rate=1e-30", "train.epochs=9", "train.early_stopping_patience=2"]
    changes += ["optim.batch_norm_momentum=0.999999"]
    history = train(tmp_path / "a", data, small(*changes, "train.early_stopping=true"))
    assert len(history) < 9
    assert [m["best"] for m in history[-3:]] == [True, False, False]


def test_fine_tuning_keeps_all_but_the_head(tmp_path: Path) -> None:
    config = small("optim.l2=0.0", "variant=compact4")
    thigh = initialize("thigh", "compact4", seed=5)
    weights = Weights("some", {"thigh": thigh})
    variables, start = initial_variables(config, weights)
    assert start == "the thigh network of some; new: head"
    assert variables["params"]["head"]["kernel"].shape == (4, 7)
    for name, block in thigh.variables["params"].items():
        for a, b in zip(
            jax.tree.leaves(block), jax.tree.leaves(variables["params"][name]), strict=True
        ):
            assert name == "head" or np.array_equal(a, b)
    leg = Weights("both", {"thigh": thigh, "leg": initialize("leg", "compact4", seed=6)})
    assert initial_variables(config, leg)[1] == "the leg network of both"
    with pytest.raises(InputError, match="variant compact4; accepted: variant compact8"):
        initial_variables(small("variant=compact8"), weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.crop_px=(50, 96)", r"multiples of 6 up to 432.* Nearest: 48"),
        ("loss.class_weights=some", "inverse, none"),
        ("data.absent=XY", "data.absent: found XY; accepted: SOL, GM"),
        ("split.order=random", "subject, paper"),
        ("data.source=phantoms", "Did you mean phantom"),
    ],
)
def test_settings_that_cannot_work(folder: Path, change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data([folder], small(change))


@pytest.mark.parametrize(
    "change", ["loss.kind=focal", "loss.reduction=max", "optim.decay=linear", "train.batch_size=0"]
)
def test_settings_of_the_loop_that_cannot_work(tmp_path: Path, data: Data, change: str) -> None:
    with pytest.raises(InputError, match=change.split("=")[0]):
        train(tmp_path, data, small(change))


def test_a_muscle_that_never_occurs_is_told_before_training(folder: Path) -> None:
    config = small("task=thigh")
    with pytest.raises(InputError, match="train split: found no annotated slice"):
        load_data([folder], config)


def test_batches_depend_on_seed_and_step_only(data: Data) -> None:
    config, sampler = small(), data.samplers["train"]
    seen = [training_indices(sampler, step, 2)[0] for step in range(2)]
    assert sorted(np.concatenate(seen)) == [0, 1, 2, 3]
    indices, seeds = training_indices(sampler, 7, 2)
    first, again = (make_batch(sampler, indices, seeds, data.classes, config) for _ in range(2))
    one = make_batch(sampler, indices[1:], seeds[1:], data.classes, config)
    for a, b, c in zip(first, again, one, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[1:], c)
    assert first.image.shape == (2, 48, 96, 1)
    assert first.mask.all()
    padded, _ = validation_indices(data.samplers["validation"], 0, 5)
    assert padded.tolist() == [0, 1, -1, -1, -1]


@dataclass(frozen=True, eq=False)
class Synthetic(PhantomSampler):
    """Synthetic slices that need not be compiled: those of a dataset, as if they were."""

    slices: Any = None

    def sample(self, index: int, seed: int) -> tuple[Any, Any]:
        return self.slices.sample(index % len(self.slices), seed)

    def sample_many(self, indices: np.ndarray, seeds: np.ndarray) -> tuple[Any, Any]:
        return self.slices.sample_many(indices % len(self.slices), seeds)

    def class_of(self, task: str, index: int, seed: int) -> int:
        return 0

    def origin(self, index: int) -> str:
        return f"synthetic {index}"


@pytest.fixture
def mixed(data: Data, monkeypatch: pytest.MonkeyPatch) -> Data:
    """The data of a run that fine-tunes weights of synthetic slices."""
    config, slices = small(), data.samplers["validation"]
    made = Synthetic([], [], 3, None, 7, config.intensity, slices)
    monkeypatch.setattr(mixing, "phantom_samplers", lambda config: {"train": made})
    fine_tuned = {**data.record, "earlier": [{"source": "phantom", "subjects": ["a"]}]}
    return mix(replace(data, record=fine_tuned), config)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_synthetic_slices_are_spread_evenly(share: float, mixed: Data) -> None:
    sampler = replace(mixed.samplers["train"], share=share)
    drawn = [training_indices(sampler, step, 5) for step in range(8)]
    indices, seeds = (np.concatenate(part) for part in zip(*drawn, strict=True))
    scans, synthetic = len(sampler.scans), len(sampler.synthetic)
    of_scans = indices[indices < scans]
    assert len(indices) - len(of_scans) == 40 * share
    counts = [np.cumsum(indices >= scans), share * np.arange(1, 41)]
    assert np.abs(counts[0] - counts[1]).max() < 1  # in every stretch
    for own, size in ((of_scans, scans), (indices[indices >= scans] - scans, synthetic)):
        first = own[: len(own) // size * size].reshape(-1, size)
        assert all(sorted(one) == list(range(size)) for one in first)  # each once per pass
    for own in (seeds[indices < scans], seeds[indices >= scans]):
        assert own.tolist() == list(range(len(own)))  # no variation twice


def test_fine_tuning_mixes_synthetic_slices_in(mixed: Data, data: Data, tmp_path: Path) -> None:
    train_, config = mixed.samplers["train"], small()
    assert isinstance(train_, MixedSampler)
    assert mixed.record["synthetic"]["share"] == train_.share == 0.5
    assert mixed.samplers["validation"] is data.samplers["validation"]
    batch = make_batch(train_, np.array([0, 5]), np.array([1, 1]), mixed.classes, config)
    many = train_.sample_many(np.array([5, 0]), np.array([1, 1]))
    np.testing.assert_allclose(many[0][::-1], batch.image[..., 0], atol=1e-6)
    # A resumed run continues as it began; others do not change.
    assert mix(data, config) is data
    assert mix(mixed, config, {"data": {}}) is mixed
    known = {"data": {"synthetic": {"share": 0.25}}}
    assert mix(data, config, known).samplers["train"].share == 0.25
    for change in ("data.synthetic_share=0", "data.source=phantom", "intensity.mode=raw"):
        assert mix(mixed, small(change)) is mixed
    train(tmp_path / "whole", mixed)
    stop_after(3, steps_of(tmp_path / "run", mixed))
    train(tmp_path / "run", mixed, resume=True)
    assert same(tmp_path / "run", tmp_path / "whole")


def test_a_muscle_that_scans_never_label_counts_in_synthetic_slices(
    data: Data, mixed: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = np.array([0.1, 2, 0, 4, 5, 6, 7], np.float32)
    record = {k: v for k, v in mixed.record.items() if k != "synthetic"}
    again = mix(replace(data, classes=classes, record=record), small("loss.class_weights=none"))
    assert again.classes.tolist() == pytest.approx([0.1, 2, 1, 4, 5, 6, 7])


def test_the_papers_order_is_there_and_says_that_it_leaks(folder: Path) -> None:
    data = load_data([folder], small("split.order=paper", "augment.set_size=40"))
    assert any("siblings of training slices" in warning for warning in data.warnings)
    train, validation = data.samplers["train"], data.samplers["validation"]
    assert (len(train), len(validation)) == (36, 4)
    assert set(validation.indices) <= set(train.indices)
    assert not set(validation.seeds) & set(train.seeds)


def test_recipes_are_the_papers() -> None:
    """Source: paper, "Hyperparameters optimization, training and validation"."""
    config = default_config()
    assert (config.optim.learning_rate, config.optim.dropout, config.optim.l2) == (
        0.009765,
        0.2,
        0.01,
    )
    assert (config.train.epochs, config.train.batch_size, config.train.epoch_slices) == (
        40,
        5,
        4500,
    )
    assert (config.plateau.factor, config.plateau.patience) == (0.5, 4)
    assert [load_recipe(n).loss.border_sigma_px for n in ("thigh", "leg")] == [7.0, 8.0]


def test_the_classifier_trains_on_both_regions(folder: Path, tmp_path: Path) -> None:
    thighs = limbs.write_dataset(tmp_path / "thighs", "thigh", subjects=2, slices=2, seed=9)
    changes = ("train.batch_size=4", "train.epoch_slices=8", "train.epochs=1")
    options = [f"--set={c}" for c in ("task=region", *changes)]
    arguments = ("train", "--config", "tiny", "--data", folder, *options)
    refused = call(*arguments, "--workdir", tmp_path / "a")
    assert refused.exit_code == 1
    assert "no training slice of thigh" in refused.stderr
    result = call(*arguments, "--data", thighs, "--workdir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "epoch 1/1" in result.stdout
    assert "accuracy" in result.stdout
    exported = call("weights", "export", tmp_path / "run", "-o", tmp_path / "weights")
    assert "region, best epoch 1; trained on" in exported.stdout
    assert "validation accuracy" in exported.stdout
    weights = load_weights(tmp_path / "weights")
    assert list(weights.networks) == ["region"]
    assert weights.trained


def test_exported_weights_are_the_best_checkpoint(whole: Path, tmp_path: Path) -> None:
    export = ("weights", "export", whole, "-o", tmp_path / "w")
    assert call(*export).exit_code == 0
    weights = load_weights(tmp_path / "w")
    network = weights.networks["leg"]
    assert (weights.warning, weights.license, weights.version) == ("", "not stated", "")
    stated = ("--warning", "be careful", "--license", "MIT", "--version", "2")
    assert call(*export, *stated, "--half").exit_code == 0
    again = load_weights(tmp_path / "w")
    assert (again.warning, again.license, again.version) == ("be careful", "MIT", "2")
    others = {task: initialize(task, VARIANT) for task in ("thigh", "leg")}
    save_weights(tmp_path / "o", others, Provenance(warning="synthetic"))
    completed = call(*export, "--others", tmp_path / "o")
    assert completed.stdout.splitlines()[-1] == f"{tmp_path / 'w'}: thigh of o"
    again = load_weights(tmp_path / "w")
    assert (set(again.networks), again.warning) == ({"thigh", "leg"}, "thigh: synthetic")
    assert "2 subjects" in call("weights", "show", tmp_path / "w").stdout
    best = checkpoint.load(whole, "best")
    assert best is not None
    for a, b in zip(
        jax.tree.leaves(network.variables["params"]),
        jax.tree.leaves(best[0]["params"]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    record = read_run(whole)
    assert record is not None
    assert network.config == record["config"]
    assert len(weights.provenance["leg"].data["train"]["subjects"]) == 2
    assert "validation_dsc" in weights.provenance["leg"].metrics
    twice = call("weights", "export", whole, whole, "-o", tmp_path / "x")
    assert "a second leg run" in twice.stderr
    assert "no run" in call("weights", "export", tmp_path, "-o", tmp_path / "x").stderr


def references(network: Any) -> Generator[forgetting.Reference, None, None]:
    """SOL everywhere, but for some pixels that nobody knows; and a scan without labels."""
    images = np.random.default_rng(0).random((2, 48, 96), np.float32)
    labels = np.full(images.shape, 1, np.uint8)
    labels[:, :8] = IGNORE
    for name in forgetting.CONTRASTS:
        yield forgetting.Reference(name, images, labels)
    yield forgetting.Reference("test_low", images, None)


def test_an_export_tells_what_was_forgotten(
    folder: Path, mixed: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start labels everything SOL, which is right; the end nothing."""
    start, config, run = initialize("leg", VARIANT), small("train.epochs=1"), tmp_path / "run"
    start.variables["params"]["head"]["bias"] = np.eye(7, dtype=np.float32)[1] * 1e3
    before = Weights("before", {"leg": start}, {"leg": Provenance(data=mixed.record["earlier"][0])})
    save_weights(tmp_path / "before", before.networks, before.provenance)
    init = beginning(config, str(tmp_path / "before"), load_weights(tmp_path / "before"))
    variables = initial_variables(config, None)[0]
    variables["params"]["head"]["bias"] = np.eye(7, dtype=np.float32)[2] * 1e3
    options = {"clock": time.perf_counter, "record": {"init": init}}
    result_of(train_steps(config, mixed, run, variables, **options))
    monkeypatch.setattr(forgetting, "make_references", references)
    export = ("weights", "export", run, "-o", tmp_path / "w")
    found = call(*export)
    assert "water 1.000 -> 0.000" in found.stdout
    assert "test_low labels of the start -> 0.000" in found.stdout
    assert "train again with a larger data.synthetic_share (now 0.5)" in found.stderr
    weights = load_weights(tmp_path / "w")
    assert "lowered the Dice on synthetic images: in phase 1.000 -> 0.000" in weights.warning
    assert "T1 1.000 -> 0.000" in weights.provenance["leg"].origin["forgetting"]
    assert "->" not in call(*export, "--no-check").stdout
    assert load_weights(tmp_path / "w").warning == ""
    save_weights(tmp_path / "before", {"leg": initialize("leg", VARIANT, 3)}, Provenance())
    moved = call(*export)
    assert (moved.exit_code, "found other weights" in moved.stderr) == (0, True)


def test_dice_counts_known_pixels_of_muscles_that_are_shown() -> None:
    labels = np.array([[[1, 1, 2, 2, 255, 0]]], np.uint8)
    found = np.array([[[1, 0, 2, 2, 3, 4]]], np.uint8)
    assert forgetting.mean_dice(found, labels, "leg") == pytest.approx((2 / 3 + 1) / 2)
    assert forgetting.mean_dice(found, 0 * labels, "leg") == 0
    assert not forgetting.Change("water", 0.8, 0.785).is_forgotten
    assert forgetting.warning_of([forgetting.Change("scan", None, 0.5)]) == ""


def test_wrong_usage_of_the_command_line(folder: Path, tmp_path: Path) -> None:
    arguments = ("train", "--data", folder, "--workdir", tmp_path / "run")
    for extra, message in (
        (("--set", "optim.lr=1"), "--set: found optim.lr=1"),
        (("--config", "thihg"), "Did you mean thigh"),
        (("--init", tmp_path / "nothing"), "no such weights"),
        (("--coordinator", "localhost:1"), "found only some of them"),
    ):
        result = call(*arguments, *extra)
        assert result.exit_code == 2, extra
        assert message in result.stderr
    assert not (tmp_path / "run").exists()
