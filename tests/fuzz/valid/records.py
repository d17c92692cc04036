"""A run without its checkpoints, a search, a manifest, a recipe."""

from pathlib import Path
from typing import Any

from musclejax.config import default_config
from musclejax.files import check_manifest
from musclejax.training.workdir import append_metrics, open_run
from musclejax.tuning.hyperband import plan, ready_tasks
from musclejax.tuning.log import Entry, append_entry, open_search
from musclejax.tuning.space import sample_settings


def run(folder: Path) -> None:
    """A training run of four epochs, without its checkpoints."""
    part = {"subjects": ["a"], "cases": ["a"], "slices": 9, "source": "scans"}
    record: dict[str, Any] = {"data": {"train": part, "validation": part}, "versions": {}}
    open_run(folder, default_config(), record, 1, resume=False)
    for epoch in range(1, 5):
        figures = {"loss": 1 / epoch, "validation_dsc": 0.5, "learning_rate": 1e-3, "seconds": 2.0}
        append_metrics(folder, {"epoch": epoch, **figures})


def search(folder: Path) -> None:
    """A search with five finished trials, one of which failed."""
    config = default_config()
    open_search(folder, config, [Path("data")])
    for task in ready_tasks(plan(config.tune.max_epochs, config.tune.eta), [])[:5]:
        failed = "out of memory" if task.trial == 3 else ""
        value = float("nan") if failed else 0.5 + task.trial / 100
        settings, metrics = sample_settings(config, task.trial), {config.tune.metric: value}
        where = task.trial, task.bracket, task.rung, task.budget
        append_entry(folder, Entry(*where, settings, config.tune.metric, value, metrics, 1, failed))


def manifest(folder: Path) -> None:
    """What `check_manifest` leaves."""
    check_manifest(folder / "manifest.json", {"seed": 1, "phantom": {"subjects": 3}}, "--out")


def recipe(folder: Path) -> None:
    """A recipe, and changes of it as text."""
    shipped = Path(__file__).parents[3] / "configs" / "thigh.py"
    (folder / "recipe.py").write_bytes(shipped.read_bytes())
    changes = "optim.learning_rate=0.001\nseed=3\nvariant='slim32'\ntune.metric=validation_dsc\n"
    (folder / "settings.txt").write_text(changes + "optim.amsgrad=false\n")
