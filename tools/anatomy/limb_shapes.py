"""Bones, tendons and muscles of the foot that the label maps lack, as tapered rods in space.

Places and sizes are in millimeters of one average limb, and are scaled by person. They were
measured on atlases and on the real scans, or are guesses; no shape was copied.

A place is (height, row, column): up, backwards, and toward the midline.

Source: ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIZE = {"VHF": 0.97, "VHM": 1.09}
"""Size of a person, from the width of tibia, fibula and patella."""
Place = tuple[float, float, float]


class Rod(NamedTuple):
    """A tapered rod with round ends, and its group: what has one number is one structure."""

    group: int
    start: Place
    end: Place
    radii: tuple[float, float]


FEMUR = (
    Rod(0, (-64, 8, 10), (-76, 9, 8), (7, 7)),  # lesser trochanter
    Rod(0, (-120, 0, 0), (-66, 4, -1), (13.5, 16)),
    Rod(0, (-66, 4, -1), (-34, 5, -4), (17, 20)),
    Rod(0, (-42, 3, -13), (-8, 10, -20), (16, 12)),  # greater trochanter
    Rod(0, (-32, 4, -4), (-6, -2, 22), (17, 15)),  # neck
    Rod(0, (0, -3, 26), (0, -3, 26), (23.5, 23.5)),  # head
)
"""Its upper end, from the axis of the shaft at level 0.24, heights from the hip joint."""
HEAD = np.array([0.0, -3.0, 26.0])
"""Its center there."""
HIP_BONE = (
    Rod(1, (24, -8, 5), (75, -34, -18), (10, 7)),  # ilium: front, middle, back
    Rod(1, (26, 4, 8), (95, -4, 2), (9, 6)),
    Rod(1, (22, 18, 12), (95, 30, 32), (12, 9)),
    Rod(1, (28, -4, 6), (75, -18, -8), (9, 6)),
    Rod(1, (28, 10, 9), (95, 14, 16), (9, 7)),
    Rod(1, (12, 14, 22), (22, 18, 12), (10, 12)),  # its columns beside the head
    Rod(1, (8, -16, 16), (24, -8, 5), (8, 10)),
    Rod(1, (4, -14, 24), (4, -20, 62), (8, 7)),  # pubis
    Rod(1, (2, -20, 62), (-28, -14, 68), (8, 8)),
    Rod(1, (-28, -12, 66), (-54, 14, 42), (6, 6)),
    Rod(1, (12, 16, 22), (-20, 26, 22), (11, 12)),  # ischium
    Rod(1, (-20, 27, 22), (-50, 28, 30), (13, 11)),
)
"""The hip bone, from the center of the femur's head."""
SOCKET = (26.0, 33.0)
"""Radii of the acetabulum, a shell about the head on the side of its wall."""
SOCKET_WALL = np.array([0.62, 0.1, 0.78])

DISTAL = np.array(
    [
        (0.718, -23.5, -12, 15, 17), (0.778, -21, -8.5, 15.5, 19.5), (0.837, -17.5, -5, 16.5, 23),
        (0.861, -15, -4, 17.5, 27), (0.879, -12, -1.5, 20, 31.5), (0.897, -7, 1.5, 25, 37),
        (0.921, -4.5, 1.5, 28.5, 40), (0.945, -2.5, 1.5, 29.5, 39.5), (0.957, -2.5, 1, 29, 38.5),
        (0.969, -2, 0.5, 26.5, 36.5), (0.981, -1, 0, 21, 35), (0.993, 0, 0, 12, 31),
    ]
)  # fmt: skip
"""Lower end of the femur: level, row and column from the middle of the tibia's plateau, and half of
its depth and width."""

ANKLE_DROP = 3.0
"""The talus turns about a point this far below level 2."""
FOOT_BONES = (
    Rod(0, (-8, 6, 0), (-20, -20, 5), (16, 12)),  # talus
    Rod(0, (-6, 6, 0), (-6, -10, 0), (15, 13)),
    Rod(1, (-50, 40, -3), (-38, -18, -9), (17, 12)),  # calcaneus
    Rod(2, (-26, -37, 4), (-28, -38, 18), (10, 9)),  # navicular
    Rod(3, (-42, -35, -18), (-44, -50, -18), (12, 10)),  # cuboid
    Rod(4, (-34, -54, 14), (-37, -63, 15), (9, 9)),  # cuneiforms
    Rod(5, (-31, -53, 0), (-33, -61, 0), (8, 8)),
    Rod(6, (-39, -70, 18), (-62, -116, 26), (8, 9)),  # metatarsals
    Rod(7, (-33, -68, 7), (-60, -118, 10), (6, 6)),
    Rod(8, (-35, -66, -3), (-62, -114, -3), (5.5, 5.5)),
    Rod(9, (-39, -62, -13), (-64, -108, -15), (5.5, 5.5)),
    Rod(10, (-47, -56, -25), (-67, -99, -28), (6, 6)),
    Rod(11, (-65, -130, 26), (-69, -157, 22), (8, 7)),  # toes
    Rod(12, (-66, -130, 10), (-70, -154, 8), (5, 5)),
    Rod(13, (-67, -125, -4), (-70, -146, -5), (5, 5)),
    Rod(14, (-68, -119, -17), (-71, -138, -18), (5, 5)),
    Rod(15, (-69, -109, -30), (-71, -124, -31), (5, 5)),
)
FOOT_MUSCLES = (
    Rod(0, (-66, 20, 1), (-60, -70, 0), (7, 7)),  # flexor digitorum brevis
    Rod(1, (-58, 28, 15), (-61, -88, 30), (8, 7)),  # abductor hallucis
    Rod(2, (-64, 28, -17), (-68, -80, -33), (7, 5)),  # abductor digiti minimi
    Rod(3, (-55, 4, 4), (-52, -46, 0), (8, 7)),  # quadratus plantae
    Rod(4, (-55, -68, 16), (-68, -104, 24), (7, 7)),  # flexor hallucis brevis
    Rod(5, (-50, -72, 4), (-66, -102, 4), (7, 5)),  # adductor hallucis, interossei
    Rod(6, (-52, -68, -8), (-68, -98, -10), (6, 5)),
    Rod(2, (-54, -66, -19), (-69, -92, -22), (6, 5)),
    Rod(5, (-38, -74, 12), (-56, -104, 17), (4, 4)),
    Rod(6, (-38, -72, -8), (-58, -102, -9), (4, 4)),
    Rod(4, (-26, -16, -16), (-31, -62, -10), (6, 4)),  # extensor digitorum brevis
)
FOOT_TENDONS = (
    Rod(0, (30, 48, -1), (-30, 54, -2), (5, 6)),  # Achilles
    Rod(0, (-66, 36, 2), (-68, -60, 2), (3, 3)),  # plantar fascia
    Rod(0, (0, -26, 14), (-34, -56, 22), (3, 3)),  # tibialis anterior
    Rod(0, (0, -28, 4), (-28, -70, 16), (2.5, 2.5)),  # extensor hallucis longus
    Rod(0, (0, -28, -8), (-26, -64, -4), (3, 2.5)),  # extensor digitorum longus
    Rod(0, (-10, 22, -26), (-32, 2, -29), (3.5, 3)),  # peronei
    Rod(0, (-6, 18, 24), (-30, -28, 22), (3.5, 3.5)),  # tibialis posterior
    Rod(0, (-6, 24, 22), (-42, -20, 18), (2.5, 2.5)),  # flexors of the toes
    Rod(0, (-6, 28, 14), (-44, -18, 10), (3, 3)),
)
"""Structures of a right-angled foot, from the middle of the ankle; see `turned`."""
ENDS_IN_FOOT = {"TA": 2, "EHL": 3, "EDL": 4, "PE": 5, "TP": 6, "FDL": 7, "FHL": 8}
"""Muscle -> the tendon of the foot that it pulls."""
POINTED, OUTWARD = np.deg2rad(28.0), np.deg2rad(8.0)
"""Angles of a foot at rest: toes down, and outwards."""


def turned(rod: Rod) -> Rod:
    """Return a rod of the foot as it rests in a scanner."""

    def turn(place: Place) -> Place:
        up, back, inward = place
        sine, cosine = np.sin(POINTED), np.cos(POINTED)
        up, back = up * cosine + back * sine, back * cosine - up * sine
        sine, cosine = np.sin(OUTWARD), np.cos(OUTWARD)
        return up, back * cosine - inward * sine, inward * cosine + back * sine

    return rod._replace(start=turn(rod.start), end=turn(rod.end))


def section(
    rod: Rod, scale: float, height: float, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return where a plane cuts a rod; height, rows and columns are from its origin, mm."""
    start, end = (np.array(p) * scale for p in (rod.start, rod.end))
    axis = end - start
    away = [grid - p for grid, p in zip((height, rows, columns), start, strict=True)]
    share = sum(a * x for a, x in zip(away, axis, strict=True)) / max(float(axis @ axis), 1e-6)
    share = np.clip(share, 0, 1)
    radius = scale * (rod.radii[0] + share * (rod.radii[1] - rod.radii[0]))
    return sum((a - share * x) ** 2 for a, x in zip(away, axis, strict=True)) < radius**2
