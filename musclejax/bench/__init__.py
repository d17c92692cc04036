"""Measurements of speed and memory: what `musclejax bench` and benchmarks/ both call."""
