"""Speed and memory, measured: of musclejax and of other engines, on this machine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
