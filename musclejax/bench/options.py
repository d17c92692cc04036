"""What `musclejax bench` measures: one record, made once and passed whole."""

from dataclasses import dataclass
from typing import Annotated, Literal

from musclejax.errors import InputError
from musclejax.options import Option, check_choices

Kind = Literal["infer", "train", "segment", "data"]


@dataclass(frozen=True)
class BenchOptions:
    """What is measured; a field of text may list several values with commas between them.

    Attributes:
        kind: infer: the network alone. train: training steps. segment: the whole command. data:
            augmentation, weight maps, batches, loading, synthetic slices.
        variant: Networks.
        batch_size: Slices in a batch.  [default: train and data 5, others 4]
        threads: Processors.  [default: all]
        engine: jax (musclejax itself), onednn, onnxruntime, openvino, flax (plain layers), torch,
            keras; for data jax, imgaug, scipy; or all.  [default: all; segment: jax]
        precision: float32, bfloat16, for the engines that have it.
        slices: Slices per repeat, to see growth.  [default: one batch; segment 31]
        size: Height and width in pixels, as 432 or 432x240.
        repeats: Rounds in which every configuration runs once.

    Raises:
        InputError: If `kind` is none of its choices or `repeats` is less than 1.
    """

    kind: Annotated[Kind, Option(argument=True)]
    variant: Annotated[str, Option(metavar="V,...")] = "paper"
    batch_size: Annotated[str | None, Option(metavar="N,...")] = None
    threads: Annotated[str | None, Option(metavar="N,...")] = None
    engine: Annotated[str | None, Option(metavar="E,...")] = None
    precision: Annotated[str, Option(metavar="P,...")] = "float32"
    slices: Annotated[str | None, Option(metavar="N,...")] = None
    size: Annotated[str, Option(metavar="PX")] = "432"
    repeats: int = 10

    def __post_init__(self) -> None:
        """Check what needs no knowledge of the machine."""
        check_choices(self)
        if self.repeats < 1:
            raise InputError("--repeats", str(self.repeats), "1 or more")
