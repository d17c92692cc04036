"""What `musclejax bench` measures: one record, made once and passed whole."""

from dataclasses import dataclass, field
from typing import Literal

from musclejax.errors import InputError
from musclejax.options import check_choices

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

    kind: Kind = field(metadata={"argument": True})
    variant: str = field(default="paper", metadata={"metavar": "V,..."})
    batch_size: str | None = field(default=None, metadata={"metavar": "N,..."})
    threads: str | None = field(default=None, metadata={"metavar": "N,..."})
    engine: str | None = field(default=None, metadata={"metavar": "E,..."})
    precision: str = field(default="float32", metadata={"metavar": "P,..."})
    slices: str | None = field(default=None, metadata={"metavar": "N,..."})
    size: str = field(default="432", metadata={"metavar": "PX"})
    repeats: int = 10

    def __post_init__(self) -> None:
        """Check what needs no knowledge of the machine."""
        check_choices(self)
        if self.repeats < 1:
            raise InputError("--repeats", str(self.repeats), "1 or more")
