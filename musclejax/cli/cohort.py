"""Segment many scans with one load and one compilation; report each, stop for none."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.process import (
    BadUsage,
    Stopwatch,
    configure,
    machine,
    peak_memory_mib,
    usage,
)
from musclejax.errors import InputError
from musclejax.scan.discover import find_scans

if TYPE_CHECKING:
    from rich.progress import Progress

    from musclejax.models.weights import Weights


@dataclass(frozen=True)
class Settings:
    """The options of `musclejax segment`; see its help."""

    output: Path
    weights: str
    region: str = "auto"
    geometry: str = "world"
    batch_size: int = 4
    threads: int | None = None
    probabilities: bool = False
    dicom_seg: bool = False
    fat_fraction: Path | None = None
    overwrite: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the settings that change the result."""
        kept = ("weights", "region", "geometry", "probabilities", "dicom_seg")
        identity = {name: value for name, value in asdict(self).items() if name in kept}
        return {**identity, "fat_fraction": str(self.fat_fraction or "")}


def run(paths: Sequence[Path], settings: Settings) -> int:
    """Segment the scans that `paths` mean.

    Returns:
        The exit code: 0 if all are done, 1 if some failed.

    Raises:
        BadUsage: If an option is unusable.
    """
    with usage():
        configure(settings.threads)
    scans, missing = _find(paths)
    names = {scan: _name(scan) for scan in scans}
    _check(names, settings)
    clock = Stopwatch()
    with clock.stage("startup"), usage():
        weights = _load(settings)
    _say_weights(weights)
    failed = missing
    with _progress() as progress:
        bar = progress.add_task("scans", total=len(scans), visible=len(scans) > 1)
        for scan, name in names.items():
            failed += not _attempt(scan, name, weights, settings, clock, progress)
            progress.advance(bar)
    if failed:
        total = len(scans) + missing
        rest = f"; the other results are in {settings.output}" if failed < total else ""
        click.echo(f"{failed} of {total} failed{rest}", err=True)
    return 1 if failed else 0


def _find(paths: Sequence[Path]) -> tuple[list[Path], int]:
    scans: list[Path] = []
    missing = 0
    for path in paths:
        try:
            scans += find_scans(path)
        except InputError as error:
            missing += 1
            click.echo(f"failed: {error}", err=True)
    return list(dict.fromkeys(scans)), missing


def _name(scan: Path) -> str:
    from musclejax.scan.volume import scan_name

    return scan_name(scan)


def _check(names: dict[Path, str], settings: Settings) -> None:
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        same = " and ".join(str(scan) for scan, name in names.items() if name == twice[0])
        raise BadUsage(f"found {same}, whose results would have one name; accepted: one of them.")
    fat = settings.fat_fraction
    if fat and not fat.exists():
        raise BadUsage(f"--fat-fraction: found no file {fat}; accepted: a NIfTI file or a folder.")
    if fat and fat.is_file() and len(names) > 1:
        raise BadUsage(
            f"--fat-fraction: found one file for {len(names)} scans; accepted: a folder with a "
            "NAME.nii.gz for each scan."
        )
    try:
        settings.output.mkdir(parents=True, exist_ok=True)
        writable = os.access(settings.output, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise BadUsage(f"-o: found {settings.output}, which cannot be written; accepted: a folder.")


def _load(settings: Settings) -> "Weights":
    from musclejax.inference.report import save_label_names
    from musclejax.models.weights import load_weights

    weights = load_weights(settings.weights)
    save_label_names(settings.output)
    return weights


def _say_weights(weights: "Weights") -> None:
    click.echo(f"weights {weights.name}: {weights.provenance.get('description', 'no description')}")


def _attempt(
    scan: Path,
    name: str,
    weights: "Weights",
    settings: Settings,
    clock: Stopwatch,
    progress: "Progress",
) -> bool:
    """Segment one scan; report what happened; return whether it is done."""
    from musclejax.inference.report import read_record

    finished = None if settings.overwrite else read_record(settings.output, name)
    if finished is not None:
        same = finished.get("settings") == settings.identity()
        same = same and finished.get("weights_hash") == weights.hash
        note = "" if same else ", with other settings; --overwrite segments it again"
        progress.console.print(f"{name}: finished before{note}", highlight=False)
        return True
    try:
        line = _segment(scan, name, weights, settings, clock, progress)
    except (InputError, OSError, MemoryError) as error:
        line, done = f"failed: {error}", False
    except Exception as error:
        # One scan's surprise must not cost the night's cohort.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        line, done = f"failed: {scan}: unexpected {reason}", False
    else:
        done = True
    if done:
        progress.console.print(line, highlight=False)
    else:
        click.echo(line, err=True)
    return done


def _segment(
    scan: Path,
    name: str,
    weights: "Weights",
    settings: Settings,
    started: Stopwatch,
    progress: "Progress",
) -> str:
    from musclejax.inference import report
    from musclejax.inference.measure import load_fat_fraction
    from musclejax.inference.segment import Hooks
    from musclejax.inference.segment import segment as segment_volume
    from musclejax.scan.volume import load

    clock = Stopwatch()
    with clock.stage("total"):
        with clock.stage("load"):
            volume = load(scan)
            if settings.dicom_seg and not volume.dicom_files:
                raise InputError(scan, "a NIfTI scan", "a DICOM scan with --dicom-seg")
            path = _fat_path(settings.fat_fraction, name)
            fat = load_fat_fraction(path, volume) if path else None
        bar = progress.add_task(name, total=volume.data.shape[volume.axial_axis])
        try:
            segmentation = segment_volume(
                volume,
                weights,
                region=settings.region,
                geometry=settings.geometry,
                batch_size=settings.batch_size,
                probabilities=settings.probabilities,
                hooks=Hooks(clock.stage, lambda slices: progress.advance(bar, slices)),
            )
        finally:
            progress.remove_task(bar)
        with clock.stage("save"):

            def record() -> dict[str, Any]:
                return {
                    "source": str(scan),
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                    "settings": settings.identity(),
                    "batch_size": settings.batch_size,
                    "weights_hash": weights.hash,
                    "config_hash": weights.networks[segmentation.region].hash,
                    "seconds": {**started.seconds, **clock.seconds},
                    "peak_memory_mib": peak_memory_mib(),
                    **machine(),
                }

            report.save(
                segmentation,
                settings.output,
                fat_fraction=fat,
                dicom_seg=settings.dicom_seg,
                record=record,
            )
    certainty = segmentation.region_probability
    how = "as given" if certainty is None else f"p = {certainty:.3f}"
    seconds = clock.seconds
    summary = (
        f"{name}: {segmentation.region} ({how}), {volume.data.shape[volume.axial_axis]} slices"
    )
    summary += f", {seconds['total']:.1f} s (network {seconds['network']:.1f} s)"
    return "\n".join([summary, *(f"  note: {w}" for w in segmentation.warnings)])


def _fat_path(fat_fraction: Path | None, name: str) -> Path | None:
    if fat_fraction is None or fat_fraction.is_file():
        return fat_fraction
    path = fat_fraction / f"{name}.nii.gz"
    if not path.is_file():
        raise InputError(path, "no fat-fraction map for this scan", "one named like the scan")
    return path


def _progress() -> "Progress":
    """Return a progress bar that shows itself on a terminal only."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
