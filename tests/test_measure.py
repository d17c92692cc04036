"""`musclejax measure`: corrected labels, labels from other tools, and what it leaves alone.

All results are made up: no network runs.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from musclejax import anatomy
from musclejax.app import measured_scan
from musclejax.app.recorded_scan import RecordedScans
from musclejax.data.label_tables import find_table
from musclejax.data.muscle_names import parse_name
from musclejax.errors import InputError
from musclejax.files import file_sha256
from musclejax.prediction.correction import changed_shares, levels_in
from musclejax.prediction.evidence import Evidence
from musclejax.prediction.result import Levels, Segmentation
from musclejax.reports import measured, segmentation
from musclejax.reports.review import find_strays, read_review
from musclejax.reports.run_record import read_record, recorded_names, seal
from musclejax.scan.catalog import list_series
from musclejax.scan.series import Series
from musclejax.scan.sides import find_sides
from musclejax.scan.source import read_source
from musclejax.scan.study import load
from musclejax.scan.volume import scan_name
from tests.pairs import AFFINE, thigh
from tests.pairs import write as write_image
from tests.pretend import pretend_picture
from tests.test_cli import call


@pytest.fixture(autouse=True)
def without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (segmentation, measured):
        monkeypatch.setattr(module, "draw", pretend_picture)


@pytest.fixture
def out(limbs: np.ndarray, tmp_path: Path) -> Path:
    """Results of a scan as `segment` writes them, with levels and estimates."""
    scan = write_image(tmp_path / "scans/P01.nii.gz", limbs)
    save_result(scan, thigh(limbs), tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def both(out: Path, limbs: np.ndarray) -> Path:
    """The same of two scans."""
    scan = write_image(out.parent / "scans/P02.nii.gz", limbs * np.float32(2))
    save_result(scan, thigh(limbs), out)
    return out


def save_result(scan: Path | Series, labels: np.ndarray, folder: Path, **options: Any) -> None:
    volume, region = load(scan), anatomy.REGIONS["thigh"]
    ones = np.ones((volume.num_slices, 2, region.num_classes), np.float32)
    present = np.isin(np.arange(region.num_classes), labels[labels > 0])
    evidence = Evidence(*(ones * present * n for n in (100, 40, 100, 50, 20, 20, 100, 0, 0)))
    level = np.linspace(0.7, 0.4, volume.num_slices)[:, None] * np.ones(2)
    result = Segmentation(
        volume=volume,
        labels=labels,
        confidence=labels,
        sides=find_sides(volume, labels, region),
        covered=labels >= 0,
        region="thigh",
        region_probability=0.9,
        weights="made up",
        trained=True,
        evidence=evidence,
        levels=Levels(level, level / 10, level > 0, ones > 0),
        warnings=("made up", "low estimated DSC, look at all"),
    )
    path = scan.path if isinstance(scan, Series) else scan
    source = {"source": str(path), "source_files": read_source(path)._asdict()}
    segmentation.save(result, folder, record=lambda: source, **options)


def edit(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change a label map as ITK-SNAP saves it: without the names in its header."""
    labels = change(np.asarray(nib.load(path).dataobj).astype(np.int16))
    nib.save(nib.Nifti1Image(labels, nib.load(path).affine), path)
    return labels


def less_left_vl(labels: np.ndarray) -> np.ndarray:
    """Remove a tenth of the left VL; the left limb has low x, as AFFINE runs to the right."""
    own = np.argwhere((labels == 1) & (np.arange(len(labels))[:, None, None] < 45))
    labels[tuple(own[: len(own) // 10].T)] = 0
    return labels


def table(folder: Path, kind: str, name: str = "P01") -> pd.DataFrame:
    rows = pd.read_csv(folder / f"{name}_{kind}.csv", keep_default_na=False, na_values=[""])
    return rows[~rows.get("kind", pd.Series("muscle", rows.index)).eq("group")]


def record(folder: Path, name: str = "P01") -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}_run.json").read_text()))


def segment_again(folder: Path, *options: str, weights: Path) -> Result:
    scans = folder.parent / "scans"
    return call("segment", scans / "P01.nii.gz", "-o", folder, "--weights", weights, *options)


def test_an_edited_map_is_measured_again(both: Path, weights_folder: Path) -> None:
    out = both
    before = {kind: table(out, kind) for kind in ("muscles", "slices", "sections")}
    network = record(out)["files"]["P01_labels.nii.gz"]
    assert "no label map was edited (2 scans)" in call("measure", out).stdout
    edit(out / "P01_labels.nii.gz", less_left_vl)
    edited = (out / "P01_labels.nii.gz").read_bytes()
    assert "edited since; `musclejax measure`" in segment_again(out, weights=weights_folder).stdout

    result = call("measure", out)
    assert result.exit_code == 0, result.stderr
    assert "P01: corrected: 1 muscle changed, VL left 10.0 %" in result.stdout
    assert "1 measured again, of 2 scans" in result.stdout
    assert (out / "P01_labels.nii.gz").read_bytes() == edited
    now = record(out)
    assert now["files"]["P01_labels.nii.gz"] == network != now["corrected"]["labels_sha256"]
    assert (now["corrected"]["by"], now["reviewed"]) == (str(out / "P01_labels.nii.gz"), False)
    assert "left VL" not in now["flagged"]
    assert "right VL" in now["flagged"]
    assert "left VL" not in now["warnings"][-1]
    assert now["warnings"][0] == "made up"

    after = {kind: table(out, kind) for kind in before}
    rows = [t["muscles"].set_index(["muscle", "side"]) for t in (before, after)]
    key = ("VL", "left")
    assert rows[1].loc[key, "voxels"] == pytest.approx(0.9 * rows[0].loc[key, "voxels"], abs=1)
    assert rows[0]["estimated_dsc"].notna().sum() == 4  # VL and AM, which the labels have
    assert rows[1]["estimated_dsc"].notna().sum() == 3
    assert pd.isna(rows[1].loc[key, "estimated_dsc"])
    assert not rows[1].loc[key, "flag"]
    names = ["voxels", "volume_ml", "estimated_dsc", "flag", "truncated"]
    pd.testing.assert_frame_equal(rows[0].drop(key)[names], rows[1].drop(key)[names])
    changed = after["slices"].query("muscle == 'VL' and side == 'left'")
    assert changed["estimated_dsc"].isna().all()
    assert after["slices"]["estimated_dsc"].notna().sum() == 3 * 4
    for kind, names in (("slices", ["slice", "side", "level", "level_sd", "in_range"]),):
        pd.testing.assert_frame_equal(before[kind][names], after[kind][names])
    assert list(before["sections"]["at"]) == list(after["sections"]["at"])

    assert "no label map was edited (2 scans, 1 corrected before)" in call("measure", out).stdout
    for option in ((), ("--overwrite",)):
        done = segment_again(out, *option, weights=weights_folder)
        assert (done.exit_code, "P01: already done, corrected" in done.stdout) == (0, True)
    assert (out / "P01_labels.nii.gz").read_bytes() == edited


def test_the_first_map_again_is_no_correction(out: Path) -> None:
    first, original = table(out, "muscles"), (out / "P01_labels.nii.gz").read_bytes()
    edit(out / "P01_labels.nii.gz", less_left_vl)
    call("measure", out)
    (out / "P01_labels.nii.gz").write_bytes(original)
    assert "P01: measured as segmented" in call("measure", out).stdout
    assert "corrected" not in record(out)
    assert list(table(out, "muscles")["voxels"]) == list(first["voxels"])


def test_edited_tables_and_earlier_corrections_are_kept(out: Path, limbs: np.ndarray) -> None:
    edit(out / "P01_labels.nii.gz", less_left_vl)
    (out / "P01_muscles.csv").write_text("mine")
    assert call("measure", out).exit_code == 0
    assert (out / "P01_muscles.csv.bak").read_text() == "mine"
    corrected = (out / "P01_labels.nii.gz").read_bytes()
    other = write_image(out.parent / "other.nii.gz", np.where(thigh(limbs) == 7, thigh(limbs), 0))
    options = ("--scan", out.parent / "scans/P01.nii.gz", "-o", out, "--names", "muscles")
    for _ in range(2):  # a copy of the same file needs no .bak
        result = call("measure", other, *options)
        assert "2 muscles changed, VL left 100.0 %, VL right 100.0 %" in result.stdout
    assert (out / "P01_labels.nii.gz.bak").read_bytes() == corrected
    assert [p.name for p in out.glob("*.bak?")] == []
    assert table(out, "slices")["level"].notna().all()


def test_maps_for_all_scans_and_what_review_says(both: Path, limbs: np.ndarray) -> None:
    out = both
    for name in ("P01", "P02"):
        fat = np.where(limbs > 0, np.where(thigh(limbs) > 0, 0.25, 0), 0)
        fat[:, ::9] = np.where(limbs[:, ::9] > 0, 0.95, 0)
        write_image(out.parent / "maps" / f"{name}.nii.gz", fat.astype(np.float32))
    (out / "review.csv").write_text('scan,slice,mark,comment\nP02,,right,"a, b"\nP9,1,right,\n')
    result = call("measure", out, "--fat-fraction", out.parent / "maps")
    assert "no results of 'P9'" in result.stderr
    assert "2 measured again" in result.stdout
    assert table(out, "muscles")["fat_fraction"].notna().sum() == 4
    assert table(out, "muscles")["estimated_dsc"].notna().sum() == 4
    assert [record(out, name)["reviewed"] for name in ("P01", "P02")] == [False, True]
    (out / "review.csv").write_text("scan,slice,mark\nP01,,right\n")
    assert "no label map was edited" in call("measure", out).stdout
    assert [record(out, name)["reviewed"] for name in ("P01", "P02")] == [True, False]
    edit(out / "P01_labels.nii.gz", less_left_vl)
    call("measure", out)  # the map of the record is taken again
    assert table(out, "muscles")["fat_fraction"].notna().sum() == 4


def test_maps_of_the_record_stay_beside_those_of_the_command(
    out: Path, limbs: np.ndarray, tmp_path: Path
) -> None:
    """Also where `segment` has left a fat fraction of water and fat, which another map replaces."""
    labels, ones = out / "P01_labels.nii.gz", np.ones_like(limbs)
    left = write_image(out / "P01_fat_fraction.nii.gz", ones * np.float32(0.1))
    about = json.loads((out / "P01_run.json").read_text())
    about["files"][left.name] = file_sha256(left)
    (out / "P01_run.json").write_text(json.dumps(seal(about)))
    fat = write_image(tmp_path / "ff.nii.gz", np.where(limbs > 0, np.float32(0.3), 0))
    t2 = write_image(tmp_path / "t2.nii.gz", ones * 40)
    for options in (("--map", f"T2={t2}"), ("--fat-fraction", fat), ()):
        assert call("measure", labels, *options).exit_code == 0
    found = table(out, "muscles").query("voxels > 0")
    assert found["T2_mean"].eq(40).all()
    np.testing.assert_allclose(found["fat_fraction"], 0.3, atol=1e-4)


def test_a_scan_without_a_new_map_keeps_the_one_before(both: Path, limbs: np.ndarray) -> None:
    """Source: ours; maps of some scans removed the fat fractions and T2 of the others."""
    fat, new = both.parent / "fat", both.parent / "new"
    for name in ("P01", "P02"):
        write_image(fat / f"{name}.nii.gz", np.where(limbs > 0, np.float32(0.3), 0))
    write_image(new / "P01.nii.gz", np.where(limbs > 0, np.float32(0.4), 0))
    call("measure", both, "--fat-fraction", fat, "--map", f"T2={fat}")
    result = call("measure", both, "--fat-fraction", new, "--map", f"T2={new}")
    for what in ("fat fraction", "T2"):
        assert f"P02: {what}: that of before is measured: " in result.stderr
    assert "P01: " not in result.stderr.replace("P01: the fat-fraction map", "")
    for name, value in (("P01", 0.4), ("P02", 0.3)):
        found = table(both, "muscles", name).query("voxels > 0")
        np.testing.assert_allclose(found[["fat_fraction", "T2_mean"]], value, atol=1e-4)


def test_labels_of_a_file_with_several_volumes(limbs: np.ndarray, tmp_path: Path) -> None:
    """The first echo is the scan, as for `segment`."""
    scan, labels = tmp_path / "echoes.nii.gz", write_image(tmp_path / "l.nii.gz", thigh(limbs))
    image = nib.load(write_image(tmp_path / "one.nii.gz", limbs))
    nib.save(nib.Nifti1Image(np.stack([limbs, 2 * limbs], -1), image.affine), scan)
    options = ("--names", "muscles", "-o", tmp_path / "out")
    result = call("measure", labels, "--scan", scan, *options)
    assert "echoes: 2 muscles of the thigh measured" in result.stdout
    assert call("measure", labels, "--scan", scan, *options).stdout.startswith(
        "echoes: measured, no voxel differs from echoes_labels_original.nii.gz"
    )


def test_label_maps_without_a_record_are_told(both: Path) -> None:
    record = both / "P01_run.json"
    record.write_text(record.read_text()[:200])
    damaged = call("measure", both)
    assert (damaged.exit_code, "P01_run.json: found a damaged record" in damaged.stderr) == (
        1,
        True,
    )
    record.unlink()
    assert "P01_labels.nii.gz: not measured, without P01_run.json" in call("measure", both).stderr


def test_scans_that_have_moved_and_a_map_that_is_being_written(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = out / "P01_labels.nii.gz"
    edit(path, less_left_vl)
    (out.parent / "scans").rename(out.parent / "elsewhere")
    result = call("measure", out)
    assert result.exit_code == 1
    assert "found no such scan; accepted: the scan of P01. If it has moved" in result.stderr
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    monkeypatch.setattr(time, "sleep", lambda seconds: path.write_bytes(whole))
    assert "1 muscle changed" in call("measure", out, "--scan", out.parent / "elsewhere").stdout


def test_the_bids_copy_is_renewed_under_its_name(limbs: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "study/P01/2024/t1_in_phase.nii.gz", limbs)
    [series] = list_series(tmp_path / "study").series
    out = tmp_path / "out"
    save_result(series, thigh(limbs), out, naming="bids")
    [labels] = out.glob("*_labels.nii.gz")
    before = sorted(path.relative_to(out) for path in (out / "bids").rglob("*"))
    edit(labels, less_left_vl)
    assert call("measure", out).exit_code == 0
    assert sorted(path.relative_to(out) for path in (out / "bids").rglob("*")) == before
    [copy] = (out / "bids").rglob("*_dseg.nii.gz")
    assert copy.read_bytes() == labels.read_bytes()
    assert json.loads(copy.with_name(f"{scan_name(copy)}.json").read_text())["Manual"] is True


def test_one_volume_of_a_file_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "here/echoes.nii.gz"
    data = np.random.default_rng(0).integers(1, 99, (6, 6, 3, 2)).astype(np.int16)
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    second = list_series(path).series[1]
    # As of a command in another working folder.
    source = {"source": path.name, "source_files": read_source(path, second)._asdict()}
    assert RecordedScans(None).find("x", source).series.index == 1
    path.parent.rename(tmp_path / "there")
    found = RecordedScans(tmp_path / "there").find("x", source)
    np.testing.assert_array_equal(load(found.series).data, data[..., 1])


def test_what_fails_leaves_the_others(both: Path) -> None:
    out = both
    (out / "P01_labels.nii.gz").unlink()
    edit(out / "P02_labels.nii.gz", less_left_vl)
    result = call("measure", out)
    assert result.exit_code == 1
    assert "failed: P01: " in result.stderr
    assert "P01_labels.nii.gz: found no such file" in result.stderr
    assert "P02: corrected" in result.stdout


def other_tool(limbs: np.ndarray, scheme: str, shift: int = 0) -> np.ndarray:
    """Labels of both limbs in the numbers of a scheme; left is at low x."""
    numbers = find_table(scheme).muscles
    left = np.arange(len(limbs))[:, None, None] < 45
    labels = np.zeros(limbs.shape, np.int16)
    for number, [meaning, *_] in numbers.items():
        if meaning.region == "thigh":
            on = left if meaning.side == 1 else ~left if meaning.side == 2 else True
            labels[(thigh(limbs) == meaning.number) & on] = number
    return labels + np.int16(shift) * (labels > 0)


FOREIGN = [
    # labels, what else is said, the end of the line or the error
    ("musclemap", {}, "2 muscles of the thigh measured"),
    ("sides", {"--names": "sides"}, "2 muscles of the thigh measured"),
    ("huashan", {"--names": "huashan"}, "2 muscles of the thigh measured"),
    ("muscles", {}, "numbers 1, 7 that nothing explains; accepted: --names with a file of names"),
    ("muscles", {"--names": "muscles"}, "2 muscles of the thigh measured"),
    ("muscles", {"--names": "muscels"}, "no file muscels; .*Did you mean muscles"),
    ("muscles", {"--names": "huashan"}, "2 muscles of the thigh"),  # SAR and GRA, as said
    (
        "sides",
        {"--names": "muscles"},
        r"label numbers 101 \(\d+ voxels\), 107 .*; accepted: 0-12 .* They fit --names sides",
    ),
    ("musclemap", {"--region": "leg"}, "muscles of the thigh only"),
    ("muscles", {"--names": "totalsegmentator"}, "1 muscle of the thigh"),
]


@pytest.mark.parametrize(("scheme", "said", "message"), FOREIGN)
def test_labels_from_other_tools(
    scheme: str, said: dict[str, str], message: str, limbs: np.ndarray, tmp_path: Path
) -> None:
    scan = write_image(tmp_path / "P1.nii.gz", limbs)
    labels = write_image(tmp_path / "labels.nii.gz", other_tool(limbs, scheme), "LPS")
    options = [text for pair in said.items() for text in pair]
    result = call("measure", labels, "--scan", scan, "-o", tmp_path / "out", *options)
    text = result.stdout + result.stderr
    assert re.search(message, text), text
    if "measured" not in message:
        return
    written = nib.load(tmp_path / "out/P1_labels.nii.gz")
    expected = thigh(limbs)
    np.testing.assert_array_equal(np.asarray(written.dataobj), expected)
    rows = table(tmp_path / "out", "muscles", "P1").set_index(["muscle", "side"])
    left = np.arange(len(limbs))[:, None, None] < 45
    assert rows.loc[("VL", "left"), "voxels"] == ((expected == 1) & left).sum()
    about = record(tmp_path / "out", "P1")
    assert (about["weights"], about["corrected"]["by"]) == ("none", str(labels))


def test_labels_of_a_dataset_named_from_within_its_folder(
    limbs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = write_image(tmp_path / "P1.nii.gz", limbs)
    labels = write_image(tmp_path / "labelsTr/P1.nii.gz", thigh(limbs))
    names = {"labels": {"background": 0, "VL": 1, "AM": 7}}
    (tmp_path / "dataset.json").write_text(json.dumps(names))
    monkeypatch.chdir(labels.parent)
    result = call("measure", labels.name, "--scan", scan, "-o", tmp_path / "out")
    assert "2 muscles of the thigh measured" in result.stdout, result.stderr


def test_results_are_measured_in_another_folder(out: Path) -> None:
    """An editor has dropped the names in the header: the record beside the labels explains them."""
    edit(out / "P01_labels.nii.gz", less_left_vl)
    scan, other = out.parent / "scans/P01.nii.gz", out.parent / "other"
    result = call("measure", out / "P01_labels.nii.gz", "--scan", scan, "-o", other)
    assert "2 muscles of the thigh measured" in result.stdout, result.stderr


def test_segment_never_erases_labels_from_elsewhere(
    limbs: np.ndarray, tmp_path: Path, weights_folder: Path
) -> None:
    scan = write_image(tmp_path / "scans/P01.nii.gz", limbs)
    labels = write_image(tmp_path / "labels.nii.gz", other_tool(limbs, "musclemap"))
    call("measure", labels, "--scan", scan, "-o", tmp_path / "out")
    kept = (tmp_path / "out/P01_labels.nii.gz").read_bytes()
    result = segment_again(tmp_path / "out", "--overwrite", weights=weights_folder)
    assert "already done, corrected; --overwrite-edited segments it again" in result.stdout
    assert (tmp_path / "out/P01_labels.nii.gz").read_bytes() == kept


def test_sides_against_the_header_are_told(limbs: np.ndarray, tmp_path: Path) -> None:
    scan = write_image(tmp_path / "P1.nii.gz", limbs)
    swapped = other_tool(limbs, "sides")
    swapped = np.where(swapped > 100, swapped - 100, swapped + 100 * (swapped > 0))
    labels = write_image(tmp_path / "l.nii.gz", swapped.astype(np.int16))
    options = ("--names", "sides", "-o", tmp_path / "out")
    result = call("measure", labels, "--scan", scan, *options)
    assert "left and right of the label numbers are not those of the header" in result.stderr


def change_affine(path: Path) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine + np.eye(4)), path)


BROKEN: list[tuple[Callable[[Path], Any], str]] = [
    (lambda p: edit(p, lambda a: np.where(a == 7, 13, a)), r"13 \(\d+ voxels\).*Nearest to 13: 12"),
    (lambda p: edit(p, lambda a: a * 0), "found only background"),
    (lambda p: edit(p, lambda a: a[1:]), "found shape"),
    (lambda p: edit(p, lambda a: np.where(a == 7, 7.4, a).astype(np.float32)), "label values 7.4"),
    (lambda p: edit(p, lambda a: -a), "label numbers -7 to -1"),
    (change_affine, "an affine that differs from the image's"),
    (lambda p: p.write_bytes(p.read_bytes()[:200]), "no readable"),
    (lambda p: p.write_bytes(b""), "no readable"),
]


def test_unusable_label_maps_are_one_line(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_scan, "_WAITS_S", ())
    path = out / "P01_labels.nii.gz"
    before = {p.name: p.read_bytes() for p in out.glob("P01_*")}
    for break_, message in BROKEN:
        break_(path)
        result = call("measure", out)
        assert result.exit_code == 1
        assert re.search(message, result.stderr), result.stderr
        assert result.stderr.splitlines()[1:] == ["1 of 1 failed; 0 measured again"]
        path.write_bytes(before[path.name])
        assert before == {p.name: p.read_bytes() for p in out.glob("P01_*")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("labels.nii.gz",), "--scan: found none"),
        (("labels.nii.gz", "--scan", "scans/P01.nii.gz"), "-o: found none"),
        (("labels.nii.gz", "--scan", "scans", "-o", "x"), "found 2 scans in"),
        (("gone.nii.gz",), "gone.nii.gz: found no such file or folder"),
        (("scans",), "found no results of segment"),
        (("out", "-o", "x"), "-o: found x with a folder"),
        (("out", "--region", "leg"), "--region: found leg with a folder"),
    ],
)
def test_usage(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("labels.nii.gz", "scans/P01.nii.gz", "scans/P02.nii.gz"):
        write_image(tmp_path / name, np.ones((2, 2, 2)))
    (tmp_path / "out").mkdir()
    result = call("measure", *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr


# Names -------------------------------------------------------------------------------------------

FILES = [
    # name of the file, its contents, number -> meaning
    ("snap.txt", '0 0 0 0 0 0 0 "Clear Label"\n5 255 0 0 1 1 1 "VL, left"\n', {5: "VL left"}),
    (
        "slicer.ctbl",
        "# Color table file\n0 Background 0 0 0 0\n1 soleus_R 1 2 3 255",
        {1: "SOL right"},
    ),
    ("slicer.csv", "LabelValue,Name,Color_R\n2,tibialis anterior,9\n", {2: "TA"}),
    ("a_dseg.tsv", "index\tname\tabbreviation\n3\tgracilis left\tX\n", {3: "GRA left"}),
    ("rows.csv", "4,BF-LH\n9,femur\n", {4: "BFL"}),
    ("rows.tsv", "number\tname\n4\tlong head of biceps femoris\n", {4: "BFL"}),
    ("german.csv", '4;"fibularis longus"\n', {4: "PE"}),
    ("dataset.json", '{"labels": {"background": 0, "VM_right": 2, "x": 3}}', {2: "VM right"}),
    (
        "model.json",
        '{"labels": [{"anatomy": "vastus lateralis", "side": "left", "value": 1}]}',
        {1: "VL left"},
    ),
    ("none.csv", "1,femur\n", r"no muscle among its names \(1 femur\)"),
    ("twice.csv", "1,VL\n1,VM\n", "number 1 for 'VL' and for 'VM'"),
    ("words.txt", "hello\n", "row 'hello'"),
    ("empty.txt", "", "no names"),
]


@pytest.mark.parametrize(("name", "content", "expected"), FILES)
def test_files_of_names(name: str, content: str, expected: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            find_table(path)
        return
    found = find_table(path).muscles
    assert {n: " or ".join(map(str, meanings)) for n, meanings in found.items()} == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            ("VL_left", "VL left"),
            ("left_vastus_lateralis", "VL left"),
            ("vastus_lateralis_R", "VL right"),
        ),
        *(("Vastus lateralis, right", "VL right"), ("VastusLateralisLeft", "VL left")),
        *(("M. soleus", "SOL"), ("BF-LH", "BFL"), ("biceps femoris long head", "BFL")),
        *(("fibularis longus", "PE"), ("GM_L", "GM left"), ("tibialis anterior", "TA")),
        *(
            ("femur", "None"),
            ("BF_L", "None"),
            ("quadriceps_femoris_left", "None"),
            ("left", "None"),
        ),
    ],
)
def test_names_of_muscles(name: str, expected: str) -> None:
    assert str(parse_name(name)) == expected


def test_every_name_of_ours_is_read() -> None:
    """Also as labels.txt and the header of a label map have it."""
    for region in anatomy.REGIONS.values():
        for muscle in region.muscles:
            for text in (muscle.abbreviation, muscle.name, f"{muscle.abbreviation} {muscle.name}"):
                for side, end in enumerate(("", "_left", ", right")):
                    assert parse_name(text + end) == (region.name, muscle.number, side)


# Reviews and parts -------------------------------------------------------------------------------


def test_review(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text(
        'scan,slice,mark,comment\na,,right,"x, y"\na,3,to correct,\nb,0,unusable\n,,,\n'
    )
    expected = {"a": {None: "right", 3: "to correct"}, "b": {0: "unusable"}}
    assert read_review(tmp_path) == expected
    (tmp_path / "review (1).csv").touch()
    (tmp_path / "a_run.json").write_text('{"scan": "a", "slices": 3}')
    strays = "\n".join(find_strays(tmp_path, expected, ["a", "c"]))
    assert "review (1).csv is not read: rename it" in strays
    assert re.search("no results of 'b'\n.*a has no slice 3, only 0 to 2", strays)
    path.write_text(
        "\ufeffscan;slice;mark;comment\r\na;;right;x, y\r\na;3;to correct\r\nb;0;unusable\r\n"
    )
    assert read_review(tmp_path) == expected  # as Excel saves it where commas are decimal
    for name in ("._a_run.json", "._a_review.csv", "._review (1).csv"):  # of macOS
        (tmp_path / name).write_bytes(b"\0\5\x16\7\xff")
    (tmp_path / "review (1).csv").unlink()
    assert recorded_names(tmp_path) == ["a"]
    assert read_review(tmp_path) == expected
    assert find_strays(tmp_path, {}, ["a"]) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("scan|slice|mark|comment\n", "columns scan|slice|mark|comment; accepted"),
        ("scan,mark\n", "columns scan, mark; accepted: scan, slice, mark, comment"),
        ("scan,slice,mark\na,,wrong\n", "row 2, mark 'wrong'; accepted: right, to correct"),
        ("scan,slice,mark\na,x,right\n", "row 2, slice 'x'"),
        (f"scan,slice,mark\na,{'9' * 5000},right\n", "row 2, slice '999"),
        ("scan,slice,mark\n,,right\n", "row 2, no scan"),
        ("scan,slice,mark\na,1,right\na,1,unusable\n", "second mark of slice 1 of a"),
        ("scan,slice,mark\na,1,right,b,c\n", "row 2 with 5 cells"),
        ("", "columns ; accepted"),
    ],
)
def test_reviews_that_mean_nothing(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_review(tmp_path)


def test_shares_of_a_new_and_of_a_removed_muscle(limbs: np.ndarray, tmp_path: Path) -> None:
    """AM of the right limb becomes AL, where there was none."""
    scan = load(write_image(tmp_path / "a.nii.gz", limbs))
    original = thigh(limbs)
    right = np.arange(len(limbs))[:, None, None] >= 45
    labels = np.where((original == 7) & right, 12, original).astype(np.uint8)
    found = measured_scan.decode(
        load(write_image(tmp_path / "l.nii.gz", labels)),
        scan,
        find_table("muscles"),
        None,
        tmp_path,
    )
    result = measured_scan.make_result(scan, found, by="x", original=original)
    assert changed_shares(result) == {("AL", "right"): np.inf, ("AM", "right"): 1.0}
    assert AFFINE[0, 0] > 0  # low x is left: see `less_left_vl`
    assert levels_in(pd.DataFrame({"slice": [0]}), 4, 13) is None
    assert read_record(tmp_path, "none") is None
