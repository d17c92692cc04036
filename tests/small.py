"""Variants that compile in seconds, for tests of training; `python -m tests.small` is the command
line with them, and the fixture `small_variants` adds them to the table."""

from musclejax.cli.main import main
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import VARIANTS

VARIANT, LEARNER = "small3", "small4"
"""One to run, and one that learns too."""
SMALL_VARIANTS = {
    VARIANT: NetworkSpec(widths=(4, 6, 8), strides=(1, 2, 3)),
    LEARNER: NetworkSpec(widths=(8, 12, 16), strides=(2, 2, 3)),
}

if __name__ == "__main__":
    VARIANTS.update(SMALL_VARIANTS)
    main()
