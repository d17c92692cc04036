"""What computes the convolutions of a training, where that is not what is installed for it."""

import jax
from ml_collections import ConfigDict

from musclejax.app import console
from musclejax.models.cpu import onednn_library, xla_ffi


def warn_without_onednn(config: ConfigDict) -> None:
    """Warn of a training on a CPU for which oneDNN is installed, but XLA cannot call it.

    Starts JAX's backend.
    """
    wanted = config.models.convolutions == "auto" and jax.default_backend() == "cpu"
    if not wanted or onednn_library.unavailable_reason():
        return
    if reason := xla_ffi.unavailable_reason():
        console.warn(f"warning: {reason}: trains without oneDNN, which is slower")
