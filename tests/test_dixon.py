"""Water and fat: fraction, exchange and its correction, the synthesized echo; further maps.

Origin of the numbers: ours, two limbs with known fat; see `tests.test_input_fat_fraction.thighs`.
"""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from musclejax.app import one_scan
from musclejax.app.options import SegmentJob
from musclejax.errors import InputError
from musclejax.prediction.dixon import (
    WaterFat,
    fat_fraction,
    find_swaps,
    from_series,
    measure_dixon,
    synthesize,
)
from musclejax.prediction.fat_fraction import place_of
from musclejax.prediction.maps import load_map
from musclejax.reports import segmentation
from musclejax.scan.volume import Volume
from tests.pretend import pretend_picture, pretend_steps
from tests.test_cli import call
from tests.test_input_fat_fraction import AFFINE, SHAPE, save, thighs

RIGHT = np.indices(SHAPE)[0] >= 40


def pair(
    muscle: float = 0.08, around: float = 0.9, exchanged: np.ndarray | None = None
) -> WaterFat:
    """Water and fat of two limbs; `around` is the fat between muscles and skin."""
    t, rng = thighs(), np.random.default_rng(4)
    pure = np.where(t.result.labels > 0, muscle, around)
    noise = rng.uniform(0, 2, (2, *SHAPE))
    fat, water = np.where(t.body, 500 * np.stack([pure, 1 - pure]), 0) + noise
    if exchanged is not None:
        water, fat = np.where(exchanged, fat, water), np.where(exchanged, water, fat)
    pairs = ((water, "w"), (fat, "f"))
    images = [Volume(data.astype(np.float32), AFFINE, name) for data, name in pairs]
    return WaterFat(*images, (Path("w"), Path("f")))


def test_the_fraction_is_that_of_the_tissue_and_unknown_in_air() -> None:
    t, images = thighs(), pair()
    fraction = fat_fraction(images.water, images.fat)
    np.testing.assert_array_equal(np.isfinite(fraction), t.body)
    muscle = t.result.labels > 0
    assert fraction[muscle].mean() == pytest.approx(0.08, abs=0.002)
    assert fraction[t.body & ~muscle].mean() == pytest.approx(0.9, abs=0.002)


@pytest.mark.parametrize(
    ("muscle", "around"), [(0.08, 0.9), (0.05, 0.4), (0.8, 0.9), (0.95, 0.9), (0.3, 0.7)]
)
@pytest.mark.parametrize(
    ("where", "sides", "words"),
    [
        (None, (), ""),
        (RIGHT | ~RIGHT, ("left", "right"), "in the whole image"),
        (RIGHT, ("left",), "in the left limb"),
        (~RIGHT, ("right",), "in the right limb"),
    ],
)
def test_exchanged_water_and_fat_are_reported_and_corrected(
    where: np.ndarray | None, sides: tuple[str, ...], words: str, muscle: float, around: float
) -> None:
    """Healthy, lean, severe, replaced by fat, moderate; the first array axis runs to the right."""
    t = thighs()
    fat, swaps = measure_dixon(pair(muscle, around, where), place_of(t.result))
    assert (swaps.sides, swaps.judged, swaps.slices) == (sides, ("left", "right"), ())
    assert [words in text for text in fat.warnings] == [True] * bool(words)
    assert np.nanmedian(fat.values[t.result.labels > 0]) == pytest.approx(muscle, abs=0.01)
    assert (fat.unit, fat.coverage) == ("fraction", 1.0)


def test_exchanged_slices_are_reported_only() -> None:
    t, middle = thighs(), (np.indices(SHAPE)[2] == 3) & RIGHT
    fat, swaps = measure_dixon(pair(exchanged=middle), place_of(t.result))
    assert (swaps.sides, swaps.slices) == ((), (("left", 3),))
    assert "not corrected (slices from 0: left 3)" in fat.warnings[0]


def test_limbs_without_labels_are_not_judged() -> None:
    place = place_of(thighs().result)
    images = pair(exchanged=RIGHT | ~RIGHT)
    fraction = fat_fraction(images.water, images.fat)
    lone = find_swaps(fraction, place._replace(muscle=place.muscle & RIGHT))
    assert (lone.sides, lone.judged, lone.whole) == (("left",), ("left",), True)
    none = find_swaps(fraction, place._replace(muscle=place.muscle & False))
    assert (none.sides, none.whole) == ((), False)


def test_water_and_fat_of_another_place_are_refused() -> None:
    images = pair()
    away = tuple(replace(i, data=np.roll(i.data, 40, 1) * np.nan) for i in images[:2])
    fat, _ = measure_dixon(images._replace(water=away[0], fat=away[1]), place_of(thighs().result))
    assert (fat.coverage, "none of the labeled muscle" in fat.warnings[0]) == (0, True)


def test_the_synthesized_echo() -> None:
    """In phase the sum, opposed the difference; the default is near quadrature, as in the paper."""
    images = pair()
    water, fat = images.water, images.fat
    np.testing.assert_allclose(synthesize(water, fat, 2.3).data, water.data + fat.data, rtol=1e-4)
    opposed = np.abs(water.data - fat.data)
    np.testing.assert_allclose(synthesize(water, fat, 1.15).data, opposed, atol=0.5)
    turn = np.exp(2j * np.pi * 1.7 / 2.3)
    echo = synthesize(water, fat)
    np.testing.assert_allclose(echo.data, np.abs(water.data + fat.data * turn), rtol=1e-3)
    np.testing.assert_allclose(echo.data, synthesize(fat, water).data, rtol=1e-5)
    assert (echo.name, echo.data.dtype) == ("w", np.float32)
    elsewhere = replace(fat, affine=fat.affine + np.eye(4, k=3))
    with pytest.raises(InputError, match="f: found a fat image of 80 x 48 x 6 voxels"):
        synthesize(water, elsewhere)


def test_images_come_onto_the_grid_of_the_scan(tmp_path: Path) -> None:
    images = pair()
    files = [save(tmp_path / f"{v.name}.nii.gz", v.data) for v in images[:2]]
    coarse = Volume(images.water.data[::2], AFFINE @ np.diag([2, 1, 1, 1]), "scan")
    found = from_series(*files, coarse)
    np.testing.assert_allclose(found.fat.data, images.fat.data[::2], rtol=1e-5)
    assert found.sources == tuple(files)
    with pytest.raises(InputError, match=r"w.nii.gz: found the water image itself"):
        from_series(files[0], files[0])
    far = replace(coarse, affine=AFFINE + np.array([[0, 0, 0, 5000.0]] + [[0] * 4] * 3))
    with pytest.raises(InputError, match="an image that does not overlap the scan"):
        from_series(*files, far)


def test_a_map_of_any_unit_must_overlap_only(tmp_path: Path) -> None:
    t = thighs()
    t2 = np.where(t.body, 1e4, np.nan)
    path = save(tmp_path / "t2.nii.gz", t2)
    np.testing.assert_array_equal(load_map(path, t.result), t2.astype(np.float32))
    affine = AFFINE.copy()
    affine[0, 3] += 5000
    with pytest.raises(InputError, match="does not overlap"):
        load_map(save(tmp_path / "far.nii.gz", t2, affine), t.result)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, weights_folder: Path) -> tuple[str, ...]:
    """Label without a network; returns options of the command."""
    monkeypatch.setattr(one_scan, "segment_steps", pretend_steps)
    monkeypatch.setattr(segmentation, "draw", pretend_picture)
    return ("--weights", str(weights_folder), "--region", "thigh")


def test_segment_with_water_fat_and_a_map(pretend: tuple[str, ...], tmp_path: Path) -> None:
    images, out = pair(), tmp_path / "out"
    water, fat = (save(tmp_path / f"{v.name}.nii.gz", v.data) for v in images[:2])
    t2 = save(tmp_path / "t2.nii.gz", np.full(SHAPE, 38.5))
    arguments = ("segment", water, "--water", water, "--fat", fat, "--map", f"T2={t2}")
    result = call(*arguments, "-o", out, *pretend)
    assert result.exit_code == 0, result.output
    assert "synthesized from water and fat" in result.stderr
    record = json.loads((out / "w_run.json").read_text())
    assert record["fat_fraction"] == {
        "water": str(water), "fat": str(fat), "unit": "fraction", "coverage": 1.0,
        "exchanged": [], "synthesized": True,
    }  # fmt: skip
    assert record["maps"] == {"T2": str(t2)}
    assert record["settings"]["map"] == [f"T2={t2}"]
    image = nib.load(out / "w_fat_fraction.nii.gz")
    np.testing.assert_array_equal(image.affine, AFFINE)
    expected = fat_fraction(images.water, images.fat)
    np.testing.assert_allclose(np.asarray(image.dataobj), expected, atol=1e-6)
    table = pd.read_csv(out / "w_muscles.csv").set_index(["muscle", "side"])
    labels = np.asarray(nib.load(out / "w_labels.nii.gz").dataobj)
    echo = synthesize(images.water, images.fat).data
    np.testing.assert_array_equal(labels, echo > echo.mean())
    row = table.loc[("VL", "right")]
    assert row.fat_fraction == pytest.approx(np.nanmean(expected[labels > 0]), abs=1e-4)
    assert (row.T2_mean, row.T2_sd, row.T2_voxels) == (38.5, 0, labels.sum())
    assert "already done\n" in call(*arguments, "-o", out, *pretend).stdout


def test_a_correction_is_measured_as_it_was_segmented(
    pretend: tuple[str, ...], tmp_path: Path
) -> None:
    """On the synthesized image, with the computed fraction, which nobody doubts any more.

    Source: ours; the body of a water image lacks its fat, and a warning asked where it was.
    """
    images, out = pair(), tmp_path / "out"
    water, fat = (save(tmp_path / f"{v.name}.nii.gz", v.data) for v in images[:2])
    call("segment", water, "--water", water, "--fat", fat, "-o", out, *pretend)
    before = json.loads((out / "w_run.json").read_text())
    image = nib.load(out / "w_labels.nii.gz")
    labels = np.asarray(image.dataobj).copy()
    labels[tuple(np.argwhere(labels)[0])] = 0
    nib.save(nib.Nifti1Image(labels, image.affine), out / "w_labels.nii.gz")
    result = call("measure", out)
    assert "w: corrected: 1 muscle changed" in result.stdout
    assert "fat" not in result.stderr
    after = json.loads((out / "w_run.json").read_text())
    for key in ("scan_sha256", "fat_fraction"):
        assert after[key] == before[key], key
    fat.unlink()
    assert call("measure", out / "w_labels.nii.gz").exit_code == 0


def test_folders_of_images_and_maps_may_lack_some(pretend: tuple[str, ...], tmp_path: Path) -> None:
    images = pair()
    for name, data in (("s", images.water.data + images.fat.data), ("t", images.water.data)):
        save(tmp_path / f"{name}.nii.gz", data)
    for folder, volume in zip(("water", "fat"), images[:2], strict=True):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "s.nii.gz", volume.data)
    scans = [tmp_path / "s.nii.gz", tmp_path / "t.nii.gz"]
    folders = ("--water", tmp_path / "water", "--fat", tmp_path / "fat")
    maps = ("--map", f"W={tmp_path / 'water'}")
    result = call("segment", *scans, *folders, *maps, "-o", tmp_path / "out", *pretend)
    assert result.exit_code == 0, result.output
    assert "t: no fat fraction is measured" in result.stderr
    assert "t: no W is measured" in result.stderr
    assert "synthesized" not in result.stderr
    assert (tmp_path / "out" / "s_fat_fraction.nii.gz").is_file()
    assert not (tmp_path / "out" / "t_fat_fraction.nii.gz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"water": Path("w")}, "--water: found no --fat"),
        ({"fat": Path("f")}, "--fat: found no --water"),
        (
            {"water": Path("w"), "fat": Path("f"), "fat_fraction": Path("m")},
            "--fat-fraction: found --water and --fat too",
        ),
        ({"map": ("T2",)}, "--map: found 'T2'; accepted: NAME=PATH"),
        ({"map": ("T2=",)}, "--map: found 'T2='"),
        ({"map": ("1=a.nii",)}, "--map: found '1=a.nii'"),
        ({"map": ("T2=a.nii", "T2=b.nii")}, "--map: found the name T2, which is taken"),
        ({"map": ("fat_fraction=a.nii",)}, "Give --fat-fraction"),
    ],
)
def test_options_that_exclude_each_other(options: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        SegmentJob(output=Path("out"), **options)
    assert message in str(error.value)
