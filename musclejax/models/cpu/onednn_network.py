"""A whole segmentation network by oneDNN, to predict: XLA calls one foreign function.

Kernels are rounded and laid out once, not at every call. A convolution adds its bias and its
block's shortcut and rectifies in its own pass, in place. That of two images joined is the sum of
two, so that no image is copied to lie beside another; resampling writes its pixels where they
belong. What is left to XLA is the image's layer, which is float32, and what becomes of the logits.
"""

import ctypes
import mmap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from musclejax.models.cpu import onednn, xla_ffi
from musclejax.models.cpu.convolution import strided_convolution
from musclejax.models.cpu.onednn_library import do, engine, library
from musclejax.models.cpu.onednn_primitive import (
    ARGUMENT,
    BF16,
    F32,
    FORWARD_INFERENCE,
    Room,
    Step,
    attributes,
    described,
    dims,
    execute,
    image_of,
    kernel_strides,
    memory_of,
    place,
    reorder,
    step,
)
from musclejax.models.cpu.xla_ffi import Buffer
from musclejax.models.spec import NetworkSpec

_CONVOLVE = {False: ("convolution", 1), True: ("deconvolution", 10)}
"""Whether it is transposed -> the primitive's name and its direct algorithm."""
_RELU = 0x20
_WEIGHTS = 131
_TARGET = "musclejax_onednn_network"
_RECTIFIED, _BETWEEN, _LOGITS = -1, -2, -3
"""Rooms beside those of the levels, which are 0 and up."""
_at = ctypes.byref
_numbers = count()
_networks: WeakValueDictionary[int, "OneDNNNetwork"] = WeakValueDictionary()


def fits(spec: NetworkSpec) -> bool:
    """Return whether oneDNN computes such a network as a whole: folded, two units in a block."""
    return spec.norm == "none" and spec.units > 1


class _Layer(NamedTuple):
    kernel: Float[np.ndarray, "k k c d"]
    bias: Float[np.ndarray, " d"] | None


class _Image(NamedTuple):
    """An image of a plan: what it is like, where it is, its height, width and channels."""

    described: ctypes.c_void_p
    memory: ctypes.c_void_p
    size: tuple[int, int, int]


class OneDNNNetwork:
    """A network and its kernels, in the layouts that oneDNN likes best."""

    def __init__(self, spec: NetworkSpec, params: Mapping[str, Any]) -> None:
        """Prepare.

        Args:
            spec: A segmentation network that `fits`.
            params: Its arrays.
        """
        self.spec = spec
        self.dtype = jnp.dtype(jnp.bfloat16 if spec.precision == "bfloat16" else jnp.float32)
        stem = params["contract_0"]["resample"]
        self.number = next(_numbers)
        self.operands = jax.device_put((np.int32(self.number), stem["kernel"], stem["bias"]))
        self.channels = params["head"]["kernel"].shape[-1]
        self._layers = _layers(spec, params)
        self._laid: dict[str, list[tuple[Any, ctypes.c_void_p, mmap.mmap]]] = {}
        self._plans: dict[tuple[int, ...], _Plan] = {}
        _networks[self.number] = self

    def plan(self, size: tuple[int, ...]) -> "_Plan":
        """Return what is computed for batch, height, width of the finest level."""
        if size not in self._plans:
            self._plans[size] = _Plan(self, size)
        return self._plans[size]

    def layer(self, name: str) -> _Layer:
        """Return the kernel and the bias of a layer, as they came."""
        return self._layers[name]

    def laid_out(self, name: str, wanted: ctypes.c_void_p) -> ctypes.c_void_p:
        """Return a layer's kernel in a layout; made once."""
        for layout, memory, _ in self._laid.setdefault(name, []):
            if library().dnnl_memory_desc_equal(layout, wanted):
                return memory
        kernel = np.ascontiguousarray(self._layers[name].kernel, np.float32)
        k, _, c, d = kernel.shape
        given = described((d, c, k, k), kernel_strides(c, d, k))
        source, target = memory_of(given), memory_of(wanted)
        place(source, kernel.ctypes.data)
        buffer = mmap.mmap(-1, library().dnnl_memory_desc_get_size(wanted))
        place(target, ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
        execute([reorder(given, wanted, source, target)])
        self._laid[name].append((wanted, target, buffer))
        return target


def logits(network: OneDNNNetwork, operands: Any, image: Float[Array, "b h w 1"]) -> Array:
    """Return the logits of patches, [b, h/p, w/p, p*p*classes], p being the first stride.

    Args:
        network: Which; its shapes count here, its arrays at the call.
        operands: Its `operands`, as arguments of the function that is compiled.
        image: Height and width are multiples of `spec.size_multiple`.
    """
    _register()
    number, kernel, bias = operands
    shortcut = (strided_convolution(image, kernel) + bias).astype(network.dtype)
    like = jax.ShapeDtypeStruct(shortcut.shape, shortcut.dtype)
    found = jax.ShapeDtypeStruct((*shortcut.shape[:3], network.channels), jnp.float32)
    call = jax.ffi.ffi_call(_TARGET, (found, like), input_output_aliases={1: 1})
    return call(number, shortcut)[0]


class _Plan:
    """The steps for one size of images, and where all images lie.

    A level has one room: of the shortcut, which becomes the level's output, then of what is
    upsampled to it. Two more are shared: the rectified input of a block, and what is between its
    units.
    """

    def __init__(self, network: OneDNNNetwork, size: tuple[int, ...]) -> None:
        self._network, self._batch = network, size[0]
        self._dtype = BF16 if network.spec.precision == "bfloat16" else F32
        self._steps: list[Step] = []
        self._rooms: dict[int, list[tuple[int, ctypes.c_void_p]]] = {}
        spec, levels = network.spec, []
        grid = size[1:]
        for level, width in enumerate(spec.widths):
            stride = spec.strides[level] if level else 1
            grid = tuple(axis // stride for axis in grid)
            levels.append(self._image(level, (*grid, width)))
            if level:
                name = f"contract_{level}/resample"
                self._convolve(name, levels[-2], levels[-1], stride)
            self._units(f"contract_{level}", levels[-1], self._rectify(levels[-1]))
        for level in reversed(range(len(levels) - 1)):
            name, here = f"expand_{level}", levels[level]
            between = self._image(_BETWEEN, here.size)
            self._convolve(f"{name}/skip", here, between)
            stride = spec.strides[level + 1]
            self._convolve(f"{name}/resample", levels[level + 1], here, stride, transposed=True)
            up = self._rectify(here)
            self._convolve(f"{name}/up", up, between, add=True, rectify=True)
            self._units(name, here, between, first=1)
        last = self._image(_LOGITS, (*levels[0].size[:2], network.channels), F32)
        self._convolve("head", levels[0], last)

    def __call__(self, level_0: int, logits: int) -> None:
        """Compute, given the addresses of the finest level's shortcut and of the logits."""
        given = {0: level_0, _LOGITS: logits}
        for room, address in given.items():
            for _, memory in self._rooms[room]:
                place(memory, address)
        own = (zip(*there, strict=True) for room, there in self._rooms.items() if room not in given)
        execute(self._steps, [Room(max(sizes), objects) for sizes, objects in own])

    def _image(self, room: int, size: Sequence[int], dtype: int | None = None) -> _Image:
        h, w, c = size
        kind = image_of(self._batch, c, h, w, dtype or self._dtype)
        memory = memory_of(kind)
        entry = library().dnnl_memory_desc_get_size(kind), memory
        self._rooms.setdefault(room, []).append(entry)
        return _Image(kind, memory, (h, w, c))

    def _units(self, block: str, shortcut: _Image, x: _Image, first: int = 0) -> None:
        spec = self._network.spec
        other = self._image(_RECTIFIED if first else _BETWEEN, shortcut.size)
        for number in range(first, spec.units - 1):
            self._convolve(f"{block}/unit_{number}", x, other, rectify=True)
            x, other = other, x
        last = f"{block}/unit_{spec.units - 1}"
        self._convolve(last, x, shortcut, add=spec.residual, rectify=True)

    def _rectify(self, x: _Image) -> _Image:
        y, chosen, zero = self._image(_RECTIFIED, x.size), ctypes.c_void_p(), ctypes.c_float(0)
        how = FORWARD_INFERENCE, _RELU, x.described, y.described, zero, zero, attributes()
        do("eltwise_forward_primitive_desc_create", _at(chosen), engine(), *how)
        self._steps.append(step(chosen, [(ARGUMENT["src"], x.memory), (ARGUMENT["dst"], y.memory)]))
        return y

    def _convolve(
        self,
        name: str,
        x: _Image,
        y: _Image,
        stride: int = 1,
        *,
        transposed: bool = False,
        add: bool = False,
        rectify: bool = False,
    ) -> None:
        """Add a convolution from x to y: zero padding at stride 1, none beyond."""
        kernel, bias = self._network.layer(name)
        k, _, c, d = kernel.shape
        primitive, algorithm = _CONVOLVE[transposed]
        pad = dims((k // 2, k // 2) if stride == 1 else (0, 0))
        geometry = dims((stride, stride)), dims((0, 0)), pad, pad
        any_layout = described((d, c, k, k), dtype=self._dtype)
        vector = None if bias is None else described((d,), (1,))
        shapes = x.described, any_layout, vector, y.described, *geometry
        chosen = ctypes.c_void_p()
        do(
            f"{primitive}_forward_primitive_desc_create",
            _at(chosen),
            engine(),
            FORWARD_INFERENCE,
            algorithm,
            *shapes,
            attributes(add=add, rectify=rectify),
        )
        wanted = ctypes.c_void_p(library().dnnl_primitive_desc_query_md(chosen, _WEIGHTS, 0))
        operands = [(ARGUMENT["src"], x.memory), (ARGUMENT["dst"], y.memory)]
        operands.append((ARGUMENT["weights"], self._network.laid_out(name, wanted)))
        if bias is not None:
            memory = memory_of(vector)
            place(memory, bias.ctypes.data)
            operands.append((ARGUMENT["bias"], memory))
        self._steps.append(step(chosen, operands))


def _layers(spec: NetworkSpec, params: Mapping[str, Any]) -> dict[str, _Layer]:
    """Return a network's layers by block and name; those of two images joined in two parts."""
    found = {
        f"{block}/{name}": _Layer(layer["kernel"], _floats(layer["bias"]))
        for block, layers in params.items()
        if block != "head"
        for name, layer in layers.items()
    }
    for level, width in enumerate(spec.widths[:-1]):
        block, stride = f"expand_{level}", spec.strides[level + 1]
        kernel, bias = found.pop(f"{block}/unit_0")
        found[f"{block}/skip"] = _Layer(kernel[:, :, :width], bias)
        found[f"{block}/up"] = _Layer(kernel[:, :, width:], None)
        if spec.upsampling == "nearest":  # what all pixels of a patch have in common
            resample = found[f"{block}/resample"]
            tiled = np.tile(resample.kernel, (stride, stride, 1, 1))
            found[f"{block}/resample"] = resample._replace(kernel=tiled)
    head = params["head"]
    found["head"] = _Layer(np.asarray(head["kernel"])[None, None], _floats(head["bias"]))
    return found


def _floats(bias: Any) -> Float[np.ndarray, " d"]:
    return np.ascontiguousarray(bias, np.float32)


@lru_cache(maxsize=1)
def _register() -> None:
    library()
    xla_ffi.register(_TARGET, _run)


def _run(arguments: Sequence[Buffer], results: Sequence[Buffer]) -> None:
    number = ctypes.c_int32.from_address(arguments[0].address).value
    logits, level_0 = results
    with onednn.alone():
        _networks[number].plan(level_0.shape[:3])(level_0.address, logits.address)
