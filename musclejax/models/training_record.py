"""Who a network was trained on, by the record that it carries.

`Provenance.data` has the parts "train" and "validation", and "earlier": the training parts of the
weights that the training began with. A part names cases and subjects and, since scans are
identified, each scan as a `ScanIdentity`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from musclejax.errors import InputError

UNKNOWN = "unknown"
"""Role of a scan of which the record does not tell whether it was trained on."""
_KINDS = {"slices": int, "cases": list, "subjects": list, "scans": list}


class ScanIdentity(NamedTuple):
    """Attributes by which a scan is recognized.

    Attributes:
        dataset: Name of the dataset.
        case: Name of the case, unique in its dataset.
        subject: Name of the person, who may be another one in another dataset.
        content: See `data.dataset.content_of`; empty if it is unknown.
    """

    dataset: str
    case: str
    subject: str
    content: str


def role_in(data: Mapping[str, Any], scan: ScanIdentity) -> str:
    """Return the role of a scan in training.

    "train" or "validation": the record has its voxels, or another scan of its subject from its
    dataset. "unknown": a subject of this name is recorded, but nothing tells whether it is the same
    person. Else "test".

    Args:
        data: `Provenance.data`.
        scan: The scan.
    """
    parts = list(_parts(data))
    for role, part in parts:
        if any(known["content"] == scan.content for known in _scans(part) if scan.content):
            return role
    for role, part in parts:
        own = [k for k in _scans(part) if k["subject"] == scan.subject]
        own = [k for k in own if k["dataset"] == scan.dataset]
        # A scan of the same name with other voxels: another dataset that has the same name.
        if own and all(known["case"] != scan.case for known in own):
            return role
    named = any(scan.subject in part.get("subjects", ()) for _, part in parts)
    return UNKNOWN if named else "test"


def earlier_parts(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the training parts of a network, for the record of one that begins with it."""
    parts = [data["train"]] if "train" in data else []
    return [*parts, *data.get("earlier", [])]


def check_training_record(data: Mapping[str, Any]) -> None:
    """Check that a record can be read as this module does.

    Raises:
        InputError: If a part of it is of another kind.
    """
    earlier = data.get("earlier", [])
    parts = {name: data[name] for name in ("train", "validation") if name in data}
    if not isinstance(earlier, list):
        raise InputError("provenance.data.earlier", type(earlier).__name__, "a list")
    for name, part in [*parts.items(), *(("earlier", part) for part in earlier)]:
        if not isinstance(part, dict):
            raise InputError(f"provenance.data.{name}", type(part).__name__, "a table")
        for key, kind in _KINDS.items():
            if not isinstance(part.get(key, kind()), kind):
                found = type(part[key]).__name__
                raise InputError(f"provenance.data.{name}.{key}", found, f"a {kind.__name__}")
        names = [*part.get("cases", []), *part.get("subjects", [])]
        scans = part.get("scans", [])
        if not all(isinstance(name, str) for name in names) or not all(map(_is_scan, scans)):
            accepted = "names of cases and subjects; dataset, case, subject and content of scans"
            raise InputError(f"provenance.data.{name}", "entries of other kinds", accepted)


def _is_scan(scan: object) -> bool:
    fields = ScanIdentity._fields
    return isinstance(scan, dict) and all(isinstance(scan.get(name), str) for name in fields)


def _parts(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield role and part, training first."""
    for part in earlier_parts(data):
        yield "train", part
    if "validation" in data:
        yield "validation", data["validation"]


def _scans(part: Mapping[str, Any]) -> list[dict[str, str]]:
    return list(part.get("scans", []))
