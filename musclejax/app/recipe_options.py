"""Options of the commands that prepare data, train and tune, one record per command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from musclejax.config.folder import recipe_names
from musclejax.data.label_names import parse_map
from musclejax.errors import InputError
from musclejax.options import (
    Folder,
    Option,
    Output,
    Scheduler,
    Threads,
    WeightsName,
    Workdir,
    check_workers,
)

Recipe = Annotated[
    str,
    Option(
        f"Recipe: {', '.join(recipe_names())} (`musclejax train --help` ends with a line on each), "
        "or a Python file with get_config(). The file is executed: give only files that you trust.",
        metavar="NAME_OR_FILE",
    ),
]


LabelMap = Annotated[
    tuple[str, ...],
    Option(
        "What a label of the dataset means, such as femur=ignore, skin=background or 'vasto "
        "med=VM'; may be given more than once.",
        metavar="LABEL=MEANING",
    ),
]


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """A recipe, its data, and changes to it; several commands share these options.

    Attributes:
        data: Dataset in nnU-Net's raw layout (see `musclejax dataset --help`); may be given more
            than once. Recipes with synthetic slices need none.
        set: Change a setting of the recipe, such as optim.learning_rate=0.001; may be given more
            than once.

    Raises:
        InputError: If a dataset is not a folder, or a label is to mean what nothing means.
    """

    config: Recipe = "thigh"
    data: tuple[Folder, ...] = ()
    map: LabelMap = ()
    set: tuple[Annotated[str, Option(metavar="NAME=VALUE")], ...] = ()

    def __post_init__(self) -> None:
        """Check that the datasets exist, and what their labels mean."""
        for folder in self.data:
            if not folder.is_dir():
                raise InputError("--data", f"no folder {folder}", "a folder")
        parse_map(self.map)

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes to the recipe, among them what `--map` says."""
        return (*self.set, f"data.map={'; '.join(self.map)}") if self.map else self.set


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RecipeOptions):
    """Start, folder and processes of a training run.

    Attributes:
        init: Weights to fine-tune, instead of random ones.
        resume: Resume the run in --workdir.
        early_stopping: Stop after train.early_stopping_patience epochs without a better validation
            figure.
        coordinator: Train on several processes: address of process 0, the same for all.
        processes: Number of processes, with --coordinator.
        process: Number of this process, from 0.

    Raises:
        InputError: If only some of the options of several processes are given.
    """

    workdir: Workdir
    init: WeightsName | None = None
    resume: bool = False
    early_stopping: bool = False
    threads: Threads = None
    coordinator: Annotated[str | None, Option(metavar="HOST:PORT")] = None
    processes: int | None = None
    process: int | None = None

    def __post_init__(self) -> None:
        """Check that the options of several processes belong together."""
        super().__post_init__()
        given = self.coordinator, self.processes, self.process
        if any(value is None for value in given) and any(value is not None for value in given):
            subject, accepted = "--coordinator, --processes, --process", "all three, or none"
            raise InputError(subject, "only some of them", accepted)
        if self.processes is not None and self.processes < 1:
            raise InputError("--processes", str(self.processes), "1 or more")
        if self.process is not None and not 0 <= self.process < (self.processes or 1):
            accepted = f"0 to {(self.processes or 1) - 1}, as --processes has it"
            raise InputError("--process", str(self.process), accepted)


@dataclass(frozen=True, kw_only=True)
class TuneOptions(RecipeOptions):
    """Folder and workers of a search for settings.

    Attributes:
        workdir: Folder of the search.

    Raises:
        InputError: If two options exclude each other.
    """

    config: Recipe = "tune"
    workdir: Workdir
    scheduler: Scheduler = None
    threads: Threads = None

    def __post_init__(self) -> None:
        """Check that no two options exclude each other."""
        super().__post_init__()
        check_workers(self.scheduler, self.threads)


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(RecipeOptions):
    """Size and folder of a fixed set of augmented slices.

    Attributes:
        n: Augmented slices in all.
        output: Dataset to write.

    Raises:
        InputError: If there are too few slices, or the output is the data.
    """

    n: int = 5000
    output: Output
    threads: Threads = None

    def __post_init__(self) -> None:
        """Check number and folder."""
        super().__post_init__()
        if self.n < 2:
            raise InputError("--n", str(self.n), "2 or more")
        if self.output.resolve() in [folder.resolve() for folder in self.data]:
            raise InputError("-o", f"{self.output}, which is the data", "another folder")


@dataclass(frozen=True, kw_only=True)
class SamplesOptions(RecipeOptions):
    """Picture of training slices.

    Attributes:
        slices: Slices to draw.
        augmented: Augmented samples of each.
        output: PNG file to write.
    """

    slices: int = 4
    augmented: int = 2
    output: Output


@dataclass(frozen=True)
class DatasetOptions:
    """A dataset to check.

    Attributes:
        folder: The dataset.
        channel: Number of the image of each case.
        output: Write the table as CSV too.

    Raises:
        InputError: If a label is to mean what nothing means.
    """

    folder: Annotated[Path, Option(argument=True)]
    channel: int = 0
    map: LabelMap = ()
    output: Output | None = None

    def __post_init__(self) -> None:
        """Check what labels mean."""
        parse_map(self.map)


@dataclass(frozen=True, kw_only=True)
class CorrectionsJob:
    """A cohort folder with corrected label maps, and the dataset to make of it.

    Attributes:
        output: Dataset to write; where the cohort shows thighs and legs, a folder with one
            dataset per region.
        slices: Slices that carry labels: changed (by a person), reviewed (marked "right" in
            review.csv), all (of scans with a slice of either kind), or those named, as
            NAME=3-8,12; may be given more than once.  [default: changed and reviewed]
        scan: Where the scans have moved to.
    """

    folder: Annotated[Path, Option(argument=True)]
    output: Output
    slices: tuple[Annotated[str, Option(metavar="changed|reviewed|all|NAME=SLICES")], ...] = ()
    scan: Annotated[Path | None, Option(metavar="DIR")] = None

    def __post_init__(self) -> None:
        """Check the folders."""
        if not self.folder.is_dir():
            raise InputError("FOLDER", f"no folder {self.folder}", "the -o of musclejax segment")
        if self.output.resolve() == self.folder.resolve():
            raise InputError("-o", f"{self.output}, which is the cohort", "another folder")


@dataclass(frozen=True)
class PhantomJob:
    """Folder and regions of synthetic scans.

    Attributes:
        output: Folder of the dataset; with --region both, of one dataset per region.
        region: Region of the scans.
    """

    output: Output
    region: Literal["thigh", "leg", "both"] = "thigh"
