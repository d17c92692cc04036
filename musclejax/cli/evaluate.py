"""`musclejax evaluate`: how good labels are, against a reference."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.options import threads_option
from musclejax.cli.weights import load_announced

if TYPE_CHECKING:
    from rich.progress import Progress

    from musclejax.data.dataset import Case
    from musclejax.evaluation.compare import Comparison
    from musclejax.evaluation.run import Source
    from musclejax.models.weights import Weights

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--reference", type=_PATH, metavar="DIR", help="Reference labels; see above.")
@click.option("--prediction", type=_PATH, metavar="DIR", help="Labels to judge.")
@click.option("--weights", metavar="NAME_OR_DIR", help="Or: weights to judge.")
@click.option("--data", type=_PATH, metavar="DIR", help="The dataset to judge the weights on.")
@click.option("-o", "--output", type=_PATH, required=True, help="Folder for the results.")
@click.option(
    "--region",
    type=click.Choice(["thigh", "leg"]),
    help="Region of reference labels that come without a dataset.json.",
)
@click.option(
    "--all-slices",
    is_flag=True,
    help="Count slices without reference labels too, as truly without muscle.",
)
@click.option("--save-labels", is_flag=True, help="With --weights: keep the label maps.")
@click.option(
    "--geometry",
    type=click.Choice(["world", "2021"]),
    default="world",
    show_default=True,
    help="With --weights: as for segment.",
)
@click.option(
    "--second-look/--no-second-look",
    default=True,
    show_default=True,
    help="With --weights: as for segment.",
)
@click.option(
    "--tidy/--no-tidy",
    default=True,
    show_default=True,
    help="With --weights: as for segment.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="With --weights: slices at once.",
)
@threads_option
def evaluate(**options: Any) -> None:
    """Compare labels with a reference: DSC, Jaccard, distances, volumes, tables and pictures.

    Give --reference and --prediction, or --weights and --data.

    The reference is a dataset in nnU-Net's raw layout (dataset.json, imagesTr, labelsTr; subject,
    severity and split of each case in cases.csv), or, with --region, a folder of label maps
    CASE.nii.gz in the numbers of labels.txt. 255, or the dataset's "ignore", is left out. The
    prediction is CASE_labels.nii.gz, as `musclejax segment` writes it, or CASE.nii.gz.

    \b
    In the output folder:
      report.md             all tables and pictures; open this first
      muscles.csv           a row per case, muscle and side (left, right, both):
                            hard dsc, jaccard, hd95_mm, msd_mm, volumes and their error
      slices.csv cases.csv  means per slice and per case
      summary.csv           mean, sd, median and number of cases per muscle
      table2 ... table4     the paper's tables, .csv and .md: train and validation;
                            test subjects by severity; unseen slices
      overlays_REGION.png   best, median and worst slice
      subjects_REGION.png   bottom, inner and top slice of test subjects
      views_CASE.png        coronal and sagittal, of the best, median and worst case
      evaluate.json         versions, settings and what failed

    An empty cell is a measure that does not exist: no muscle in either map or, for distances, in
    one of them. Only slices with reference labels count, unless --all-slices is given. A case
    that fails is reported and the rest go on.
    Exit code: 0 all done, 1 some failed, 2 wrong usage.

    \b
    Examples:
      musclejax segment DATASET/imagesTs -o out
      musclejax evaluate --reference DATASET --prediction out -o scores
      musclejax evaluate --reference manual/ --prediction out --region thigh -o scores
      musclejax evaluate --weights phantom --data DATASET -o scores
    """
    raise SystemExit(_run(Settings(**options)))


@dataclass(frozen=True)
class Settings:
    """The options of `musclejax evaluate`; see its help."""

    output: Path
    reference: Path | None
    prediction: Path | None
    weights: str | None
    data: Path | None
    region: str | None
    all_slices: bool
    save_labels: bool
    geometry: str
    second_look: bool
    tidy: bool
    batch_size: int
    threads: int | None


class _Follow:
    """Reports each case and counts those that failed."""

    def __init__(self, progress: "Progress", total: int) -> None:
        self.failed: dict[str, str] = {}
        self._progress = progress
        self._bar = progress.add_task("cases", total=total)

    @contextmanager
    def attempt(self, case: "Case") -> Iterator[None]:
        from musclejax.errors import InputError

        try:
            yield
        except (InputError, OSError, MemoryError) as error:
            self._fail(case, str(error))
        except Exception as error:
            # One case's surprise must not cost the rest.
            self._fail(case, f"unexpected {type(error).__name__}: {error}")
        self._progress.advance(self._bar)

    def done(self, comparison: "Comparison") -> None:
        row = comparison.cases.iloc[0]
        distance = f"HD95 {row['hd95_mm']:.1f} mm" if row["hd95_mm"] >= 0 else "no distances"
        line = f"{row['case']}: {row['region']}, {row['slices']} slices"
        click.echo(f"{line}, DSC {row['slice_dsc']:.3f}, {distance}")

    def _fail(self, case: "Case", reason: str) -> None:
        self.failed[case.name] = " ".join(reason.split())[:300]
        click.echo(f"failed: {case.name}: {self.failed[case.name]}", err=True)


def _run(settings: Settings) -> int:
    from musclejax.cli.process import Stopwatch, configure, progress_bar, usage

    _check(settings)
    with usage():
        configure(settings.threads)
    from musclejax.evaluation.report import save
    from musclejax.evaluation.run import Follow
    from musclejax.evaluation.run import evaluate as compare_all

    clock = Stopwatch()
    with clock.stage("total"), TemporaryDirectory() as scratch, progress_bar() as progress:
        with clock.stage("startup"), usage():
            weights = load_announced(settings.weights) if settings.weights else None
            source = _source(settings, weights, Path(scratch))
        follow = _Follow(progress, len(source.dataset.cases))
        with clock.stage("cases"):
            evaluation = compare_all(
                source,
                all_slices=settings.all_slices,
                follow=Follow(follow.attempt, follow.done),
            )
        if evaluation:
            with clock.stage("save"):
                if settings.save_labels:
                    _keep(Path(scratch), settings.output / "labels")
                save(
                    evaluation,
                    settings.output,
                    lambda: _record(settings, weights, follow.failed, clock.seconds),
                )
    if follow.failed:
        click.echo(f"{len(follow.failed)} of {len(source.dataset.cases)} failed", err=True)
    if evaluation:
        click.echo(f"\nResults are in {settings.output}/ : open report.md first")
    return 1 if follow.failed else 0


def _check(settings: Settings) -> None:
    from musclejax.cli.process import BadUsage, check_output

    named = ("reference", "prediction", "weights", "data")
    given = [name for name in named if getattr(settings, name) is not None]
    if given not in (["reference", "prediction"], ["weights", "data"]):
        found = " and ".join(f"--{name}" for name in given) or "neither"
        accepted = "--reference and --prediction, or --weights and --data"
        raise BadUsage(f"found {found}; accepted: {accepted}.")
    if settings.weights and settings.region:
        raise BadUsage("--region: found with --data; accepted: with --reference only.")
    if settings.save_labels and not settings.weights:
        raise BadUsage("--save-labels: found with --prediction; accepted: with --weights only.")
    for name in ("reference", "prediction", "data"):
        folder = getattr(settings, name)
        if folder and not folder.is_dir():
            raise BadUsage(f"--{name}: found no folder {folder}; accepted: a folder.")
    check_output(settings.output)


def _source(settings: Settings, weights: "Weights | None", scratch: Path) -> "Source":
    from musclejax.evaluation.run import from_folders, from_weights

    if settings.reference and settings.prediction:
        return from_folders(settings.reference, settings.prediction, settings.region or "")
    assert weights is not None  # as _check has found
    assert settings.data is not None
    names = ("geometry", "second_look", "tidy", "batch_size")
    options: dict[str, Any] = {name: getattr(settings, name) for name in names}
    return from_weights(weights, settings.data, scratch, **options)


def _keep(scratch: Path, folder: Path) -> None:
    """Copy the label maps and say how to look at them."""
    from shutil import copyfile

    from musclejax.files import staging_folder
    from musclejax.inference.report import save_label_names

    with staging_folder(folder, "labels") as stage:
        for path in scratch.iterdir():
            copyfile(path, stage / path.name)
    save_label_names(folder)


def _record(
    settings: Settings,
    weights: "Weights | None",
    failed: dict[str, str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    from datetime import UTC, datetime

    from musclejax.cli.process import machine, peak_memory_mib

    options = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()}
    hashes = {task: network.hash for task, network in weights.networks.items()} if weights else {}
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": options,
        "weights_hash": weights.hash if weights else None,
        "config_hashes": hashes,
        "failed": failed,
        "seconds": seconds,
        "peak_memory_mib": peak_memory_mib(),
        **machine(),
    }
