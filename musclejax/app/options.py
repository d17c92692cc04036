"""What the commands are given beside the options of the work itself, a record per command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from musclejax.anatomy import Numbering
from musclejax.bundled import DEFAULT_WEIGHTS
from musclejax.errors import InputError
from musclejax.options import (
    AsJson,
    Fat,
    FatFraction,
    Folder,
    MapFiles,
    Option,
    Output,
    Scheduler,
    Threads,
    Water,
    WeightsName,
    WeightsOutput,
    check_choices,
    check_map_options,
    check_workers,
    named_paths,
)
from musclejax.scan.selection import Choice

KerasFile = Annotated[Path | None, Option(metavar="FILE")]


@dataclass(frozen=True)
class SegmentJob:
    """Which weights segment the scans, where, and what is written.

    Attributes:
        labels: Numbers in label maps. muscles: one for both sides. sides: the right ones are 100
            higher. musclemap: MuscleMap's. One for all scans in a folder.
        naming: bids: write the label maps under OUT/bids/sub-X/... too.
        series: Segment these series of a study: a series number, a kind, or a part of the
            description; `*` and `?` stand for any letters.  [default: the best one of each visit]
        echo: Segment this echo: 1 is the shortest echo time.
        list: List the series and which would be segmented, as `musclejax scan`; segment none. Needs
            no -o.
        dicom_seg: Write NAME_seg.dcm too (DICOM scans; needs musclejax[dicom]).
        dicom_sr: Write the measurements as a DICOM report too, NAME_sr.dcm, and NAME_seg.dcm, to
            which it refers.
        report: Write report.html, and NAME_report.html of each scan, to be opened in a browser.
        overwrite: Segment scans again that are already done. Files that were edited since, or that
            musclejax did not write, stay.
        overwrite_edited: Replace these too; they are kept as FILE.bak.

    Raises:
        InputError: If two options exclude each other.
    """

    output: Output
    weights: WeightsName = DEFAULT_WEIGHTS
    threads: Threads = None
    scheduler: Scheduler = None
    fat_fraction: FatFraction = None
    water: Water = None
    fat: Fat = None
    map: MapFiles = ()
    labels: Numbering = "muscles"
    naming: Literal["plain", "bids"] = "plain"
    series: Annotated[str, Option(metavar="PATTERN|NUMBER")] = ""
    echo: Annotated[int | None, Option(metavar="N")] = None
    list: bool = False
    dicom_seg: bool = False
    dicom_sr: bool = False
    report: bool = True
    overwrite: bool = False
    overwrite_edited: bool = False

    def __post_init__(self) -> None:
        """Check that no two options exclude each other."""
        check_choices(self)
        check_workers(self.scheduler, self.threads)
        if self.echo is not None and self.echo < 1:
            raise InputError("--echo", str(self.echo), "1, the shortest echo time, or more")
        check_map_options(self.water, self.fat, self.fat_fraction)
        named_paths(self.map)

    @property
    def writes_dicom(self) -> bool:
        """Whether results are written as DICOM too."""
        return self.dicom_seg or self.dicom_sr

    @property
    def choice(self) -> Choice:
        """What is wanted other than the best series."""
        return Choice(self.series, self.echo)


@dataclass(frozen=True)
class ScanOptions:
    """How the series of a study are listed.

    Attributes:
        csv: Write the list to this file too, with the files of each series.
    """

    json: AsJson = False
    csv: Annotated[Path | None, Option(metavar="FILE")] = None


@dataclass(frozen=True)
class DemoJob:
    """Where the sample scans are segmented."""

    output: Output = Path("musclejax-demo")
    threads: Threads = None


@dataclass(frozen=True)
class BenchJob:
    """Where measurements go.

    Attributes:
        plot: Draw bench_KIND.png too.
    """

    output: Output
    plot: bool = False


@dataclass(frozen=True)
class BenchComparison:
    """Two results of `bench`, and where the comparison goes.

    Attributes:
        a: The bench_KIND.json that B is compared with.
        b: Another one.
        output: Folder for a page and a picture.  [default: print only]
    """

    a: Annotated[Path, Option(argument=True)]
    b: Annotated[Path, Option(argument=True)]
    output: Annotated[Path | None, Option(flags=("-o",))] = None


@dataclass(frozen=True)
class EvaluateOptions:
    """Which labels are compared with which reference, and what is written.

    Attributes:
        reference: Reference labels; see above.
        prediction: Labels to evaluate.
        weights: Or: weights to evaluate.
        data: The dataset to evaluate the weights on.
        region: Region of reference labels that come without a dataset.json.
        numbers: Whose label numbers the --prediction has: those of labels.json, or the dataset's.
            [default: what the files say]
        all_slices: Count slices without reference labels too, as truly without muscle.
        save_labels: With --weights: write the label maps.
        paper_tables: Show the paper's Tables 2 to 4 even where no case belongs into them.

    Raises:
        InputError: If options are missing or exclude each other, or a folder does not exist.
    """

    output: Output
    reference: Folder | None = None
    prediction: Folder | None = None
    weights: WeightsName | None = None
    data: Folder | None = None
    region: Literal["thigh", "leg"] | None = None
    numbers: Literal["musclejax", "dataset"] | None = None
    fat_fraction: FatFraction = None
    all_slices: bool = False
    save_labels: bool = False
    paper_tables: bool = False
    threads: Threads = None

    def __post_init__(self) -> None:
        """Check which options are given, and that their folders exist."""
        named = ("reference", "prediction", "weights", "data")
        given = [name for name in named if getattr(self, name) is not None]
        if given not in (["reference", "prediction"], ["weights", "data"]):
            found = " and ".join(f"--{name}" for name in given) or "neither"
            accepted = "--reference and --prediction, or --weights and --data"
            raise InputError("options", found, accepted)
        if self.weights and self.region:
            raise InputError("--region", "with --data", "with --reference only")
        if self.weights and self.numbers:
            raise InputError("--numbers", "with --weights", "with --prediction only")
        if self.save_labels and not self.weights:
            raise InputError("--save-labels", "with --prediction", "with --weights only")
        for name in ("reference", "prediction", "data"):
            folder = getattr(self, name)
            if folder and not folder.is_dir():
                raise InputError(f"--{name}", f"no folder {folder}", "a folder")


@dataclass(frozen=True)
class MeasureOptions:
    """Which labels are measured, on which scan, and where the results go.

    Attributes:
        labels: Label map, or a folder that `segment` has written.
        scan: The scan of the labels. With a folder: where its scans have moved to.
        output: Folder for the results.  [default: that of LABELS, if `segment` wrote them]
        names: What the label numbers mean: a file of names, or a scheme, see above.  [default: what
            the files say]
        region: Region of the muscles, where numbers do not tell.
        report: Write report.html, and NAME_report.html of what is measured.

    Raises:
        InputError: If two options exclude each other.
    """

    labels: Annotated[Path, Option(argument=True)]
    scan: Annotated[Path | None, Option(metavar="SCAN")] = None
    output: Output | None = None
    fat_fraction: FatFraction = None
    water: Water = None
    fat: Fat = None
    map: MapFiles = ()
    names: Annotated[str | None, Option(metavar="FILE|SCHEME")] = None
    region: Literal["thigh", "leg"] | None = None
    report: bool = True

    def __post_init__(self) -> None:
        """Check that no two options exclude each other."""
        check_map_options(self.water, self.fat, self.fat_fraction)
        named_paths(self.map)

    @property
    def has_maps(self) -> bool:
        """Whether maps are given: all scans are then measured."""
        return bool(self.fat_fraction or self.water or self.map)


@dataclass(frozen=True)
class ReportOptions:
    """Whose pages are written.

    Attributes:
        folder: Folder of `segment` or `measure`.
        scans: Write missing and older pages of scans too; a second or so each.
    """

    folder: Annotated[Path, Option(argument=True)]
    scans: bool = True


@dataclass(frozen=True)
class DescribeOptions:
    """Which variant is described, and how.

    Attributes:
        variant: Name of a variant, or 'all'.
    """

    variant: str = "paper"
    json: AsJson = False


@dataclass(frozen=True)
class ListOptions:
    """How the bundled weights are listed."""

    json: AsJson = False


@dataclass(frozen=True)
class ShowOptions:
    """Which weights are shown, and how."""

    name_or_dir: Annotated[str, Option(argument=True)]
    json: AsJson = False


@dataclass(frozen=True)
class RandomWeights:
    """Which random, untrained weights are made.

    Attributes:
        variant: Name of a variant; see `musclejax describe --variant all`.
        seed: Seed of the random numbers.
    """

    output: WeightsOutput
    variant: str = "paper"
    seed: int = 0


@dataclass(frozen=True)
class WeightsExport:
    """Weights made from training runs, and the statements that they carry.

    Attributes:
        checkpoint: best: the epoch with the highest validation figure.
        version: Version of the weights, as 1 or 2026.1.
        description: What the weights are, in a sentence.  [default: which checkpoint it was]
        license: License of the weights.
        warning: What every result made with them shall say.
        half: Store kernels in 16 bits: half of the space on disk.
        others: Weights that the networks without a RUN are taken from: a whole set from one run.
            [default: the set has the networks of the runs only]
        check: Compare networks that were fine-tuned on scans (--init) with what they began with,
            on synthetic slices of four kinds of images and on a sample scan; the weights carry a
            warning if the Dice of a kind has fallen by more than 0.02.
    """

    output: WeightsOutput
    checkpoint: Literal["best", "last"] = "best"
    version: str = ""
    description: str = ""
    license: str = "not stated"
    warning: str = ""
    half: bool = False
    others: Annotated[str | None, Option(metavar="NAME_OR_DIR")] = None
    check: bool = True


@dataclass(frozen=True)
class NetworkExport:
    """Which network becomes a file for other programs, in which format.

    Attributes:
        output: File to write: *.onnx or *.stablehlo.
        format: onnx: any ONNX engine, any size. stablehlo: `jax.export`, 432 x 432.
        task: Which network; needed if the weights hold several.
    """

    output: Output
    format: Literal["onnx", "stablehlo"]
    weights: WeightsName = DEFAULT_WEIGHTS
    task: Literal["thigh", "leg", "region"] | None = None


@dataclass(frozen=True)
class KerasFiles:
    """The files of the 2021 release, and where their weights go.

    Attributes:
        thigh: weights_thigh.hdf5
        leg: weights_leg.hdf5
        region: weights_thighleg.hdf5
    """

    output: WeightsOutput
    thigh: KerasFile = None
    leg: KerasFile = None
    region: KerasFile = None
