"""The network in PyTorch, as a rival at its best.

| what | recommended by |
|---|---|
| channels last; batch norm folded; inference mode | [tuning guide] |
| bfloat16 inference: weights and images in bfloat16, so that none is converted at a call | [to] |
| traced and frozen, so that convolutions and ReLU are fused | [freeze] |
| bfloat16 training: autocast of the forward pass, weights and optimizer in float32 | [amp] |

`torch.compile` takes the place of the deprecated trace but needs a C++ compiler. Source: ours;
frozen by its own option, slim32 took as long: 22.9 and 21.9 ms per slice in float32, 12.3 and 12.7
in bfloat16, on two Zen 5 cores.

[tuning guide]: https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html
[to]: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to
[freeze]: https://docs.pytorch.org/docs/stable/generated/torch.jit.freeze.html
[amp]: https://docs.pytorch.org/docs/stable/amp.html
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from musclejax.models.spec import NetworkSpec

LEARNING_RATE, L2 = 1e-3, 0.01
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Unit(nn.Module):
    """A convolution and its normalization."""

    def __init__(
        self, spec: NetworkSpec, inputs: int, width: int, kind: str = "plain", stride: int = 1
    ) -> None:
        super().__init__()
        self.scale = stride if kind == "nearest" else 1
        match kind:
            case "plain":
                self.conv = nn.Conv2d(inputs, width, 3, padding=1)
            case "strided":
                self.conv = nn.Conv2d(inputs, width, stride, stride=stride)
            case "transposed":
                self.conv = nn.ConvTranspose2d(inputs, width, stride, stride=stride)
            case _:
                self.conv = nn.Conv2d(inputs, width, 1)
        batch = spec.norm == "batch"
        # PyTorch's momentum is the share of the new statistics.
        self.norm = (
            nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)
            if batch
            else nn.GroupNorm(math.gcd(width, 8), width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized convolution."""
        x = self.conv(x)
        x = interpolate(x, scale_factor=self.scale, mode="nearest") if self.scale > 1 else x
        return self.norm(x)

    def fold(self) -> None:
        """Move batch norm into the convolution, for inference."""
        if isinstance(self.norm, nn.BatchNorm2d):
            transposed = isinstance(self.conv, nn.ConvTranspose2d)
            self.conv = fuse_conv_bn_eval(self.conv, self.norm, transpose=transposed)
            self.norm = nn.Identity()


class Block(nn.Module):
    """Resample, take the shortcut, join the skip connection if there is one, learn a residual."""

    def __init__(
        self, spec: NetworkSpec, inputs: int, width: int, kind: str, stride: int, joined: int
    ) -> None:
        super().__init__()
        self.residual = spec.residual
        self.resample = Unit(spec, inputs, width, kind, stride)
        widths = [joined] + [width] * spec.units
        self.units = nn.ModuleList(Unit(spec, w, width) for w in widths[:-1])

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Return the block's output."""
        shortcut = self.resample(x)
        x = relu(shortcut)
        x = x if skip is None else torch.cat([skip, x], 1)
        for number, unit in enumerate(self.units):
            x = unit(relu(x) if number else x)
        return relu(x + shortcut if self.residual else x)


class Network(nn.Module):
    """Contracting and expanding residual paths."""

    def __init__(self, spec: NetworkSpec, classes: int) -> None:
        super().__init__()
        w, s = spec.widths, spec.strides
        contract = [
            Block(spec, i, o, "strided", stride, o)
            for i, o, stride in zip((1, *w), w, s, strict=False)
        ]
        expand = [
            Block(spec, w[n + 1], w[n], spec.upsampling, s[n + 1], 2 * w[n])
            for n in reversed(range(len(w) - 1))
        ]
        self.contract, self.expand = nn.ModuleList(contract), nn.ModuleList(expand)
        self.head = nn.Sequential(nn.Conv2d(w[0], classes * s[0] ** 2, 1), nn.PixelShuffle(s[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        skips = []
        for block in self.contract:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.expand, reversed(skips[:-1]), strict=True):
            x = block(x, skip)
        return self.head(x)


class Predictor(nn.Module):
    """Images -> labels, confidence and probabilities, all uint8."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the most probable class, and probabilities in steps of 1/255."""
        probabilities = torch.softmax(self.network(images).float(), 1)
        top, labels = probabilities.max(1)
        steps = (probabilities * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return labels.to(torch.uint8), (top * 255).round().to(torch.uint8), steps


def parameters(spec: NetworkSpec, classes: int) -> int:
    """Return the number of trainable parameters."""
    with torch.device("meta"):
        return sum(p.numel() for p in Network(spec, classes).parameters())


def inference(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray], object]:
    """Return images -> labels, confidence and probabilities."""
    network = _network(spec, classes, threads).eval()
    for unit in network.modules():
        if isinstance(unit, Unit):
            unit.fold()
    dtype = DTYPES[precision]
    predictor = Predictor(network).to(dtype=dtype, memory_format=torch.channels_last)
    traced: dict[tuple[int, ...], torch.jit.ScriptModule] = {}

    def call(images: np.ndarray) -> object:
        with torch.inference_mode():
            tensor = _to_tensor(images).to(dtype)
            if images.shape not in traced:
                graph = torch.jit.trace(predictor, tensor, check_trace=False)
                traced[images.shape] = torch.jit.freeze(graph.eval())
            return [a.numpy() for a in traced[images.shape](tensor)]

    return call


def training(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], object]:
    """Return (images, labels, weights) -> loss, one step further each time."""
    network = _network(spec, classes, threads).to(memory_format=torch.channels_last).train()
    kernels = [p for p in network.parameters() if p.ndim == 4]
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, amsgrad=True)

    def call(images: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> object:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(precision):
            logits = network(_to_tensor(images))
        target = torch.from_numpy(labels).long()
        entropy = cross_entropy(logits.float(), target, reduction="none")
        loss = (torch.from_numpy(weights) * entropy).sum()
        loss = loss + L2 * sum((p**2).sum() for p in kernels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def _network(spec: NetworkSpec, classes: int, threads: int) -> nn.Module:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return Network(spec, classes)


def _autocast(precision: str) -> AbstractContextManager:
    if precision == "float32":
        return nullcontext()
    return torch.autocast("cpu", dtype=DTYPES[precision])


def _to_tensor(images: np.ndarray) -> torch.Tensor:
    """Give [b, h, w, c] as [b, c, h, w] that lies in memory as before: channels last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
