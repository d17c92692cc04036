"""The network in ONNX Runtime, as `musclejax export` writes it, as a rival at its best.

| what | recommended by |
|---|---|
| all graph optimizations, threads of the process | [threads] |
| tiny numbers count as 0 | [denormal] |
| float32: it has no bfloat16 convolution for CPUs | [types] |

`segment` had it as an engine: on no processor that was measured it was the fastest.

[threads]: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
[denormal]: https://onnxruntime.ai/docs/api/c/struct_ort_api.html (session.set_denormal_as_zero)
[types]: https://onnxruntime.ai/docs/reference/operators/OperatorKernels.html
"""

from collections.abc import Callable

import numpy as np
import onnxruntime

from musclejax.bench.own_inference import network_of
from musclejax.models.spec import NetworkSpec
from musclejax.prediction.engines import channel_first, graph


def inference(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray], object]:
    """Return images -> labels, confidence and probabilities."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(
        graph(network_of(spec), True), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(None, {"image": channel_first(images)})
