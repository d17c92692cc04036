"""Cohorts of synthetic people: persons, visits and volumes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from musclejax.phantom.disease import disease_of
from musclejax.phantom.generator import other_limb
from musclejax.phantom.options import Cohort
from musclejax.phantom.scanner import Scanner
from musclejax.phantom.scene import Limbs
from musclejax.phantom.signal import GRADIENT_ECHO
from musclejax.phantom.slice import Contents, Keys, Settings, sample_with_contents
from musclejax.phantom.templates import Anatomy, Limb, choose

SLICES = {"thigh": 7, "leg": 3}
"""Annotated slices of a scan. Source: paper, "Image segmentation"."""
UNSEEN_SLICES = 4
"""Further slices of two test subjects. Source: paper, Table 4."""
TIME_POINTS = (2, 3)
"""Visits of a person, in turns: 110 scans of 44 subjects. Source: paper, "Image segmentation"."""
RANGE = {"thigh": (0.1, 0.9), "leg": (0.6, 0.67)}
"""Lowest and highest relative height of an annotated slice on the templates, which cover 140 to
290 mm of a thigh (half of them 184 or more) and 140 of a leg: some 150 mm of the thigh and 10 mm
of the leg, evenly spaced. Source: paper, "Post-processing of MRI sequences" (160 and 10 mm); the
place of a leg's middle, ours."""
PROTOCOLS = {
    "paper": Settings(
        limbs=Limbs(other_person=0.0, alike=1.0, alone=0.0, atrophy=0.0, cutting=0.0),
        scanner=Scanner(artifacts=0.5, narrow=0.0, tone=0.0),
        contrast=GRADIENT_ECHO,
    ),
    "any": Settings(),
}
"""Both limbs of a patient on a scanner as the paper's; or all that networks learn from."""


class Volumes(NamedTuple):
    """A synthetic scan, slices from the feet up.

    Attributes:
        image: Magnitude.
        labels: Muscles of the region, 0, or `IGNORE`.
        fat_fraction: fat / (fat + water), 0 to 1; 0 in air. Of the tissue itself: the scanner's
            blur, noise and wrap are not in it.
        step_mm: Distance between slices.
    """

    image: Float[np.ndarray, "z h w"]
    labels: UInt8[np.ndarray, "z h w"]
    fat_fraction: Float[np.ndarray, "z h w"]
    step_mm: float


@dataclass(frozen=True)
class Scan:
    """One synthetic scan to make.

    Attributes:
        name: Of the case.
        subject: Number of the person, from 1.
        time_point: Visit, from 1.
        severity: "mild" or "severe".
        split: "", "test" or "unseen".
        heights: Relative heights of its slices.
    """

    name: str
    subject: int
    time_point: int
    severity: str
    split: str
    heights: tuple[float, ...]


def plan(cohort: Cohort) -> list[Scan]:
    """Return the scans of a cohort, the first people for training.

    Test subjects have one visit each; of "mixed" severity, every second is severe. The first two
    severe ones have further slices, as in the paper's Table 4.
    """
    region, severity = cohort.region, cohort.severity
    low, high = RANGE[region]
    count = cohort.slices or SLICES[region]
    heights = np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2])
    scans, extra = [], 0
    for person in range(cohort.subjects + cohort.test):
        testing = person >= cohort.subjects
        how = severity if severity != "mixed" else ("mild", "severe")[person % 2]
        split = "test" if testing else ""
        visits = 1 if testing else TIME_POINTS[person % 2]
        for visit in range(1, visits + 1):
            name = f"{region}_{person + 1:03d}_t{visit}"
            scans.append(Scan(name, person + 1, visit, how, split, _tuple(heights)))
        if testing and how == "severe" and extra < 2:
            extra += 1
            between = np.linspace(0.3, 0.7, UNSEEN_SLICES)
            name = f"{region}_{person + 1:03d}_unseen"
            scans.append(Scan(name, person + 1, 1, how, "unseen", _tuple(between)))
    return scans


def sample_scan(anatomy: Anatomy, scan: Scan, seed: int, settings: Settings) -> Volumes:
    """Sample a scan.

    Args:
        anatomy: Templates; the person's limbs are chosen from them.
        scan: The scan to make.
        seed: Of the cohort.
        settings: Size and ranges.
    """
    rng = np.random.default_rng([seed, scan.subject])
    right, left = _choose(anatomy, scan.subject, rng, settings.limbs.other_person)
    person = jax.random.fold_in(jax.random.key(seed), scan.subject)
    visit = jax.random.fold_in(person, 1000 + scan.time_point)
    disease = disease_of(anatomy.region, scan.severity)
    image, labels, fat = [], [], []
    for height in scan.heights:
        pair = [limb.nearest(height) for limb in (right, left)]
        place = int(1e4 * height) % 2**32  # of whole limbs it may be below 0
        texture = jax.random.fold_in(person, place)
        keys = Keys(person, visit, texture, jax.random.fold_in(visit, place))
        tiles = choose(anatomy.tiles, np.array(pair))
        sample, contents = sample_with_contents(tiles, np.float32(height), keys, disease, settings)
        image.append(np.asarray(sample.image))
        labels.append(np.asarray(sample.labels))
        fat.append(_fat_fraction(contents))
    several = len(scan.heights) > 1
    step = float(np.diff(scan.heights).mean()) * right.length_mm if several else 5.0
    return Volumes(np.stack(image), np.stack(labels), np.stack(fat), step)


def _fat_fraction(contents: Contents) -> Float[np.ndarray, "h w"]:
    water, fat = np.asarray(contents.water), np.asarray(contents.fat)
    total = water + fat
    return np.divide(fat, total, out=np.zeros_like(fat), where=total > 0)


def _tuple(heights: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(h) for h in heights)


def _choose(
    anatomy: Anatomy, person: int, rng: np.random.Generator, other_person: float
) -> tuple[Limb, Limb]:
    """Return the right and the left limb that a person starts from.

    People take turns, so that all are seen, most of them both mildly and severely ill.
    """
    limbs = anatomy.limbs
    subjects = list(dict.fromkeys(limb.subject for limb in limbs))
    turn = person // 2 - person % 2  # each number for a mild and for a severe person
    subject = subjects[turn % len(subjects)]
    own = int(rng.choice([n for n, limb in enumerate(limbs) if limb.subject == subject]))
    return limbs[own], limbs[other_limb(limbs, own, rng, other_person)]


def cases(scans: Sequence[Scan], region: str) -> Iterator[dict[str, object]]:
    """Yield the rows of `cases.csv`."""
    for scan in scans:
        yield {
            "case": scan.name,
            "subject": f"{region}_{scan.subject:03d}",
            "time_point": scan.time_point,
            "region": region,
            "severity": scan.severity,
            "split": scan.split,
        }
