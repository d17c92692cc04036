"""Convolutions in the forms that are fast on a CPU, each beside its plain reference.

Every fast form has a hand-written gradient, because XLA's own gradients of convolutions run at a
tenth of what a matrix product reaches. `lax.optimization_barrier` makes XLA write an operand to
memory once; without it, XLA computes the operand again inside every loop that reads it.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_materialize = lax.optimization_barrier
COARSE_PX = 12
"""Grids up to this height are convolved as one matrix product of shifted copies (9 times the
memory, nothing at that size). Source: ours; four times XLA's convolution at 9 x 9 x 1024."""
BFLOAT16_PX = 27
"""Grids up to this height gain by bfloat16 operands; finer ones lose by copying. Source: ours."""
BLOCK_PIXELS = 8000
"""Pixels summed in one matrix product of a kernel's gradient: what stays in the cache.
Source: ours."""


def space_to_depth(
    x: Float[Array, "b h w c"], stride: int
) -> Float[Array, "b h//{stride} w//{stride} c*{stride}**2"]:
    """Move each stride x stride patch into the channels, in row, column, channel order."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // stride, stride, w // stride, stride * c)
    return x.transpose(0, 1, 3, 2, 4).reshape(b, h // stride, w // stride, -1)


def depth_to_space(
    x: Shaped[Array, "b h w c"], stride: int
) -> Shaped[Array, "b h*{stride} w*{stride} c//{stride}**2"]:
    """Undo `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, stride, c // stride)
    return x.transpose(0, 1, 3, 2, 4).reshape(b, h * stride, w * stride, -1)


def plain_strided_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h//k w//k d"]:
    """Convolve with stride = kernel size, without padding: the reference."""
    k = kernel.shape[0]
    return lax.conv_general_dilated(x, kernel, (k, k), "VALID", dimension_numbers=_LAYOUT)


def strided_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h//k w//k d"]:
    """Convolve with stride = kernel size, without padding, as one matrix product.

    Height and width must be multiples of the kernel size.

    Source: 2021 code (the first convolution of a contracting block). Equals
    `flax.linen.Conv(d, (k, k), strides=(k, k), padding="VALID")` without its bias.
    """
    k, _, c, d = kernel.shape
    patches = _materialize(space_to_depth(x, k)) if k > 1 else x
    return matrix_product(patches, kernel.reshape(k * k * c, d))


def plain_transposed_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h*k w*k d"]:
    """Spread every pixel over a k x k patch with XLA's transposed convolution: the reference."""
    k = kernel.shape[0]
    return lax.conv_transpose(x, kernel[::-1, ::-1], (k, k), "VALID", dimension_numbers=_LAYOUT)


def transposed_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h*k w*k d"]:
    """Spread every pixel over a k x k patch (stride = kernel size) as one matrix product.

    XLA's own transposed convolution is far slower on a CPU, because it convolves zeros.

    Source: 2021 code (the first layer of an expanding block; Keras stores the kernel as
    (k, k, d, c)). Equals `flax.linen.ConvTranspose(d, (k, k), strides=(k, k))` with the kernel
    flipped in both directions, without its bias.
    """
    k, _, c, d = kernel.shape
    spread = matrix_product(x, kernel.transpose(2, 0, 1, 3).reshape(c, k * k * d))
    return depth_to_space(spread, k) if k > 1 else spread


def nearest_upsampling_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c d"], stride: int
) -> Float[Array, "b h*{stride} w*{stride} d"]:
    """Convolve 1 x 1, then repeat every pixel stride x stride times.

    The two commute, and this order costs stride squared times less.
    """
    y = matrix_product(x, kernel[0, 0])
    return jnp.repeat(jnp.repeat(y, stride, axis=1), stride, axis=2)


def plain_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w d"]:
    """Convolve 3 x 3 with zero padding that keeps height and width: the reference."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)


@jax.custom_vjp
def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w d"]:
    """Convolve 3 x 3 with zero padding that keeps height and width."""
    if x.shape[1] <= COARSE_PX:
        c, d = kernel.shape[2:]
        return _shifted_copies(x) @ kernel.reshape(9 * c, d)
    return plain_convolution(x, kernel)


def _convolution_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _materialize(x)
    return convolution(x, kernel), (x, kernel)


def _convolution_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dy = _materialize(dy)
    return _materialize(input_gradient(dy, kernel)), kernel_gradient(x, dy)


convolution.defvjp(_convolution_forward, _convolution_backward)


def bfloat16_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w d"]:
    """Convolve as `convolution` does, operands rounded to bfloat16, sums in float32; to predict."""
    c, d = kernel.shape[2:]
    operands = _materialize(_shifted_copies(x.astype(jnp.bfloat16)))
    matrix = kernel.reshape(9 * c, d).astype(jnp.bfloat16)
    return jnp.matmul(operands, matrix, preferred_element_type=jnp.float32)


def input_gradient(
    dy: Float[Array, "b h w d"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w c"]:
    """Return the gradient of a 3 x 3 convolution for its input, given that for its output."""
    b, h, w, d = dy.shape
    if h > COARSE_PX:
        return plain_convolution(dy, kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    # One product without transposing the kernel (large at coarse levels), then nine shifted sums.
    c = kernel.shape[2]
    product = lax.dot_general(dy.reshape(-1, d), kernel.reshape(9 * c, d), (((1,), (1,)), ((), ())))
    parts = _materialize(product).reshape(b, h, w, 9, c)
    total = jnp.zeros((b, h + 2, w + 2, c), dy.dtype)
    for i in range(3):
        for j in range(3):
            total = total + jnp.pad(
                parts[:, :, :, 3 * i + j], ((0, 0), (i, 2 - i), (j, 2 - j), (0, 0))
            )
    return total[:, 1:-1, 1:-1]


def kernel_gradient(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h w d"]
) -> Float[Array, "3 3 c d"]:
    """Return the gradient of a 3 x 3 convolution for its kernel, given that for its output.

    Walks blocks of image rows. In each, three column shifts of the input and three row shifts of
    the output's gradient give all nine taps in one matrix product.
    """
    b, h, w, c = x.shape
    d = dy.shape[-1]
    if h <= COARSE_PX:
        patches = _shifted_copies(x).reshape(-1, 9 * c)
        return _contract_pixels(patches, dy.reshape(-1, d)).reshape(3, 3, c, d)
    rows = _rows_of_block(h, b * w)

    def add_block(i: Array, total: Array) -> Array:
        block = lax.dynamic_slice_in_dim(x, i * rows, rows, 1)
        across = _pixels_last(_materialize(block))
        moved = [_shift_columns(across, 1), across, _shift_columns(across, -1)]
        columns = jnp.concatenate(_materialize(moved), 0).reshape(3 * c, -1)
        middle = lax.dynamic_slice_in_dim(dy, i * rows, rows, 1)
        middle, above, below = _materialize(
            (middle, _row(dy, i * rows - 1), _row(dy, i * rows + rows))
        )
        up = jnp.concatenate([middle[:, 1:], below], 1)
        down = jnp.concatenate([above, middle[:, :-1]], 1)
        shifted = jnp.concatenate(_materialize([up, middle, down]), -1)
        return total + columns @ shifted.reshape(-1, 3 * d)

    zero = jnp.zeros((3 * c, 3 * d), x.dtype)
    total = lax.fori_loop(0, h // rows, add_block, zero)
    return total.reshape(3, c, 3, d).transpose(2, 0, 1, 3)


@jax.custom_vjp
def matrix_product(
    x: Float[Array, "b h w c"], matrix: Float[Array, "c d"]
) -> Float[Array, "b h w d"]:
    """Multiply the channels of every pixel with a matrix."""
    return x @ matrix


def _product_forward(x: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _materialize(x)
    return x @ matrix, (x, matrix)


def _product_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, matrix = saved
    dy = _materialize(dy)
    dx = lax.dot_general(dy, matrix, (((3,), (1,)), ((), ())))
    return _materialize(dx), matrix_gradient(x, dy)


matrix_product.defvjp(_product_forward, _product_backward)


def matrix_gradient(x: Float[Array, "b h w c"], dy: Float[Array, "b h w d"]) -> Float[Array, "c d"]:
    """Return the gradient of `matrix_product` for its matrix, given that for its output."""
    b, h, w, c = x.shape
    d = dy.shape[-1]
    if b * h * w <= BLOCK_PIXELS // 2:
        return _contract_pixels(x.reshape(-1, c), dy.reshape(-1, d))
    rows = _rows_of_block(h, b * w)

    def add_block(i: Array, total: Array) -> Array:
        left, right = (lax.dynamic_slice_in_dim(a, i * rows, rows, 1) for a in (x, dy))
        # The narrower of the two is the cheaper to transpose.
        if c <= d:
            return total + _pixels_last(_materialize(left)).reshape(c, -1) @ right.reshape(-1, d)
        return total + _pixels_last(_materialize(right)).reshape(d, -1) @ left.reshape(-1, c)

    shape = (c, d) if c <= d else (d, c)
    total = lax.fori_loop(0, h // rows, add_block, jnp.zeros(shape, x.dtype))
    return total if c <= d else total.T


def _contract_pixels(x: Array, dy: Array) -> Array:
    return lax.dot_general(x, dy, (((0,), (0,)), ((), ())))


def _shifted_copies(x: Array) -> Array:
    """Return the nine neighbors of every pixel in its channels, in kernel order."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate(
        [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], -1
    )


def _pixels_last(block: Float[Array, "b r w c"]) -> Float[Array, "c b r w"]:
    """Transpose by a product with the identity: faster than XLA's transposition."""
    identity = jnp.eye(block.shape[-1], dtype=block.dtype)
    return _materialize(lax.dot_general(identity, block, (((1,), (3,)), ((), ()))))


def _shift_columns(across: Float[Array, "c b r w"], by: int) -> Float[Array, "c b r w"]:
    none = (0, 0, 0)
    return lax.pad(across, jnp.zeros((), across.dtype), (none, none, none, (by, -by, 0)))


def _row(dy: Float[Array, "b h w d"], index: Array) -> Float[Array, "b 1 w d"]:
    """Return one row of every image; zeros outside."""
    inside = (index >= 0) & (index < dy.shape[1])
    row = lax.dynamic_slice_in_dim(dy, jnp.clip(index, 0, dy.shape[1] - 1), 1, 1)
    return jnp.where(inside, row, 0)


def _rows_of_block(height: int, pixels_of_row: int) -> int:
    """Return the most rows that divide the height and keep to `BLOCK_PIXELS`; at least one."""
    fit = [r for r in range(1, height + 1) if height % r == 0 and r * pixels_of_row <= BLOCK_PIXELS]
    return max(fit, default=1)
