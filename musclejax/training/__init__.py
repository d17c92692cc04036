"""Losses, optimiser, the training loop and the search for its settings."""
