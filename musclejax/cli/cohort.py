"""Segment many scans with one load and one compilation; report each, stop for none."""

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
    check_output,
    configure,
    machine,
    peak_memory_mib,
    progress_bar,
    usage,
)
from musclejax.cli.weights import load_announced
from musclejax.errors import InputError
from musclejax.scan.discover import find_scans

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import Progress

    from musclejax.inference.segment import Segmentation
    from musclejax.models.weights import Weights
    from musclejax.scan.volume import Volume


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
        """Return the settings that change the result; the weights have a hash of their own."""
        kept = ("region", "geometry", "probabilities", "dicom_seg")
        identity = {name: value for name, value in asdict(self).items() if name in kept}
        return {**identity, "fat_fraction": str(self.fat_fraction or "")}


@dataclass(frozen=True)
class Session:
    """What all scans of one command share.

    Attributes:
        settings: The options.
        weights: The networks, loaded once.
        startup: Seconds by stage before the first scan.
        progress: Bars on a terminal; nothing elsewhere.
    """

    settings: Settings
    weights: "Weights"
    startup: dict[str, float]
    progress: "Progress"


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
    names = _name(scans)
    _check(names, settings)
    clock = Stopwatch()
    with clock.stage("startup"), usage():
        weights = _load(settings)
    failed = missing
    with progress_bar() as progress:
        session = Session(settings, weights, clock.seconds, progress)
        bar = progress.add_task("scans", total=len(scans), visible=len(scans) > 1)
        for scan, name in names.items():
            failed += not _attempt(scan, name, session)
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


def _name(scans: list[Path]) -> dict[Path, str]:
    from musclejax.scan.volume import scan_name

    return {scan: scan_name(scan) for scan in scans}


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
    check_output(settings.output)


def _load(settings: Settings) -> "Weights":
    from musclejax.inference.report import save_label_names

    weights = load_announced(settings.weights)
    save_label_names(settings.output)
    return weights


def _attempt(scan: Path, name: str, session: Session) -> bool:
    """Segment one scan; report what happened; return whether it is done."""
    try:
        line = _finished_before(name, session) or _segment(scan, name, session)
    except (InputError, OSError, MemoryError) as error:
        click.echo(f"failed: {error}", err=True)
        return False
    except Exception as error:
        # One scan's surprise must not cost the night's cohort.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        click.echo(f"failed: {scan}: unexpected {reason}", err=True)
        return False
    session.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
    return True


def _finished_before(name: str, session: Session) -> str:
    from musclejax.inference.report import read_record

    settings = session.settings
    record = None if settings.overwrite else read_record(settings.output, name)
    if record is None:
        return ""
    same = record.get("settings") == settings.identity()
    same = same and record.get("weights_hash") == session.weights.hash
    note = "" if same else ", with other settings; --overwrite segments it again"
    return f"{name}: finished before{note}"


def _segment(scan: Path, name: str, session: Session) -> str:
    """Segment one scan and write its files; return the line that says so."""
    from musclejax.inference import report

    clock, settings = Stopwatch(), session.settings
    with clock.stage("total"):
        with clock.stage("load"):
            volume, fat_fraction = _read(scan, name, settings)
        segmentation = _label(volume, session, clock)
        with clock.stage("save"):
            report.save(
                segmentation,
                settings.output,
                fat_fraction=fat_fraction,
                dicom_seg=settings.dicom_seg,
                record=lambda: _record(scan, segmentation, session, clock),
            )
    certainty = segmentation.region_probability
    how = "as given" if certainty is None else f"p = {certainty:.3f}"
    seconds, slices = clock.seconds, volume.data.shape[volume.axial_axis]
    line = f"{name}: {segmentation.region} ({how}), {slices} slices, {seconds['total']:.1f} s"
    notes = [w for w in segmentation.warnings if w != session.weights.caution]
    return "\n".join(
        [f"{line} (network {seconds['network']:.1f} s)", *(f"  note: {n}" for n in notes)]
    )


def _read(scan: Path, name: str, settings: Settings) -> tuple["Volume", "np.ndarray | None"]:
    from musclejax.inference.measure import load_fat_fraction
    from musclejax.scan.volume import load

    volume = load(scan)
    if settings.dicom_seg and not volume.dicom_files:
        raise InputError(scan, "a NIfTI scan", "a DICOM scan with --dicom-seg")
    path = settings.fat_fraction
    if path and path.is_dir():
        path = path / f"{name}.nii.gz"
        if not path.is_file():
            raise InputError(path, "no fat-fraction map for this scan", "one named like the scan")
    return volume, load_fat_fraction(path, volume) if path else None


def _label(volume: "Volume", session: Session, clock: Stopwatch) -> "Segmentation":
    from musclejax.inference.segment import Hooks, segment

    progress, settings = session.progress, session.settings
    bar = progress.add_task(volume.name, total=volume.data.shape[volume.axial_axis])
    try:
        return segment(
            volume,
            session.weights,
            region=settings.region,
            geometry=settings.geometry,
            batch_size=settings.batch_size,
            probabilities=settings.probabilities,
            hooks=Hooks(clock.stage, lambda slices: progress.advance(bar, slices)),
        )
    finally:
        progress.remove_task(bar)


def _record(
    scan: Path, segmentation: "Segmentation", session: Session, clock: Stopwatch
) -> dict[str, Any]:
    weights = session.weights
    return {
        "source": str(scan),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": session.settings.identity(),
        "batch_size": session.settings.batch_size,
        "weights_hash": weights.hash,
        "config_hash": weights.networks[segmentation.region].hash,
        "seconds": {**session.startup, **clock.seconds},
        "peak_memory_mib": peak_memory_mib(),
        **machine(),
    }
