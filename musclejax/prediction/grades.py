"""Grades of fatty replacement, derived from a fat fraction: no person has read the image.

The scales were made for readers of T1-weighted images, who judge patterns too. A mean tells neither
scattered foci (Mercuri 1) nor streaks (Goutallier 1) from nothing, so 0 and 1 are one grade here.
"""

import math

MERCURI = ((0.10, "0 or 1"), (0.30, "2"), (0.60, "3"), (math.inf, "4"))
"""Fat fraction below which a grade holds. Source: 0.30 and 0.60 Mercuri et al., as in Wattjes et
al. 2010 (PMC2940021); 0.10 ours: healthy muscle lies below."""
GOUTALLIER = ((0.10, "0 or 1"), (0.40, "2"), (0.60, "3"), (math.inf, "4"))
"""Source: Goutallier et al. 1994: 2 less fat than muscle, 3 as much, 4 more; ours: as much means 40
to 60 %, streaks at most 10 %."""


def grade(fat_fraction: float, scale: tuple[tuple[float, str], ...]) -> str:
    """Return the grade of a fat fraction on a scale; empty if it is NaN."""
    return next((name for below, name in scale if fat_fraction < below), "")
