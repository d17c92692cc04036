"""Training, validation and test cases: whole subjects at a time."""

import hashlib
from collections.abc import Sequence

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


def assign_splits(cases: Sequence[Case], settings: ConfigDict) -> dict[str, str]:
    """Return the role of every case: "train", "validation", "test" or "unseen".

    A split in `cases.csv` stands, and holds for all scans of the subject. The other subjects are
    distributed by a hash of their names, so that a subject keeps its role when others join.

    Args:
        cases: Cases of one or more datasets.
        settings: `config.split`.

    Raises:
        InputError: If `cases.csv` puts one subject into two splits, or the order does not exist.

    Source: ours; the paper splits subjects only into working and test set (facts-2021, Protocol).
    """
    if settings.order not in ORDERS:
        raise InputError.choice("split.order", settings.order, ORDERS)
    given = given_splits(cases)
    for subject, roles in given.items():
        if len(roles) > 1:
            accepted = "one split per subject, so that nobody is trained and tested on"
            raise InputError(f"subject {subject}", " and ".join(sorted(roles)), accepted)
    role = {subject: next(iter(roles)) for subject, roles in given.items()}
    free = sorted({c.subject for c in cases} - set(role), key=lambda s: _order(s, settings.seed))
    shares = {"test": settings.test, "validation": settings.validation}
    if settings.order == "paper":
        shares["validation"] = 0.0  # its validation slices are drawn after augmenting
    for name, share in shares.items():
        if name not in role.values() and share > 0 and len(free) > 1:
            count = min(max(1, round(share * len(free))), len(free) - 1)
            role |= dict.fromkeys(free[:count], name)
            free = free[count:]
    role |= dict.fromkeys(free, "train")
    return {c.name: c.split if c.split == "unseen" else role[c.subject] for c in cases}


def given_splits(cases: Sequence[Case]) -> dict[str, set[str]]:
    """Return the splits that `cases.csv` names for each subject; "unseen" slices are test ones."""
    given: dict[str, set[str]] = {}
    for case in cases:
        if case.split:
            given.setdefault(case.subject, set()).add(_HELD_OUT.get(case.split, case.split))
    return given


def _order(subject: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()
