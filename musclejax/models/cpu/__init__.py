"""Layers in the forms that are fast on a CPU, each beside its plain reference."""
