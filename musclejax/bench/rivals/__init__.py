"""The network in other frameworks."""
