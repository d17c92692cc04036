"""Shared scans and weights; small, real in kind, made once a session."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
# Compiled functions are shared by the two test processes and by later runs of the suite.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "/tmp/musclejax-tests-xla")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jit with little optimisation: tests compile much and compute little."""
    import jax

    return jax.jit(function, compiler_options=QUICK)


@contextmanager
def local_cluster() -> Iterator[str]:
    """Start a Dask cluster of two processes on this machine; gives its scheduler's address.

    Dask leaves OMP_NUM_THREADS=1 behind in this process, and what later tests start would inherit
    it: a convolution on one thread has other last digits than one on two.
    """
    distributed = pytest.importorskip("distributed")
    before = dict(os.environ)
    try:
        with distributed.LocalCluster(
            # Any free port for its pages: both test processes may have a cluster at once.
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="localhost:0",
        ) as cluster:
            yield cluster.scheduler_address
    finally:
        os.environ.clear()
        os.environ.update(before)


SAMPLES = Path(__file__).parents[1] / "musclejax" / "samples"


@pytest.fixture(scope="session")
def thigh_path() -> Path:
    return SAMPLES / "test_up.nii.gz"


@pytest.fixture(scope="session")
def leg_path() -> Path:
    return SAMPLES / "test_low.nii.gz"


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the smallest variant, all three networks."""
    from musclejax import anatomy
    from musclejax.models.weights import initialise, save_weights

    folder = tmp_path_factory.mktemp("weights") / "random4"
    networks = {task: initialise(task, "compact4") for task in anatomy.TASKS}
    save_weights(folder, networks, {"trained": False, "description": "random, for tests"})
    return folder


@pytest.fixture(scope="session")
def limbs() -> np.ndarray:
    """Two discs of unequal size in air, [x, y, z] in RAS order, 3 mm pixels, 4 slices."""
    x, y = np.meshgrid(np.arange(90.0), np.arange(60.0), indexing="ij")
    discs = ((x - 25) ** 2 + (y - 30) ** 2 < 15**2) + ((x - 66) ** 2 + (y - 32) ** 2 < 18**2)
    shading = 1 + 0.1 * np.sin(x / 7) + 0.1 * np.cos(y / 5)
    stack = (discs * shading)[..., None] * np.array([80.0, 100.0, 110.0, 90.0])
    return stack.astype(np.float32)
