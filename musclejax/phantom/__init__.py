"""Synthetic scans: real anatomy, varied so widely that a real scan looks like one more sample."""
