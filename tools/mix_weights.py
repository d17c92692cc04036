"""Mix two sets of weights: a share of every array of the one, the rest of the other.

    python tools/mix_weights.py FINE_TUNED START --share 0.3 -o MIXED

A network that was trained further and the one it started from lie in one basin; what lies between
them does better on images unlike those of the training than either end. A network that only one of
the two has stays as it is, so that networks that were made apart can be put together.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from musclejax.models.weights import Network, load_weights, save_weights


def main() -> None:
    """Read, mix and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="name or folder")
    parser.add_argument("other", help="name or folder")
    parser.add_argument("--share", type=float, required=True, help="of the other, 0 to 1")
    parser.add_argument("--half", action="store_true", help="store kernels in 16 bits")
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights folder to write")
    args = parser.parse_args()
    weights, other = load_weights(args.weights), load_weights(args.other)
    both = weights.networks.keys() & other.networks.keys()
    mixed = {**other.networks, **weights.networks}
    mixed |= {t: mix(weights.networks[t], other.networks[t], args.share) for t in both}
    provenance = {**other.provenance, **weights.provenance}
    theirs, ours = (w.provenance.get("report", {}) for w in (other, weights))
    provenance["report"] = {**theirs, **ours}
    if both:
        mixture = f"{', '.join(sorted(both))} mixed with {args.share:g} of {other.name}"
        provenance["description"] = f"{mixture}; before that {provenance['description']}"
    if other.networks.keys() - both:
        provenance["description"] += f"; {other.provenance['description']}"
    save_weights(args.output, mixed, provenance, half=args.half)


def mix(network: Network, other: Network, share: float) -> Network:
    """Return the first network with a share of the second's arrays in its own."""

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((1 - share) * np.asarray(a) + share * np.asarray(b), np.float32)

    variables = jax.tree.map(between, dict(network.variables), dict(other.variables))
    return replace(network, variables=variables)


if __name__ == "__main__":
    main()
