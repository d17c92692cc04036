"""All tables, pictures and records that people read; each takes a result from the rooms below."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
