"""Results of a search: tables, a picture, and the recipe of its best trial."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from musclejax.config import config_hash, default_config
from musclejax.files import staging_folder, write_json, write_text
from musclejax.reports.pages.document import PAGE, from_file, write_document
from musclejax.reports.pages.search import to_document
from musclejax.reports.pictures.search import draw_search
from musclejax.reports.tables import csv_text
from musclejax.tuning.hyperband import ranked
from musclejax.tuning.log import Entry
from musclejax.tuning.space import with_settings

PICTURE = "tune.png"
_RECIPE = '''"""The best of {trials} trials of `musclejax tune`: trial {best.trial}.

{metric} was {best.value:.4f} after {best.budget} epochs.

    musclejax train --config {name} --data DIR --workdir RUN
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with the changes of the searched recipe and of the best trial."""
    config = default_config()
{changes}
    return config
'''


def save_results(
    workdir: Path, config: ConfigDict, entries: list[Entry], made_with: Mapping[str, Any]
) -> None:
    """Write the tables, the picture, the page and the best recipe into the folder of a search.

    Args:
        workdir: The folder.
        config: The recipe of the search.
        entries: Finished tasks, one or more of which did not fail.
        made_with: Command, versions and machine.
    """
    best = ranked(entries)[0]
    recipe = with_settings(config, best.settings)
    table, trials = to_table(entries), len({entry.trial for entry in entries})
    write_text(workdir / "trials.csv", csv_text(table))
    with staging_folder(workdir, PICTURE) as stage:
        draw_search(entries, config, stage / PICTURE)
    text = recipe_text(recipe, best, trials)
    write_text(workdir / "best.py", text)
    values = recipe.to_dict()
    record = {
        "trial": best.trial,
        "bracket": best.bracket,
        "epochs": best.budget,
        "settings": dict(best.settings),
        best.metric: best.value,
        "trials": trials,
        "failed": len({entry.trial for entry in entries if entry.failed}),
        "config_hash": config_hash(values),
        "config": values,
        **made_with,
    }
    write_json(workdir / "best.json", record)
    picture = from_file(workdir / PICTURE, f"{best.metric} of {trials} trials by epochs.")
    document = to_document(entries, best_trials(entries), table, picture, text, made_with)
    write_document(workdir / PAGE, document)


def to_table(entries: list[Entry]) -> pd.DataFrame:
    """Return a row per trial and rung, in the order of the entries."""
    rows = [
        {
            "bracket": entry.bracket,
            "rung": entry.rung,
            "trial": entry.trial,
            "epochs": entry.budget,
            **entry.settings,
            **entry.metrics,
            "seconds": entry.seconds,
            "failed": entry.failed,
        }
        for entry in entries
    ]
    table = pd.DataFrame(rows)
    last = ["seconds", "failed"]  # metrics that a failed first row lacks come before them
    return table[[name for name in table.columns if name not in last] + last]


def best_trials(entries: list[Entry], count: int = 10) -> list[Entry]:
    """Return the best result of each of the best trials, the best first."""
    tops: dict[int, Entry] = {}
    for entry in ranked(entries):
        tops.setdefault(entry.trial, entry)
    return list(tops.values())[:count]


def recipe_text(recipe: ConfigDict, best: Entry, trials: int) -> str:
    """Return a recipe file whose `get_config()` returns `recipe`."""
    lines = "\n".join(f"config.{name} = {value!r}" for name, value in _changes(recipe))
    text = _RECIPE.format(
        # Text from the log, as if it were anything: it must not end the docstring.
        metric=re.sub(r"\W", "?", best.metric),
        best=best,
        trials=int(trials),
        name="best.py",
        changes=textwrap.indent(lines, "    "),
    )
    return text


def _changes(
    recipe: ConfigDict, default: ConfigDict | None = None, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    default = default_config() if default is None else default
    for name, value in recipe.items():
        if isinstance(value, ConfigDict):
            yield from _changes(value, default[name], f"{prefix}{name}.")
        elif value != default[name]:
            yield prefix + name, value
