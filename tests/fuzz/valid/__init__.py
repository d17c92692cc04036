"""Small valid inputs, each written into an empty folder; the same bytes at every call."""
