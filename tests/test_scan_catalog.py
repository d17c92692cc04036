"""What a study holds: series, kinds, subjects, visits, of any tree; and what `load` reads of it."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from musclejax.scan import dicom_series
from musclejax.scan.catalog import Catalog, list_series, safe_name
from musclejax.scan.dicom_look import look
from musclejax.scan.kinds import kind_of_bids, kind_of_description, kind_of_name, kind_of_type
from musclejax.scan.series import Series
from musclejax.scan.study import load
from tests.dicom_series import AXIAL, enhanced, item, numbers, series_images, uid, write

SLICES = 3
DATA = numbers((7, 5, SLICES))


def dicom(name: str = "T1", **values: object) -> list[Dataset]:
    """Return the images of one series with some values of the header."""
    images = series_images(DATA, AXIAL, name)
    for image in images:
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return images


def dixon(subject: str, **values: object) -> dict[str, list[Dataset]]:
    """Return the four images of a Dixon series, of which the scanner makes four series."""
    words = {"in": "IN_PHASE", "opp": "OPP_PHASE", "W": "WATER", "F": "FAT"}
    return {
        name: dicom(
            f"{subject} {name} {values.get('StudyDate')}",
            PatientID=subject,
            SeriesDescription=f"t1_vibe_dixon_{name}",
            ImageType=["DERIVED", "PRIMARY", "DIXON", word],
            SeriesNumber=number,
            **values,
        )
        for number, (name, word) in enumerate(words.items(), 1)
    }


def nifti(path: Path, shape: Sequence[int] = (4, 5, 6), about: object = None) -> Path:
    """Write a scan of ones, its last volumes of twos and so on; and its sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volumes = [np.full(shape[:3], n + 1, np.int16) for n in range(int(np.prod(shape[3:])))]
    data = volumes[0] if len(shape) == 3 else np.stack(volumes, -1)
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 5, 1])), path)
    if about is not None:
        Path(str(path).replace(".nii.gz", ".json")).write_text(json.dumps(about))
    return path


def kinds(catalog: Catalog) -> list[str]:
    return [series.kind for series in catalog.series]


def whom(catalog: Catalog) -> set[tuple[str, str]]:
    return {(series.subject, series.visit) for series in catalog.series}


# Kinds -------------------------------------------------------------------------------------------

DESCRIPTIONS = {
    "t1_vibe_dixon_tra_in": "in phase",
    "t1_vibe_dixon_tra_opp": "opposed phase",
    "T1 VIBE Dixon_W": "water",
    "mDIXON-All F": "fat",
    "LAVA-Flex: In-Phase": "in phase",
    "Out of phase": "opposed phase",
    "FatFrac [%]": "fat fraction",
    "WaterFrac": "map",
    "T2star_map": "map",
    "R2Star: Ax IDEAL": "map",
    "t1_fl2d_opp-in_tra": "echo",
    "gre 6 echoes TE1": "echo",
    "3-plane localizer": "localizer",
    "t2_tse_fatsat": None,
    "t1_water_exc": None,
    "water-fat imaging": None,
    "T1 W TSE": None,
    "t2_stir_inplane": None,
    "dropped": None,
}


@pytest.mark.parametrize(("text", "kind"), DESCRIPTIONS.items())
def test_kind_of_a_description(text: str, kind: str | None) -> None:
    """Names as Siemens, Philips and GE give them."""
    assert kind_of_description(text) == kind


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["DERIVED", "PRIMARY", "M", "DIXON", "WATER"], "water"),
        (["ORIGINAL", "PRIMARY", "F", "F", "DERIVED"], "fat"),
        (["ORIGINAL", "PRIMARY", "OUT PHASE"], "opposed phase"),
        (["ORIGINAL", "PRIMARY", "P", "ND"], "map"),
        (["DERIVED", "PRIMARY", "FAT_FRACTION", "M"], "fat fraction"),
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "localizer"),
        (["ORIGINAL", "PRIMARY", "M", "ND", "NORM"], None),
        ([], None),
    ],
)
def test_kind_of_image_type(words: list[str], kind: str | None) -> None:
    assert kind_of_type(words) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[("sub-1_wat", "water"), ("sub-1_fatfr", "fat fraction"), ("sub-1_megre", "echo")],
        *[("sub-1_inph", "in phase"), ("sub-1_outph", "opposed phase"), ("sub-1_fat", "fat")],
        *[("sub-1_T2map", "map"), ("sub-1_part-phase_megre", "map"), ("sub-1_T1w", None)],
    ],
)
def test_kind_of_a_bids_name(name: str, kind: str | None) -> None:
    """Suffixes of Muscle-BIDS."""
    assert kind_of_bids(name) == kind


def test_short_words_of_a_name_need_others() -> None:
    assert kind_of_name("P01_F").letter
    assert not kind_of_name("P01_dixon_F").letter
    assert kind_of_name("thighA_TE3.45")[:2] == ("echo", "thighA")


# Trees of DICOM ----------------------------------------------------------------------------------


def test_a_tree_of_patients_visits_and_series(tmp_path: Path) -> None:
    for subject, visit in (("P1", 1), ("P1", 2), ("P2", 1)):
        for name, images in dixon(
            subject, StudyDate=f"2024010{visit}", StudyInstanceUID=uid(subject, visit)
        ).items():
            write(tmp_path / subject / f"visit{visit}" / name, images)
    catalog = list_series(tmp_path)
    assert kinds(catalog) == ["in phase", "opposed phase", "water", "fat"] * 3
    assert whom(catalog) == {("P1", "20240101"), ("P1", "20240102"), ("P2", "20240101")}
    first = catalog.series[0]
    assert first.path == tmp_path / "P1/visit1/in"
    assert (first.number, first.echo_ms, first.files) == (1, 1.7, ())
    assert first.name == "P1_20240101_t1_vibe_dixon_in"
    whole = load(first.path)
    assert first.shape == whole.data.shape
    assert np.allclose(first.spacing_mm, whole.spacing_mm)
    # Edges of the first and last slice: centers at -410.125 mm and every 5 mm, half a slice beyond.
    assert first.pixel_mm == pytest.approx(1.25)
    assert first.extent_mm == pytest.approx((-412.625, -410.125 + 2 * 5 + 2.5))
    assert not catalog.failures


def test_series_and_echoes_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    """Several series, several echoes in one of them, a report, a DICOMDIR and a damaged file."""
    for number, images in enumerate(dixon("P1").values()):
        write(tmp_path, images, f"s{number}")
    second = [image for echo in (4.6, 2.3) for image in dicom("megre", EchoTime=echo)]
    for number, image in enumerate(second):
        image.SOPInstanceUID, image.PatientID = uid("echo", number), "P1"
        image.SeriesNumber, image.SeriesDescription = 9, "gradient"
    write(tmp_path, second, "e")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "damaged.dcm").write_bytes(bytes(128) + b"DICM\2\0\0\0UL\4\0\1")
    catalog = list_series(tmp_path)
    assert kinds(catalog) == ["in phase", "opposed phase", "water", "fat", "echo", "echo"]
    assert [s.echo_ms for s in catalog.series[-2:]] == [2.3, 4.6]
    assert {len(series.files) for series in catalog.series} == {SLICES}
    (failure,) = catalog.failures
    assert "one of its series may lack it" in failure
    assert "damaged.dcm" in failure
    for series in catalog.series:
        volume = load(series)
        assert volume.series is series
        assert np.array_equal(volume.data, DATA)
    assert list_series(tmp_path / "DICOMDIR").series == catalog.series


def test_kinds_within_one_series(tmp_path: Path) -> None:
    """Water and fat as one series, which lie at the same positions."""
    images = []
    for word in ("WATER", "FAT"):
        images += dicom("both", ImageType=["DERIVED", "PRIMARY", "DIXON", word])
    write(tmp_path, images)
    catalog = list_series(tmp_path)
    assert sorted(kinds(catalog)) == ["fat", "water"]
    assert [len(s.files) for s in catalog.series] == [SLICES, SLICES]


def test_volumes_of_a_multi_frame_file(tmp_path: Path) -> None:
    """As Philips stores a Dixon scan; each is loaded by itself."""
    file = enhanced(np.concatenate([DATA, DATA + 1], 2), AXIAL, [2, 0, 1, 5, 3, 4])
    for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        at = file.PerFrameFunctionalGroupsSequence[k % 3].PlanePositionSequence[0]
        frame.PlanePositionSequence = [item(ImagePositionPatient=at.ImagePositionPatient)]
        word = "IN_PHASE" if k < 3 else "WATER"
        kind = ["ORIGINAL", "PRIMARY", "DIXON", word]
        frame.MRImageFrameTypeSequence = [item(FrameType=kind)]
    path = tmp_path / "all.dcm"
    file.save_as(path, enforce_file_format=True)
    catalog = list_series(tmp_path)
    assert [(s.kind, s.index) for s in catalog.series] == [("in phase", 0), ("water", 1)]
    first, second = (load(series) for series in catalog.series)
    assert np.array_equal(first.data, DATA * 2 - 1)
    assert np.array_equal(second.data, DATA * 2 + 1)
    assert catalog.series[0].shape == DATA.shape


def test_people_of_one_folder_are_kept_apart(tmp_path: Path) -> None:
    """Also where an anonymizer gave their images one series."""
    for subject in ("A", "B"):
        write(tmp_path, dicom("same", PatientID=subject), subject)
    catalog = list_series(tmp_path)
    assert [s.subject for s in catalog.series] == ["A", "B"]
    assert catalog.warnings == (f"{tmp_path}: images of 2 patients (A, B), kept apart",)


def test_two_studies_of_one_date_are_two_visits(tmp_path: Path) -> None:
    for number, time in ((1, "150000"), (2, "080000")):
        write(
            tmp_path / f"{number}",
            dicom(f"s{number}", StudyInstanceUID=uid(number), StudyTime=time, SeriesNumber=number),
        )
    catalog = list_series(tmp_path)
    assert [(s.number, s.visit) for s in catalog.series] == [(2, "20210304"), (1, "20210304b")]
    assert catalog.warnings[-1] == "P7: 2 studies of 20210304: visits 20210304, 20210304b"


@pytest.mark.parametrize("word", ["", "ANONYMOUS", "anonymized", "0000", "n/a"])
def test_an_anonymizer_leaves_the_folder(word: str, tmp_path: Path) -> None:
    for folder in ("PAT1", "PAT2"):
        images = dicom(folder, PatientID=word, StudyDate="")
        write(tmp_path / folder / "visit1" / "t1", images)
    assert whom(list_series(tmp_path)) == {("PAT1", "visit1"), ("PAT2", "visit1")}


def test_what_is_no_single_volume_says_so(tmp_path: Path) -> None:
    for name in ("first", "again"):
        write(tmp_path / "twice", dicom("dynamic"), name)
    (series,) = list_series(tmp_path).series
    assert series.problem == "2 images at one position"


def test_one_header_of_a_series_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 images take seconds: the others are compared byte by byte, but for the position."""
    parsed = []
    read = dicom_series.read_dataset
    monkeypatch.setattr(
        dicom_series, "read_dataset", lambda file, **o: parsed.append(file) or read(file, **o)
    )
    write(tmp_path, dicom("a"), "a")
    write(tmp_path, dicom("b"), "b")
    assert len(list_series(tmp_path).series) == 2
    assert len(parsed) == 2


@pytest.mark.parametrize("implicit", [False, True])
def test_a_look_sees_what_pydicom_reads(implicit: bool, tmp_path: Path) -> None:
    """Also behind sequences of unknown length, which are nested."""
    (image, *_) = dicom(EchoTime="2.46")
    inner = item(ReferencedSOPInstanceUID=uid("r"))
    image.ReferencedImageSequence = [item(PurposeOfReferenceCodeSequence=[inner, inner])]
    for sequence in (
        image["ReferencedImageSequence"],
        image.ReferencedImageSequence[0]["PurposeOfReferenceCodeSequence"],
    ):
        sequence.is_undefined_length = True
        for part in sequence.value:
            part.is_undefined_length_sequence_item = True
    if implicit:
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = tmp_path / "image"
    image.save_as(path, enforce_file_format=True)
    seen = look(path)
    assert seen is not None
    stored = dict(zip(("VR", *dicom_series.SERIES_KEYWORDS), seen.common, strict=True))
    assert stored["EchoTime"].strip() == b"2.46"
    assert stored["Rows"] == (5).to_bytes(2, "little")
    position = [float(x) for x in seen.position.decode().strip(" \0").split("\\")]
    assert position == pytest.approx(image.ImagePositionPatient)
    path.write_bytes(path.read_bytes()[:600])
    assert look(path) is None


# Trees of NIfTI ----------------------------------------------------------------------------------


def test_bids(tmp_path: Path) -> None:
    for name in ("acq-water_wat", "fat", "fatfr", "T1w"):
        nifti(tmp_path / f"sub-01/ses-2/anat/sub-01_ses-2_{name}.nii.gz")
    nifti(
        tmp_path / "sub-02/anat/sub-02_megre.nii.gz", (4, 5, 6, 2), {"EchoTime": [0.0012, 0.0024]}
    )
    catalog = list_series(tmp_path)
    assert whom(catalog) == {("01", "2"), ("02", "")}
    assert {s.description.rpartition("_")[2]: s.kind for s in catalog.series} == {
        **{"wat": "water", "fat": "fat", "fatfr": "fat fraction", "T1w": "other"},
        "megre": "echo",
    }
    assert {series.name for series in catalog.series} == {""}
    echoes = [s for s in catalog.series if s.kind == "echo"]
    assert [(s.index, s.echo_ms) for s in echoes] == [(0, 1.2), (1, 2.4)]
    assert [load(series).data.max() for series in echoes] == [1, 2]
    with pytest.raises(ValueError, match="4-D data"):
        load(echoes[0].path)


def test_a_flat_folder_of_dcm2niix(tmp_path: Path) -> None:
    """ImageType before the description, the description before the name."""
    about = {"SeriesDescription": "t1_dixon_W", "SeriesNumber": 5, "EchoTime": 0.00123}
    nifti(tmp_path / "P1_dixon_5.nii.gz", about={**about, "ImageType": ["O", "P", "FAT"]})
    nifti(tmp_path / "P1_in_phase_6.nii.gz", about={**about, "SeriesNumber": 6})
    nifti(tmp_path / "P2_opp.nii.gz")
    catalog = list_series(tmp_path)
    assert [(s.subject, s.kind, s.number) for s in catalog.series] == [
        *[("P1", "water", 6), ("P1_dixon", "fat", 5), ("P2", "opposed phase", None)]
    ]
    assert catalog.series[0].echo_ms == 1.23


def test_plain_files_are_their_own_subjects(tmp_path: Path) -> None:
    """Groups of people, whose files have different names; a letter alone is no kind."""
    for name in ("controls/p01", "controls/p02_F", "patients/p03", "patients/p04"):
        nifti(tmp_path / f"{name}.nii.gz")
    catalog = list_series(tmp_path)
    assert [s.subject for s in catalog.series] == ["p01", "p02_F", "p03", "p04"]
    assert set(kinds(catalog)) == {"other"}
    assert {(series.name, series.visit) for series in catalog.series} == {("", "")}


def test_folders_of_people(tmp_path: Path) -> None:
    for subject, name in (("A", "x_W"), ("A", "x_F"), ("B", "x_W"), ("B", "x_F")):
        nifti(tmp_path / subject / "month6" / f"{name}.nii.gz")
    catalog = list_series(tmp_path)
    assert {(s.pixel_mm, s.extent_mm) for s in catalog.series} == {(2.0, (-2.5, 27.5))}
    assert kinds(catalog) == ["fat", "water"] * 2
    assert whom(catalog) == {("A", "month6"), ("B", "month6")}
    assert catalog.series[0].name == "A_month6_x_F"


def test_folders_of_people_whose_files_have_their_names(tmp_path: Path) -> None:
    """As dcm2niix writes them: no two files of a study have one name."""
    for subject, visit in product(("PAT01", "PAT02"), ("baseline", "month6")):
        for kind in ("in", "W"):
            nifti(tmp_path / subject / visit / f"{subject}_{visit}_dixon_{kind}.nii.gz")
    catalog = list_series(tmp_path)
    assert whom(catalog) == set(product(("PAT01", "PAT02"), ("baseline", "month6")))
    assert catalog.series[0].name == "PAT01_baseline_dixon_W"


def test_folders_of_visits_belong_to_a_person(tmp_path: Path) -> None:
    """A visit has one name of files; a group of people has several."""
    for name in ("P/v1/me_gre", "P/2024-01-05/leg", "G/v1/p01", "G/v1/p02"):
        nifti(tmp_path / f"{name}.nii.gz")
    assert whom(list_series(tmp_path)) == {
        *(("P", "v1"), ("P", "2024-01-05"), ("p01", ""), ("p02", ""))
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ("V/baseline/P01", "V/month6/P01", "V/month6/P02"),
            "P01 baseline, P01 month6, P02 month6",
        ),
        (("V/visit1/P01/x_in", "V/visit1/P01/x_W"), "P01 visit1, P01 visit1"),
        (("P7/visit1/dixon_in", "P7/2024-01-05/dixon_in"), "P7 2024-01-05, P7 visit1"),
        (("V/m01/x", "V/m02/x"), "m01 , m02 "),
    ],
)
def test_visits_above_persons(names: Sequence[str], expected: str, tmp_path: Path) -> None:
    """Folders of visits at the top; the last ones are persons, men perhaps."""
    for name in names:
        nifti(tmp_path / f"{name}.nii.gz")
    series = list_series(tmp_path / names[0].split("/")[0]).series
    assert ", ".join(f"{one.subject} {one.visit}" for one in series) == expected


def test_a_damaged_file_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    assert list_series(tmp_path).series == (
        Series(
            tmp_path / "a.nii.gz",
            subject="a",
            description="a",
            place=str(tmp_path / "a"),
            problem="unreadable",
        ),
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("P 1_20240101_t1 vibe/dixon: W", "P-1_20240101_t1-vibe-dixon-W"),
        ("../..", "scan"),
        ("Müller_ü", "Müller_ü"),
        ("-o", "o"),
        ("a" * 300, "a" * 120),
    ],
)
def test_names_are_safe(text: str, name: str) -> None:
    assert safe_name(text) == name
