"""Preloaded by the workers of a cluster: the variants of `tests.small`."""

from musclejax.models.variants import VARIANTS
from tests.small import SMALL_VARIANTS

VARIANTS.update(SMALL_VARIANTS)
