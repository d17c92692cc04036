"""All errors of a dataset at once, before anything is trained on it."""

from collections.abc import Generator

import numpy as np

from musclejax import anatomy
from musclejax.data.dataset import IGNORE, Case, Dataset, content_of, read_case
from musclejax.data.report import CaseReport, DatasetReport
from musclejax.data.scan_warnings import scan_warnings
from musclejax.data.split import given_splits
from musclejax.errors import InputError
from musclejax.loops import Advance
from musclejax.scan.volume import check


def check_dataset_steps(dataset: Dataset) -> Generator[Advance, None, DatasetReport]:
    """Read every case and report all errors and warnings; yield after each case.

    Args:
        dataset: From `read_dataset`.
    """
    report = DatasetReport(warnings=list(dataset.warnings))
    for done, case in enumerate(dataset.cases, start=1):
        try:
            report.cases.append(_report(case, dataset))
        except InputError as error:
            report.cases.append(CaseReport(case))
            report.errors.append(str(error))
        yield Advance(done, len(dataset.cases))
    _check_splits(dataset, report)
    _check_coverage(report)
    _check_copies(report)
    return report


def _report(case: Case, dataset: Dataset) -> CaseReport:
    volume, labels, region = read_case(case, dataset)
    check(volume, case.image)
    by_slice = np.moveaxis(volume.lps.from_file(labels), 2, 0)
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
        content=content_of(volume),
        warnings=scan_warnings(volume),
    )


def _check_splits(dataset: Dataset, report: DatasetReport) -> None:
    for subject, roles in given_splits(dataset.cases).items():
        if len(roles) > 1:
            text = f"subject {subject} is in {' and '.join(sorted(roles))}: choose one split"
            report.errors.append(text)
    subjects = {case.subject for case in dataset.cases}
    if len(dataset.cases) > 1 and all(case.subject == case.name for case in dataset.cases):
        report.warnings.append(
            "every case counts as a subject of its own; if several are scans of one person, name "
            "the person in cases.csv (columns case, subject)"
        )
    elif len(subjects) == 1:
        report.errors.append("one subject only: nobody is left to validate on")
    alike: dict[str, str] = {}
    for subject in sorted(subjects):
        other = alike.setdefault(subject.casefold(), subject)
        if other != subject:
            text = f"subjects {other} and {subject} count as two people: write one name in one way"
            report.warnings.append(text)


def _check_coverage(report: DatasetReport) -> None:
    usable = [case for case in report.cases if case.region]
    report.warnings += [f"{case.case.name}: {text}" for case in usable for text in case.warnings]
    for case in usable:
        missing = case.slices - len(case.annotated)
        if not case.annotated:
            report.errors.append(f"{case.case.name}: no slice is annotated")
        elif missing:
            text = f"{case.case.name}: {missing} of {case.slices} slices are not annotated"
            report.warnings.append(f"{text} and will not train")
    for region in anatomy.REGIONS.values():
        own = [case.muscles or {} for case in usable if case.region == region.name]
        never = [m.abbreviation for m in region.muscles if not any(o[m.abbreviation] for o in own)]
        if own and never:
            names = ",".join(never)
            text = f"{region.name}: {names} never occurs; train with --set data.absent={names}"
            report.warnings.append(text)


def _check_copies(report: DatasetReport) -> None:
    first: dict[str, Case] = {}
    for found in report.cases:
        case = found.case
        other = first.setdefault(found.content, case) if found.region else case
        if other.subject != case.subject:
            report.errors.append(
                f"{case.name} and {other.name} are the same scan under two subjects "
                f"({case.subject}, {other.subject}): one subject in cases.csv"
            )
        elif other is not case:
            text = f"{case.name} and {other.name} are the same scan, which counts twice: keep one"
            report.warnings.append(text)
