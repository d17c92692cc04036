"""Synthetic scans: real anatomy, varied so widely that a real scan looks like one more sample."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
