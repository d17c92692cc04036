"""Label numbers on disk: to and from memory, stated in files, and read back by `evaluate`."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.sr.codedict import codes

from musclejax.anatomy import NUMBERINGS, REGIONS, Numbering, read_muscles
from musclejax.errors import InputError
from musclejax.reports.label_files import itksnap_labels, save_label_names, slicer_colors
from musclejax.scan.nifti import load_nifti, save_labels
from musclejax.scan.numbering import find_numbering, from_written, labels_of, to_written
from musclejax.scan.volume import Volume

# Names in pydicom's copy of DICOM PS3.16; MuscleMap numbers of the left muscle by its label table.
MDC = {
    "VL": "MusculusVastusLateralis",
    "VM": "MusculusVastusMedialis",
    "VI": "MusculusVastusIntermedius",
    "RF": "MusculusRectusFemoris",
    "SAR": "MusculusSartorius",
    "GRA": "MusculusGracilis",
    "AM": "MusculusAdductorMagnus",
    "SM": "MusculusSemimembranosus",
    "ST": "MusculusSemitendinosus",
    "BFL": "MusculusBicepsFemorisCaputLongum",
    "BFS": "MusculusBicepsFemorisCaputBreve",
    "AL": "MusculusAdductorLongus",
    "SOL": "MusculusSoleus",
    "GM": "MusculusGastrocnemiusCaputMediale",
    "GL": "MusculusGastrocnemiusCaputLaterale",
    "TA": "MusculusTibialisAnterior",
    "EDL": "MusculusExtensorDigitorumLongus",
}
THIGH, LEG = REGIONS["thigh"], REGIONS["leg"]


def test_codes_are_those_of_the_standard() -> None:
    muscles = {m.abbreviation: m for region in REGIONS.values() for m in region.muscles}
    assert {name for name, muscle in muscles.items() if not muscle.mdc} == {"PE"}
    for name, keyword in MDC.items():
        group, number = muscles[name].mdc.split(":")
        for offset, side in enumerate(("", "Left", "Right")):
            code = getattr(codes.MDC, keyword + side)
            assert (code.value, code.scheme_designator) == (
                f"{group}:{int(number) + offset}",
                "MDC",
            )


@pytest.mark.parametrize("region", REGIONS.values(), ids=lambda r: r.name)
@pytest.mark.parametrize("numbering", NUMBERINGS)
@given(data=st.data())
def test_reading_undoes_writing(region, numbering: Numbering, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    draw = arrays(np.uint8, (2, 3, 2), elements=st.integers(0, region.num_classes - 1))
    labels = data.draw(draw)
    sides = data.draw(arrays(np.uint8, (2, 3, 2), elements=st.integers(1, 2)))
    written = to_written(labels, sides, region, numbering)
    read = from_written(written.astype(np.float32), region, numbering, "map")
    np.testing.assert_array_equal(read.labels, labels)
    known = 0 if numbering == "muscles" else np.where(labels > 0, sides, 0)
    np.testing.assert_array_equal(read.sides, known * np.ones_like(sides))
    assert written.dtype == (np.uint16 if numbering == "musclemap" else np.uint8)


def test_numbers_are_unique_and_their_meaning_is_stable() -> None:
    for region in REGIONS.values():
        for numbering in NUMBERINGS:
            numbers = [label.number for label in labels_of(region, numbering)]
            assert sorted(set(numbers)) == numbers
            assert 0 not in numbers
    right = [label for label in labels_of(LEG, "sides") if label.abbreviation == "SOL_right"]
    assert (right[0].number, right[0].name) == (101, "Soleus, right")
    by_map = {label.number: label.abbreviation for label in labels_of(THIGH, "musclemap")}
    assert (by_map[7101], by_map[7102], by_map[7201]) == ("VL_left", "VL_right", "AM_left")


def test_what_cannot_be_numbered() -> None:
    labels = np.ones((1, 1, 1), np.uint8)
    with pytest.raises(InputError, match="labeled voxels without a side"):
        to_written(labels, labels * 0, THIGH, "sides")
    with pytest.raises(InputError, match=r"m: found label values 13; accepted: 0 to 12, the mus"):
        from_written(labels * 13, THIGH, "muscles", "m")
    with pytest.raises(
        InputError, match=r"accepted: the muscles of the leg: 1, 2, 3, 4, 5, \.\.\."
    ):
        from_written(labels * 7, LEG, "sides", "m")


@pytest.mark.parametrize("numbering", NUMBERINGS)
def test_each_file_states_its_numbering(numbering: Numbering, tmp_path: Path) -> None:
    """The header first, then the record, then labels.json, at last the numbers."""
    labels = np.array([[[1], [2]], [[0], [12]]], np.uint8)
    sides = np.array([[[1], [2]], [[1], [2]]], np.uint8)
    path, affine = tmp_path / "a_labels.nii.gz", np.diag([-1.0, 1, 5, 1])
    volume = Volume(np.ones((2, 2, 1), np.float32), affine)
    save_labels(path, labels, volume, THIGH, numbering, sides)
    (tmp_path / "labels.json").write_text('{"numbering": "nonsense"}')
    stored = load_nifti(path)
    assert find_numbering(path, stored, THIGH) == numbering
    assert np.array_equal(from_written(stored.data, THIGH, numbering, path).labels, labels)
    bare = Volume(stored.data, affine)  # as an editor saves it
    assert find_numbering(path, bare, THIGH) == numbering
    left = Volume(np.ones((2, 2, 1), np.float32), affine)  # tells nothing by itself
    assert find_numbering(path, left, THIGH) == "muscles"
    save_label_names(tmp_path / "b", numbering)
    assert find_numbering(tmp_path / "b" / "a_labels.nii.gz", left, THIGH) == numbering
    (tmp_path / "a_run.json").write_text(json.dumps({"numbering": numbering}))
    assert find_numbering(path, left, THIGH) == numbering


def test_files_for_itksnap_and_slicer_are_right_for_their_region() -> None:
    rows = [row for row in itksnap_labels(LEG, "sides").splitlines() if row[0] != "#"]
    assert [row.split()[0] for row in rows[:3]] == ["0", "1", "2"]
    assert '"SOL Soleus, right"' in rows[7]
    colors = [row.split() for row in slicer_colors(THIGH, "musclemap").splitlines()[1:]]
    assert all(len(row) == 6 for row in colors)  # Slicer's reader ends names at spaces
    assert ["7102", "Vastus_lateralis_right"] in [row[:2] for row in colors]


def test_a_folder_has_one_numbering(tmp_path: Path) -> None:
    """Ours are renewed only where the label maps are; those of a person never."""
    assert save_label_names(tmp_path) == []
    stated = json.loads((tmp_path / "labels.json").read_text())
    assert (stated["numbering"], stated["leg"]["PE"]) == ("muscles", 6)
    with pytest.raises(InputError, match="accepted: --labels muscles, or another -o"):
        save_label_names(tmp_path, "sides", change=False)
    (tmp_path / "labels_leg.txt").write_text("my colors")
    assert save_label_names(tmp_path, "sides") == [tmp_path / "labels_leg.txt"]
    assert json.loads((tmp_path / "labels.json").read_text())["leg"]["PE_right"] == 106
    assert "Vastus_lateralis_right" in (tmp_path / "labels_thigh.ctbl").read_text()
    # A file of a version that stated nothing is ours, and its numbers are those of muscles.
    del stated["numbering"]
    (tmp_path / "labels.json").write_text(json.dumps(stated, indent=2) + "\n")
    with pytest.raises(InputError, match="label maps with the numbers of muscles"):
        save_label_names(tmp_path, "sides", change=False)
    assert save_label_names(tmp_path) == [tmp_path / "labels_leg.txt"]


@pytest.mark.parametrize(
    ("text", "muscles"),
    [
        ("", ()),
        ("vm, VL", ("VL", "VM")),
        ("Soleus,biceps femoris long head", ("BFL", "SOL")),
        ("Adductors,GRA,triceps surae", ("GRA", "AM", "AL", "SOL", "GM", "GL")),
    ],
)
def test_lists_of_muscles(text: str, muscles: tuple[str, ...]) -> None:
    assert read_muscles(text) == muscles


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("VLL", "Did you mean VL?"),
        ("VL,vastus latralis", "vastus lateralis?"),
        ("quadricep", "quadriceps?"),
    ],
)
def test_a_muscle_of_no_region(text: str, hint: str) -> None:
    with pytest.raises(InputError, match="muscles: found '") as caught:
        read_muscles(text)
    assert str(caught.value).endswith(hint)
