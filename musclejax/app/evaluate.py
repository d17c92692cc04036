"""`musclejax evaluate`: follow the cases, report each, write the results."""

from collections.abc import Generator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from musclejax.app import console
from musclejax.app.announce import load_announced, resolved_announced
from musclejax.app.fat_map import check_maps
from musclejax.app.label_names import write_label_names
from musclejax.app.options import EvaluateOptions
from musclejax.app.process import Stopwatch, check_output, command_line, since_configured, usage
from musclejax.app.stop import STOPPED, noticing_interrupts, raise_if_interrupted
from musclejax.errors import count_of
from musclejax.evaluation.result import Comparison, Evaluation
from musclejax.evaluation.run import (
    CaseDone,
    CaseFailed,
    CaseSegmented,
    Event,
    Source,
    evaluate_steps,
    from_folders,
    from_weights,
)
from musclejax.models.weights import Weights
from musclejax.prediction.engine_choice import check
from musclejax.prediction.engines import library_versions
from musclejax.prediction.options import SegmentOptions
from musclejax.reports.evaluation import check_folder, save
from musclejax.reports.run_record import check_replaceable
from musclejax.reports.segmentation import save_label_map
from musclejax.system import machine, peak_memory_mib

_LABELS = "labels"
"""Folder in the output folder for label maps."""
Steps = Generator[Event, None, Evaluation | None]


def run(options: EvaluateOptions, how: SegmentOptions) -> int:
    """Compare all cases and write the results.

    Args:
        options: What is compared.
        how: How weights segment.

    Returns:
        The exit code: 0 if all are done, 1 if some failed, 130 if stopped by Ctrl-C.

    Raises:
        BadUsage: If an option is unusable.
    """
    try:
        with noticing_interrupts():
            return _run(options, how)
    except KeyboardInterrupt:
        console.warn("stopped; no table was written")
        return STOPPED


def _run(options: EvaluateOptions, how: SegmentOptions) -> int:
    check_output(options.output)
    with usage():
        check_folder(options.output)
    clock = Stopwatch()
    clock.add("startup", since_configured())
    with clock.stage("total"), TemporaryDirectory() as scenes:
        with clock.stage("startup"), usage():
            weights = None
            if options.weights:
                check(how)
                weights = load_announced(options.weights)
                how = resolved_announced(how, weights)
            source = _source(options, how, weights)
        check_maps(options.fat_fraction, len(source.dataset.cases))
        with clock.stage("cases"):
            steps = evaluate_steps(
                source,
                all_slices=options.all_slices,
                scenes=Path(scenes),
                fat_fraction=options.fat_fraction,
            )
            if options.save_labels:
                steps = _saving(steps, options.output / _LABELS)
            evaluation, failed = _follow(steps, len(source.dataset.cases))
        if evaluation:
            with clock.stage("save"):
                _save(evaluation, options, how, weights, failed, clock)
    if failed:
        console.warn(f"{len(failed)} of {len(source.dataset.cases)} failed")
    console.detail(", ".join(f"{stage} {s:.2f} s" for stage, s in clock.seconds.items()))
    if evaluation:
        console.say(f"\nResults are in {options.output}/ : open report.html first")
    return 1 if failed else 0


def _source(options: EvaluateOptions, how: SegmentOptions, weights: Weights | None) -> Source:
    if options.reference and options.prediction:
        region, numbers = options.region or "", options.numbers or ""
        return from_folders(options.reference, options.prediction, region, numbers)
    assert weights is not None  # as the record has checked
    assert options.data is not None
    source = from_weights(weights, options.data, how)
    if options.save_labels:
        for case in source.dataset.cases:  # before hours are spent
            check_replaceable(options.output / _LABELS, case.name, "any scan")
    return source


def _saving(steps: Steps, folder: Path) -> Steps:
    """Pass events on; write the label map of each case. One that cannot be written fails."""
    error: Exception | None = None
    while True:
        try:
            event = steps.throw(error) if error else next(steps)
        except StopIteration as end:
            return end.value
        error = None
        yield event
        if isinstance(event, CaseSegmented):
            try:
                _save_labels(event, folder)
            except Exception as failure:
                error = failure


def _save_labels(event: CaseSegmented, folder: Path) -> None:
    case, found = event
    named = replace(found, volume=replace(found.volume, name=case.name))
    save_label_map(named, folder, lambda: {"source": str(case.image)})


def _follow(steps: Steps, cases: int) -> tuple[Evaluation | None, dict[str, str]]:
    """Compare the cases behind a bar; report each, return the reasons of those that failed."""
    failed: dict[str, str] = {}
    with console.progress() as bars:
        bar = console.Bar(bars, "cases", cases)
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                return end.value, failed
            raise_if_interrupted()
            match event:
                case CaseDone(comparison):
                    console.say(_line(comparison))
                case CaseFailed(case, _):
                    failed[case.name] = event.reason
                    console.warn(f"failed: {case.name}: {event.reason}")
                case _:
                    bar.show(event)


def _line(comparison: Comparison) -> str:
    """Return the line about a compared case."""
    row = comparison.cases.iloc[0]
    distance = f"HD95 {row['hd95_mm']:.1f} mm" if row["hd95_mm"] >= 0 else "no distances"
    if 0 < row["hd95_mm_n"] < row["dsc_n"]:
        distance += f" over {row['hd95_mm_n']} of {row['dsc_n']} muscles"
    case = f"{row['case']}: {row['region']}, {count_of(int(row['slices']), 'slice')}"
    return f"{case}, DSC {row['slice_dsc']:.3f}, {distance}"


def _save(
    evaluation: Evaluation,
    options: EvaluateOptions,
    how: SegmentOptions,
    weights: Weights | None,
    failed: Mapping[str, str],
    clock: Stopwatch,
) -> None:
    """Write all files and print the warnings that `load_announced` has not printed."""
    if options.save_labels:
        write_label_names(options.output / _LABELS)
    save(
        evaluation,
        options.output,
        lambda: _record(options, how, weights, failed, clock.seconds),
        paper_tables=options.paper_tables,
    )
    for warning in evaluation.warnings:
        if not (weights and warning == weights.warning):
            console.warn(f"warning: {warning}")


def _record(
    options: EvaluateOptions,
    how: SegmentOptions,
    weights: Weights | None,
    failed: Mapping[str, str],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    settings = {**(asdict(how) if weights else {}), **asdict(options)}
    headers = weights.headers if weights else {}
    return {
        "command": command_line(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()},
        "weights_hash": weights.hash if weights else None,
        "network_hashes": {task: header.hash for task, header in headers.items()},
        "failed": dict(failed),
        "seconds": dict(seconds),
        "peak_memory_mib": peak_memory_mib(),
        **machine(library_versions(how.engine) if weights else None),
    }
