"""The worker of `bench` for tests: small matrices, a network of two levels, little optimization."""

import os

QUICK_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def main() -> None:
    os.environ["XLA_FLAGS"] = QUICK_FLAGS
    from musclejax.app import bench_worker
    from musclejax.bench import peak, worker
    from musclejax.models.spec import NetworkSpec
    from musclejax.models.variants import VARIANTS

    peak.SIZES, peak.IMAGES = (64,), ((1, 8, 4),)
    worker.MIN_SECONDS = 0.1
    VARIANTS["compact4"] = NetworkSpec((4, 8), (1, 2))
    bench_worker.main()


if __name__ == "__main__":
    main()
