"""Train the provisional preview weights on synthetic slices drawn from open label maps.

    export MALLOC_MMAP_MAX_=0 MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=100000000000
    python tools/train_preview_weights.py --data ../shared/data -o first
    python tools/train_preview_weights.py --data ../shared/data -o next --start first

No scan is trained on. Limbs come from label maps (thigh: Huashan, Apache-2.0; leg: BodyParts3D,
CC BY-SA 2.1 JP), are deformed, given bones, fat and skin, and rendered as gradient-echo images
with random contrast. The bundled weights are the second line's; their first stage was run by hand
in pieces of these lengths (see `musclejax/bundled/preview/README.md`). For demonstration, not
validated, for research use only.

Source: ours.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import optax
from scipy import ndimage as ndi
from skimage.morphology import convex_hull_image

from musclejax.models.variants import build, build_network, find
from musclejax.models.weights import initialise, load_weights, save_weights

VARIANT = "compact8"
PIXEL_MM = 1.037037
LIMB_PX = 224
"""Height and width of the tile that holds one limb."""
CANVAS = {"thigh": (192, 336), "leg": (144, 288), "region": (432, 432)}
BATCH = {"thigh": 2, "leg": 3, "region": 8}
LEARNING_RATE = {"thigh": 5e-3, "leg": 5e-3, "region": 2e-3}
POOL = {"thigh": 2000, "leg": 1500}
"""Deformed limbs kept in memory; a slice pairs two of them at random."""
HELD_OUT_POOL = 120
CLASSES = {"thigh": 13, "leg": 7}
UNKNOWN, OTHER, CORTEX, MARROW, GAP, FAT, SKIN, VESSEL = range(20, 28)
"""Tissues beside the labels: UNKNOWN looks like muscle and is left out of the loss."""
HUASHAN_TO_OURS = np.array([0, 5, 4, 1, 3, 2, 7, 6, 10, 9, 8, 11], np.uint8)
AL, AM, VM, VI, SAR = 12, 7, 2, 3, 5
HELD_OUT = ("THIGH_056", "THIGH_061", "HV005", "THIGH_119", "THIGH_024", "THIGH_038")
"""Subjects for the synthetic validation; THIGH_038 is Thigh_002, a test subject."""
ATLAS_LICENCE = (
    "derived from BodyParts3D, (c) The Database Center for Life Science, "
    "licensed under CC Attribution-Share Alike 2.1 Japan"
)
ATLAS_LEG = {13: 1, 14: 2, 15: 3, 16: 4, 17: 5, 18: 6, 19: 6, 20: 6}
ATLAS_OTHER = (21, 22, 23, 24, 25)
ATLAS_BONES = (33, 34)
ATLAS_HELD_OUT_EVERY = 6


@dataclass(frozen=True)
class Template:
    """One limb before deformation.

    Attributes:
        tissues: Labels and tissues inside the fascia, uint8, radiological orientation.
        right: Whether it is the patient's right limb.
        distances: For the leg, signed distance to each structure; None for the thigh.
        codes: The tissue of each structure in `distances`.
    """

    tissues: np.ndarray
    right: bool
    distances: np.ndarray | None = None
    codes: np.ndarray | None = None


def read_slices(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Return a label map as [slice, anterior to posterior, right to left], and its spacing."""
    image = nib.as_closest_canonical(nib.load(path))
    array = np.asanyarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]
    dx, dy, _ = image.header.get_zooms()
    return np.ascontiguousarray(array), (float(dy), float(dx))


def to_grid(labels: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Resample one slice of labels to the model's pixel size."""
    return ndi.zoom(labels, [s / PIXEL_MM for s in spacing], order=0)


def tile(labels: np.ndarray) -> np.ndarray:
    """Cut or pad around the centre of the labelled box to one limb tile."""
    rows, cols = np.nonzero(labels)
    centre = [(a.min() + a.max()) // 2 for a in (rows, cols)]
    padded = np.pad(labels, LIMB_PX // 2)
    return padded[centre[0] : centre[0] + LIMB_PX, centre[1] : centre[1] + LIMB_PX]


def disc(radius: float) -> np.ndarray:
    """Return a round structuring element."""
    r = int(np.ceil(radius))
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return x * x + y * y <= radius * radius


def fascia(muscle: np.ndarray) -> np.ndarray:
    """Return the region inside the deep fascia: a smooth outline, nearly convex."""
    hull = ndi.distance_transform_edt(convex_hull_image(muscle)) > 2
    return ndi.gaussian_filter((hull | muscle).astype(np.float32), 2.5) > 0.5


def find_femur(labels: np.ndarray) -> np.ndarray:
    """Return the unlabelled round region that vastus intermedius embraces."""
    free = labels == 0
    depth = ndi.distance_transform_edt(free)
    inside = convex_hull_image(labels == VI) | ndi.binary_dilation(labels == VI, disc(5))
    depth_inside = np.where(inside & free, np.minimum(depth, 16), 0)
    row, col = np.unravel_index(np.argmax(depth_inside), labels.shape)
    radius = depth_inside[row, col]
    if radius < 7:
        return np.zeros_like(free)
    y, x = np.ogrid[: labels.shape[0], : labels.shape[1]]
    near = (y - row) ** 2 + (x - col) ** 2 < (1.2 * radius) ** 2
    return ndi.binary_opening(near & (depth > 0.5), disc(4))


def thigh_template(labels: np.ndarray, right: bool) -> Template:
    """Add femur, adductor longus (or doubt) and gaps to the labels of one thigh."""
    tissues = labels.copy()
    femur = find_femur(labels)
    inside = fascia((labels > 0) | femur)
    tissues[inside & (labels == 0)] = GAP
    holes = ndi.binary_opening(inside & (labels == 0) & ~femur, disc(3.5))
    components, count = ndi.label(holes)
    size = np.bincount(labels.ravel(), minlength=13)
    upper = size[AM] > 450 and size[AM] > size[11]
    for i in range(1, count + 1):
        hole = components == i
        ring = np.unique(labels[ndi.binary_dilation(hole, disc(4))])
        if not upper or AM not in ring:
            continue
        enclosed = (VM in ring or SAR in ring) and 100 < hole.sum() < size[AM]
        hole = ndi.binary_dilation(hole, disc(1.5)) & (tissues == GAP) & ~femur
        tissues[hole] = AL if enclosed and size[VM] > 150 else UNKNOWN
    tissues[femur] = MARROW
    return Template(tissues, right)


def thigh_templates(data: Path, held_out: bool) -> list[Template]:
    """Return the thighs with at least nine muscles, or eight near the knee."""
    templates = []
    for path in sorted((data / "huashan_thigh" / "labels_only").glob("*.nii.gz")):
        if any(name in path.name for name in HELD_OUT) != held_out:
            continue
        volume, spacing = read_slices(path)
        step = 2 if len(volume) > 30 else 1  # dense series: neighbours add little
        for labels in HUASHAN_TO_OURS[volume[::step]]:
            labels = to_grid(labels, spacing)
            if not labels.any():
                continue
            middle = int(np.nonzero(labels)[1].mean())
            for side in (slice(None, middle), slice(middle, None)):
                limb = np.where(largest_blob(labels[:, side] > 0), labels[:, side], 0)
                count = len(np.unique(limb)) - 1
                if count < 8 or not (limb == VI).any() or (limb > 0).sum() < 2500:
                    continue
                templates.append(thigh_template(tile(limb), side.start is None))
    return templates


def largest_blob(mask: np.ndarray) -> np.ndarray:
    """Return the largest group of regions that lie within a few pixels of one another."""
    components, _ = ndi.label(ndi.distance_transform_edt(~mask) < 7)
    counts = np.bincount(components.ravel())
    counts[0] = 0
    return components == counts.argmax()


def leg_templates(data: Path, held_out: bool) -> list[Template]:
    """Return levels of the atlas leg as signed distances, so that muscles can trade places."""
    path = data / "bodyparts3d_limb" / "limb_labels_R.nii.gz"
    volume, spacing = read_slices(path)
    origin = nib.load(path).affine[2, 3]
    groups = [(code, [a for a in ATLAS_LEG if ATLAS_LEG[a] == code]) for code in range(1, 7)]
    groups += [(OTHER, [a]) for a in ATLAS_OTHER] + [(MARROW, [a]) for a in ATLAS_BONES]
    used = [a for _, members in groups for a in members]
    templates = []
    for z in range(165, 346, 5):
        if (z // 5 % ATLAS_HELD_OUT_EVERY == 0) != held_out:
            continue
        level = to_grid(volume[round((z - origin) / 2.5)], spacing)
        level = tile(np.where(np.isin(level, used), level, 0).astype(np.uint8))
        masks = [np.isin(level, members) for _, members in groups]
        kept = [i for i, mask in enumerate(masks) if mask.sum() > 8]
        distances = [
            ndi.distance_transform_edt(~masks[i]) - ndi.distance_transform_edt(masks[i])
            for i in kept
        ]
        codes = np.array([groups[i][0] for i in kept], np.uint8)
        hull = fascia(level > 0)
        smooth = [ndi.gaussian_filter(d.astype(np.float32), 1) for d in distances]
        templates.append(Template(hull.astype(np.uint8), True, np.stack(smooth), codes))
    return templates


def trade_places(template: Template, rng: np.random.Generator) -> np.ndarray:
    """Let every leg structure grow or shrink by a random margin; fill the fascia."""
    codes = template.codes
    growth = rng.normal(0, 1.3, len(codes))
    growth += np.select(
        [codes == 1, (codes == 2) | (codes == 3), codes == OTHER, codes == MARROW],
        [rng.uniform(2, 10), -rng.uniform(1, 8), -rng.uniform(0, 4), -1.0],
    )
    distances = template.distances - growth[:, None, None]
    tissues = codes[distances.argmin(0)]
    reach = rng.uniform(1.5, 9)
    tissues = np.where(distances.min(0) < reach, tissues, GAP)
    marrow = (template.distances[codes == MARROW] < 0).any(0)
    tissues = np.where((tissues == MARROW) & ~marrow, GAP, tissues)
    return np.where(template.tissues > 0, tissues, 0).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, cells: int, size: int = LIMB_PX) -> np.ndarray:
    """Return smooth noise of unit scale with about `cells` bumps across."""
    return ndi.zoom(rng.normal(size=(cells, cells)), size / cells, order=3)[:size, :size]


def deform(template: Template, rng: np.random.Generator) -> np.ndarray:
    """Draw one limb: affine and elastic deformation, then bone, fat, skin and vessels."""
    tissues = template.tissues
    if template.distances is not None:
        tissues = trade_places(template, rng)
    if not template.right:
        tissues = tissues[:, ::-1]
    angle = np.deg2rad(rng.normal(0, 13))
    scale = np.exp(rng.normal(0.0, 0.1))
    stretch = np.exp(rng.normal(0, 0.07))
    y, x = np.mgrid[:LIMB_PX, :LIMB_PX].astype(np.float32) - LIMB_PX / 2
    rows = (np.cos(angle) * y - np.sin(angle) * x) / (scale * stretch)
    cols = (np.sin(angle) * y + np.cos(angle) * x) / (scale / stretch)
    cols = cols + rng.normal(0, 0.1) * rows
    if template.distances is not None:
        rows, cols = round_off(tissues > 0, rows, cols, rng.uniform(0, 0.9))
    for cells, sigma in ((4, 4.0), (7, 1.8), (14, 0.6)):
        rows = rows + sigma * rng.uniform(0.2, 1) * smooth_noise(rng, cells)
        cols = cols + sigma * rng.uniform(0.2, 1) * smooth_noise(rng, cells)
    centre = LIMB_PX / 2
    warped = ndi.map_coordinates(tissues, [rows + centre, cols + centre], order=0)
    return clothe(close_gaps(warped, rng), rng)


def round_off(
    inside: np.ndarray, rows: np.ndarray, cols: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pull the outline of a limb towards a circle: 0 leaves it, 1 makes it round."""
    y, x = np.nonzero(inside)
    row, col = y.mean() - LIMB_PX / 2, x.mean() - LIMB_PX / 2
    sector = (np.arctan2(y - y.mean(), x - x.mean()) * 36 / np.pi).astype(int) % 72
    radius = np.zeros(72)
    np.maximum.at(radius, sector, np.hypot(y - y.mean(), x - x.mean()))
    radius = ndi.gaussian_filter1d(radius, 2, mode="wrap")
    theta = np.arctan2(rows - row, cols - col) * 36 / np.pi % 72
    local = np.interp(theta, np.arange(73), np.append(radius, radius[0]))
    factor = (local / radius.mean()) ** strength
    return row + (rows - row) * factor, col + (cols - col) * factor


def close_gaps(tissues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let muscles grow into the gaps beside them, as in a lean limb."""
    muscle = (tissues > 0) & (tissues <= OTHER)
    distance, nearest = ndi.distance_transform_edt(~muscle, return_indices=True)
    grown = (tissues == GAP) & (distance < rng.choice([0, 1.5, 2.5, 4]))
    return np.where(grown, tissues[tuple(nearest)], tissues)


def clothe(tissues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add bone cortex, vessels, subcutaneous fat and skin."""
    tissues = tissues.copy()
    bone = tissues == MARROW
    depth = ndi.distance_transform_edt(bone)
    tissues[bone & (depth < rng.uniform(2, 6))] = CORTEX
    inside = ndi.gaussian_filter((tissues > 0).astype(np.float32), 2) > 0.5
    tissues[inside & (tissues == 0)] = GAP
    y, x = np.mgrid[:LIMB_PX, :LIMB_PX] - LIMB_PX / 2
    theta = np.arctan2(y, x)
    thickness = rng.uniform(2.0, 6.0) if rng.random() < 0.6 else rng.uniform(6.0, 20.0)
    ripple = sum(rng.normal(0, 0.25) * np.cos(k * theta + rng.uniform(0, 6.3)) for k in (1, 2, 3))
    distance = ndi.distance_transform_edt(~inside)
    outline = ndi.gaussian_filter(distance - thickness * np.clip(1 + ripple, 0.4, 2), 2)
    tissues[(outline < 0) & (tissues == 0)] = FAT
    tissues[(outline >= 0) & (outline < rng.uniform(1, 2.2))] = SKIN
    candidates = np.argwhere((tissues == GAP) | (tissues == FAT))
    for row, col in candidates[rng.integers(0, len(candidates), rng.integers(2, 9))]:
        near = (y + LIMB_PX / 2 - row) ** 2 + (x + LIMB_PX / 2 - col) ** 2
        spot = (near < rng.uniform(1, 3.5) ** 2) & np.isin(tissues, (GAP, FAT))
        tissues[spot] = VESSEL
    return tissues.astype(np.uint8)


def make_pool(templates: list[Template], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` deformed right limbs, templates in turn."""
    order = np.concatenate([rng.permutation(len(templates)) for _ in range(count)])
    return np.stack([deform(templates[i], rng) for i in order[:count]])


def compose(pool: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Place a right and a left limb (rarely one) on a canvas of air."""
    height, width = size
    canvas = np.zeros((height + 2 * LIMB_PX, width + 2 * LIMB_PX), np.uint8)
    first = rng.integers(len(pool))
    second = first if rng.random() < 0.5 else rng.integers(len(pool))
    limbs = [pool[first], pool[second][:, ::-1]]
    extents = [np.nonzero(limb.any(0))[0][[0, -1]] for limb in limbs]
    gap = int(rng.choice([rng.uniform(-4, 15), rng.uniform(0, 90)]))
    spread = sum(b - a for a, b in extents) + gap
    left = LIMB_PX + (width - spread) / 2 + rng.normal(0, 12)
    sides = rng.choice([0, 1], 1) if rng.random() < 0.12 else [0, 1]
    base = (height - LIMB_PX) / 2 + rng.normal(0, 12 if height < 400 else 40)
    for side in sides:
        top = LIMB_PX + int(base + rng.normal(0, 5))
        begin = left if side == 0 else left + spread - (extents[1][1] - extents[1][0])
        begin = int(begin) - extents[side][0]
        view = canvas[top : top + LIMB_PX, begin : begin + LIMB_PX]
        limb = limbs[side][: view.shape[0], : view.shape[1]]
        view[(limb > 0) & (view == 0)] = limb[(limb > 0) & (view == 0)]
    canvas = canvas[LIMB_PX:-LIMB_PX, LIMB_PX:-LIMB_PX]
    return canvas[:, ::-1] if rng.random() < 0.5 else canvas


def field(key: jax.Array, shape: tuple[int, int, int], cells: int) -> jax.Array:
    """Return smooth noise of about unit scale, one field per image."""
    b, h, w = shape
    small = jax.random.normal(key, (b, max(2, cells * h // w), cells))
    return jax.image.resize(small, shape, "cubic")


def blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Blur each image with a Gaussian of its own width (at most about 1.5 pixels)."""
    offsets = jnp.arange(-3, 4)
    taps = jnp.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    taps = taps / taps.sum(1, keepdims=True)
    for axis in (1, 2):
        shifted = [jnp.roll(image, o, axis) * taps[:, i, None, None] for i, o in enumerate(offsets)]
        image = sum(shifted)
    return image


def lookup(key: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
    """Draw the water and fat signal of every tissue, one row per image."""
    keys = iter(jax.random.split(key, 20))

    def draw(low: float, high: float, count: int = 1) -> jax.Array:
        return jax.random.uniform(next(keys), (batch, count), minval=low, maxval=high)

    spread, replaced = draw(0, 0.12), draw(0, 1, 20) < 0.12 * draw(0, 2)
    fraction = jnp.where(replaced, draw(0.1, 0.7, 20), draw(0, 0.08, 20))
    muscle = 1 + spread * jax.random.normal(next(keys), (batch, 22))
    fraction = jnp.pad(fraction, ((0, 0), (0, 2)), constant_values=0.03)
    # Columns after the muscles: cortex, marrow, gap, fat, skin, vessel.
    waters = [(0.05, 0.3), (0, 0.2), (0.05, 0.35), (0, 0.15), (0.3, 1.1), (0.05, 1.9)]
    fats = [(0, 0.2), (0.5, 1.1), (0.4, 1), (0.9, 1.1), (0, 0.5), (0, 0.1)]
    water = jnp.concatenate([muscle * (1 - fraction), *(draw(*r) for r in waters)], axis=1)
    fat = jnp.concatenate([fraction, *(draw(*r) for r in fats)], axis=1)
    return water.at[:, 0].set(0), fat.at[:, 0].set(0)


@jax.jit
def render(key: jax.Array, tissues: jax.Array) -> jax.Array:
    """Turn tissue maps into gradient-echo magnitude images of random contrast.

    Water and fat are blurred apart and then added with a random phase, so that out-of-phase
    images get the dark line at fat borders for the reason that real ones have it.
    """
    shape, batch = tissues.shape, tissues.shape[0]
    keys = iter(jax.random.split(key, 32))

    def draw(low: float, high: float) -> jax.Array:
        return jax.random.uniform(next(keys), (batch, 1, 1), minval=low, maxval=high)

    water_of, fat_of = lookup(next(keys), batch)
    index = tissues.reshape(batch, -1).astype(jnp.int32)
    water = jnp.take_along_axis(water_of, index, 1).reshape(shape)
    fat = jnp.take_along_axis(fat_of, index, 1).reshape(shape)
    muscle = (tissues > 0) & (tissues <= OTHER)
    edge = sum(
        (tissues != jnp.roll(tissues, 1, axis)) & muscle & jnp.roll(muscle, 1, axis)
        for axis in (1, 2)
    )
    seen = jnp.clip(0.5 + field(next(keys), shape, 30), 0, 1) * draw(0.2, 1.0)
    streak = jnp.exp(-((field(next(keys), shape, 45) / 0.12) ** 2)) * draw(0, 1) ** 2 * 0.45
    patches = jax.nn.sigmoid(3 * field(next(keys), shape, 25))
    line = jnp.where(muscle, jnp.clip(edge * seen + streak * patches, 0, 0.95), 0)
    mottle = 1 + draw(0, 0.8) * jnp.where(muscle, patches - 0.5, 0)
    fat = fat * jnp.where(muscle, mottle + 0.5 * field(next(keys), shape, 80), 1)
    fat = jnp.clip(fat, 0, 1.2) * (1 - line) + line * draw(0.1, 0.9)
    water = water * (1 - line) * (1 + draw(0, 0.06) * field(next(keys), shape, 100))
    web = jnp.exp(-((field(next(keys), shape, 40) / 0.15) ** 2)) * draw(0, 0.5)
    fat = fat * jnp.where(tissues == FAT, 1 - web, 1)
    point_spread = draw(0.45, 1.0)[:, 0, 0]
    water, fat = blur(water, point_spread), blur(fat, point_spread)
    style = draw(0, 1)
    phase = jnp.select([style < 0.45, style < 0.65], [jnp.pi, 0.0], draw(0, jnp.pi))
    strength = jnp.where(draw(0, 1) < 0.25, draw(0, 0.15), draw(0.35, 1.2))
    signal = jnp.abs(water + strength * fat * jnp.exp(1j * phase))
    signal = blur(signal, draw(0.15, 0.8)[:, 0, 0])
    signal = signal * jnp.exp(draw(0, 0.35) * field(next(keys), shape, 4))
    noise = draw(0.0, 1.0) ** 2 * 0.07 + 0.004
    real = signal + noise * jax.random.normal(next(keys), shape)
    image = jnp.hypot(real, noise * jax.random.normal(next(keys), shape))
    bright = jnp.sum(signal * muscle, (1, 2)) / (jnp.sum(muscle, (1, 2)) + 1)
    level = jnp.exp(0.15 * jax.random.normal(next(keys), (batch, 1, 1)))
    level = jnp.where(draw(0, 1) < 0.15, level * draw(0.35, 1), level)
    return 0.68 * level * image / (bright[:, None, None] + 0.05)


def targets(tissues: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return labels and which pixels count."""
    return jnp.where(tissues < UNKNOWN, tissues, 0).astype(jnp.int32), tissues != UNKNOWN


def class_weights(pool: np.ndarray, classes: int) -> np.ndarray:
    """Return weights that fall with the class frequency, with mean 1 over pixels."""
    labels = np.where(pool[:300] < UNKNOWN, pool[:300], 0)
    share = np.bincount(labels.ravel(), minlength=classes)[:classes] / labels.size
    share[0] *= 2  # the canvas holds more air than the limb tiles
    weights = (share + 1e-3) ** -0.25
    return weights / (share * weights).sum()


def segmentation_loss(logits: jax.Array, tissues: jax.Array, weights: jax.Array) -> jax.Array:
    """Return weighted cross-entropy plus one minus the soft Dice over the batch."""
    labels, counted = targets(tissues)
    hot = jax.nn.one_hot(labels, logits.shape[-1]) * counted[..., None]
    entropy = -(hot * weights * jax.nn.log_softmax(logits)).sum() / counted.sum()
    prob = jax.nn.softmax(logits) * counted[..., None]
    overlap = 2 * (prob * hot).sum((0, 1, 2)) + 20
    dice = overlap / (prob.sum((0, 1, 2)) + hot.sum((0, 1, 2)) + 20)
    return entropy + 1 - dice[1:].mean()


def graft(variables: dict, start: dict) -> dict:
    """Return `variables` with every array that `start` has in the same place and shape."""
    known = {jax.tree_util.keystr(path): a for path, a in jax.tree.leaves_with_path(start)}

    def pick(path: tuple, array: jax.Array) -> jax.Array:
        other = known.get(jax.tree_util.keystr(path), array)
        return other if other.shape == array.shape else array

    return jax.tree_util.tree_map_with_path(pick, variables)


def train(
    task: str, pools: dict, minutes: float, seed: int, report: Path, start: dict
) -> tuple[dict, dict]:
    """Train one network for a time; return its variables and what was done.

    Args:
        task: "thigh", "leg" or "region".
        pools: Deformed limbs by region.
        minutes: Wall time; the learning rate falls to zero over it as a cosine.
        seed: Seed of the data and of the initialisation.
        report: Text file that progress is appended to.
        start: Variables of a network trained before, or an empty dict: layers of the same name
            and shape begin from there.
    """
    module = build_network(replace(find(VARIANT), dropout=0.0), task)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    size = 128 if task == "region" else 48
    init = jax.jit(partial(module.init, train=False))
    variables = graft(init(key, jnp.zeros((1, size, size, 1))), start)
    state = (variables["params"], variables["batch_stats"], optimiser.init(variables["params"]))
    weights = None if task == "region" else class_weights(pools[task], CLASSES[task])

    @jax.jit
    def step(state: tuple, image: jax.Array, batch: tuple, rate: jax.Array) -> tuple:
        params, stats, moments = state

        def loss_of(params: dict) -> tuple[jax.Array, dict]:
            variables = {"params": params, "batch_stats": stats}
            x = thumbnail(image) if task == "region" else image
            logits, new = module.apply(variables, x, train=True, mutable=["batch_stats"])
            if task == "region":
                loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()
            else:
                loss = segmentation_loss(logits, batch[0], weights)
            return loss, new["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, moments = optimiser.update(grads, moments, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (params, stats, moments), loss

    begin, count, losses = time.time(), 0, []
    for batch in batches(task, pools, rng):
        done = (time.time() - begin) / (60 * minutes)
        if done >= 1:
            break
        rate = LEARNING_RATE[task] * 0.5 * (1 + np.cos(np.pi * done)) * min(1, (count + 1) / 30)
        image = render(jax.random.fold_in(key, count), batch[0])[..., None]
        state, loss = step(state, image, batch, rate)
        losses.append(float(loss))
        count += 1
        if count % 50 == 0:
            line = f"{task} {count} {time.time() - begin:.0f}s {np.mean(losses[-50:]):.4f}\n"
            with report.open("a") as log:
                log.write(line)
    variables = {"params": state[0], "batch_stats": state[1]}
    return jax.tree.map(np.asarray, variables), {"steps": count, "seconds": time.time() - begin}


def settle_statistics(variables: dict, pools: dict, seed: int, slices: int = 480) -> dict:
    """Return the classifier with batch-norm statistics of its final parameters.

    A short training leaves the running averages far behind (momentum 0.99).
    """
    module = build_network(replace(find(VARIANT), dropout=0.0), "region")
    source = batches("region", pools, np.random.default_rng(seed + 1))

    @jax.jit
    def observe(image: jax.Array) -> dict:
        return module.apply(variables, thumbnail(image), train=True, mutable=["batch_stats"])[1]

    keys = jax.random.split(jax.random.key(seed + 1), slices // BATCH["region"])
    seen = [observe(render(key, next(source)[0])[..., None])["batch_stats"] for key in keys]
    # Each observation is 0.99 old + 0.01 batch: undo the old part of their mean.
    stats = jax.tree.map(
        lambda old, *new: np.asarray(old + 100 * (sum(new) / len(new) - old)),
        variables["batch_stats"],
        *seen,
    )
    return {**variables, "batch_stats": stats}


def thumbnail(image: jax.Array) -> jax.Array:
    """Resize slices to the classifier's input, with anti-aliasing."""
    return jax.image.resize(image, (len(image), 128, 128, 1), "cubic")


def batches(task: str, pools: dict, rng: np.random.Generator) -> Iterator[tuple]:
    """Yield tissue maps and region numbers without end."""
    regions = ("thigh", "leg")
    while True:
        drawn = [rng.integers(2) if task == "region" else 0 for _ in range(BATCH[task])]
        names = [regions[i] if task == "region" else task for i in drawn]
        maps = np.stack([compose(pools[name], CANVAS[task], rng) for name in names])
        # The classifier's thumbnail needs no more than half the resolution.
        yield (maps[:, ::2, ::2] if task == "region" else maps), np.array(drawn)


def provenance(report: dict, seed: int) -> dict:
    """Return what a reader of the weights folder must know about them."""
    return {
        "trained": True,
        "description": "Provisional: trained for minutes on synthetic slices; not validated",
        "caution": "provisional weights, trained for minutes on synthetic slices and not "
        "validated: a demonstration, not a measurement",
        "method": f"tools/train_preview_weights.py, {VARIANT}, Adam, seed {seed}; leg and region "
        "start from the thigh network",
        "date": datetime.now(UTC).date().isoformat(),
        "data": {
            "thigh": "35 label maps (outputs of their authors' networks) of github.com/Hirriririir/"
            "Multimodal-Multiethnic-Thigh-Muscle-MRI-analysis; adductor longus, bone, fat and skin "
            "are synthesised; no images",
            "leg": "BodyParts3D atlas, one body, deformed; bone cortex, fat and skin synthesised",
            "region": "both of these",
        },
        "licence": {
            "thigh": "derived from label maps by Hirriririir (Huashan), Apache-2.0",
            "leg": f"Apache-2.0 label maps by Hirriririir (Huashan; start of training), and "
            f"{ATLAS_LICENCE}",
            "region": f"Apache-2.0 label maps by Hirriririir (Huashan), and {ATLAS_LICENCE}",
        },
        "report": report,
    }


def synthetic_dice(task: str, variables: dict, pool: np.ndarray, slices: int = 40) -> list[float]:
    """Return the Dice coefficient of each muscle on rendered limbs of held-out templates."""
    module = build(VARIANT, task)
    predict = jax.jit(lambda x: module.apply(variables, x, train=False).argmax(-1))
    rng = np.random.default_rng(7)
    maps = np.stack([compose(pool, CANVAS[task], rng) for _ in range(slices)])
    images = [render(jax.random.key(i), maps[i : i + 4]) for i in range(0, slices, 4)]
    found = np.concatenate([predict(image[..., None]) for image in images])
    labels, counted = (np.asarray(a) for a in targets(maps))
    scores = []
    for label in range(1, CLASSES[task]):
        a, b = (found == label) & counted, labels == label
        scores.append(round(float(2 * (a & b).sum() / max(1, a.sum() + b.sum())), 3))
    return scores


def classifier_accuracy(variables: dict, pools: dict, slices: int = 160) -> float:
    """Return the share of held-out synthetic slices whose region is told rightly."""
    module = build(VARIANT, "region")
    predict = jax.jit(lambda x: module.apply(variables, thumbnail(x), train=False).argmax(-1))
    source = batches("region", pools, np.random.default_rng(7))
    hits = []
    for i in range(slices // BATCH["region"]):
        maps, regions = next(source)
        hits.append(predict(render(jax.random.key(i), maps)[..., None]) == regions)
    return float(np.mean(hits))


def main() -> None:
    """Make the limbs, train the three networks, measure and save them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the label maps")
    parser.add_argument("-o", "--out", type=Path, required=True, help="weights folder to write")
    names = ("THIGH", "LEG", "REGION")
    parser.add_argument("--minutes", type=float, nargs=3, default=(18, 7, 2.5), metavar=names)
    parser.add_argument("--start", help="weights of an earlier run to go on from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    makers = {"thigh": thigh_templates, "leg": leg_templates}
    pools = {k: make_pool(f(args.data, False), POOL[k], rng) for k, f in makers.items()}
    held_out = {k: make_pool(f(args.data, True), HELD_OUT_POOL, rng) for k, f in makers.items()}
    earlier = load_weights(args.start) if args.start else None
    started = {task: dict(n.variables) for task, n in earlier.networks.items()} if earlier else {}
    networks, report = {}, {"start": dict(earlier.provenance["report"]) if earlier else "random"}
    log = args.out.with_suffix(".log")
    for task, minutes in zip(("thigh", "leg", "region"), args.minutes, strict=True):
        start = started.get(task, started.get("thigh", {}))
        variables, report[task] = train(task, pools, minutes, args.seed, log, start)
        started.setdefault(task, variables)
        if task == "region":
            variables = settle_statistics(variables, pools, args.seed)
            report[task]["synthetic_accuracy"] = classifier_accuracy(variables, held_out)
        else:
            report[task]["synthetic_dice"] = synthetic_dice(task, variables, held_out[task])
        networks[task] = replace(initialise(task, VARIANT), variables=variables)
        save_weights(args.out, networks, provenance(report, args.seed))
        print(task, report[task], flush=True)


if __name__ == "__main__":
    main()
