"""Pages of `evaluate`, `tune`, `bench`, `train` in a browser: tables, pictures, sizes, no scripts.

The fixture `page` fails a test in which a page prints an error or asks for anything outside.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musclejax.bench import table as bench_table
from musclejax.evaluation.run import evaluate, from_folders
from musclejax.reports import benchmark, evaluation, search, training
from musclejax.tuning.log import Entry
from tests import test_bench
from tests.browser.test_cohort_page import column
from tests.pairs import thigh, write
from tests.test_tuning_hyperband import METRIC, tune_config

SCRIPT = "</script><script>document.title = 'hacked'</script>"
TITLES = {
    "evaluate": "Evaluation",
    "tune": "Search for settings",
    "bench": "Speed and memory",
    "train": "Training run",
}
SORTED = {
    "evaluate": ("muscles", "DSC"),
    "tune": ("trials", METRIC),
    "bench": ("bench_infer", "vs jax"),
    "train": ("epochs", "train_loss"),
}
"""A table of each page, and a column of numbers."""


def make_evaluation(folder: Path, limbs: np.ndarray) -> None:
    for number, name in enumerate(("a", "b", "c")):
        write(folder / "ref" / f"{name}.nii.gz", thigh(limbs))
        write(folder / "pred" / f"{name}.nii.gz", np.roll(thigh(limbs), 4 * number, 1))
    source = from_folders(folder / "ref", folder / "pred", "thigh")
    (folder / "scenes").mkdir()
    found = evaluate(source, scenes=folder / "scenes")
    evaluation.save(found, folder / "evaluate", lambda: {"command": SCRIPT})


def make_search(folder: Path) -> None:
    rates = {"learning_rate": 0.001, "dropout": 0.1, "l2": 0.01}
    entries = [
        Entry(trial, 0, 0, 2, rates, METRIC, value, {METRIC: value, "train_loss": 1.0}, 1.0)
        for trial, value in enumerate((0.5, 0.75, 0.625))
    ]
    lost = Entry(3, 0, 0, 2, rates, METRIC, np.nan, {}, 1.0, SCRIPT)
    (folder / "tune").mkdir()
    search.save_results(folder / "tune", tune_config(), [*entries, lost], {"command": SCRIPT})


def make_measurement(folder: Path) -> None:
    (folder / "bench").mkdir()
    rows = bench_table.rows(test_bench.hand_made(), test_bench.HERE, SCRIPT)
    benchmark.save_page(rows, folder / "bench", [SCRIPT])


def make_run(folder: Path) -> None:
    lines = [
        f'{{"epoch": {epoch}, "best": true, "learning_rate": 0.01, "train_loss": {4 - epoch}, '
        f'"validation_loss": {5 - epoch}, "train_dsc": 0.5, "validation_dsc": 0.25}}\n'
        for epoch in (1, 2, 3)
    ]
    (folder / "train").mkdir()
    (folder / "train" / "metrics.jsonl").write_text("".join(lines))
    training.save_run(folder / "train", SCRIPT)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, limbs: np.ndarray) -> Path:
    """A folder per command, with its page."""
    folder = tmp_path_factory.mktemp("pages")
    make_evaluation(folder, limbs)
    make_search(folder)
    make_measurement(folder)
    make_run(folder)
    return folder


def address(pages: Path, command: str) -> str:
    return (pages / command / "report.html").as_uri()


@pytest.mark.parametrize("command", TITLES)
def test_pictures_show_and_tables_sort_and_filter(command: str, page: Any, pages: Path) -> None:
    page.goto(address(pages, command))
    assert page.title() == TITLES[command]
    shown = page.locator("img").evaluate_all("all => all.map((i) => i.complete && i.naturalWidth)")
    assert shown
    assert all(width > 300 for width in shown)
    name, title = SORTED[command]
    button = page.locator(f"#{name} th button", has_text=re.compile(f"^{title}$"))
    for factor in (1, -1):  # up, then down
        button.click()
        values = [factor * float(cell) for cell in column(page, title, name) if cell]
        assert len(set(values)) > 1
        assert values == sorted(values)
    words = page.locator(f".tools:has(+ .table #{name}) input")
    words.fill("nowhere")
    assert column(page, title, name) == []


@pytest.mark.parametrize("command", TITLES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_and_printing(command: str, scheme: str, page: Any, pages: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(address(pages, command))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for link in page.locator("nav a").all():
        assert page.locator(f"section{link.get_attribute('href')} h2").count() == 1
    page.emulate_media(media="print")
    assert not page.locator(".tools").first.is_visible()


@pytest.mark.parametrize("command", TITLES)
def test_without_scripts_all_is_there(command: str, browser: Any, pages: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address(pages, command))
    assert page.locator("table.sortable tbody tr").count() > 1
    assert page.locator("img").first.is_visible()
    assert page.get_by_text("How it was made").count() == (0 if command == "bench" else 2)
    context.close()
