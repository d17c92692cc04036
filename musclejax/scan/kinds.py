"""What kind of image a series is: by its ImageType, its description, or the name of its file."""

import re
from collections.abc import Sequence
from typing import NamedTuple, get_args

from musclejax.scan.series import Kind

TYPE_WORDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("localizer", frozenset({"LOCALIZER"})),
    ("fat fraction", frozenset({"FAT_FRACTION", "FATFRACTION", "FF", "PDFF", "FATFRAC"})),
    (
        "map",
        frozenset(
            {
                *("WATER_FRACTION", "R2_STAR", "R2STAR", "T2_STAR", "T2STAR", "R2", "ADC", "EADC"),
                *("T1_MAP", "T2_MAP", "T2_STAR_MAP", "R2_STAR_MAP", "B0", "B0_MAP", "B1", "B1_MAP"),
                *("FIELD_MAP", "FREQUENCY", "P", "PHASE", "PHASE_MAP", "R", "REAL", "I"),
                *("IMAGINARY", "VELOCITY", "VELOCITY_MAP"),
            }
        ),
    ),
    (
        "opposed phase",
        frozenset({"OPP_PHASE", "OPPOSED_PHASE", "OUT_PHASE", "OUT_OF_PHASE", "OUTPHASE", "OP"}),
    ),
    ("in phase", frozenset({"IN_PHASE", "INPHASE", "IP"})),
    ("water", frozenset({"WATER", "W"})),
    ("fat", frozenset({"FAT", "F"})),
)
"""Words of ImageType or FrameType behind the first two (ORIGINAL, PRIMARY); the first row counts.

Source: headers of Siemens, Philips and GE as dcm2niix reads them; DICOM PS3.3 C.8.13.3.1."""

NAME_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("localizer", r"locali[sz]er[a-z]*|scout|survey|(three|3)_?plane[a-z]*"),
    ("fat fraction", r"ff|pdff|fatfr|fat_?frac[a-z]*|fat_?perc[a-z]*|fat_?pct"),
    (
        "map",
        r"((t1|t2|r2|r1)(_?star|s|\*)?|b0|b1|field|phase|adc|freq[a-z]*|velocity)_?maps?|adc|"
        r"wat(er)?_?frac[a-z]*|watfr|r2_?star|r2\*",
    ),
    ("opposed phase", r"(out|opp|opposed)(_?of)?_?ph(ase)?|outph|oph|opp|opposed"),
    ("in phase", r"in_?ph(ase)?|iph"),
    ("water", r"water|wat|water_?only"),
    ("fat", r"fat|fat_?only"),
    ("echo", r"(multi_?|m)echo|(me_?)?m?egre|megre|echo_?\d+|te_?\d+(\.\d+)?(_?ms)?"),
)
"""Words of a description or a file's name, any case, whole; `_` stands for any separator. The first
row counts."""
_NO_IMAGE = r"(wat(er)?_?(exc|sat|sup)[a-z]*|fat_?(sat|sup)[a-z]*|(water_?fat|fat_?water))"
"""Words of methods, which say nothing of what the image shows."""
_LETTERS: dict[str, Kind] = {
    **{"w": "water", "f": "fat", "in": "in phase", "out": "opposed phase"},
    **{"ip": "in phase", "op": "opposed phase"},
    **{f"e{n}": "echo" for n in range(1, 33)},
}
"""Words that count beside a word of `_DIXON` only, or if files of one name differ in them."""
_DIXON = r"m?dixon[a-z]*|dix|vibe|ideal[a-z]*|flex|lava|dxn|gre|megre"
_BIDS_SUFFIXES: dict[str, Kind] = {
    **{"wat": "water", "fat": "fat", "fatfr": "fat fraction", "inph": "in phase"},
    **{"outph": "opposed phase", "megre": "echo", "watfr": "map", "b0map": "map"},
    **{"dseg": "map", "probseg": "map", "mask": "map", "fieldmap": "map", "phase": "map"},
    **{"phase1": "map", "phase2": "map", "phasediff": "map"},
}
"""Source: Muscle-BIDS (QMRITools, ORMIR-MIDS); BIDS 1.9."""
ECHO_MS_AT_MOST = 10.0
"""Longest echo of a gradient echo that counts as one. Source: ours; beyond it come T2* weighting
and its dark muscle. The network learned from echoes of up to 10 ms."""


_IN_PHASE = r"in_?ph(ase)?|iph|in|ip"


class NameKind(NamedTuple):
    """What the words of a name tell.

    Attributes:
        kind: "other" if none does.
        stem: The name without the words of its kind.
        letter: Whether only a short word tells; see `_LETTERS`.
        echo_ms: An echo time in it.
    """

    kind: Kind
    stem: str
    letter: bool = False
    echo_ms: float | None = None


def kind_of_type(words: Sequence[str]) -> Kind | None:
    """Return the kind by the words of ImageType or FrameType; None if they do not tell.

    >>> kind_of_type(["DERIVED", "PRIMARY", "DIXON", "WATER"])
    'water'
    """
    own = {re.sub(r"[ -]+", "_", word.upper()) for word in words[2:]}
    return next((kind for kind, known in TYPE_WORDS if own & known), None)


def kind_of_description(text: str) -> Kind | None:
    """Return the kind by a SeriesDescription; None if it does not tell.

    >>> kind_of_description("t1_vibe_dixon_tra_opp")
    'opposed phase'
    """
    found = kind_of_name(text)
    return None if found.kind == "other" or found.letter else found.kind


def kind_of_bids(name: str) -> Kind | None:
    """Return the kind by the suffix of a BIDS name; None if it does not tell."""
    suffix = name.rpartition("_")[2]
    entities = bids_entities(name)
    if entities.get("part", "mag") != "mag" or suffix.endswith("map"):
        return "map"
    return _BIDS_SUFFIXES.get(suffix.lower())


def bids_entities(name: str) -> dict[str, str]:
    """Return the entities of a BIDS name: {"sub": "01", "ses": "2"}; empty without `sub-`."""
    found = dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([^_]+)", name))
    return found if "sub" in found else {}


def kind_of_name(name: str) -> NameKind:
    """Look for words of a kind in a name.

    >>> kind_of_name("thighA_TE3.45")
    NameKind(kind='echo', stem='thighA', letter=False, echo_ms=3.45)
    """
    plain = _simplified(name)
    hidden = re.sub(_whole(_NO_IMAGE), lambda m: "~" * len(m[0]), plain)
    for kind, pattern in NAME_PATTERNS:
        if found := re.search(_whole(pattern), hidden):
            if kind == "opposed phase" and re.search(_whole(_IN_PHASE), hidden):
                kind = "echo"  # one series has both, which its echo times tell apart
            return NameKind(kind, _without(name, found), echo_ms=_echo_ms(hidden))
    letters = [m for m in re.finditer(r"[a-z0-9]+", hidden) if m[0] in _LETTERS]
    if not letters:
        return NameKind("other", name)
    last = letters[-1]
    sure = re.search(_whole(_DIXON), hidden) is not None
    return NameKind(_LETTERS[last[0]], _without(name, last), letter=not sure)


def _simplified(name: str) -> str:
    """Return a name in small letters with `_` for what separates words; of the same length."""
    small = name.lower() if len(name.lower()) == len(name) else name
    return re.sub(r"(?<!\d)\.|\.(?!\d)|[^\w.*]", "_", small)


def _whole(pattern: str) -> str:
    return rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])"


def _without(name: str, found: re.Match[str]) -> str:
    before, after = name[: found.start()], name[found.end() :]
    return "_".join(part for part in (before.rstrip("_-. "), after.lstrip("_-. ")) if part)


def _echo_ms(plain: str) -> float | None:
    found = re.search(_whole(r"te_?(\d+\.\d+)(_?ms)?|te_?(\d+)_?ms"), plain)
    return float(found[1] or found[3]) if found else None


assert {kind for kind, _ in (*TYPE_WORDS, *NAME_PATTERNS)} <= set(get_args(Kind))
