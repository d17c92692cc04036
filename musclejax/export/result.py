"""How an exported network compares with JAX, and when the two agree."""

from dataclasses import dataclass

MIN_AGREEMENT = 0.9999
"""Share of pixels (of slices, for the classifier) that must get the label that JAX gives."""
MAX_DIFFERENCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit. Source: ours; rounding makes
1e-6 to 1e-5."""


@dataclass(frozen=True)
class Check:
    """How an exported network compares with JAX on real slices.

    Attributes:
        slices: Slices compared.
        agreement: Share of equal labels.
        difference: Largest difference of a logit, as a share of the largest logit.
    """

    slices: int
    agreement: float
    difference: float

    @property
    def passed(self) -> bool:
        """Whether the two agree; NaN is no agreement."""
        return self.agreement >= MIN_AGREEMENT and self.difference <= MAX_DIFFERENCE
