"""Measurements: jobs from options, rows from samples, and the command from end to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from musclejax.bench import engines, runner
from musclejax.bench import table as tables
from musclejax.bench.job import Job, gflop_per_slice, groups, memory_mib
from musclejax.bench.meter import Usage
from musclejax.bench.options import BenchOptions, Kind
from musclejax.bench.plan import Grid, jobs_of, plan
from musclejax.bench.record import Failed, GroupBegins, Peak, Record, Sample
from musclejax.bench.result import read_result
from musclejax.bench.rounds import Budget
from musclejax.bench.runner import Worker, WorkerError, measure_steps
from musclejax.bench.sample import BUNDLED, trained
from musclejax.errors import InputError
from musclejax.models.counts import describe
from musclejax.models.spec import PRECISIONS
from musclejax.models.variants import VARIANTS
from musclejax.options import texts
from musclejax.reports.benchmark import draw_rivals, save_page, save_picture
from musclejax.reports.tables import csv_text
from tests.bench_worker import QUICK_FLAGS
from tests.pages import Page, check_alone
from tests.small import VARIANT as SMALL
from tests.test_cli import call

HERE = {"machine": {"cpu": "A CPU", "system": "Linux"}, "versions": {"python": "3"}}
PNG = b"\x89PNG"


@pytest.fixture
def quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers compile little; "compact4" has two levels there."""
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-m", "tests.bench_worker"))


def test_plan_is_the_product_of_what_exists() -> None:
    grid = Grid(
        variants=("compact4", "paper"),
        engines=("jax", "onnxruntime"),
        precisions=("float32", "bfloat16"),
        batch_sizes=(1, 2),
        threads=(1, 2),
    )
    found = plan("infer", grid)
    assert len(found) == len(set(found)) == 2 * 2 * 2 * (2 + 1)  # onnxruntime has no bfloat16
    assert all(j.slices == j.batch_size for j in found)
    assert [j.engine for j in found[:3]] == ["jax", "jax", "onnxruntime"]
    assert {j.slices for j in plan("segment", replace(grid, slices=(1, 31)))} == {1, 31}
    assert {(j.engine, j.precision) for j in plan("train", grid)} == {("jax", "float32")}
    cohort = plan("cohort", replace(grid, engines=("default", "jax"), scans=(4,), slices=(31,)))
    assert {(j.engine, j.precision) for j in cohort} == {
        ("default", "default"), ("jax", "float32"), ("jax", "bfloat16"),
    }  # fmt: skip
    assert {(j.slices, j.scans, j.scenario) for j in cohort} == {(31, 4, "offline")}
    data = plan("data", Grid(engines=("jax", "scipy"), batch_sizes=(2, 5)))
    assert {(j.variant, j.engine) for j in data} == {
        ("augment", "jax"), ("weight_map", "jax"), ("weight_map", "scipy"), ("batch", "jax"),
        ("load_case", "jax"), ("phantom", "jax"),
    }  # fmt: skip
    assert [j.batch_size for j in data if j.variant == "batch"] == [2, 5]


def test_the_help_names_every_engine_and_precision() -> None:
    """In words: the table of engines imports JAX."""
    named = texts(BenchOptions)
    assert {*PRECISIONS} <= {*re.findall(r"\w+", named["precision"])}
    for kind in get_args(Kind):
        text = (
            call("bench", kind, "--help").stdout.partition("Engines: ")[2].partition("Examples")[0]
        )
        both, _, other = text.replace("; jax,", ", jax,").partition("also in bfloat16")
        assert {*engines.engines_of(kind)} <= {*re.findall(r"\w+", text)}
        assert {*engines.engines_of(kind, "bfloat16")} <= {*re.findall(r"\w+", both)}
        if kind == "train":
            assert not {*engines.engines_of(kind, "bfloat16")} & {*re.findall(r"\w+", other)}


def test_groups_fit_into_memory_and_each_has_its_reference() -> None:
    engines = ("jax", "flax", "torch", "keras")
    planned = plan("train", Grid(engines=engines, batch_sizes=(5,)))
    room = memory_mib(planned[0]) + max(memory_mib(j) for j in planned[1:]) + 1
    found = list(groups(planned, room))
    assert len(found) == 3
    for group in found:
        assert group[0].engine == "jax"
        assert sum(memory_mib(j) for j in group) <= room
    assert {j for group in found for j in group} == set(planned)
    assert list(groups(planned, 1e9)) == [planned]
    # 6.1, 5.3 and 6.5 GB were measured: they take turns on a machine of 24 GB.
    three = [j for j in planned if j.engine != "flax"]
    assert list(groups(three, 0.9 * 22_000)) == [three]


ENGINE_JOBS = [Job("infer", "compact4", e, batch_size=2, slices=2) for e in ("jax", "flax")]


def hand_made() -> Record:
    """Seconds with obvious medians and ratios; a slow second round."""
    seconds = {"jax": (1.0, 4.0, 2.0), "flax": (2.0, 8.0, 1.0)}
    samples = [
        Sample(job, 1, turn + 1, Usage(seconds[job.engine][turn], 1.5), 100.0 + turn)
        for turn in range(3)
        for job in reversed(ENGINE_JOBS)
    ]
    prepared = {job: {"compile_s": 7.0, "versions": {"jax": "1"}} for job in ENGINE_JOBS}
    return Record(samples, prepared, {(1, "float32"): [Peak(9.0, "a product"), Peak(50.0, "it")]})


def test_rows_of_known_medians() -> None:
    table = tables.rows(hand_made(), HERE, "musclejax bench infer")
    assert tuple(table.columns) == tables.COLUMNS["infer"]
    assert list(table["engine"]) == ["jax", "flax"]  # as planned, not as measured
    ours = table.iloc[0]
    assert (ours.seconds_median, ours.seconds_min, ours.seconds_iqr) == (2.0, 1.0, 1.5)
    assert (ours.slices_per_s, ours.seconds_per_slice) == (1.0, 1.0)
    assert (ours.slices_per_s_low, ours.slices_per_s_high) == (2 / 3, 2 / 1.5)
    assert (ours.repeats, ours.compile_s, ours.peak_memory_mib) == (3, 7.0, 102.0)
    assert (ours.cpu_s, ours.cpu_s_per_slice, ours.disturbed, ours.scenario) == (
        1.5, 0.75, 0, "offline",
    )  # fmt: skip
    assert (ours.latency_p50, ours.calls, ours.peak_by) == (2.0, 3, "it")
    gflop = 2 * describe(VARIANTS["compact4"], "thigh").gmac
    assert ours.gflop_per_slice == pytest.approx(gflop)
    assert ours.share_of_peak == pytest.approx(gflop / 50)
    # Round by round 1/2, 4/8, 2/1; the ratio of the medians would be 1.
    assert list(table["ratio_to_jax"]) == [1.0, 0.5]
    assert (ours.cpu, ours.versions) == ("A CPU", "python=3 jax=1")
    repeats = tables.repeats(hand_made())
    assert list(repeats["round"]) == [1, 1, 2, 2, 3, 3]
    assert list(repeats["engine"])[:2] == ["flax", "jax"]


def test_ratios_are_of_runs_that_took_turns() -> None:
    ours, rival = ENGINE_JOBS
    runs = ((ours, 1, 9.0), (ours, 2, 1.0), (rival, 2, 2.0))
    samples = [Sample(job, group, 1, Usage(seconds)) for job, group, seconds in runs]
    assert tables.ratio(samples, rival) == 0.5
    assert np.isnan(tables.ratio(samples[:1] + samples[2:], rival))


def test_training_counts_three_passes_and_size_counts() -> None:
    infer = Job("infer", "paper", height=432, width=216)
    gmac = describe(VARIANTS["paper"], "thigh").gmac
    assert gflop_per_slice(infer) == pytest.approx(gmac)
    assert gflop_per_slice(replace(infer, kind="train")) == pytest.approx(3 * gmac)


RIVAL = """
import json, sys
from importlib import import_module
import numpy as np
from musclejax.models.spec import NetworkSpec
from musclejax.models.spec import PRECISIONS
from musclejax.models.variants import VARIANTS
from musclejax.options import texts

rival, spec = import_module(f"musclejax.bench.rivals.{sys.argv[1]}"), NetworkSpec((4, 8), (1, 2))
precision = sys.argv[2]
images = np.random.default_rng(0).random((2, 48, 96, 1), np.float32)
labels, confidence, steps = rival.inference(spec, 13, 1, precision)(images)
step = rival.training(spec, 13, 1, precision)
target, weights = np.ones((2, 48, 96), np.int32), np.ones((2, 48, 96), np.float32)
print(json.dumps({
    "labels": [labels.dtype.name, labels.shape, int(labels.max())],
    "confidence": [confidence.dtype.name, confidence.shape, int(confidence.min())],
    "steps": [steps.dtype.name, steps.shape, bool((steps.max(-1) == confidence).all())],
    "losses": [step(images, target, weights) for _ in range(4)],
    "parameters": {name: rival.parameters(spec, 13) for name, spec in VARIANTS.items()},
}))
"""


RIVALS = [
    (name, precision)
    for name in ("flax", "torch", "keras")
    for precision in engines.ENGINES[name].precisions["train"]
]


@pytest.mark.parametrize(("name", "precision"), RIVALS)
def test_rivals_are_the_same_network(name: str, precision: str) -> None:
    """By the parameters of every variant; in a process of its own, as Keras takes one backend."""
    for package in engines.ENGINES[name].modules:
        if find_spec(package) is None:
            pytest.skip(f"no {package}")
    command = [sys.executable, "-c", RIVAL, name, precision]
    quick = {"XLA_FLAGS": QUICK_FLAGS}
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quick})
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    table = {v: s for v, s in VARIANTS.items() if v != SMALL}  # a row that other tests add
    expected = {v: describe(s, "thigh").trainable_parameters for v, s in table.items()}
    assert found["parameters"] == expected
    kind, shape, most = found["labels"]
    assert (kind, shape, most < 13) == ("uint8", [2, 48, 96], True)
    kind, shape, least = found["confidence"]
    assert (kind, shape, least >= 255 // 13) == ("uint8", [2, 48, 96], True)
    assert found["steps"] == ["uint8", [2, 48, 96, 13], True]
    assert found["losses"][-1] < found["losses"][0]


@pytest.mark.usefixtures("quick_workers")
def test_a_worker_that_fails_gives_one_line(tmp_path: Path) -> None:
    process = Worker(1, "ours", tmp_path)
    try:
        with pytest.raises(WorkerError, match="no request 'sing'") as error:
            process.request("sing")
        assert "\n" not in str(error.value)
    finally:
        process.close()


@pytest.mark.usefixtures("quick_workers")
def test_a_job_that_fails_is_left_out() -> None:
    bad = Job("data", "nothing")
    steps, events = measure_steps([bad], Budget(1)), []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            record = end.value
            break
    assert events == [GroupBegins(1, 1, [bad]), Failed(bad, "KeyError: 'nothing'")]
    assert (record.samples, record.prepared) == ([], {})


@pytest.mark.usefixtures("quick_workers")
def test_infer_from_end_to_end(tmp_path: Path) -> None:
    done = call(
        "bench", "infer", "--variant", "compact4", "--size", 48, "--engine", "jax,flax",
        "--batch-size", "1,2", "--threads", 1, "--repeats", 2, "--plot", "-v", "-o", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.count("ready after") == 4
    assert "…" not in done.stdout
    assert "vs jax" in done.stdout
    table = pd.read_csv(tmp_path / "bench_infer.csv")
    assert tuple(table.columns) == tables.COLUMNS["infer"]
    assert list(zip(table["engine"], table["batch_size"], strict=True)) == [
        ("jax", 1), ("flax", 1), ("jax", 2), ("flax", 2),
    ]  # fmt: skip
    assert table["repeats"].between(2, 4).all()
    assert (table["slices_per_s"] > 0).all()
    assert table["peak_memory_mib"].between(100, 4000).all()
    assert (table["share_of_peak"] > 0).all()
    assert (table["ratio_to_jax"][table["engine"] == "jax"] == 1).all()
    assert table["versions"].str.contains("jaxlib=").all()
    assert (table["latency_p99"] >= table["latency_p50"]).all()
    assert (table["cpu_s"] > 0).all()
    assert list(table["scenario"]) == ["single stream"] * 2 + ["offline"] * 2
    # Disturbed repeats are made up for, at most once each.
    assert 8 <= len(pd.read_csv(tmp_path / "bench_infer_repeats.csv")) <= 16
    result = read_result(tmp_path / "bench_infer.json")
    assert len(result["results"]) == 4
    assert result["peaks"][0]["gflops"] == max(result["peaks"][0]["gflops_by_round"])
    assert (tmp_path / "bench_infer.png").read_bytes()[:4] == PNG
    assert done.stdout.endswith(f"Results are in {tmp_path}/ : open report.html first\n")
    page = Page(tmp_path / "report.html")
    check_alone(page)
    assert page.column("batch_size", "bench_infer") == ["1", "1", "2", "2"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("quick_workers")
def test_train_and_a_rival_that_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engines.find_spec
    absent = ("torch", "keras")
    monkeypatch.setattr(engines, "find_spec", lambda n: None if n in absent else real(n))
    begin = ("bench", "train", "--variant", "compact4", "--size", 48, "--batch-size", 1)
    done = call(
        *begin, "--threads", 1, "--repeats", 1, "--engine", "jax,torch,keras", "-o", tmp_path
    )
    assert done.exit_code == 0, done.output
    assert "torch: not installed, skipped (pip install 'musclejax[bench]'" in done.stdout
    assert "keras: not installed, skipped" in done.stdout
    assert list(pd.read_csv(tmp_path / "bench_train.csv")["engine"]) == ["jax"]
    alone = call(*begin, "--engine", "torch", "-o", tmp_path / "none")
    assert alone.exit_code == 2
    half = call(*begin, "--engine", "jax", "--precision", "bfloat16", "-o", tmp_path / "none")
    assert half.exit_code == 2
    assert "none of the engines has (jax: computes in float32 only" in half.stderr
    assert "an engine that has it in `bench train`: onednn, torch, keras" in half.stderr
    assert "nothing that can run here" in alone.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("system", "machine", "package"),
    [
        ("Linux", "x86_64", "tensorflow-cpu"),
        ("Linux", "aarch64", "tensorflow"),
        ("Darwin", "arm64", "tensorflow"),
    ],
)
def test_a_package_that_differs_by_system_is_named(
    system: str, machine: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda n: None)
    monkeypatch.setattr(engines.platform, "system", lambda: system)
    monkeypatch.setattr(engines.platform, "machine", lambda: machine)
    assert engines.unavailable_reason("keras") == f"no module tensorflow (package {package})"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--engine", "pytorch"), "Did you mean torch?"),
        (("--variant", "compact9"), "Did you mean compact8?"),
        (("--precision", "float16"), "accepted: float32, bfloat16"),
        (("--size", "100"), "multiples of 48 for compact4"),
        (("--size", "96x96x96"), "a number of pixels"),
        (("--batch-size", "0"), "--batch-size: found '0'; accepted: 1 to"),
        (("--threads", "4096"), "as this machine has"),
        (("--minutes", "0"), "--minutes: found 0.0; accepted: more than 0"),
        (("--reference", "none.nii.gz"), "accepted: a NIfTI label map of test_up.nii.gz"),
        (("--engine", ","), "--engine: found an empty list"),
    ],
)
def test_wrong_options_are_exit_code_2(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    options = {"--variant": "compact4", "--size": "96", "-o": str(tmp_path / "o")}
    options[change[0]] = change[1]
    found = call("bench", "infer", *(part for pair in options.items() for part in pair))
    assert (found.exit_code, message in found.stderr) == (2, True), found.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.usefixtures("quick_workers")
def test_data_against_scipy(tmp_path: Path) -> None:
    done = call("bench", "data", "--engine", "scipy", "--threads", 1, "--repeats", 1, "--plot",
                "-o", tmp_path)  # fmt: skip
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "bench_data.csv")
    assert list(zip(table["variant"], table["engine"], strict=True)) == [("weight_map", "scipy")]
    assert (table["seconds_median"] > 0).all()
    assert (tmp_path / "bench_data.png").read_bytes()[:4] == PNG


def test_segment_is_a_process_per_run(tmp_path: Path) -> None:
    """With another engine where there is one: --engine and --precision reach the command."""
    engine = "jax" if engines.unavailable_reason("openvino") else "openvino"
    done = call(
        "bench", "segment", "--variant", "half16", "--slices", 1, "--batch-size", 1,
        "--threads", 1, "--repeats", 1, "--engine", engine, "-o", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    row = pd.read_csv(tmp_path / "bench_segment.csv").iloc[0]
    assert (row.engine, row.slices, row.used) == (engine, 1, f"{engine} float32")
    assert row.scans_per_hour == pytest.approx(3600 / row.seconds_median, rel=1e-3)
    assert row.engine in done.stdout
    assert 0 < row.network < row.total < row.seconds_median
    assert row.compile_s > -row.seconds_median
    assert engine in row.versions


def test_own_weights_take_the_place_of_a_variants(weights_folder: Path) -> None:
    """They are given to the command, with a region: their classifier is nobody's to judge."""
    jobs, _ = jobs_of(BenchOptions("segment", weights=str(weights_folder)))
    (variant,) = {job.variant for job in jobs}
    assert trained(str(weights_folder)) == {variant: str(weights_folder)}
    assert trained(None) == BUNDLED


def test_own_weights_must_have_a_thigh_network(weights_folder: Path, tmp_path: Path) -> None:
    shutil.copy(weights_folder / "leg.safetensors", tmp_path)
    with pytest.raises(InputError, match="without a thigh network"):
        trained(str(tmp_path))
    with pytest.raises(InputError, match="--variant paper too"):
        BenchOptions("cohort", variant="paper", weights=str(weights_folder))


@pytest.mark.parametrize("options", [("variant",), ("batch_size", "slices"), ("threads",)])
def test_every_option_is_drawn(options: tuple[str, ...], tmp_path: Path) -> None:
    record = hand_made()
    changed = {"variant": "paper", "batch_size": 4, "slices": 4, "threads": 2}
    change: Any = {name: changed[name] for name in options}
    record.samples.extend([replace(s, job=replace(s.job, **change)) for s in record.samples])
    record.prepared.update({s.job: {} for s in record.samples if s.job not in record.prepared})
    table = tables.rows(record, HERE, "")
    assert len(table) == 4
    save_picture(table, tmp_path)
    draw_rivals([table, table], tmp_path / "b.png")
    assert all((tmp_path / f"{name}.png").read_bytes()[:4] == PNG for name in ("bench_infer", "b"))


def test_a_page_has_all_kinds_of_the_folder_and_names_are_text(tmp_path: Path) -> None:
    hostile = "</script><b>=cmd"
    record = hand_made()
    training = tables.rows(record, HERE, hostile).assign(kind="train", variant=hostile)
    training = training.reindex(columns=list(tables.COLUMNS["train"]))
    (tmp_path / "bench_train.csv").write_text(csv_text(training))
    (tmp_path / "bench_data.csv").write_text("mine,alone\n1,2\n")
    save_page(tables.rows(record, HERE, "musclejax bench infer"), tmp_path, [hostile])
    page = Page(tmp_path / "report.html")
    check_alone(page)
    assert page.text.index("Inference") < page.text.index("Training step")
    for kind in ("infer", "train"):
        assert page.column("engine", f"bench_{kind}") == ["jax", "flax"]
        assert page.column("slices/s", f"bench_{kind}") == ["1.00", "1.00"]
        assert page.column("vs jax", f"bench_{kind}") == ["1.00", "0.500"]
    assert page.column("memory (MiB)", "bench_infer") == ["102", "102"]
    assert "python=3 jax=1" in page.text
    assert page.text.count(hostile) == 3  # as a warning, a command and a variant
    assert "bench_data.csv is not a table of this version" in page.text
    assert "musclejax 1, plain Flax 1" in page.pictures[0][1]
