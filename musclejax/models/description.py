"""The figures of one network that are counted without running it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """The figures of one network that `musclejax describe` prints.

    Attributes:
        task: "region", "thigh" or "leg".
        input_px: Height and width that the figures are for.
        size_multiple: Valid heights and widths are multiples of this; for the classifier only
            `input_px` itself is valid.
        num_classes: Outputs, background included.
        trainable_parameters: Weights that training changes.
        statistics: Batch-norm means and variances.
        receptive_fields: Height (= width) in pixels seen by each convolution of each
            contracting block, counted as in the paper's Table 1.
        receptive_fields_exact: The same, counted exactly; see `receptive_fields`.
        gmac: 10^9 multiply-accumulates for one slice.
    """

    task: str
    input_px: int
    size_multiple: int
    num_classes: int
    trainable_parameters: int
    statistics: int
    receptive_fields: list[list[int]]
    receptive_fields_exact: list[list[int]]
    gmac: float
