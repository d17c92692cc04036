"""Synthetic scans: anatomy kept, same key same slice, disease and contrast as asked, datasets."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage as ndi

from musclejax import anatomy
from musclejax.cli.main import main
from musclejax.config import apply_settings, load_recipe
from musclejax.data.batches import make_batch, training_items
from musclejax.data.check import check_dataset
from musclejax.data.dataset import IGNORE, read_dataset
from musclejax.data.phantom_feed import phantom_feeds
from musclejax.errors import InputError
from musclejax.evaluation.overlap import dsc
from musclejax.phantom import slice as phantom_slice
from musclejax.phantom.cohort import PROTOCOLS, RANGE, Cohort, _choose, draw_scan, plan
from musclejax.phantom.disease import (
    SEVERITIES,
    Person,
    _rank,
    disease_of,
    fat_fractions,
    shrinkage,
)
from musclejax.phantom.draw import Phantom, other_limb
from musclejax.phantom.scanner import Scanner, scan
from musclejax.phantom.shape import LIMB_PX, deform, draw_shape
from musclejax.phantom.signal import _within, water_and_fat
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import Anatomy, Tiles, load_anatomy, pack, read_tissues
from musclejax.phantom.tissues import CODES, CORTEX, FAT, FEMORAL, GAP, MARROW, SKIN, VESSEL

SMALL = Settings(size=(192, 336))
SEGMENTED = {"thigh": 12, "leg": 6}


@pytest.fixture(scope="module", params=["thigh", "leg"])
def held_out(request: pytest.FixtureRequest) -> Anatomy:
    return load_anatomy(request.param, "held_out")


@pytest.fixture(scope="module")
def phantom(held_out: Anatomy) -> Phantom:
    return Phantom(held_out, "mixed", 3, SMALL)


def test_ignore_is_that_of_datasets() -> None:
    assert phantom_slice.IGNORE == IGNORE


def test_people_to_learn_from_and_to_test_on_are_different() -> None:
    people = {group: load_anatomy("thigh", group).limbs for group in ("train", "held_out")}
    train, test = ({limb.subject for limb in limbs} for limbs in people.values())
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
    for centres, sizes in zip(held_out.tiles.centres, held_out.tiles.sizes, strict=True):
        if not (sizes[lateral].any() and sizes[medial].any()):
            continue  # too low in the leg for the gastrocnemius
        columns = [
            np.average(centres[own, 1], weights=sizes[own] ** 2) for own in (lateral, medial)
        ]
        sides.append(columns[0] < columns[1])
    assert all(sides)
    assert len(sides) > 0.7 * len(held_out.tiles.sizes)


def test_popliteal_vessels_lie_behind_the_femur_where_magnus_has_ended() -> None:
    """Beside vastus medialis alone, networks took those of real knees for adductor magnus."""
    maps, _, _ = read_tissues("thigh")
    magnus = (maps == 7).sum((1, 2))
    ended = maps[magnus == 0]
    assert len(ended) > 100
    assert magnus[magnus > 0].min() > 120  # of 93 a square centimetre
    for tissue in ended:
        bone, vessels = (np.argwhere(tissue == code) for code in (MARROW, FEMORAL))
        behind, medial = vessels.mean(0) - [bone[:, 0].max(), bone[:, 1].mean()]
        assert 2 < behind < 20
        assert -8 < medial < 16


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


def test_same_number_same_slice_and_another_differs(phantom: Phantom) -> None:
    one, again, other = (phantom.draw(2, n) for n in (7, 7, 8))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(np.asarray(one.image) - np.asarray(other.image)).mean() > 0.01


def test_slices_show_the_muscles_of_the_region(phantom: Phantom) -> None:
    count = SEGMENTED[phantom.anatomy.region]
    samples = [phantom.draw(11 * n % len(phantom), n) for n in range(16)]
    labels = np.stack([np.asarray(s.labels) for s in samples])
    assert set(np.unique(labels)) - {IGNORE} == set(range(count + 1))
    assert np.isfinite([np.asarray(s.image) for s in samples]).all()
    assert min(float(s.image.min()) for s in samples) >= 0
    share = (labels > 0).mean((1, 2))
    assert (share > 0.02).all()
    assert (share < 0.6).all()


def test_sickness_is_as_asked() -> None:
    people = [jax.random.key(n) for n in range(200)]
    mean = {
        name: np.mean([fat_fractions(p, disease_of("leg", name)) for p in people])
        for name in SEVERITIES
    }
    assert mean["mild"] < 0.1 < mean["mixed"] < mean["severe"]
    assert 0.2 < mean["severe"] < 0.5
    both = np.stack([fat_fractions(p, disease_of("leg", "mixed")) for p in people])
    sides = np.corrcoef(both[:, 0].ravel(), both[:, 1].ravel())[0, 1]
    assert 0.6 < sides < 0.9  # seven of ten muscles are alike on both


def test_sartorius_and_gracilis_are_spared_most_often() -> None:
    disease = disease_of("thigh", "severe")
    people = [jax.random.key(n) for n in range(200)]
    mean = np.mean([fat_fractions(p, disease) for p in people], axis=(0, 1))
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
    images = np.stack([scan(signal, *pair, Scanner(artefacts=0.0)) for pair in keys])
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

    darkness = 1 - np.asarray(jax.jit(jax.vmap(border))(jax.random.split(jax.random.key(0), 40)))
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
        shape = draw_shape(jax.random.key(1), jnp.float32(8), amount, 0.0)
        limb = np.asarray(deform(template, shape, jnp.zeros(32), 0.5))
        assert {SKIN, FAT} <= set(np.unique(limb))
        shown = limb[margin:-margin, margin:-margin]
        pairs = [(shown == n, tile == n) for n in muscles]
        counts = np.array([[a.sum(), b.sum(), (a & b).sum()] for a, b in pairs])
        return float(dsc(counts.T).mean())

    assert overlap(0.0) > 0.9  # but for borders: muscles close gaps, or waste by half a pixel
    assert overlap(1.0) < 0.8


def test_a_wasted_muscle_leaves_no_ring() -> None:
    """Where gaps had been closed, what had closed them stayed around the muscle that wasted."""
    tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
    tissue[60:190, 60:190] = GAP
    tissue[100:150, 100:150] = 3
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    still = draw_shape(jax.random.key(0), jnp.float32(8), 0.0, 0.0)

    def muscle(closing: float, erosion: float) -> np.ndarray:
        shape = still._replace(closing=jnp.float32(closing), erosion=jnp.full(32, erosion))
        return np.asarray(deform(template, shape, jnp.zeros(32), 0.5)) == 3

    as_it_is, larger, smaller = muscle(0, 0), muscle(4, 1), muscle(1, 4)
    assert smaller.sum() < as_it_is.sum() < larger.sum()
    for mask in (larger, smaller, muscle(2.5, 2)):
        _, pieces = ndi.label(mask, np.ones((3, 3)))
        assert pieces == 1
        assert not (ndi.binary_fill_holes(mask) & ~mask).any()


def test_muscles_that_fat_replaces_shrink() -> None:
    """The more fat, the more a muscle shrinks; none where atrophy is left out."""
    tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
    tissue[60:190, 60:190] = GAP
    tissue[70:120, 70:120] = 3
    tissue[130:150, 70:170] = 4
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    still = draw_shape(jax.random.key(0), jnp.float32(8), 0.0, 0.0)
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

    @jax.jit
    def middles(packed: jax.Array, cutting: float) -> jax.Array:
        """Return the middle of twenty limbs of a template."""
        template = Tiles(packed, jnp.zeros((13, 2)), jnp.zeros(13))

        def limb(key: jax.Array) -> jax.Array:
            shape = draw_shape(key, jnp.float32(8), 1.0, 0.0, cutting)
            shape = shape._replace(affine=jnp.eye(2))
            return deform(template, shape, jnp.zeros(32), 0.5)[105:145, 105:145]

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


def test_vessels_at_a_slant_are_longer_than_wide() -> None:
    """Networks knew round ones alone from adductor magnus."""
    tissue = np.full((LIMB_PX, LIMB_PX), GAP, np.uint8)
    tissue[123:128, 123:128] = VESSEL
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    still = draw_shape(jax.random.key(0), jnp.float32(8), 0.0, 0.0)
    still = still._replace(vessels=jnp.zeros((1, 5)))

    def extents(slant: float) -> np.ndarray:
        bundle = jnp.array([[0, 0, 5, slant, 0]])  # centre, radius, slant along the rows
        limb = np.asarray(deform(template, still._replace(bundle=bundle), jnp.zeros(32), 0.5))
        return np.ptp(np.argwhere(limb == VESSEL), axis=0) + 1

    np.testing.assert_allclose(extents(1.0), [10, 10], atol=1)
    np.testing.assert_allclose(extents(1.5), [15, 10 / 1.5], atol=1)


def test_muscles_stay_attached_to_bone() -> None:
    """What wastes away leaves fat on the other sides, not a rim of it around the bone."""
    tissue = np.zeros((LIMB_PX, LIMB_PX), np.uint8)
    tissue[60:190, 60:190] = GAP
    tissue[80:160, 80:160] = 3
    tissue[100:140, 100:140] = MARROW
    template = Tiles(jnp.asarray(pack(tissue)), jnp.zeros((13, 2)), jnp.zeros(13))
    still = draw_shape(jax.random.key(0), jnp.float32(8), 0.0, 0.0)
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
        for how in (Scanner(artefacts=0.0), Scanner(artefacts=0.01, tone=100.0))
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


def test_limbs_of_a_person() -> None:
    """The other limb is never the same one; heights are those in the whole limb."""
    legs = load_anatomy("leg", "held_out")
    rng = np.random.default_rng(0)
    for own, limb in enumerate(legs.limbs):
        assert 0.2 < limb.heights[0] < 0.3 < 0.7 < limb.heights[1] < 0.9  # of 9 and 8 levels
        assert 139 < limb.length_mm < 145
        # Three slices over 10 mm are of one level: a scan does not jump from one to the next.
        assert len({limb.nearest(height) for height in RANGE["leg"]}) == 1
        mate = other_limb(legs.limbs, own, rng, 0.0)
        assert mate != own
        assert legs.limbs[mate].subject == limb.subject
        assert legs.limbs[other_limb(legs.limbs, own, rng, 1.0)].subject != limb.subject


def test_people_take_turns() -> None:
    """All six that are held out are tested on, most of them both mildly and severely ill."""
    thighs = load_anatomy("thigh", "held_out")
    scans = [s for s in plan(Cohort("thigh", subjects=0)) if s.split == "test"]
    seen: dict[str, set[str]] = {}
    for patient in scans:
        pair = _choose(thighs, patient.subject, np.random.default_rng(0), 0.0)
        assert pair[0].subject == pair[1].subject
        seen.setdefault(pair[0].subject, set()).add(patient.severity)
    assert len(seen) == 6
    assert sum(len(kinds) == 2 for kinds in seen.values()) == 4


def test_the_plan_is_the_papers() -> None:
    scans = plan(Cohort("thigh"))
    training = [s for s in scans if not s.split]
    assert (len(training), sum(len(s.heights) for s in training)) == (110, 770)
    assert sum(len(s.heights) for s in plan(Cohort("leg", test=0))) == 330
    test = [s for s in scans if s.split == "test"]
    assert sorted(s.severity for s in test) == ["mild"] * 5 + ["severe"] * 5
    assert not {s.subject for s in test} & {s.subject for s in training}
    assert [len(s.heights) for s in scans if s.split == "unseen"] == [4, 4]
    assert plan(Cohort("thigh", slices=1))[0].heights == (0.5,)


def test_command_writes_a_dataset_that_is_fit_for_training(tmp_path: Path) -> None:
    command = ["phantom", "-o", str(tmp_path), "--region", "leg", "--subjects", "2", "--test", "2"]
    done = CliRunner().invoke(main, [*command, "--seed", "5"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "8 scans, 25 slices, 2 people to train on, 2 to test on" in done.output
    reports, findings = check_dataset(read_dataset(tmp_path, 0), lambda case: None)
    assert not [f for f in findings if f.serious]
    assert {r.region for r in reports} == {"leg"}
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text().splitlines()))
    assert {r["split"] for r in rows} == {"", "test", "unseen"}
    image = tmp_path / "imagesTr" / "leg_001_t1_0000.nii.gz"
    assert nib.aff2axcodes(nib.load(image).affine) == ("L", "P", "S")
    first, when = nib.load(image).get_fdata(), image.stat().st_mtime_ns
    again = CliRunner().invoke(main, [*command, "--seed", "5"], catch_exceptions=False)
    assert again.exit_code == 0
    assert image.stat().st_mtime_ns == when  # it goes on where it was
    (tmp_path / "labelsTr" / "leg_001_t1.nii.gz").unlink()
    CliRunner().invoke(main, [*command, "--seed", "5"], catch_exceptions=False)
    np.testing.assert_array_equal(nib.load(image).get_fdata(), first)
    other = CliRunner().invoke(main, [*command, "--seed", "6"])
    assert other.exit_code == 2
    assert "found files of other settings (seed: 5 against 6)" in other.output
    (tmp_path / "phantom.json").unlink()
    foreign = CliRunner().invoke(main, [*command, "--seed", "5"])
    assert (foreign.exit_code, "a dataset without phantom.json" in foreign.output) == (2, True)


def test_the_papers_patients_have_two_limbs_alike() -> None:
    legs = load_anatomy("leg", "held_out")
    settings = PROTOCOLS["paper"]._replace(size=SMALL.size)
    for patient in plan(Cohort("leg", subjects=0, test=4, slices=1)):
        image, labels, _ = draw_scan(legs, patient, 0, settings)
        muscle = (labels[0] > 0) & (labels[0] != IGNORE)
        assert 0.6 < muscle[:, :168].sum() / muscle[:, 168:].sum() < 1.6
        assert image.max() > 0.5


def test_visits_of_a_person_share_anatomy() -> None:
    legs = load_anatomy("leg", "train")
    scans = plan(Cohort("leg", subjects=2, test=0, severity="severe"))
    first, second = [s for s in scans if s.subject == 1][:2]
    stranger = next(s for s in scans if s.subject == 2)
    areas = [
        np.bincount(draw_scan(legs, s, 0, SMALL)[1].ravel(), minlength=256)[1:7] + 1
        for s in (first, second, stranger)
    ]
    apart = [np.abs(np.log(areas[0] / other)).mean() for other in areas[1:]]
    assert apart[0] < apart[1]


@pytest.mark.parametrize("task", ["thigh", "region"])
def test_training_draws_new_slices_for_ever(task: str) -> None:
    changes = [f"task={task}", "data.crop_px=(192, 336)", "phantom.validation_slices=4"]
    config = apply_settings(load_recipe("phantom"), changes)
    feeds = phantom_feeds(config)
    assert len(feeds["validation"]) == 4
    classes = np.ones(13, np.float32)
    items, numbers = training_items(feeds["train"], 0, 2)
    later = training_items(feeds["train"], 1, 2)[1]
    assert not set(numbers) & set(later)
    batch = make_batch(feeds["train"], items, numbers, classes, config)
    again = make_batch(feeds["train"], items, numbers, classes, config)
    np.testing.assert_array_equal(batch["image"], again["image"])
    if task == "region":
        assert batch["image"].shape == (2, 128, 128, 1)
        regions = [feeds["train"].region(n) for n in range(20)]
        assert regions.count("thigh") == regions.count("leg") == 10
    else:
        assert batch["image"].shape == (2, 192, 336, 1)
        assert batch["weights"].max() > 0
    assert "template" in feeds["train"].origin(0)


@pytest.mark.parametrize("task", ["thigh", "region"])
def test_slices_drawn_in_one_call_are_the_same(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = apply_settings(load_recipe("phantom"), [f"task={task}", "data.crop_px=(192, 336)"])
    feed = phantom_feeds(config)["train"]
    items, numbers = training_items(feed, 0, 3)
    items[2] = -1  # padding
    classes = np.ones(13, np.float32)
    singly = make_batch(feed, items, numbers, classes, config)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    together = make_batch(feed, items, numbers, classes, config)
    assert isinstance(together["image"], jax.Array)  # it stays on the device
    assert {k: (v.shape, v.dtype) for k, v in together.items()} == {
        k: (v.shape, v.dtype) for k, v in singly.items()
    }
    np.testing.assert_array_equal(together["mask"], singly["mask"])
    for name in ("image", "labels", "weights"):
        close = np.isclose(together[name], singly[name], atol=2e-3)
        assert close.mean() > 0.999, name  # a rounding may move a border by a pixel


@pytest.mark.parametrize(
    ("change", "accepted"),
    [("phantom.severity=bad", "mild, severe, mixed"), ("phantom.contrast=x", "any, narrow")],
)
def test_unknown_settings_are_told(change: str, accepted: str) -> None:
    with pytest.raises(InputError, match=accepted):
        phantom_feeds(apply_settings(load_recipe("phantom"), [change]))
