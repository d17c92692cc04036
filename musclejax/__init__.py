"""musclejax: thigh and leg muscles from MRI on a CPU, in JAX and Flax.

Importing this loads neither JAX nor any other heavy package; the first use of a name does.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
