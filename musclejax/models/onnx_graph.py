"""Networks with folded batch norm as ONNX graphs, node by node.

Inside an ONNX graph the order is batch, channel, row, column: what its engines are made for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from musclejax.anatomy import TASKS
from musclejax.models.layers import MAX_GROUPS
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import task_spec

if TYPE_CHECKING:
    import onnx

OPSET = 18
IR_VERSION = 10
"""What ONNX Runtime 1.20 reads."""
GROUP_NORM_EPSILON = 1e-6
"""Source: `flax.linen.GroupNorm`, its default."""
STEPS = 255.0
"""Probabilities leave as uint8 in steps of 1/255."""
IMAGE, LOGITS = "image", "logits"


@dataclass
class Graph:
    """Nodes and weights, gathered in the order in which they are computed."""

    nodes: list["onnx.NodeProto"] = field(default_factory=list)
    weights: list["onnx.TensorProto"] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        from onnx import helper

        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add an array and return its name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(np.asarray(values, dtype))
        self.weights.append(numpy_helper.from_array(array, name))
        return name


def build(
    spec: NetworkSpec, task: str, params: Mapping[str, Any], outputs: Sequence[str]
) -> "onnx.ModelProto":
    """Return a network as an ONNX model.

    Input "image": batch, 1, row, column; float32. Batch, rows and columns are free; rows and
    columns must be multiples of `spec.size_multiple`; those of the classifier are fixed.

    Args:
        spec: The variant, its batch norm folded: `norm` is "group" or "none".
        task: "region", or the name of a region.
        params: Its "params".
        outputs: Any of `OUTPUTS`; the classifier has no "confidence" or "probabilities".
    """
    import onnx
    from onnx import helper

    spec = task_spec(spec, task)
    graph = Graph()
    is_classifier = TASKS[task].is_classifier
    if is_classifier:
        _classifier(graph, spec, params)
        side = _grid(spec, params) * spec.size_multiple
        shapes: dict[str, list] = {IMAGE: [side, side], LOGITS: ["classes"], "labels": []}
    else:
        _segmenter(graph, spec, params)
        size = ["height", "width"]
        shapes = {IMAGE: size, LOGITS: ["classes", *size], "labels": size}
        shapes |= {"confidence": size, "probabilities": [*size, "classes"]}
    for name in outputs:
        OUTPUTS[name](graph)
    patch = 1 if is_classifier else spec.strides[0]
    classes = params["head"]["kernel"].shape[-1] // patch**2

    def value(name: str) -> onnx.ValueInfoProto:
        kind = np.dtype(np.float32 if name in (IMAGE, LOGITS) else np.uint8)
        lead = ["batch", 1] if name == IMAGE else ["batch"]
        shape = [classes if size == "classes" else size for size in [*lead, *shapes[name]]]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), shape)

    description = f"{task}, batch norm folded"
    proto = helper.make_graph(
        graph.nodes,
        f"musclejax {task}",
        [value(IMAGE)],
        [value(name) for name in outputs],
        graph.weights,
        doc_string=description,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        proto, opset_imports=opset, ir_version=IR_VERSION, producer_name="musclejax"
    )


def _segmenter(graph: Graph, spec: NetworkSpec, params: Mapping[str, Any]) -> None:
    *skips, x = _contract(graph, spec, params)
    for level in reversed(range(len(skips))):
        name = f"expand_{level}"
        unit, stride = params[name]["resample"], spec.strides[level + 1]
        up = _unit(graph, spec, f"{name}/resample", x, unit, spec.upsampling, stride)
        joined = graph.add("Concat", skips[level], graph.add("Relu", up), axis=1)
        x = _residual_units(graph, spec, name, up, joined, params[name])
    head = params["head"]
    weights = _weights(graph, "head", head["kernel"].T[:, :, None, None], head["bias"])
    patch = spec.strides[0]
    logits = graph.add("Conv", x, *weights, name=LOGITS if patch == 1 else "head/conv")
    if patch > 1:
        graph.add("DepthToSpace", logits, name=LOGITS, blocksize=patch, mode="DCR")


def _classifier(graph: Graph, spec: NetworkSpec, params: Mapping[str, Any]) -> None:
    x = _contract(graph, spec, params)[-1]
    head, side = params["head"], _grid(spec, params)
    # The module flattens row, column, channel; the graph holds channel, row, column.
    kernel = np.asarray(head["kernel"]).reshape(side, side, spec.widths[-1], -1)
    kernel = kernel.transpose(2, 0, 1, 3).reshape(head["kernel"].shape)
    weights = _weights(graph, "head", kernel, head["bias"])
    graph.add("Gemm", graph.add("Flatten", x), *weights, name=LOGITS)


def _grid(spec: NetworkSpec, params: Mapping[str, Any]) -> int:
    """Return the height (= width) of the classifier's last level."""
    return math.isqrt(params["head"]["kernel"].shape[0] // spec.widths[-1])


def _contract(graph: Graph, spec: NetworkSpec, params: Mapping[str, Any]) -> list[str]:
    """Add the contracting path; return the output of every level, finest first."""
    x, outputs = IMAGE, []
    for level, stride in enumerate(spec.strides):
        name = f"contract_{level}"
        unit = params[name]["resample"]
        down = _unit(graph, spec, f"{name}/resample", x, unit, "strided", stride)
        x = _residual_units(graph, spec, name, down, graph.add("Relu", down), params[name])
        outputs.append(x)
    return outputs


def _residual_units(
    graph: Graph, spec: NetworkSpec, name: str, shortcut: str, x: str, block: Mapping[str, Any]
) -> str:
    for unit in range(spec.units):
        x = graph.add("Relu", x) if unit else x
        x = _unit(graph, spec, f"{name}/unit_{unit}", x, block[f"unit_{unit}"], "plain")
    return graph.add("Relu", graph.add("Add", x, shortcut) if spec.residual else x)


def _unit(
    graph: Graph,
    spec: NetworkSpec,
    name: str,
    x: str,
    params: Mapping[str, Any],
    kind: str,
    stride: int = 1,
) -> str:
    """Add what `models.layers.ConvolutionUnit` computes."""
    kernel = np.asarray(params["kernel"])
    order = (2, 3, 0, 1) if kind == "transposed" else (3, 2, 0, 1)
    weights = _weights(graph, name, kernel.transpose(order), params["bias"])
    steps = {"strides": [stride, stride]}
    if kind == "transposed":
        x = graph.add("ConvTranspose", x, *weights, name=f"{name}/conv", **steps)
    elif kind == "strided":
        x = graph.add("Conv", x, *weights, name=f"{name}/conv", **steps)
    else:
        pads = [kernel.shape[0] // 2] * 4
        x = graph.add("Conv", x, *weights, name=f"{name}/conv", pads=pads)
    if kind == "nearest":
        scales = graph.constant(f"{name}/scales", [1, 1, stride, stride])
        x = graph.add("Resize", x, "", scales, **_NEAREST)
    return _group_norm(graph, name, x, params["norm"]) if spec.norm == "group" else x


_NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def _group_norm(graph: Graph, name: str, x: str, params: Mapping[str, Any]) -> str:
    """Add `flax.linen.GroupNorm`: its groups as the channels of an instance normalization."""
    width = params["scale"].size
    groups = math.gcd(width, MAX_GROUPS)
    ones = graph.constant(f"{name}/ones", np.ones(groups))
    zeros = graph.constant(f"{name}/zeros", np.zeros(groups))
    grouped = graph.add("Reshape", x, graph.constant(f"{name}/group", [0, groups, -1], np.int64))
    normal = graph.add("InstanceNormalization", grouped, ones, zeros, epsilon=GROUP_NORM_EPSILON)
    back = graph.add("Reshape", normal, graph.add("Shape", x))
    scale, bias = (
        graph.constant(f"{name}/norm/{key}", np.reshape(params[key], (1, width, 1, 1)))
        for key in ("scale", "bias")
    )
    return graph.add("Add", graph.add("Mul", back, scale), bias)


def _weights(graph: Graph, name: str, kernel: Any, bias: Any) -> tuple[str, str]:
    return graph.constant(f"{name}/kernel", kernel), graph.constant(f"{name}/bias", bias)


def _labels(graph: Graph) -> None:
    _as_bytes(graph, graph.add("ArgMax", LOGITS, axis=1, keepdims=0), "labels")


def _confidence(graph: Graph) -> None:
    """Add the greatest probability: 1 / sum(exp(logit - greatest logit))."""
    channels = graph.constant("channels", [1], np.int64)
    top = graph.add("ReduceMax", LOGITS, channels, keepdims=1)
    powers = graph.add("Exp", graph.add("Sub", LOGITS, top))
    total = graph.add("ReduceSum", powers, channels, keepdims=0)
    _as_steps(graph, graph.add("Reciprocal", total), "confidence")


def _probabilities(graph: Graph) -> None:
    soft = graph.add("Softmax", LOGITS, axis=1)
    _as_steps(graph, graph.add("Transpose", soft, perm=[0, 2, 3, 1]), "probabilities")


def _as_steps(graph: Graph, x: str, name: str) -> None:
    steps = graph.constant(f"{name}/steps", STEPS)
    _as_bytes(graph, graph.add("Round", graph.add("Mul", x, steps)), name)


def _as_bytes(graph: Graph, x: str, name: str) -> None:
    from onnx import TensorProto

    graph.add("Cast", x, name=name, to=TensorProto.UINT8)


OUTPUTS: dict[str, Callable[[Graph], None]] = {
    LOGITS: lambda graph: None,  # computed in any case
    "labels": _labels,
    "confidence": _confidence,
    "probabilities": _probabilities,
}
"""Output -> what adds it to a graph that has logits."""
