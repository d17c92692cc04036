"""What `musclejax bench` measures: one record, made once and passed whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from musclejax.errors import InputError
from musclejax.options import Option, check_choices

Kind = Literal["infer", "train", "segment", "cohort", "data"]
COMMANDS: tuple[Kind, ...] = ("segment", "cohort")
"""Kinds that run the whole command."""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured; a field of text may list several values with commas between them.

    Attributes:
        kind: infer: the network alone. train: training steps. segment: the whole command on a scan.
            cohort: on many. data: augmentation, weight maps, batches, loading, synthetic slices.
        variant: Networks.  [default: paper; segment and cohort: slim32, which ships]
        batch_size: Slices in a batch.  [default: train and data 5, others 4]
        threads: Processors.  [default: all]
        engine: Engines of this command, listed above; or all.  [default: all that are installed;
            segment and cohort: default]
        precision: float32, bfloat16, for the engines that have it.
        slices: Slices per repeat, or of a scan, to see growth.  [default: one batch; of a scan 31]
        scans: Scans of the cohort.
        weights: Trained weights in place of a variant's: a folder with a thigh network.
        size: Height and width in pixels, as 432 or 432x240.  [default: the network's own: the
            windows of slim32, whole slices of 432 of networks with random weights]
        reference: Reference labels of the sample scan test_up: the DSC of trained weights is
            measured too, as tests/annotations/thigh/test_up.nii.gz.
        repeats: Rounds in which every configuration runs once, in calm. As many again may follow in
            place of those in which other programs ran.
        minutes: Measure for so long in place of --repeats; at least one round.

    Raises:
        InputError: If `kind` is none of its choices, or `repeats` or `minutes` are too small.
    """

    kind: Kind = "infer"
    variant: Annotated[str | None, Option(metavar="V,...")] = None
    batch_size: Annotated[str | None, Option(metavar="N,...")] = None
    threads: Annotated[str | None, Option(metavar="N,...")] = None
    engine: Annotated[str | None, Option(metavar="E,...")] = None
    precision: Annotated[str, Option(metavar="P,...")] = "float32"
    slices: Annotated[str | None, Option(metavar="N,...")] = None
    scans: Annotated[str, Option(metavar="N,...")] = "8"
    weights: Annotated[str | None, Option(metavar="FOLDER")] = None
    size: Annotated[str | None, Option(metavar="PX")] = None
    reference: Annotated[Path | None, Option(metavar="FILE")] = None
    repeats: int = 10
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Check what needs no knowledge of the machine."""
        check_choices(self)
        if self.repeats < 1:
            raise InputError("--repeats", str(self.repeats), "1 or more")
        if self.weights and self.variant:
            raise InputError("--weights", f"--variant {self.variant} too", "one of both")
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise InputError("--minutes", str(self.minutes), "more than 0")
