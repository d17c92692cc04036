"""Shared scans and weights; small, real in kind, made once a session."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from platformdirs import user_cache_path
from threadpoolctl import threadpool_limits


def compile_cache() -> Path:
    """Return a folder for compiled functions that only this user can write: they are executed."""
    folder = user_cache_path("musclejax-tests") / "xla"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)  # fails on a folder of another user
    return folder


def bind_to_one_core() -> None:
    """Give each test process of several a core of its own: threads that share cores wait for one
    another, and the suite takes twice as long."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # gw0, gw1, ...
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
        # NumPy has counted them before, in a plugin, and has other last digits on two threads.
        threadpool_limits(1)


bind_to_one_core()  # before XLA and OpenMP count cores
os.environ["JAX_PLATFORMS"] = "cpu"
# Compiled functions are shared by the two test processes and by later runs of the suite.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compile_cache())
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# Tracing makes objects by the million and hardly any cycles: the usual thresholds cost 4 % of all.
gc.set_threshold(200_000, 50, 1000)

LONG = ("test_cluster", "test_example", "test_pipeline", "test_training_distributed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, lest one process end with them while the other has none."""
    items.sort(key=lambda item: item.path.stem not in LONG)


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jit with little optimization: tests compile much and compute little."""
    import jax

    return jax.jit(function, compiler_options=QUICK)


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """Compile with little optimization in a module, and in the processes that it starts."""
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def small_variants() -> Iterator[None]:
    """Add the variants of `tests.small` to the table."""
    from musclejax.models.variants import VARIANTS
    from tests.small import SMALL_VARIANTS

    with pytest.MonkeyPatch.context() as patch:
        for name, spec in SMALL_VARIANTS.items():
            patch.setitem(VARIANTS, name, spec)
        yield


@pytest.fixture(autouse=True, scope="module")
def compiled_anew() -> None:
    """Let no module use the training steps of another one, which may be compiled otherwise."""
    if step := sys.modules.get("musclejax.training.step"):
        step._compile.cache_clear()


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
    from musclejax.models.initialization import initialize
    from musclejax.models.provenance import Provenance
    from musclejax.models.weights import save_weights

    folder = tmp_path_factory.mktemp("weights") / "random4"
    networks = {task: initialize(task, "compact4") for task in anatomy.TASKS}
    save_weights(folder, networks, Provenance(trained=False, description="random, for tests"))
    return folder


@pytest.fixture(scope="session")
def limbs() -> np.ndarray:
    """Two disks of unequal size in air, [x, y, z] in RAS order, 3 mm pixels, 4 slices."""
    x, y = np.meshgrid(np.arange(90.0), np.arange(60.0), indexing="ij")
    disks = ((x - 25) ** 2 + (y - 30) ** 2 < 15**2) + ((x - 66) ** 2 + (y - 32) ** 2 < 18**2)
    shading = 1 + 0.1 * np.sin(x / 7) + 0.1 * np.cos(y / 5)
    stack = (disks * shading)[..., None] * np.array([80.0, 100.0, 110.0, 90.0])
    return stack.astype(np.float32)
