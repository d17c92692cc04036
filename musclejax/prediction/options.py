"""How a scan is segmented: one record, made once and passed whole."""

from dataclasses import dataclass
from typing import Annotated, Literal

from musclejax.anatomy import read_muscles
from musclejax.errors import InputError
from musclejax.options import Option, check_choices

Engine = Literal["default", "auto", "jax", "onednn", "openvino"]
BATCH_SIZE = 4
"""Slices in a batch. Source: ours; in batches of 1, 2 and 4 the paper's network took 1.69, 1.16
and 1.07 s per slice on two AVX2 cores."""


@dataclass(frozen=True)
class SegmentOptions:
    """How a scan is segmented.

    Attributes:
        region: Which network; auto: the classifier decides.
        geometry: world: orientation from the file, every slice. 2021: as the 2021 code.
        engine: Engine of the segmentation network. default: oneDNN if in bfloat16, else JAX. auto:
            the fastest one here, measured once. All but jax need musclejax[engines]. The classifier
            is always computed by JAX in float32.
        precision: Of the factors in convolutions; sums are float32. auto: bfloat16 for bundled
            weights where the processor has it and oneDNN is installed, else float32.
        batch_size: Slices at once; more take more memory.
        tta: Test-time augmentation: where the network is uncertain of a slice, predict its mirror
            image too (not with geometry 2021).
        postprocess: Remove small connected components and fill holes (not with geometry 2021).
        keep_outside: Keep labels at levels of the limb where the muscle never is, such as those in
            a foot or a pelvis.
        probabilities: Keep the probability of every class too.
        muscles: Label and measure these muscles or groups only, as VL,VM or quadriceps; those of
            the other region are passed over. Where muscles touch, nothing else changes.
            [default: all]

    Raises:
        InputError: If a field is none of its choices.
    """

    region: Literal["auto", "thigh", "leg"] = "auto"
    geometry: Literal["world", "2021"] = "world"
    engine: Engine = "default"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: int = BATCH_SIZE
    tta: bool = True
    postprocess: bool = True
    keep_outside: bool = False
    probabilities: bool = False
    muscles: Annotated[str, Option(metavar="NAME,...")] = ""

    def __post_init__(self) -> None:
        """Check in Python, before anything is computed."""
        check_choices(self)
        if self.batch_size < 1:
            raise InputError("batch_size", str(self.batch_size), "1 or more")
        read_muscles(self.muscles)


DEFAULTS = SegmentOptions()
"""How `musclejax.segment` segments if no options are given."""
