"""What is wrong with a dataset, all of it at once, before anything is trained on it."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from musclejax import anatomy
from musclejax.data.dataset import IGNORE, Case, Dataset, read_case
from musclejax.data.split import given_splits
from musclejax.errors import InputError
from musclejax.scan.grid import to_lps
from musclejax.scan.volume import check


@dataclass(frozen=True)
class Finding:
    """Something about a dataset.

    Attributes:
        serious: Whether training must not go on.
        text: One line.
    """

    serious: bool
    text: str


@dataclass(frozen=True)
class CaseReport:
    """What one case consists of.

    Attributes:
        case: The case.
        region: Region of its muscles; "" if it is unusable.
        shape: Size of the array.
        spacing_mm: Distance between voxels.
        annotated: Slices, counted from the feet, that show any muscle.
        slices: All slices.
        muscles: Abbreviation -> voxels.
        checksum: Of the intensities; the same for copies of a scan.
    """

    case: Case
    region: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    annotated: tuple[int, ...] = ()
    slices: int = 0
    muscles: dict[str, int] | None = None
    checksum: int = 0


def check_dataset(
    dataset: Dataset, advance: Callable[[Case], None] = lambda case: None
) -> tuple[list[CaseReport], list[Finding]]:
    """Read every case and report all that is wrong or worth knowing.

    Args:
        dataset: From `read_dataset`.
        advance: Called with each case when it is done.
    """
    reports, findings = [], []
    for case in dataset.cases:
        try:
            reports.append(_report(case, dataset))
        except InputError as error:
            reports.append(CaseReport(case))
            findings.append(Finding(True, str(error)))
        advance(case)
    findings += [*_splits(dataset), *_coverage(reports), *_copies(reports)]
    return reports, findings


def _report(case: Case, dataset: Dataset) -> CaseReport:
    volume, labels, region = read_case(case, dataset)
    check(volume, case.image)
    axis, upward = volume.axial_axis, to_lps(volume)[volume.axial_axis, 1] > 0
    by_slice = np.moveaxis(labels, axis, 0)[:: 1 if upward else -1]
    shown = ((by_slice > 0) & (by_slice != IGNORE)).any((1, 2))
    counts = np.bincount(labels.ravel(), minlength=256)
    muscles = {m.abbreviation: int(counts[m.number]) for m in anatomy.REGIONS[region].muscles}
    return CaseReport(
        case=case,
        region=region,
        shape=volume.data.shape,
        spacing_mm=volume.spacing_mm,
        annotated=tuple(int(z) for z in np.flatnonzero(shown)),
        slices=len(by_slice),
        muscles=muscles,
        checksum=zlib.crc32(np.ascontiguousarray(volume.data).data),
    )


def _splits(dataset: Dataset) -> Iterator[Finding]:
    for subject, roles in given_splits(dataset.cases).items():
        if len(roles) > 1:
            text = f"subject {subject} is in {' and '.join(sorted(roles))}: choose one split"
            yield Finding(True, text)
    names = Counter(case.name for case in dataset.cases)
    for name, count in names.items():
        if count > 1:
            yield Finding(True, f"case {name} is in imagesTr and in imagesTs: keep one")
    subjects = {case.subject for case in dataset.cases}
    if len(dataset.cases) > 1 and all(case.subject == case.name for case in dataset.cases):
        yield Finding(
            False,
            "every case counts as a subject of its own; if some are scans of the same person, say "
            "so in cases.csv (columns case, subject)",
        )
    elif len(subjects) == 1:
        yield Finding(True, "one subject only: nobody is left to validate on")


def _coverage(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    for report in reports:
        if not report.region:
            continue
        missing = report.slices - len(report.annotated)
        if not report.annotated:
            yield Finding(True, f"{report.case.name}: no slice is annotated")
        elif missing:
            text = f"{report.case.name}: {missing} of {report.slices} slices are not annotated"
            yield Finding(False, f"{text} and will not train")
    for region in anatomy.REGIONS.values():
        own = [r.muscles or {} for r in reports if r.region == region.name]
        never = [m.abbreviation for m in region.muscles if not any(o[m.abbreviation] for o in own)]
        if own and never:
            names = ",".join(never)
            text = f"{region.name}: {names} never occurs; train with --set data.absent={names}"
            yield Finding(False, text)


def _copies(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    first: dict[int, Case] = {}
    for report in reports:
        other = first.setdefault(report.checksum, report.case)
        if report.region and other.subject != report.case.subject:
            yield Finding(
                True,
                f"{report.case.name} and {other.name} are the same scan under two subjects "
                f"({report.case.subject}, {other.subject}): one subject in cases.csv",
            )
