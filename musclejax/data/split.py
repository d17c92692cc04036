"""Training, validation and test cases: whole subjects at a time."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from musclejax.data.dataset import Case
from musclejax.errors import InputError

ORDERS = ("subject", "paper")
LEAKS = (
    'split.order = "paper" validates on augmented siblings of training slices, as the paper did: '
    "its validation scores are too good"
)
"""Warning about the paper's order."""
_HELD_OUT = {"test": "test", "unseen": "test"}


def assign_splits(cases: Sequence[Case], settings: ConfigDict) -> dict[Case, str]:
    """Return the role of every case: "train", "validation", "test" or "unseen".

    A split in `cases.csv` stands, and holds for all scans of the person (see `persons`). The other
    people are distributed by a hash of their names, so that one keeps a role when others join.

    Args:
        cases: Cases of one or more datasets.
        settings: `config.split`.

    Raises:
        InputError: If `cases.csv` puts one subject into two splits, or the order does not exist.

    Source: ours; the paper splits subjects only into working and test set (facts-2021, Protocol).
    """
    if settings.order not in ORDERS:
        raise InputError.choice("split.order", settings.order, ORDERS)
    person = persons(cases)
    given: dict[str, set[str]] = {}
    for case in cases:
        given.setdefault(person[case], set()).update(_given(case))
    for name, roles in given.items():
        if len(roles) > 1:
            accepted = "one split per subject, so that nobody is trained and tested on"
            remedy = "If they are two people, give them two names in cases.csv."
            raise InputError(f"subject {name}", " and ".join(sorted(roles)), accepted, remedy)
    role = {name: next(iter(roles)) for name, roles in given.items() if roles}
    free = sorted(set(given) - set(role), key=lambda name: _order(name, settings.seed))
    shares = {"test": settings.test, "validation": settings.validation}
    if settings.order == "paper":
        shares["validation"] = 0.0  # its validation slices are drawn after augmenting
    for name, share in shares.items():
        if name not in role.values() and share > 0 and len(free) > 1:
            count = min(max(1, round(share * len(free))), len(free) - 1)
            role |= dict.fromkeys(free[:count], name)
            free = free[count:]
    role |= dict.fromkeys(free, "train")
    return {c: c.split if c.split == "unseen" else role[person[c]] for c in cases}


def persons(cases: Sequence[Case]) -> dict[Case, str]:
    """Return the person that each case shows.

    A name is one person, over all datasets: nobody who is held out is then trained on under the
    same name. Only where the splits of a name contradict, and nobody has said whose scans they
    are, cases of different datasets are different people.
    """
    torn = {subject for subject, roles in given_splits(cases).items() if len(roles) > 1}
    torn -= {case.subject for case in cases if case.subject != case.name}
    return {c: f"{c.dataset}: {c.subject}" if c.subject in torn else c.subject for c in cases}


def shared_names(cases: Sequence[Case]) -> list[str]:
    """Return the people whose scans are in more than one dataset, if equal names are one person."""
    datasets: dict[str, set[Path]] = {}
    for case, person in persons(cases).items():
        datasets.setdefault(person, set()).add(case.labels.parent.parent)
    return sorted(person for person, folders in datasets.items() if len(folders) > 1)


def given_splits(cases: Sequence[Case]) -> dict[str, set[str]]:
    """Return the splits that `cases.csv` names for each subject; "unseen" slices are test ones."""
    given: dict[str, set[str]] = {}
    for case in cases:
        if case.split:
            given.setdefault(case.subject, set()).update(_given(case))
    return given


def _given(case: Case) -> set[str]:
    return {_HELD_OUT.get(case.split, case.split)} if case.split else set()


def _order(subject: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()
