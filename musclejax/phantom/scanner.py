"""Effects of a scanner on a signal: resolution, ringing, motion, flow, shading, noise, wrap."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from musclejax.phantom.draws import Draws
from musclejax.phantom.signal import smooth

_BLUR_PX = 1.3
"""Largest standard deviation of the blur across slanted borders. Source: ours."""
_BRIGHT = 2.0
"""Brightness that gamma does not change: fat, where healthy muscle is 1."""


class Scanner(NamedTuple):
    """Amounts of a scanner's effects.

    Attributes:
        artifacts: 1 is the usual amount, 0 none but partial volume.
        narrow: Share of fields of view, relative to the usual, that are too narrow: wrapped or cut.
        tone: Spread of the logarithm of gamma, the exponent of brightness, relative to the usual.
            No scanner does that, but it resembles contrasts that nothing else here makes (nnU-Net
            trains with it too: Isensee et al. 2021).
    """

    artifacts: float = 1.0
    narrow: float = 1.0
    tone: float = 1.0


def scan(
    signal: Complex[Array, "h w"],
    visit: PRNGKeyArray,
    noise: PRNGKeyArray,
    scanner: Scanner,
) -> Float[Array, "h w"]:
    """Return the magnitude image.

    Args:
        signal: Complex signal of the slice.
        visit: Key of the visit: coil, resolution and artifacts of a scan.
        noise: Key of this slice's noise.
        scanner: Amounts of its effects.
    """
    amount = scanner.artifacts
    draws = Draws(jax.random.split(jax.random.fold_in(visit, 3), 12), 1)
    shaded = signal * _coil(draws.key(), signal.shape, amount)
    seen = _acquire(shaded, draws.key(), amount)
    level = amount * (0.004 + 0.07 * draws.uniform() ** 2)
    parts = jax.random.normal(noise, (2, *signal.shape)) * level
    image = jnp.hypot(seen.real + parts[0], seen.imag + parts[1])
    image = _wrap(image, draws.key(), 0.06 * amount * scanner.narrow)
    gamma = jnp.exp(0.3 * amount * scanner.tone * draws.normal())
    return _BRIGHT * (image / _BRIGHT) ** gamma


def _coil(key: PRNGKeyArray, size: tuple[int, ...], amount: ArrayLike) -> Array:
    """Return the sensitivity: smooth shading, and sometimes a surface coil on one side."""
    draws = Draws(jax.random.split(key, 4), 12)
    shading = jnp.exp(0.5 * amount * draws.uniform() * smooth(draws, size, 3, 4))
    near, angle, depth = draws.uniform(0, 1, 3)
    y, x = jnp.mgrid[: size[0], : size[1]] / jnp.array(size)[:, None, None] - 0.5
    along = y * jnp.cos(2 * jnp.pi * angle) + x * jnp.sin(2 * jnp.pi * angle)
    surface = jnp.exp(-1.6 * depth * along)
    return shading * jnp.where(near < 0.3 * amount, surface, 1)


def _acquire(signal: Array, key: PRNGKeyArray, amount: ArrayLike) -> Array:
    """Pass through k-space: fewer lines (resolution, ringing), ghosts of motion and flow.

    Thick slices blur slanted borders, which out of phase makes them wide and black.
    """
    space = jnp.fft.fftshift(jnp.fft.fft2(signal))
    height, width = signal.shape
    draws = Draws(jax.random.split(key, 7), height)
    y = jnp.abs(jnp.arange(height) - height // 2)[:, None] / (height / 2)
    x = jnp.abs(jnp.arange(width) - width // 2)[None] / (width / 2)
    fine = draws.uniform(0.5, 1.0, 2)
    fine = jnp.where(draws.uniform() < 0.3, fine, jnp.sqrt(fine))
    # A hard edge rings; a soft one, which most scanners apply, does not.
    soft = jnp.where(draws.uniform() < 0.35 * amount, 0.02, 0.25)
    period, shift, strength = draws.uniform(0, 1, 3)
    moving = draws.uniform() < 0.15 * amount
    jumps = draws.normal(height, 1)
    blur_px = _BLUR_PX * draws.uniform()
    window = jnp.exp(-0.5 * (jnp.pi * blur_px) ** 2 * (y**2 + x**2))
    for axis, share in ((y, fine[0]), (x, fine[1])):
        window = window * jax.nn.sigmoid((share - axis) / (soft * share / 2) + 2)
    lines = jnp.arange(height)[:, None]
    wave = jnp.sin(2 * jnp.pi * lines / (2 + 6 * period) + 2 * jnp.pi * shift)
    ghost = jnp.where(moving, 0.12 * strength, 0) * wave
    jitter = jnp.where(moving, 0.25 * strength, 0) * jumps
    space = space * window * jnp.exp(1j * jitter * (y > 0.1)) * (1 + ghost)
    return jnp.fft.ifft2(jnp.fft.ifftshift(space))


def _wrap(image: Array, key: PRNGKeyArray, share: ArrayLike) -> Array:
    """Fold the image beyond a narrow field of view back into it; cut rows beyond another."""
    draws = Draws(jax.random.split(key, 4), 3)
    height, width = image.shape
    narrow, folded = draws.uniform(0, 1, 2)
    view = jnp.round(width * (0.8 + 0.2 * narrow)).astype(jnp.int32)
    columns = jnp.arange(width)
    inside = jnp.abs(columns - width / 2) < view / 2
    over = jnp.where(inside, 0, image)
    wrapped = jnp.where(inside, image + jnp.roll(over, view, 1) + jnp.roll(over, -view, 1), 0)
    image = jnp.where(folded < share, wrapped, image)
    cut, many, top = draws.uniform(0, 1, 3)
    edge = 0.12 * height * many
    rows = jnp.arange(height)[:, None]
    kept = jnp.where(top < 0.5, rows >= edge, rows < height - edge)
    return jnp.where((cut < share) & ~kept, 0, image)
