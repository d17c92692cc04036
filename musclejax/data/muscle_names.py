"""What a name of a label means: a muscle in any usual spelling, its side, or a group of muscles."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from musclejax import anatomy

SPELLINGS = {
    "VL": "vastus lateralis; vast lat; vlat",
    "VM": "vastus medialis; vast med; vmed",
    "VI": "vastus intermedius; vast int; vint; vastus intermedialis",
    "RF": "rectus femoris; rect fem; rectus fem",
    "SAR": "sartorius; sart; sa",
    "GRA": "gracilis; grac; gr",
    "AM": "adductor magnus; add magnus; add mag; adm",
    "SM": "semimembranosus; semimem; semi membranosus",
    "ST": "semitendinosus; semiten; semitend; semi tendinosus",
    "BFL": "biceps femoris long head; long head biceps femoris; biceps femoris lh; bflh; lhbf; "
    "biceps femoris longus; biceps femoris long; biceps femoris caput longum; bf long; "
    "bf long head",
    "BFS": "biceps femoris short head; short head biceps femoris; biceps femoris sh; bfsh; shbf; "
    "biceps femoris brevis; biceps femoris short; biceps femoris caput breve; bf short; "
    "bf short head",
    "AL": "adductor longus; add longus; add long; adl",
    "SOL": "soleus; so",
    "GM": "gastrocnemius medialis; gastrocnemius medial head; medial head gastrocnemius; "
    "medial gastrocnemius; gastrocnemius medial; gastroc med; gastrocnemius mediale; gcm; gam; mg",
    "GL": "gastrocnemius lateralis; gastrocnemius lateral head; lateral head gastrocnemius; "
    "lateral gastrocnemius; gastrocnemius lateral; gastroc lat; gastrocnemius laterale; gcl; gal; "
    "lg",
    "TA": "tibialis anterior; anterior tibialis; tib ant",
    "EDL": "extensor digitorum longus; ext dig longus; ext digitorum longus",
    "PE": "peroneus; peroneus longus brevis; peroneals; peronei; fibularis; fibulares; "
    "fibularis longus brevis; peroneus group; per",
}
"""Muscle -> other spellings of it; side, case, punctuation, "m." and "of" do not matter. Ours."""
PARTS = {
    "PE": "peroneus longus; peroneus brevis; fibularis longus; fibularis brevis; per long; "
    "per brev; pel; peb",
}
"""Muscle -> parts of it with a label of their own; they are merged."""
GROUP_SPELLINGS = {
    "VL, VM, VI, RF": "quadriceps femoris; quadriceps; quads; quad",
    "VL, VM, VI": "vasti; vastus",
    "SM, ST, BFL, BFS": "hamstrings; hamstring; posterior compartment",
    "AM, AL, GRA": "adductors; adductor; medial compartment",
    "BFL, BFS": "biceps femoris; bf; biceps",
    "SOL, GM, GL": "triceps surae; calf; superficial posterior compartment",
    "GM, GL": "gastrocnemius; gastrocnemii; gastroc; gas; gc",
    "several muscles": "anterior compartment; lateral compartment",
}
"""Muscles of a group -> spellings of its name: a label of a group is not a muscle's."""
_LEFT = ("left", "l", "lt", "sin", "sinister")
_RIGHT = ("right", "r", "rt", "dex", "dx", "dexter")
_EMPTY = ("m", "musculus", "muscle", "of", "the", "and", "thigh", "lower", "leg")


class Meaning(NamedTuple):
    """A muscle that a label stands for.

    Attributes:
        region: "thigh" or "leg".
        number: Our label number.
        side: 1 + index into `anatomy.SIDES`; 0 if the label is that of both sides.
    """

    region: str
    number: int
    side: int = 0

    @property
    def muscle(self) -> anatomy.Muscle:
        """The muscle."""
        return anatomy.REGIONS[self.region].muscles[self.number - 1]

    def __str__(self) -> str:
        """Return its abbreviation, with the side if there is one."""
        side = f" {anatomy.SIDES[self.side - 1]}" if self.side else ""
        return f"{self.muscle.abbreviation}{side}"


def parse_name(name: str) -> Meaning | None:
    """Return what a name means; None if it is not a muscle of ours.

    `VL_left`, `left_vastus_lateralis`, `Vastus lateralis, right` and `vastus_lateralis_R` are read.
    """
    key, side = _split_side(name)
    found = _MUSCLES.get(key)
    return found and found._replace(side=side)


def group_of(name: str) -> str:
    """Return the muscles of the group that a name means; empty if it is none."""
    return _GROUPS.get(_split_side(name)[0], "")


def is_part(name: str) -> bool:
    """Return whether a name means a part of a muscle, which others complete."""
    return _split_side(name)[0] in _PARTS


def known_names() -> list[str]:
    """Return abbreviations and names of all muscles, to find the nearest one in."""
    return [text for _, m in _every_muscle() for text in (m.abbreviation, m.name.lower())]


def _every_muscle() -> Iterator[tuple[anatomy.Region, anatomy.Muscle]]:
    for region in anatomy.REGIONS.values():
        for muscle in region.muscles:
            yield region, muscle


def _split_side(name: str) -> tuple[str, int]:
    """Return a name as it stands in the tables, and its side."""
    words = _words(name)
    for number, spellings in enumerate((_LEFT, _RIGHT), 1):
        at = [i for i, word in enumerate(words) if word in spellings]
        # "L" is a side at either end only: elsewhere it may be part of a name.
        at = [i for i in at if len(words[i]) > 2 or i in (0, len(words) - 1)]
        if at and len(words) > 1:
            rest = [word for i, word in enumerate(words) if i != at[0]]
            return _key(rest), number
        long = spellings[0]
        if len(words) == 1 and words[0].endswith(long) and words[0] != long:  # VLleft
            return words[0].removesuffix(long), number
    return _key(words), 0


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # VastusLateralisLeft
    return re.findall(r"[^\W_]+", parted.casefold())


def _key(words: list[str]) -> str:
    return "".join(word for word in words if word not in _EMPTY)


def _table(spellings: str) -> Iterator[str]:
    yield from (_key(text.split()) for text in spellings.split(";"))


def _spelled_muscles() -> Iterator[tuple[str, Meaning]]:
    for region, muscle in _every_muscle():
        meaning, short = Meaning(region.name, muscle.number), muscle.abbreviation
        both = f"{short} {muscle.name}"  # as labels.txt has it
        own = (_key(_words(text)) for text in (short, muscle.name, both))
        more = f"{SPELLINGS[short]};{PARTS.get(short, short)}"
        for key in (*own, *_table(more)):
            yield key, meaning


_MUSCLES = dict(_spelled_muscles())
_GROUPS = {key: muscles for muscles, texts in GROUP_SPELLINGS.items() for key in _table(texts)}
_PARTS = {key for texts in PARTS.values() for key in _table(texts)}
