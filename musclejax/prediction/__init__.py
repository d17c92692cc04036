"""From a scan to labeled muscles and measurements.

The function `segment` is in the module of its name, and in `musclejax`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
