"""What reads each kind, as a command or a program would; returns all that the reader said."""

import os
from pathlib import Path

from musclejax.config import default_config, load_recipe
from musclejax.errors import InputError
from musclejax.files import check_manifest
from musclejax.models.keras_import import import_keras
from musclejax.models.shapes import flatten_arrays
from musclejax.models.weight_file import check_network
from musclejax.models.weights import load_weights
from musclejax.reports.search import recipe_text, to_table
from musclejax.training.to_weights import read_network
from musclejax.training.workdir import keep_metrics, read_metrics, read_run
from musclejax.tuning.hyperband import check_entries, epochs_left, plan, ranked, ready_tasks
from musclejax.tuning.log import open_search, read_log
from musclejax.tuning.space import with_settings
from tests.fuzz.readers.scans import Answer


def weights(folder: Path) -> Answer:
    found = load_weights(folder)
    texts = found.summary, found.warning, found.license, repr(found), found._repr_html_()
    networks = {task: found.networks[task] for task in found.networks}
    arrays = {task: flatten_arrays(network.variables) for task, network in networks.items()}
    specs = {task: (network.spec, network.config.to_dict()) for task, network in networks.items()}
    return {"texts": texts, "arrays": arrays, "specs": specs, "provenance": found.provenance}


def checkpoint(folder: Path) -> Answer:
    """As `weights export` does."""
    network, record = read_network(folder, "best")
    check_network(folder / "thigh.safetensors", network)
    arrays = flatten_arrays(network.variables)
    return {"arrays": arrays, "provenance": record, "config": network.config.to_dict()}


def keras(folder: Path) -> Answer:
    os.chdir(folder)  # paths in the file are relative to it
    return {"arrays": flatten_arrays(import_keras(folder / "weights.hdf5", "region").variables)}


def run(folder: Path) -> Answer:
    """As `train --resume` and `weights export` do."""
    record, metrics = read_run(folder), read_metrics(folder)
    keep_metrics(folder, 3)
    if record is None:
        raise InputError(folder, "no run", "a run")
    return {"record": {**record, "config": record["config"].to_dict()}, "metrics": metrics}


def search(folder: Path) -> Answer:
    """As `tune` does when it resumes, and when it writes the best recipe."""
    config = default_config()
    open_search(folder, config, [Path("data")])
    entries, rungs = read_log(folder), plan(config.tune.max_epochs, config.tune.eta)
    check_entries(config, entries)
    best = ranked(entries)[:1]
    for entry in best:
        text = recipe_text(with_settings(config, entry.settings), entry, len(entries))
        (folder / "best.py").write_text(text, encoding="utf-8")
        load_recipe(folder / "best.py")
    left = epochs_left(rungs, entries), len(ready_tasks(rungs, entries))
    return {"entries": entries, "left": left, "rows": len(to_table(entries)) if entries else 0}


def manifest(folder: Path) -> Answer:
    check_manifest(folder / "manifest.json", {"seed": 1, "phantom": {"subjects": 3}}, "--out")
    return {}


def recipe(folder: Path) -> Answer:
    return {"config": load_recipe(folder / "recipe.py").to_dict()}


def settings(folder: Path) -> Answer:
    """As `--set` does; its errors name the setting, here the file too."""
    lines = (folder / "settings.txt").read_text("utf-8", "replace").split("\n")
    try:
        return {"config": load_recipe(folder / "recipe.py", filter(None, lines)).to_dict()}
    except InputError as error:
        subject = f"{folder}/settings.txt, {error.subject}"
        raise InputError(subject, error.found, error.accepted, error.remedy) from error
