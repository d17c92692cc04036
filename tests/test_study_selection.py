"""Which series of a study are segmented, under which names, and what is told of the others."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from musclejax.app import one_scan
from musclejax.errors import InputError
from musclejax.reports import segmentation
from musclejax.scan.selection import (
    PREFERENCE,
    Choice,
    caution,
    fat_images,
    matches,
    mixture,
    select,
)
from musclejax.scan.series import Kind, Series
from tests.dicom_series import uid, write
from tests.pretend import pretend_picture, pretend_steps
from tests.test_cli import call
from tests.test_scan_catalog import dicom, dixon, nifti


def one(kind: Kind, **values: Any) -> Series:
    """Return a series of one visit and place, a path of its own for each kind."""
    place = {"subject": "P", "visit": "1", "description": kind, "extent_mm": (0.0, 100.0)}
    return Series(**{"path": Path(kind), "kind": kind, **place, **values})


def taken(*series: Series, **choice: Any) -> list[Series]:
    return list(select(series, Choice(**choice)).taken)


# The best of each place --------------------------------------------------------------------------


def test_the_order_of_kinds() -> None:
    """Each kind is taken where the better ones are missing; maps and localizers never are."""
    series = [one(kind) for kind in reversed(PREFERENCE)]
    order = sorted(series, key=lambda s: PREFERENCE[s.kind][0])
    assert {s.kind for s in order[:2]} == {"in phase", "echo"}
    assert [s.kind for s in order[2:]] == [
        *("opposed phase", "other", "water", "fat", "fat fraction")
    ]
    while series:
        (best,) = taken(*series, one("map"), one("localizer"))
        assert PREFERENCE[best.kind][0] == min(PREFERENCE[s.kind][0] for s in series)
        series.remove(best)
    assert taken(one("map"), one("localizer")) == []


def test_the_earliest_echo_is_the_best() -> None:
    late, early = one("in phase", echo_ms=4.6), one("echo", echo_ms=2.3)
    assert taken(late, early) == [early]
    assert taken(late, early, echo=2) == [late]
    assert taken(late, early, one("water", echo_ms=1.0), echo=1) == [early]
    with pytest.raises(InputError, match="no series with so many echo times"):
        taken(late, early, echo=3)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1),
        ({"extent_mm": (60.0, 160.0)}, 2),
        ({"extent_mm": (40.0, 140.0)}, 1),
        ({"extent_mm": (20.0, 60.0)}, 1),
        ({"extent_mm": None}, 1),
        ({"place": "another frame of reference"}, 2),
        ({"visit": "2"}, 2),
        ({"subject": "Q"}, 2),
    ],
)
def test_places(changes: dict[str, Any], count: int) -> None:
    """Half of the shorter series decides."""
    assert len(taken(one("in phase"), replace(one("water"), **changes))) == count


def test_thick_slices_of_other_planes_come_after_fine_images() -> None:
    coronal, water = one("in phase", pixel_mm=8.0), one("water", pixel_mm=1.5)
    assert taken(coronal, water, one("fat", pixel_mm=1.5)) == [water]
    assert taken(coronal, one("fat", pixel_mm=1.5)) == [coronal]


def test_what_headers_show_to_be_no_volume_comes_after_water() -> None:
    broken, water, fat = one("in phase", problem="2 images"), one("water"), one("fat")
    assert taken(broken, water, fat) == [water]
    assert taken(broken, fat) == [broken]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("7", True),
        ("77", False),
        ("in phase", True),
        ("water", False),
        ("VIBE", True),
        ("t1*_tra", True),
        ("t2*", False),
    ],
)
def test_a_pattern_means_number_kind_or_description(pattern: str, found: bool) -> None:
    series = one("in phase", number=7, description="t1_vibe_tra")
    assert matches(series, pattern) == found
    if not found:
        with pytest.raises(InputError, match="no such series; accepted: a series number"):
            taken(series, series=pattern)


def test_any_kind_can_be_chosen() -> None:
    series = [one("in phase"), one("fat"), one("map")]
    assert taken(*series, series="fat") == [series[1]]
    assert taken(*series, series="map") == [series[2]]


def test_what_is_said() -> None:
    many = select([one("in phase"), *(one("water", path=Path(f"{n}")) for n in range(2))])
    assert many.line == "2 series are not segmented: 2 water; `musclejax scan` lists them"
    nothing = select([one("in phase"), one("map", subject="Q")])
    assert nothing.warnings == ("nothing is segmented of 1 visit (Q 1)",)
    assert caution(one("water")) == ""
    assert "fat image" in caution(one("fat"))
    assert "localizer" in caution(one("localizer"))
    assert mixture([one("water"), one("water")]) == ("water", "")
    usual, line = mixture([one("water"), one("water"), one("in phase")])
    assert usual == "water"
    assert "(2 water, 1 in phase)" in line


def test_fat_images_of_a_series() -> None:
    """Of the same visit and grid; the pair of one acquisition; a ready map goes first."""
    image = one("in phase", number=3)
    near = [one(kind, number=n, description=f"a_{kind}") for n, kind in ((5, "water"), (6, "fat"))]
    far = [one("water", number=8, description="b"), one("fat", shape=(9,), number=4)]
    assert fat_images(image, [image, *far, *near]) == tuple(near)
    assert fat_images(image, [image, near[0]]) == ()
    assert fat_images(image, [replace(s, visit="2") for s in near]) == ()
    ready = one("fat fraction", number=7)
    assert fat_images(image, [image, *near, ready]) == (ready,)


# The commands ------------------------------------------------------------------------------------


@pytest.fixture
def segment(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Call `musclejax segment` without a network; results go to `out`."""
    monkeypatch.setattr(one_scan, "segment_steps", pretend_steps)
    monkeypatch.setattr(segmentation, "draw", pretend_picture)

    def run(*arguments: object) -> Result:
        return call("segment", *arguments, "-o", tmp_path / "out", "--weights", weights_folder)

    return run


def names(folder: Path) -> set[str]:
    return {p.name.removesuffix("_run.json") for p in folder.glob("*_run.json")}


def record(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}_run.json").read_text()))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """P1 in a folder for all series; P2 in one for each, without in and opposed phase."""
    root = tmp_path / "study"
    for number, images in enumerate(dixon("P1", StudyInstanceUID=uid("1")).values()):
        write(root / "P1", images, f"s{number}")
    for name, images in dixon("P2", StudyInstanceUID=uid("2")).items():
        if name in "WF":
            write(root / "P2" / "visit" / name, images)
    return root


def test_a_study(study: Path, segment: Callable[..., Result], tmp_path: Path) -> None:
    """Names by subject, visit and series; a note of each scan; the same again."""
    result = segment(study)
    assert result.exit_code == 0, result.output
    assert (
        "4 series are not segmented: 2 fat, 1 opposed phase, 1 water; `musclejax scan`"
        in result.stdout
    )
    assert "different kinds of images are segmented (1 in phase, 1 water)" in result.stderr
    out = tmp_path / "out"
    first, second = "P1_20210304_t1_vibe_dixon_in", "P2_20210304_t1_vibe_dixon_W"
    assert names(out) == {first, second}
    found = record(out, first)
    assert (found["subject"], found["visit"]) == ("P1", "20210304")
    assert found["series"] == {
        **{"description": "t1_vibe_dixon_in", "kind": "in phase"},
        **{"number": 1, "echo_ms": 1.7},
    }
    assert found["source_files"]["files"] == 3
    (note,) = [w for w in record(out, second)["warnings"] if "image kind" in w]
    assert note.startswith("image kind water, where most scans of the cohort are in phase")
    again = segment(study)
    assert again.stdout.count("already done") == 2
    # Another series of the folder is another scan; and so is a second study of the day.
    assert segment(study / "P1", "--series", "water").exit_code == 0
    assert names(out) == {first, second, "P1_20210304_t1_vibe_dixon_W"}
    moved = study.rename(tmp_path / "moved")
    assert segment(moved).stdout.count("already done") == 2


def test_names_never_collide(segment: Callable[..., Result], tmp_path: Path) -> None:
    """Two series with one description in one folder: their numbers, then their files tell."""
    for number in (3, 4):
        images = dicom(f"s{number}", SeriesNumber=number, SeriesDescription="dixon_in_phase")
        for image in images:
            image.FrameOfReferenceUID = uid("place", number)
        write(tmp_path / "study", images, f"s{number}")
    assert segment(tmp_path / "study").exit_code == 0
    stem = "P7_20210304_dixon_in_phase"
    assert names(tmp_path / "out") == {f"{stem}_3", f"{stem}_4"}
    assert segment(tmp_path / "study").stdout.count("already done") == 2


def test_plain_files_are_segmented_as_ever(segment: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("a", "b_F", "b_M"):
        nifti(tmp_path / "cohort" / f"{name}.nii.gz")
    result = segment(tmp_path / "cohort")
    assert names(tmp_path / "out") == {"a", "b_F", "b_M"}
    assert "not segmented" not in result.output
    assert result.stderr.count("warning: ") == result.stderr.count("warning: random weights")
    assert record(tmp_path / "out", "a")["subject"] == "a"


def test_a_file_given_by_name_is_segmented(segment: Callable[..., Result], tmp_path: Path) -> None:
    water = nifti(tmp_path / "in" / "a_water.nii.gz")
    nifti(tmp_path / "in" / "a_ip_water.nii.gz")
    assert segment(water).exit_code == 0
    assert names(tmp_path / "out") == {"a_water"}


def test_one_volume_of_a_file(segment: Callable[..., Result], tmp_path: Path) -> None:
    path = nifti(tmp_path / "sub-1_megre.nii.gz", (4, 5, 6, 3), {"EchoTime": [1.1, 2.2, 3.3]})
    assert segment(path, "--echo", "2").exit_code == 0
    assert record(tmp_path / "out", "sub-1_megre")["series"]["echo_ms"] == 2.2
    result = segment(path)
    assert "2 series are not segmented: 2 echo" in result.stdout
    assert names(tmp_path / "out") == {"sub-1_megre", "sub-1_megre_1"}
    assert segment(path).stdout.count("already done") == 1


def test_folders_of_one_study(segment: Callable[..., Result], tmp_path: Path) -> None:
    """`segment study/*`: the subjects are the folders, as in `segment study`."""
    for subject in "AB":
        nifti(tmp_path / "study" / subject / "baseline" / "ip_dixon.nii.gz")
    assert segment(*sorted((tmp_path / "study").iterdir())).exit_code == 0
    expected = {"A_baseline_ip_dixon", "B_baseline_ip_dixon"}
    assert names(tmp_path / "out") == expected
    assert segment(tmp_path / "study").stdout.count("already done") == 2


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--series", "nothing"], "found no such series; accepted: a series number", 1),
        (["--echo", "5"], "found no series with so many echo times", 1),
        (["--echo", "0"], "--echo: found 0; accepted: 1, the shortest", 2),
    ],
)
def test_a_choice_without_a_series(
    arguments: list[str], message: str, code: int, segment: Callable[..., Result], tmp_path: Path
) -> None:
    nifti(tmp_path / "in" / "a.nii.gz")
    result = segment(tmp_path / "in", *arguments)
    assert result.exit_code == code
    assert message in result.stderr


def test_a_study_without_images(segment: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("b0_map", "localizer"):
        nifti(tmp_path / "in" / f"a_{name}.nii.gz")
    result = segment(tmp_path / "in")
    assert result.exit_code == 1
    assert "found 2 series and none to segment (localizer, map)" in result.stderr
    (tmp_path / "empty").mkdir()
    assert "a folder without scans" in call("scan", tmp_path / "empty").stderr


def test_scan_lists_what_segment_takes(study: Path, tmp_path: Path) -> None:
    result = call("scan", study, "--csv", tmp_path / "list.csv")
    assert result.exit_code == 0
    assert "2 subjects, 2 visits, 6 series" in result.stdout
    rows = [line for line in result.stdout.splitlines() if "t1_vibe" in line]
    assert [row.split("│")[4].strip() for row in rows if "yes" in row] == [
        *("t1_vibe_dixon_in", "t1_vibe_dixon_W")
    ]
    assert call("segment", study, "--list").stdout == result.stdout
    listed = json.loads(call("scan", study, "--json").stdout)
    assert [row["kind"] for row in listed if row["chosen"]] == ["in phase", "water"]
    assert listed[0]["files"] == 3
    lines = (tmp_path / "list.csv").read_text().splitlines()
    assert lines[0].startswith("subject,visit,number,description,kind,echo_ms,shape")
    assert len(lines) == 7


def test_a_long_list_is_cut_on_the_terminal(monkeypatch: pytest.MonkeyPatch, study: Path) -> None:
    monkeypatch.setattr("musclejax.app.scan._ROWS_SHOWN", 2)
    shown = call("scan", study).stdout
    assert "and 4 more series: --csv FILE or --json has all" in shown
    assert shown.count("t1_vibe") == 2
