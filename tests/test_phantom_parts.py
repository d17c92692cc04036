"""Synthetic limbs, part by part: templates, disease, shapes, signals, the scanner."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage as ndi

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.evaluation.metrics import dsc
from musclejax.phantom import scanner
from musclejax.phantom import shape as shape_module
from musclejax.phantom.disease import (
    SEVERITIES,
    Disease,
    Person,
    _rank,
    disease_of,
    fat_fractions,
    shrinkage,
)
from musclejax.phantom.draws import Draws, folded
from musclejax.phantom.levels import levels_of
from musclejax.phantom.scanner import Scanner
from musclejax.phantom.shape import LIMB_PX, Shape
from musclejax.phantom.signal import _within, water_and_fat
from musclejax.phantom.templates import (
    Anatomy,
    Tiles,
    _limbs,
    load_anatomy,
    pack,
    read_tissues,
)
from musclejax.phantom.tissues import (
    CODES,
    CORTEX,
    FAT,
    FEMORAL,
    GAP,
    MARROW,
    OTHERS,
    SKIN,
    SPONGY,
    UNKNOWN,
    VESSEL,
)
from tests.conftest import QUICK, quick_jit

sample_shape, deform = quick_jit(shape_module.sample_shape), quick_jit(shape_module.deform)
scan = partial(jax.jit, static_argnums=3, compiler_options=QUICK)(scanner.scan)
_fractions = quick_jit(jax.vmap(fat_fractions, in_axes=(0, None)))


def fractions_of_many(disease: Disease) -> np.ndarray:
    """Return the fat fractions of two hundred people."""
    return np.asarray(_fractions(jax.vmap(jax.random.key)(jnp.arange(200)), disease))


@pytest.fixture(scope="module", params=["thigh", "leg"])
def held_out(request: pytest.FixtureRequest) -> Anatomy:
    return load_anatomy(request.param, "held_out")


@pytest.fixture(scope="module")
def still() -> Shape:
    """A shape that leaves its template as it is, but for skin, fat, bone and vessels."""
    return sample_shape(jax.random.key(0), jnp.float32(8), 0.0, 0.0, 0.0)


def test_people_to_learn_from_and_to_test_on_are_different() -> None:
    tables = [read_tissues("thigh", group)[1:] for group in ("train", "held_out")]
    train, test = ({limb.subject for limb in _limbs(*table)} for table in tables)
    assert train
    assert test
    assert not train & test
    with pytest.raises(InputError, match="arm"):
        load_anatomy("arm")


def test_templates_look_like_a_right_limb(held_out: Anatomy) -> None:
    """Radiological view: a right limb's lateral muscles lie on the left of the picture."""
    muscles = anatomy.REGIONS[held_out.region].muscles
    lateral, medial = ([m.number for m in muscles if m.laterality == s] for s in (1, -1))
    sides = []
    for centers, sizes in zip(held_out.tiles.centers, held_out.tiles.sizes, strict=True):
        if not (sizes[lateral].any() and sizes[medial].any()):
            continue  # too low for the gastrocnemius, or knee, foot or pelvis
        columns = [
            np.average(centers[own, 1], weights=sizes[own] ** 2) for own in (lateral, medial)
        ]
        sides.append(columns[0] < columns[1])
    assert all(sides)
    assert len(sides) > 0.4 * len(held_out.tiles.sizes)


def test_popliteal_vessels_lie_behind_the_femur_where_magnus_has_ended() -> None:
    """Beside vastus medialis alone, networks took those of real knees for adductor magnus."""
    maps, rows, _ = read_tissues("thigh")
    maps = maps[[row["subject"] not in ("VHF", "thighB") for row in rows]]
    magnus = (maps == 7).sum((1, 2))
    ended = maps[magnus == 0]
    assert len(ended) > 100
    assert magnus[magnus > 0].min() > 120  # of 93 a square centimeter
    for tissue in ended:
        bone, vessels = (np.argwhere(tissue == code) for code in (MARROW, FEMORAL))
        behind, medial = vessels.mean(0) - [bone[:, 0].max(), bone[:, 1].mean()]
        assert 2 < behind < 20
        assert -8 < medial < 16


def test_whole_limbs(held_out: Anatomy) -> None:
    """One person trains, the other is held out; each shows all levels, also empty ones."""
    region, ends = held_out.region, {"thigh": (-0.2, 1.08), "leg": (0.82, 2.28)}
    for group, person in (("train", "VHF"), ("held_out", "VHM")):
        maps, rows, every = read_tissues(region, group)
        limbs = [limb for limb in _limbs(rows, every) if limb.whole]
        assert [limb.subject for limb in limbs] == [person, person]
        known = {*range(13), *OTHERS, UNKNOWN, CORTEX, MARROW, SPONGY, GAP, FEMORAL, VESSEL}
        for limb in limbs:
            assert set(np.unique(maps[limb.tiles])) <= known
            assert limb.levels.min() < ends[region][0]
            assert limb.levels.max() > ends[region][1]
            assert np.abs(np.diff(limb.levels)).max() < 0.02  # 5 mm
            labeled = ((maps[limb.tiles] > 0) & (maps[limb.tiles] <= 12)).any((1, 2))
            assert 0.05 < 1 - labeled.mean() < 0.25


@pytest.mark.parametrize(("whole", "empty"), [(0.25, 0.1), (0.0, 0.0), (1.0, 0.5)])
def test_levels_are_drawn_as_asked(held_out: Anatomy, whole: float, empty: float) -> None:
    levels = levels_of(held_out, (-1.0, 3.0), empty, whole)
    rng = np.random.default_rng(0)
    drawn = np.array([levels.draw((n + 0.5) / 600, rng) for n in range(600)])
    muscle = (held_out.tiles.sizes[drawn] > 0).any(1)
    assert abs(1 - muscle.mean() - empty) < 0.1  # a limb may be empty where its mate is not
    limbs = held_out.limbs
    own = np.concatenate([limb.tiles for limb in limbs if limb.whole])
    usual = [limb for limb in limbs if not limb.whole]
    shown = np.any([limb.has(levels.grid) for limb in usual], axis=0)
    np.testing.assert_allclose(levels.shares.sum(1), 1, rtol=1e-5)
    is_whole = np.array([limb.whole for limb in limbs])
    np.testing.assert_allclose(levels.shares[shown][:, is_whole].sum(1), whole, atol=1e-6)
    assert np.isin(drawn, own).mean() >= whole * shown.mean()
    with pytest.raises(InputError, match=r"phantom\.levels"):
        levels_of(held_out, (5.0, 6.0), empty, whole)


def test_distances_of_a_template() -> None:
    tissue = np.zeros((40, 40), np.uint8)
    tissue[5:35, 5:35] = GAP
    tissue[10:20, 10:30] = 4
    tissue[25:31, 25:31] = MARROW
    packed = pack(tissue)
    layer = [(packed >> np.uint32(8 * n)) & 255 for n in range(4)]
    np.testing.assert_array_equal(layer[0], tissue)
    assert layer[1][22, 20] == 4  # the nearest muscle to a gap
    assert (layer[2][15, 20].astype(int) - 128) / 4 == 4  # inside: from the border pixel
    assert (layer[2][23, 20].astype(int) - 128) / 4 == -4  # in the gap: to the muscle
    assert layer[2][28, 28] > 128  # in bone
    assert layer[3][0, 20] / 2 == 5  # outside the fascia


def test_numbers_drawn_together_are_those_drawn_singly() -> None:
    keys = jax.random.split(jax.random.key(3), 4)
    draws = Draws(keys, 12)
    found = draws.uniform(0.3, 1.7, 5), draws.normal(3, 4), draws.uniform() < 0.5, draws.key()
    expected = (
        jax.random.uniform(keys[0], (5,), minval=0.3, maxval=1.7),
        jax.random.normal(keys[1], (3, 4)),
        jax.random.bernoulli(keys[2]),
    )
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_allclose(
            one, other, rtol=1e-6
        )  # equal, where one is compiled as the other
    single = jax.random.fold_in(keys[0], 7)
    for one, other in ((found[3], keys[3]), (folded(keys[0], 5, 7)[1], single)):
        np.testing.assert_array_equal(*map(jax.random.key_data, (one, other)))


def test_sickness_is_as_requested() -> None:
    mean = {name: fractions_of_many(disease_of("leg", name)).mean() for name in SEVERITIES}
    assert mean["mild"] < 0.1 < mean["mixed"] < mean["severe"]
    assert 0.2 < mean["severe"] < 0.5
    both = fractions_of_many(disease_of("leg", "mixed"))
    sides = np.corrcoef(both[:, 0].ravel(), both[:, 1].ravel())[0, 1]
    assert 0.6 < sides < 0.9  # seven of ten muscles are alike on both


def test_sartorius_and_gracilis_are_spared_most_often() -> None:
    disease = disease_of("thigh", "severe")
    mean = fractions_of_many(disease).mean((0, 1))
    spared = [
        m.number for m in anatomy.REGIONS["thigh"].muscles if m.abbreviation in ("SAR", "GRA")
    ]
    others = [m.number for m in anatomy.REGIONS["thigh"].muscles if m.number not in spared]
    assert mean[spared].max() < mean[others].min()
    assert mean[spared].mean() < 0.9 * mean[others].mean()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.6])
def test_ranks_of_disease_are_uniform(share: float) -> None:
    common, own = np.random.default_rng(1).uniform(size=(2, 20000)).astype(np.float32)
    ranks = np.sort(_rank(jnp.asarray(share * common + (1 - share) * own), jnp.asarray(share)))
    np.testing.assert_allclose(ranks, np.linspace(0, 1, len(ranks)), atol=0.02)


def test_within_is_least_at_borders() -> None:
    scene = np.zeros((40, 40), np.uint8)
    scene[10:30, 5:35] = 3
    share = np.asarray(_within(jnp.asarray(scene)))
    assert share[20, 20] == 1  # far from borders
    assert share[10, 5] < share[10, 20] < share[14, 20] < 1  # corner, border, near it


def test_out_of_phase_borders_are_black() -> None:
    """A blurred border between water and as much fat passes through zero, as real ones do."""
    signal = jnp.where(jnp.arange(96) < 48, 1, -1) * jnp.ones((96, 1), jnp.complex64)
    keys = [jax.random.split(jax.random.key(n)) for n in range(12)]
    images = np.stack([scan(signal, *pair, Scanner(artifacts=0.0)) for pair in keys])
    middle = images[:, 48]
    # The width below half of full signal: up to a few pixels, as the blur differs.
    width = (middle[:, 38:58] < 0.5).sum(1)
    assert width.max() >= 2
    assert len(set(width)) > 1
    assert (middle[:, 24] > 0.8).all()


def test_sheaths_show_between_muscles_of_fat_in_most_people() -> None:
    scene = jnp.where(jnp.arange(96) < 48, 1, 2) * jnp.ones((96, 1), jnp.uint8)
    fractions = jnp.full((2, CODES), 0.95)

    def border(key: jax.Array) -> jax.Array:
        person = Person(key, jnp.zeros(()), fractions, jnp.zeros((2, CODES)))
        in_phase = sum(water_and_fat(scene.astype(jnp.uint8), person, key, key))
        return in_phase[4:-4, 48].mean() / in_phase[4:-4, 8:40].mean()

    darkness = 1 - np.asarray(quick_jit(jax.vmap(border))(jax.random.split(jax.random.key(0), 40)))
    assert 0.5 < (darkness > 0.1).mean() < 0.9
    assert (np.abs(darkness) < 0.03).sum() > 2  # not seen at all
    assert darkness.max() < 0.8


def test_no_deformation_gives_the_template_back(held_out: Anatomy) -> None:
    template = Tiles(*(jnp.asarray(field[0]) for field in held_out.tiles))
    tile = np.asarray(template.packed & 255)
    margin = (LIMB_PX - len(tile)) // 2
    muscles = [n for n in range(1, 13) if (tile == n).sum() > 150]

    def overlap(amount: float) -> float:
        """Return the mean Dice of its muscles with those of the template."""
        shape = sample_shape(jax.random.key(1), jnp.float32(8), amount, 0.0, 0.0)
        limb = np.asarray(deform(template, shape, jnp.zeros(32), 0.5))
        assert {SKIN, FAT} <= set(np.unique(limb))
        shown = limb[margin:-margin, margin:-margin]
        pairs = [(shown == n, tile == n) for n in muscles]
        counts = np.array([[a.sum(), b.sum(), (a & b).sum()] for a, b in pairs])
        return float(dsc(counts.T).mean())

    assert overlap(0.0) > 0.9  # but for borders: muscles close gaps, or waste by half a pixel
    assert overlap(1.0) < 0.8


def test_a_wasted_muscle_leaves_no_ring(still: Shape) -> None:
    """Where gaps had been closed, what had closed them stayed around the muscle that wasted."""
    tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
    tissue[60:190, 60:190] = GAP
    tissue[100:150, 100:150] = 3
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))

    def muscle(closing: float, erosion: float) -> np.ndarray:
        shape = still._replace(closing=jnp.float32(closing), erosion=jnp.full(32, erosion))
        return np.asarray(deform(template, shape, jnp.zeros(32), 0.5)) == 3

    as_it_is, larger, smaller = muscle(0, 0), muscle(4, 1), muscle(1, 4)
    assert smaller.sum() < as_it_is.sum() < larger.sum()
    for mask in (larger, smaller, muscle(2.5, 2)):
        _, pieces = ndi.label(mask, np.ones((3, 3)))
        assert pieces == 1
        assert not (ndi.binary_fill_holes(mask) & ~mask).any()


def test_muscles_that_fat_replaces_shrink(still: Shape) -> None:
    """The more fat, the more a muscle shrinks; none where atrophy is left out."""
    tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
    tissue[60:190, 60:190] = GAP
    tissue[70:120, 70:120] = 3
    tissue[130:150, 70:170] = 4
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    still = still._replace(closing=jnp.float32(0), erosion=jnp.zeros(32))
    shrunk = jnp.zeros(32).at[jnp.array([3, 4])].set(jnp.array([0.5, 0.3]))
    before, after = (np.asarray(deform(template, still, s, 0.5)) for s in (0 * shrunk, shrunk))
    # Two thirds of half the thickness, 25 pixels, of a square; a little less than 10 of a bar.
    for label, sides in ((3, (50 - 2 * 8, 50 - 2 * 8)), (4, (20 - 2 * 2.7, 100 - 2 * 2.7))):
        assert (after == label).sum() == pytest.approx(np.prod(sides), rel=0.15)
        assert not ((after == label) & (before != label)).any()
    fractions = jnp.linspace(0, 1, 64).reshape(2, 32)
    people = jax.random.split(jax.random.key(0), 500)
    lost = np.asarray(jax.vmap(lambda key: shrinkage(key, fractions, 0.8))(people))
    # Most: 0.8; half of that on average, in those 5 of 7 people whose muscles may shrink.
    assert 0.7 < lost.max() <= 0.8
    assert (lost == 0).all((1, 2)).mean() == pytest.approx(2 / 7, abs=0.07)
    mean = lost.mean(0)
    assert mean[1, 16:].mean() == pytest.approx(0.8 * 5 / 7 / 4, abs=0.015)
    assert mean[0, 0] == pytest.approx(mean[1, 16:].mean() / 4, abs=0.01)
    assert not np.asarray(shrinkage(people[0], fractions, 0.0)).any()


def test_muscles_give_way_to_femoral_vessels_alone() -> None:
    """Where these had to fit into gaps, muscle hid them, and networks took real ones for muscle."""

    @quick_jit
    def middles(packed: jax.Array, cutting: float) -> jax.Array:
        """Return the middle of twenty limbs of a template."""
        template = Tiles(packed, jnp.zeros((13, 2)), jnp.zeros(13))

        def limb(key: jax.Array) -> jax.Array:
            shape = shape_module.sample_shape(key, jnp.float32(8), 1.0, 0.0, cutting)
            shape = shape._replace(affine=jnp.eye(2))
            return shape_module.deform(template, shape, jnp.zeros(32), 0.5)[105:145, 105:145]

        return jax.vmap(limb)(jax.random.split(jax.random.key(0), 20))

    def room(vessel: int, cutting: float) -> np.ndarray:
        """Return what one muscle around a small vessel leaves free, in pixels."""
        tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
        tissue[60:190, 60:190] = GAP
        tissue[90:160, 90:160] = 2
        tissue[123:128, 123:128] = vessel
        return (np.asarray(middles(jnp.asarray(pack(tissue)), cutting)) != 2).sum((1, 2))

    hidden, aside, cut = room(VESSEL, 1.0), room(FEMORAL, 0.0), room(FEMORAL, 1.0)
    assert 20 < np.median(hidden) < 30
    assert (aside > hidden).all()
    assert 2 * np.median(hidden) < np.median(aside) < 0.6 * np.median(cut)
    assert (cut >= aside).all()


def test_vessels_at_a_slant_are_longer_than_wide(still: Shape) -> None:
    """Networks knew round ones alone from adductor magnus."""
    tissue = np.full((LIMB_PX, LIMB_PX), GAP, np.uint8)
    tissue[123:128, 123:128] = VESSEL
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    none = jnp.array([0.0, 0, 0, 1, 0])  # of radius 0
    still = still._replace(vessels=jnp.broadcast_to(none, still.vessels.shape))

    def extents(slant: float) -> np.ndarray:
        # Center, radius, slant along the rows.
        bundle = jnp.stack([jnp.array([0.0, 0, 5, slant, 0]), none, none])
        limb = np.asarray(deform(template, still._replace(bundle=bundle), jnp.zeros(32), 0.5))
        return np.ptp(np.argwhere(limb == VESSEL), axis=0) + 1

    np.testing.assert_allclose(extents(1.0), [10, 10], atol=1)
    np.testing.assert_allclose(extents(1.5), [15, 10 / 1.5], atol=1)


def test_muscles_stay_attached_to_bone(still: Shape) -> None:
    """What wastes away leaves fat on the other sides, not a rim of it around the bone."""
    tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
    tissue[60:190, 60:190] = GAP
    tissue[80:160, 80:160] = 3
    tissue[100:140, 100:140] = MARROW
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    still = still._replace(closing=jnp.float32(0), erosion=jnp.full(32, 5.0))
    after = np.asarray(deform(template, still, jnp.zeros(32), 0.5))
    bone = np.isin(after, (CORTEX, MARROW))
    around = ndi.binary_dilation(bone, iterations=3) & ~bone
    assert bone.sum() == pytest.approx(40 * 40, rel=0.02)
    assert (after[around] == 3).all()
    assert ((after == 3) | bone).sum() == pytest.approx(70 * 70, rel=0.05)


def test_gamma_keeps_order_and_what_is_bright() -> None:
    signal = jnp.linspace(0, 2, 96) * jnp.ones((96, 1), jnp.complex64)
    images = [
        np.asarray(scan(signal, *jax.random.split(jax.random.key(n)), how))
        for n in range(6)
        for how in (Scanner(artifacts=0.0), Scanner(artifacts=0.01, tone=100.0))
    ]
    powers = []
    for plain, toned in zip(images[::2], images[1::2], strict=True):
        # Away from the ends, where resolution blurs.
        plain, toned = plain[48, 10:86], toned[48, 10:86]
        power, offset = np.polyfit(np.log(plain / 2), np.log(toned / 2), 1)
        assert (np.diff(toned) > 0).all()
        assert offset == pytest.approx(0, abs=0.05)  # 2 stays 2
        powers.append(power)
    assert min(powers) < 0.9
    assert max(powers) > 1.1
