"""Measurements to rely on: what else ran, repeats in calm, JSON by its schema, comparisons."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musclejax.bench import comparison, environment, json_schema, meter, result, sample
from musclejax.bench import table as tables
from musclejax.bench.job import Job
from musclejax.bench.meter import Usage
from musclejax.bench.record import Accuracy, Peak, Record, Sample
from musclejax.bench.rounds import Budget, due_jobs, turns
from tests.pages import Page, check_alone
from tests.test_cli import call

OURS, RIVAL = (Job("infer", "compact4", e, batch_size=2, slices=2) for e in ("jax", "torch"))
CALM, BUSY = 0.1, 0.6
"""Processors that others keep busy; `meter.OTHERS` is between them."""


def sampled(job: Job, turn: int, seconds: float, others: float = CALM) -> Sample:
    return Sample(job, 1, turn, Usage(seconds, 2 * seconds, others, 5.0), 300.0, (seconds,) * 2)


def recorded(seconds: dict[Job, list[float]], **others: Any) -> Record:
    samples = [sampled(job, n, s) for job, all_ in seconds.items() for n, s in enumerate(all_, 1)]
    prepared = {job: {"compile_s": 1.0, "versions": {"torch": "2"}} for job in seconds}
    return Record(samples, prepared, {(1, "float32"): [Peak(50.0, "it")]}, **others)


def written(record: Record, path: Path, **machine: Any) -> Path:
    about = {"kind": "infer", "command": "musclejax bench infer", "options": {"repeats": 3}}
    about |= {"started": "2026-12-01T00:00:00+00:00", "finished": "2026-12-01T00:01:00+00:00"}
    here = environment.environment()
    here["machine"] |= machine
    path.write_text(json.dumps(result.to_result(record, here, about, ["a warning"])))
    return path


def test_what_else_ran_is_what_the_processors_did_beside_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, guest."""
    monkeypatch.setattr(meter, "STAT", tmp_path / "stat")
    rapl = tmp_path / "intel-rapl:0"
    rapl.mkdir()
    (rapl / "name").write_text("package-0\n")
    (rapl / "max_energy_range_uj").write_text("1000000\n")
    monkeypatch.setattr(meter, "POWERCAP", tmp_path)
    found = []
    for ticks, joule in ((0, 900_000), (300, 400_000)):  # the counter of energy has started anew
        steal = ticks // 3
        rows = [
            "cpu 9 9 9 9 9 9 9 9 9",
            f"cpu0 {ticks} 0 0 7 7 0 0 {steal} 0",
            "cpu1 5 0 0 0 0 0 0 0",
        ]
        (tmp_path / "stat").write_text("\n".join(rows))
        (rapl / "energy_uj").write_text(f"{joule}\n")
        found.append(meter.read([0]))
    before, after = (
        r._replace(wall=w, own=o) for r, w, o in zip(found, (0, 5), (1, 4), strict=True)
    )
    # 3 s by users, 1 s stolen, of them 3 s ours, in 5 s; 0.5 J in two calls.
    assert meter.usage(before, after, 2) == Usage(2.5, 1.5, pytest.approx(0.2), 0.25)
    monkeypatch.setattr(meter, "STAT", tmp_path / "none")
    (rapl / "energy_uj").unlink()
    nothing = meter.read([0])
    assert (nothing.busy, nothing.energy) == (None, ())
    assert meter.usage(nothing, nothing)[2:] == (None, None)


def test_own_work_is_no_disturbance() -> None:
    before = meter.read(meter.own_processors())
    while meter.read([]).wall - before.wall < 0.2:
        pass
    taken = meter.usage(before, meter.read(meter.own_processors()))
    assert taken.cpu_s == pytest.approx(0.2, abs=0.1)


def test_disturbed_repeats_are_made_up_for_with_their_reference() -> None:
    jobs, budget = [OURS, RIVAL, replace(OURS, variant="paper")], Budget(2)
    samples = [sampled(job, turn, 1.0) for turn in (1, 2) for job in jobs]
    assert due_jobs(2, jobs, samples[:3], budget, 0.0, 0.0) == jobs
    assert due_jobs(3, jobs, samples, budget, 0.0, 0.0) == []
    samples[1] = sampled(RIVAL, 1, 1.0, BUSY)
    assert due_jobs(3, jobs, samples, budget, 0.0, 0.0) == jobs[:2]
    samples += [sampled(job, 3, 1.0, BUSY) for job in jobs[:2]]
    assert due_jobs(4, jobs, samples, budget, 0.0, 0.0) == jobs[:2]
    assert due_jobs(5, jobs, samples, budget, 0.0, 0.0) == []  # as many again, and no more


def test_minutes_are_a_budget_and_jobs_that_fail_leave() -> None:
    timed = Budget(9, 60.0)
    assert due_jobs(1, [OURS], [], timed, 500.0, 0.0) == [OURS]  # at least one
    assert due_jobs(5, [OURS], [], timed, 40.0, 20.0) == [OURS]
    assert due_jobs(5, [OURS], [], timed, 41.0, 20.0) == []
    assert timed.share(3).seconds == 20.0
    jobs = [OURS, RIVAL]
    rounds = turns(jobs, [], Budget(3), 0.0)
    assert next(rounds) == (1, [OURS, RIVAL])
    jobs.remove(RIVAL)
    assert next(rounds) == (2, [OURS])
    jobs.clear()
    assert list(rounds) == []


def test_figures_are_of_calm_repeats_if_three_are() -> None:
    record = recorded({OURS: [1.0] * 3, RIVAL: [2.0] * 3})
    record.samples.extend(sampled(job, 4, 9.0, BUSY) for job in (OURS, RIVAL))
    ours, rival = (row for _, row in tables.rows(record, environment.environment(), "").iterrows())
    assert (ours.repeats, ours.disturbed, ours.seconds_median, ours.others) == (3, 1, 1.0, CALM)
    assert (rival.ratio_to_jax, rival.cpu_s, rival.energy_j, rival.calls) == (0.5, 4.0, 5.0, 6)
    assert tables.remarks(record) == []
    del record.samples[:2]  # now only one calm repeat of ours
    ours = tables.rows(record, environment.environment(), "").iloc[0]
    assert (ours.repeats, ours.seconds_median) == (2, 5.0)
    (line,) = tables.remarks(record)
    assert "other programs ran in 1 of 2 repeats, on up to 0.6 processors" in line


def test_more_than_the_peak_is_said() -> None:
    record = recorded({OURS: [1e-4] * 3})
    (line,) = tables.remarks(record)
    assert "% of peak: no convolution or product that was tried is as fast" in line
    assert "jax, compact4" in line


def test_labels_are_compared_where_either_has_one() -> None:
    a, b = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    assert sample.agreement(a, b) == 1.0
    a[0, :, 0], b[:, 0, 0] = 1, 1
    assert sample.agreement(a, b) == pytest.approx(1 / 3)
    assert sample.mean_dsc(a, b) == 0.5
    a[..., 1] = 2  # a slice that the reference leaves out
    assert sample.mean_dsc(a, b) == 0.5
    b[1, 1, 0] = 3  # a muscle that was not found
    assert sample.mean_dsc(a, b) == 0.25
    assert sample.accuracy(a, a, None) == Accuracy(1.0, None)


def test_the_window_is_that_of_segment() -> None:
    """240 x 384: `data.crop_px` of the bundled thigh network, in which the sample fits."""
    assert sample.own_window("slim32") == (240, 384)
    assert sample.own_window("paper") == (432, 432)


def test_instruction_sets_and_commit() -> None:
    flags = "fpu sse4_2 avx2 avx512_bf16 amx_tile svm bf16ish"
    assert environment.isa({"flags": flags}) == ["amx_tile", "avx2", "avx512_bf16", "sse4_2"]
    assert environment.isa({}) == []
    commit = environment.commit()
    assert commit is None or 12 <= len(commit) <= 13


def test_json_follows_its_schema_and_comes_back(tmp_path: Path) -> None:
    record = recorded({OURS: [1.0, 2.0, 3.0]}, accuracy={OURS: Accuracy(0.998, float("nan"))})
    record.samples.append(Sample(OURS, 1, 4, Usage(2.0)))  # a system that reports nothing
    found = result.read_result(written(record, tmp_path / "a.json"))
    (one,) = found["results"]
    assert Job(**one["job"]) == OURS
    assert one["figures"]["agreement"] == 0.998
    assert one["figures"]["dsc"] is None
    assert one["repeats"][0]["latencies"] == [1, 1]
    assert one["repeats"][3]["cpu_s"] is None
    assert found["warnings"] == ["a warning"]
    assert {"isa", "family", "memory_mib", "huge_pages", "load_1min"} <= found["machine"].keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "found JSON of another kind"),
        ({"version": 2}, "a result of version 2; accepted: version 1"),
        ({"results": []}, "results: 0 in place of at least 1"),
        ({"warnings": [1]}, "warnings[0]: int in place of string"),
        ({"mine": 1}, "mine: unknown"),
        ({"machine": {}}, "machine: no cpu"),
    ],
)
def test_a_file_that_is_no_result_is_one_line(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    good = written(recorded({OURS: [1.0]}), tmp_path / "a.json")
    (tmp_path / "b.json").write_text(json.dumps(json.loads(good.read_text()) | change))
    found = call("bench", "compare", good, tmp_path / "b.json", "-o", tmp_path / "o")
    assert found.exit_code == 2
    assert message in found.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("value", "schema", "wrong"),
    [
        (True, {"type": "integer"}, [": bool in place of integer"]),
        (1, {"type": ["number", "null"]}, []),
        ("x", {"enum": ["y"]}, [": 'x' in place of 'y'"]),
        (0, {"type": "integer", "minimum": 1}, [": 0 in place of at least 1"]),
        ({}, {"required": ["a"]}, ["no a"]),
        ({"a": [{"b": 1}]}, {"properties": {"a": {"items": {"additionalProperties": False}}}},
         ["a[0].b: unknown"]),
    ],
)  # fmt: skip
def test_the_part_of_json_schema(value: Any, schema: dict[str, Any], wrong: list[str]) -> None:
    assert list(json_schema.violations(value, schema)) == wrong


def test_a_keyword_that_is_not_known_is_no_silence() -> None:
    with pytest.raises(KeyError):
        list(json_schema.violations({}, {"oneOf": []}))


def results(tmp_path: Path, a: Record, b: Record, **machine: Any) -> tuple[Any, Any]:
    return tuple(
        result.read_result(path)
        for path in (written(a, tmp_path / "a.json"), written(b, tmp_path / "b.json", **machine))
    )


def test_intervals_tell_a_difference_from_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noisy = lambda seconds: list(seconds * (1 + 0.02 * rng.standard_normal(10)))
    paper = replace(OURS, variant="paper")
    a = recorded({OURS: noisy(2.0), RIVAL: noisy(1.0), paper: [3.0]})
    b = recorded({OURS: noisy(1.0), RIVAL: noisy(1.0)})
    found = comparison.compare(*results(tmp_path, a, b))
    assert list(found.rows["verdict"]) == ["B is faster", "no difference shown"]
    first, second = (row for _, row in found.rows.iterrows())
    assert first.ratio == pytest.approx(2, rel=0.03)
    assert first.ratio_low < first.ratio < first.ratio_high < 2.2
    assert second.ratio_low < 1 < second.ratio_high
    assert (first.memory_ratio, first.repeats_a) == (1.0, 10)
    assert found.overall is not None
    assert found.overall[0] == pytest.approx(2**0.5, rel=0.03)
    assert found.only_a == [paper.label]
    assert found.differences == []
    again = comparison.compare(*results(tmp_path, a, b))
    assert again.rows.equals(found.rows)


def test_few_repeats_have_no_interval(tmp_path: Path) -> None:
    few = recorded({OURS: [1.0, 1.1]})
    found = comparison.compare(*results(tmp_path, few, few))
    assert found.rows["verdict"][0] == "fewer than 3 repeats"
    assert found.summary == "B is 1.000 times as fast as A"


def test_the_command_compares_two_machines(tmp_path: Path) -> None:
    hostile = "</script><b>=cmd"
    a, b = recorded({OURS: [2.0, 2.0, 2.0, 2.1]}), recorded({OURS: [1.0, 1.0, 1.0, 1.1]})
    paths = written(a, tmp_path / "a.json"), written(b, tmp_path / "b.json", cpu=hostile, isa=[])
    done = call("bench", "compare", *paths, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "B is 2.000 times as fast as A (95 % interval 1." in done.stdout
    assert "A and B differ in processor, instruction sets: ratios are of all that" in done.stdout
    assert "A: a warning" in done.stdout
    assert "B is faster" in done.stdout
    assert "Cell" not in done.stdout
    page = Page(tmp_path / "o" / "report.html")
    check_alone(page)
    assert page.column("B vs A", "comparison") == ["2.00"]
    assert page.column("verdict", "comparison") == ["B is faster"]
    assert page.column("B", "differences")[0] == hostile
    assert (tmp_path / "o" / "compare.png").read_bytes()[:4] == b"\x89PNG"
    printed = call("bench", "compare", *paths)
    assert printed.stdout.splitlines()[:4] == done.stdout.splitlines()[:4]
    other = written(recorded({RIVAL: [1.0]}), tmp_path / "c.json")
    assert "no job in common: A has jax" in call("bench", "compare", paths[0], other).stderr
