"""Segment one scan with the options of `musclejax segment`, here or in a worker of a cluster."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from musclejax.cli.process import Stopwatch, machine, peak_memory_mib
from musclejax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from musclejax.inference.segment import Segmentation
    from musclejax.models.weights import Weights
    from musclejax.scan.volume import Volume


class Bar(NamedTuple):
    """How progress within a scan is shown; see `inference.segment.Hooks`."""

    advance: Callable[[int], None] = lambda slices: None
    extend: Callable[[int], None] = lambda slices: None


Watch = Callable[[str, int], AbstractContextManager[Bar]]
"""Scan's name and slices -> what is entered around its segmentation."""
BEFORE = {"engine": "jax", "precision": "float32", "second_look": False, "tidy": False}
"""What the settings of a run record that does not tell them are."""

_KEPT = (*BEFORE, "region", "geometry", "probabilities", "dicom_seg")


@contextmanager
def unwatched(name: str, slices: int) -> Iterator[Bar]:
    """Show no progress."""
    yield Bar()


class Scan(NamedTuple):
    """A scan to segment: its path and what its files are named after."""

    path: Path
    name: str


class Outcome(NamedTuple):
    """What happened to a scan: the lines that say so, and whether it is done."""

    line: str
    done: bool


@dataclass(frozen=True)
class Settings:
    """The options of `musclejax segment`; see its help."""

    output: Path
    weights: str
    region: str = "auto"
    geometry: str = "world"
    engine: str = "jax"
    precision: str = "float32"
    batch_size: int | None = None
    memory_gb: float | None = None
    threads: int | None = None
    scheduler: str | None = None
    probabilities: bool = False
    second_look: bool = True
    tidy: bool = True
    dicom_seg: bool = False
    fat_fraction: Path | None = None
    overwrite: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the settings that change the result; the weights have a hash of their own."""
        identity = {name: value for name, value in asdict(self).items() if name in _KEPT}
        return {**identity, "fat_fraction": str(self.fat_fraction or "")}


@dataclass(frozen=True)
class Session:
    """What all scans of one process share.

    Attributes:
        settings: The options; engine and batch size are settled.
        identity: `Settings.identity` as the command was given.
        weights: The networks, loaded once.
        batch_size: Slices at once.
        startup: Seconds by stage before the first scan.
        watch: How progress within a scan is shown.
        worker: Where this process is, if it is a worker of a cluster; for the run record.
    """

    settings: Settings
    identity: Mapping[str, Any]
    weights: "Weights"
    batch_size: int
    startup: Mapping[str, float]
    watch: Watch = unwatched
    worker: Mapping[str, str] = field(default_factory=dict)


def attempt(scan: Scan, session: Callable[[], Session]) -> Outcome:
    """Segment one scan and write its files; return what happened, whatever it is.

    Args:
        scan: The scan.
        session: Gives the session; what fails in doing so is reported like the rest.
    """
    try:
        return Outcome(segment_scan(scan, session()), True)
    except (InputError, OSError, MemoryError) as error:
        return Outcome(f"failed: {error}", False)
    except Exception as error:
        # One scan's surprise must not cost the night's cohort.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Outcome(f"failed: {scan.path}: unexpected {reason}", False)


def finished_before(scan: Scan, session: Session) -> str:
    """Return the line about a scan that is finished; nothing if it is not."""
    from musclejax.inference.report import read_record

    settings = session.settings
    record = None if settings.overwrite else read_record(settings.output, scan.name)
    if record is None:
        return ""
    same = {**BEFORE, **record.get("settings", {})} == session.identity
    same = same and record.get("weights_hash") == session.weights.hash
    note = "" if same else ", with other settings; --overwrite segments it again"
    return f"{scan.name}: finished before{note}"


def segment_scan(scan: Scan, session: Session) -> str:
    """Segment one scan and write its files.

    Returns:
        The lines that say so.

    Raises:
        InputError: If the scan cannot be segmented.
        OSError: If a file cannot be read or written.
    """
    from musclejax.inference import report

    clock, settings = Stopwatch(), session.settings
    with clock.stage("total"):
        with clock.stage("load"):
            volume, fat_fraction = _read(scan, settings)
        segmentation = _label(volume, session, clock)
        with clock.stage("save"):
            report.save(
                segmentation,
                settings.output,
                fat_fraction=fat_fraction,
                dicom_seg=settings.dicom_seg,
                record=lambda: _record(scan, segmentation, session, clock),
            )
    return _say(scan.name, segmentation, session, clock.seconds)


def _read(scan: Scan, settings: Settings) -> tuple["Volume", "np.ndarray | None"]:
    from musclejax.inference.measure import load_fat_fraction
    from musclejax.scan.volume import load

    volume = load(scan.path)
    if settings.dicom_seg and not volume.dicom_files:
        raise InputError(scan.path, "a NIfTI scan", "a DICOM scan with --dicom-seg")
    path = settings.fat_fraction
    if path and path.is_dir():
        path = path / f"{scan.name}.nii.gz"
        if not path.is_file():
            raise InputError(path, "no fat-fraction map for this scan", "one named like the scan")
    return volume, load_fat_fraction(path, volume) if path else None


def _label(volume: "Volume", session: Session, clock: Stopwatch) -> "Segmentation":
    from musclejax.inference.segment import Hooks, segment

    settings = session.settings
    with session.watch(volume.name, volume.data.shape[volume.axial_axis]) as bar:
        return segment(
            volume,
            session.weights,
            region=settings.region,
            geometry=settings.geometry,
            batch_size=session.batch_size,
            engine=settings.engine,
            precision=settings.precision,
            probabilities=settings.probabilities,
            second_look=settings.second_look,
            tidy=settings.tidy,
            hooks=Hooks(clock.stage, bar.advance, bar.extend),
        )


def _record(
    scan: Scan, segmentation: "Segmentation", session: Session, clock: Stopwatch
) -> dict[str, Any]:
    from musclejax.inference.engines import library_versions

    weights, settings = session.weights, session.settings
    return {
        "source": str(scan.path),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(session.identity),
        "batch_size": session.batch_size,
        "memory_limit_gb": settings.memory_gb,
        "weights_hash": weights.hash,
        "config_hash": weights.networks[segmentation.region].hash,
        "seconds": {**session.startup, **clock.seconds},
        "peak_memory_mib": peak_memory_mib(),
        **({"worker": dict(session.worker)} if session.worker else {}),
        **machine(library_versions(settings.engine)),
    }


def _say(
    name: str, segmentation: "Segmentation", session: Session, seconds: Mapping[str, float]
) -> str:
    """Return the line about a segmented scan, and its notes."""
    certainty, volume = segmentation.region_probability, segmentation.volume
    how = "as given" if certainty is None else f"p = {certainty:.3f}"
    slices = volume.data.shape[volume.axial_axis]
    by = segmentation.engine, segmentation.precision
    # What everybody has needs no mention.
    engine = "" if by == (BEFORE["engine"], BEFORE["precision"]) else f", {' '.join(by)}"
    twice = segmentation.looked_twice
    again = f", {twice} slices looked at twice" if twice else ""
    line = f"{name}: {segmentation.region} ({how}), {slices} slices, {seconds['total']:.1f} s"
    line += f" (network {seconds['network']:.1f} s{engine}{again})"
    notes = [w for w in segmentation.warnings if w != session.weights.caution]
    return "\n".join([line, *(f"  note: {n}" for n in notes)])
