"""Options of a synthetic cohort."""

from dataclasses import dataclass
from typing import Literal

from musclejax.errors import InputError
from musclejax.options import check_choices


@dataclass(frozen=True)
class Cohort:
    """People to scan and how to scan them: all that the files depend on.

    Attributes:
        region: Region of the scans.
        subjects: People to train on, with two or three visits each.
        test: People to test on, whose anatomy is in no training scan (legs: other slices of the
            same two people); one visit each.
        severity: Of the fat replacement; mixed: every second person is severe.
        protocol: People and scanner. paper: both limbs of patients, gradient echoes of any echo
            time. any: all that the networks learn from, also one limb, limbs of two people, any
            contrast, strong artifacts.
        slices: Slices per scan.  [default: as in the paper, 7 of a thigh, 3 of a leg]
        seed: The same seed gives the same scans.

    Raises:
        InputError: If a choice or number is out of range, or there is nobody to scan.
    """

    region: Literal["thigh", "leg"] = "thigh"
    subjects: int = 44
    test: int = 10
    severity: Literal["mild", "severe", "mixed"] = "mixed"
    protocol: Literal["paper", "any"] = "paper"
    slices: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check choices and numbers."""
        check_choices(self)
        for name, least in (("subjects", 0), ("test", 0), ("slices", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name}", str(value), f"{least} or more")
        if self.subjects + self.test == 0:
            raise InputError("--subjects and --test", "0 and 0", "at least one person")
