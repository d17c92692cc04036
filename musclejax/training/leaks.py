"""Ways in which a run could validate on what it trains on, checked before it begins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musclejax.data.dataset import Case
from musclejax.data.slices import Slices
from musclejax.data.split import shared_names
from musclejax.errors import InputError, listed
from musclejax.models.training_record import UNKNOWN, ScanIdentity, role_in


def check_once(folders: Sequence[str | Path]) -> None:
    """Check that no dataset is given twice.

    Raises:
        InputError: If one is.
    """
    seen = [Path(folder).resolve() for folder in folders]
    twice = [str(folder) for n, folder in enumerate(folders) if seen[n] in seen[:n]]
    if twice:
        raise InputError("--data", f"{twice[0]} twice", "each dataset once")


def check_copies(slices: Mapping[str, Slices]) -> None:
    """Check that no scan is trained and validated on, under whatever names.

    Raises:
        InputError: If one is.
    """
    first: dict[str, tuple[str, Case]] = {}
    for name, part in slices.items():
        for origin in part.origins:
            role, case = first.setdefault(origin.content, (name, origin.case))
            if role != name:
                found = f"the scan of {case.name} ({role}) again as {origin.case.name} ({name})"
                remedy = "Give both one subject in cases.csv, or remove one."
                raise InputError(origin.case.image, found, "a scan in one split", remedy)


def shared_subjects(cases: Sequence[Case]) -> list[str]:
    """Return a warning if datasets share names of subjects."""
    names = shared_names(cases)
    remedy = "if they are not, name them apart in cases.csv"
    text = f"subjects that are in several datasets count as one person: {listed(names)}; {remedy}"
    return [text] if names else []


def seen_before(
    record: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], name: str
) -> list[str]:
    """Return warnings if a run validates on subjects that the weights it starts from have seen.

    Args:
        record: The data of the run.
        earlier: The training parts of the weights.
        name: Of the weights.
    """
    validated = record.get("validation", record["train"])
    scans = [ScanIdentity(**scan) for scan in validated.get("scans", [])]
    warnings = []
    for role, verb in (("train", "were"), (UNKNOWN, "may have been")):
        seen = {scan.subject for scan in scans if role_in({"earlier": earlier}, scan) == role}
        if seen:
            warnings.append(
                f"the weights to start from ({name}) {verb} trained on subjects of the validation "
                f"split: {listed(sorted(seen))}; its figures may be too good"
            )
    return warnings
