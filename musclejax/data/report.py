"""What a check of a dataset finds: a report per case, and the errors and warnings of all."""

from dataclasses import dataclass, field

from musclejax.data.dataset import Case


@dataclass(frozen=True)
class CaseReport:
    """Contents of one case.

    Attributes:
        case: The case.
        region: Region of its muscles; "" if it is unusable.
        shape: Size of the array.
        spacing_mm: Distance between voxels.
        annotated: Indices of the slices that show any muscle, counted from the feet.
        slices: Number of all slices.
        muscles: Abbreviation -> voxels.
        content: Of the intensities; the same for copies of a scan.
        warnings: See `scan_warnings`.
    """

    case: Case
    region: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    annotated: tuple[int, ...] = ()
    slices: int = 0
    muscles: dict[str, int] | None = None
    content: str = ""
    warnings: tuple[str, ...] = ()


@dataclass
class DatasetReport:
    """Contents and faults of a dataset.

    Attributes:
        cases: A report per case.
        errors: Faults that training must not begin with, one line each.
        warnings: Peculiarities that training can live with, one line each.
    """

    cases: list[CaseReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
