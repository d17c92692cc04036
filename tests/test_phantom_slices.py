"""Whole synthetic slices: same seed same slice, cohorts, datasets, slices to learn from."""

import csv
from dataclasses import replace
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from musclejax.anatomy import TASKS
from musclejax.cli.main import main
from musclejax.config import load_recipe
from musclejax.data.batches import make_batch
from musclejax.data.check import check_dataset_steps
from musclejax.data.dataset import IGNORE, read_dataset
from musclejax.data.sampler import Sampler, training_indices
from musclejax.errors import InputError
from musclejax.evaluation.run import evaluate, from_folders
from musclejax.loops import result_of
from musclejax.phantom.cohort import PROTOCOLS, RANGE, _choose, plan, sample_scan
from musclejax.phantom.generator import Phantom, other_limb
from musclejax.phantom.options import Cohort
from musclejax.phantom.sampler import phantom_samplers
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import Anatomy, load_anatomy
from musclejax.phantom.write import FAT

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIDE = 240
SMALL = Settings(size=(SIDE, SIDE))
PAPER = PROTOCOLS["paper"]._replace(size=SMALL.size)
SEGMENTED = {"thigh": 12, "leg": 6}


@pytest.fixture(autouse=True)
def small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the classifier see slices of the size that all tests here share: one compilation."""
    monkeypatch.setitem(TASKS, "region", replace(TASKS["region"], slice_px=SIDE))


@pytest.fixture(scope="module", params=["thigh", "leg"])
def held_out(request: pytest.FixtureRequest) -> Anatomy:
    return load_anatomy(request.param, "held_out")


@pytest.fixture(scope="module")
def phantom(held_out: Anatomy) -> Phantom:
    return Phantom(held_out, "mixed", 3, SMALL)


def test_same_seed_same_slice_and_another_differs(phantom: Phantom) -> None:
    one, again, other = (phantom.sample(2, seed) for seed in (7, 7, 8))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(np.asarray(one.image) - np.asarray(other.image)).mean() > 0.01


def test_slices_show_the_muscles_of_the_region(phantom: Phantom) -> None:
    count = SEGMENTED[phantom.anatomy.region]
    areas = (phantom.anatomy.tiles.sizes**2).sum(1)
    shown = np.nonzero(areas > areas.max() / 5)[0]  # not foot, joints and pelvis
    samples = [phantom.sample(int(shown[n * len(shown) // 16]), n) for n in range(16)]
    labels = np.stack([np.asarray(s.labels) for s in samples])
    assert set(np.unique(labels)) - {IGNORE} == set(range(count + 1))
    assert np.isfinite([np.asarray(s.image) for s in samples]).all()
    assert min(float(s.image.min()) for s in samples) >= 0
    share = (labels > 0).mean((1, 2))
    assert (share > 0.02).all()
    assert (share < 0.75).all()


def test_limbs_of_a_person() -> None:
    """The other limb is never the same one; heights are those in the whole limb."""
    legs = load_anatomy("leg", "held_out")
    rng = np.random.default_rng(0)
    for own, limb in enumerate(legs.limbs):
        assert legs.limbs[other_limb(legs.limbs, own, rng, 1.0)].subject != limb.subject
        if limb.whole:  # two templates within 10 mm
            assert len({limb.nearest(height) for height in RANGE["leg"]}) <= 3
            continue
        assert 0.2 < limb.heights[0] < 0.3 < 0.7 < limb.heights[1] < 0.9  # of 9 and 8 levels
        assert 139 < limb.length_mm < 145
        # Three slices over 10 mm are of one level: a scan does not jump from one to the next.
        assert len({limb.nearest(height) for height in RANGE["leg"]}) == 1
        mate = other_limb(legs.limbs, own, rng, 0.0)
        assert mate != own
        assert legs.limbs[mate].subject == limb.subject


def test_people_take_turns() -> None:
    """All seven that are held out are tested on, some of them both mildly and severely ill."""
    thighs = load_anatomy("thigh", "held_out")
    scans = [s for s in plan(Cohort("thigh", subjects=0)) if s.split == "test"]
    seen: dict[str, set[str]] = {}
    for patient in scans:
        pair = _choose(thighs, patient.subject, np.random.default_rng(0), 0.0)
        assert pair[0].subject == pair[1].subject
        seen.setdefault(pair[0].subject, set()).add(patient.severity)
    assert len(seen) == 7
    assert sum(len(kinds) == 2 for kinds in seen.values()) >= 2


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


def test_command_writes_a_dataset_that_is_fit_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "paper", PAPER)
    command = ["phantom", "-o", str(tmp_path), "--region", "leg", "--subjects", "2", "--test", "2"]
    done = CliRunner().invoke(main, [*command, "--seed", "5"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "8 scans, 25 slices, 2 people to train on, 2 to test on" in done.output
    report = result_of(check_dataset_steps(read_dataset(tmp_path, 0)))
    assert not report.errors
    assert {case.region for case in report.cases} == {"leg"}
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text().splitlines()))
    assert {r["split"] for r in rows} == {"", "test", "unseen"}
    image = tmp_path / "imagesTr" / "leg_001_t1_0000.nii.gz"
    assert nib.aff2axcodes(nib.load(image).affine) == ("L", "P", "S")
    source = from_folders(tmp_path, tmp_path / "labelsTr")
    cases = tuple(case for case in source.dataset.cases if not case.split)
    train = replace(source.dataset, cases=cases)
    compared = evaluate(replace(source, dataset=train), fat_fraction=tmp_path / FAT).comparison
    assert compared.cases["fat_fraction_unit"].eq("fraction").all()  # true maps pass every check
    assert compared.muscles["fat_fraction_error_pp"].abs().max() < 1e-9
    fat = nib.load(tmp_path / FAT / image.name)
    np.testing.assert_array_equal(fat.affine, nib.load(image).affine)
    first, when = nib.load(image).get_fdata(), image.stat().st_mtime_ns
    again = CliRunner().invoke(main, [*command, "--seed", "5"], catch_exceptions=False)
    assert again.exit_code == 0
    assert image.stat().st_mtime_ns == when  # it resumes
    (tmp_path / "labelsTr" / "leg_001_t1.nii.gz").unlink()
    CliRunner().invoke(main, [*command, "--seed", "5"], catch_exceptions=False)
    np.testing.assert_array_equal(nib.load(image).get_fdata(), first)
    other = CliRunner().invoke(main, [*command, "--seed", "6"])
    assert other.exit_code == 2
    assert "found files of other settings (seed: 5 against 6)" in other.output
    (tmp_path / "phantom.json").unlink()
    foreign = CliRunner().invoke(main, [*command, "--seed", "5"])
    assert (foreign.exit_code, "a dataset without phantom.json" in foreign.output) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--subjects", "0", "--test", "0"], "at least one person"),
        (["--subjects", "-1"], "--subjects: found -1; accepted: 0 or more"),
        (["--slices", "0"], "--slices: found 0; accepted: 1 or more"),
        (["--severity", "bad"], "'bad' is not one of 'mild', 'severe', 'mixed'"),
    ],
)
def test_cohorts_that_cannot_be(options: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["phantom", "-o", str(tmp_path / "out"), *options])
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert not (tmp_path / "out").exists()


def test_the_papers_patients_have_two_limbs_alike() -> None:
    legs = load_anatomy("leg", "held_out")
    for patient in plan(Cohort("leg", subjects=0, test=4, slices=1)):
        image, labels, _, _ = sample_scan(legs, patient, 0, PAPER)
        muscle = (labels[0] > 0) & (labels[0] != IGNORE)
        half = SIDE // 2
        assert 0.6 < muscle[:, :half].sum() / muscle[:, half:].sum() < 1.6
        assert image.max() > 0.5


def test_visits_of_a_person_share_anatomy() -> None:
    legs = load_anatomy("leg", "train")
    scans = plan(Cohort("leg", subjects=2, test=0, severity="severe"))
    first, second = [s for s in scans if s.subject == 1][:2]
    stranger = next(s for s in scans if s.subject == 2)
    areas = [
        np.bincount(sample_scan(legs, s, 0, PAPER)[1].ravel(), minlength=256)[1:7] + 1
        for s in (first, second, stranger)
    ]
    apart = [np.abs(np.log(areas[0] / other)).mean() for other in areas[1:]]
    assert apart[0] < apart[1]


@pytest.mark.parametrize("task", ["leg", "region"])  # the latter brings thighs
def test_training_takes_new_slices_for_ever(task: str) -> None:
    changes = [f"task={task}", f"data.crop_px={SIDE},{SIDE}", "phantom.validation_slices=4"]
    config = load_recipe("phantom", changes)
    samplers = phantom_samplers(config)
    train = samplers["train"]
    assert isinstance(train, Sampler)
    assert len(samplers["validation"]) == 4
    classes = np.ones(13, np.float32)
    indices, seeds = training_indices(train, 0, 2)
    later = training_indices(train, 1, 2)[1]
    assert not set(seeds) & set(later)
    batch = make_batch(train, indices, seeds, classes, config)
    again = make_batch(train, indices, seeds, classes, config)
    np.testing.assert_array_equal(batch.labels, again.labels)
    np.testing.assert_allclose(batch.image, again.image, rtol=1e-5, atol=1e-6)
    if task == "region":
        assert batch.image.shape == (2, 128, 128, 1)
        regions = [train.region(n) for n in range(20)]
        assert regions.count("thigh") == regions.count("leg") == 10
    else:
        assert batch.image.shape == (2, SIDE, SIDE, 1)
        assert batch.weights.max() > 0
    assert "template" in train.origin(0)
    levels = np.array([train.limb_levels(n, 5) for n in range(40)])
    assert np.abs(levels[:, 0] - levels[:, 1]).max() < 0.07  # both limbs, as far as people have it


@pytest.mark.parametrize("task", ["leg", "region"])  # the latter brings thighs
def test_slices_of_one_call_are_those_of_single_calls(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_recipe("phantom", [f"task={task}", f"data.crop_px={SIDE},{SIDE}"])
    train = phantom_samplers(config)["train"]
    indices, seeds = training_indices(train, 0, 3)
    indices[2] = -1  # padding
    classes = np.ones(13, np.float32)
    singly = make_batch(train, indices, seeds, classes, config)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    together = make_batch(train, indices, seeds, classes, config)
    assert isinstance(together.image, jax.Array)  # it stays on the device
    np.testing.assert_array_equal(together.mask, singly.mask)
    for one, all_at_once in zip(singly[:3], together[:3], strict=True):
        assert (all_at_once.shape, all_at_once.dtype) == (one.shape, one.dtype)
        close = np.isclose(all_at_once, one, atol=2e-3)
        assert close.mean() > 0.999  # a rounding may move a border by a pixel


@pytest.mark.parametrize(
    ("change", "accepted"),
    [("phantom.severity=bad", "mild, severe, mixed"), ("phantom.contrast=x", "any, narrow")],
)
def test_unknown_settings_name_the_choices(change: str, accepted: str) -> None:
    with pytest.raises(InputError, match=accepted):
        phantom_samplers(load_recipe("phantom", [change]))
