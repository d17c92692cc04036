"""Networks in Flax linen: pure functions of arrays, no files, no training."""
