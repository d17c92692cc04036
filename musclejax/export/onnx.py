"""Networks as ONNX files, with their metadata inside, and ONNX Runtime to check them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from musclejax.models import onnx_graph
from musclejax.models.fold import fold_batch_norm
from musclejax.models.network import Network

OUTPUTS = (onnx_graph.LOGITS, "labels")
_PIXELS = ["batch", "row", "column"]
AXES = {
    "image": ["batch", "channel", "row", "column"],
    "logits": ["batch", "class", "row", "column"],
    "labels": _PIXELS,
}
"""Input and outputs -> their axes."""


def serialize(network: Network, metadata: Mapping[str, Any]) -> bytes:
    """Return a network as an ONNX file's content."""
    from onnx import helper

    module, variables = fold_batch_norm(network)
    model = onnx_graph.build(module.spec, network.task, variables["params"], OUTPUTS)
    model.doc_string = f"{metadata['use']} {metadata['warning']}".strip()
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    helper.set_model_props(model, texts)
    return model.SerializeToString()


def run(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what ONNX Runtime computes for images: "logits", classes last, and "labels"."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    channel_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    logits, labels = session.run(list(OUTPUTS), {onnx_graph.IMAGE: channel_first})
    return {"logits": np.moveaxis(logits, 1, -1), "labels": labels}
