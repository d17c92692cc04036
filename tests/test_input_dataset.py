"""Datasets as people have them: what is read, what is refused, who is kept apart. A row an input,
with the thread it comes from."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from musclejax.config import default_config, load_recipe
from musclejax.data.case_table import read_case_table
from musclejax.data.check import check_dataset_steps
from musclejax.data.dataset import (
    IGNORE,
    Case,
    content_of,
    read_case,
    read_dataset,
    read_datasets,
)
from musclejax.data.label_map import to_scan_order
from musclejax.data.label_names import parse_map
from musclejax.data.report import DatasetReport
from musclejax.data.sampler import make_samplers
from musclejax.data.slices import load_slices_steps
from musclejax.data.split import assign_splits, shared_names
from musclejax.data.strict_json import parse_json
from musclejax.data.write import write_cases
from musclejax.errors import InputError
from musclejax.files import LARGEST_JSON
from musclejax.loops import result_of
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance
from musclejax.models.training_record import ScanIdentity, check_training_record, role_in
from musclejax.models.variants import find
from musclejax.models.weights import Weights
from musclejax.scan.volume import Volume
from musclejax.training.leaks import check_copies, check_once, seen_before
from musclejax.training.setup import Data, load_data, start_from
from musclejax.training.workdir import open_run, read_run
from tests import limbs
from tests.test_grid import ORIENTATIONS

SHAPE = (8, 7, 6)
AFFINE = np.array([[-2.0, 0, 0, 5], [0, -1.5, 0, 8], [0, 0, 6, -9], [0, 0, 0, 1]])
NAMES = {"background": 0, "VL": 1, "VM": 2}


def made_labels() -> np.ndarray:
    """Label 1 and 2 beside one another, no plane alike."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:5, 1:5] = 1
    labels[4:6, 1:4, 2:5] = 2
    return labels


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


def save_scaled(path: Path, slope: float, affine: np.ndarray = AFFINE) -> None:
    """Write whole numbers times a slope, byte by byte: nibabel would choose its own."""
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_sform(affine, 1)
    header.set_zooms(nib.affines.voxel_sizes(affine))
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = slope, 0, 352
    header["magic"] = b"n+1"
    stored = np.round(made_labels() / slope).astype("<i2").tobytes(order="F")
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + stored))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two thighs of two people, of 336 voxels each."""
    return write(tmp_path / "tiny")


def write(folder: Path, cases: tuple[str, ...] = ("a", "b"), seed: int = 0) -> Path:
    for n, name in enumerate(cases):
        image = np.random.default_rng([seed, n]).integers(1, 999, SHAPE).astype(np.int16)
        save(folder / f"imagesTr/{name}_0000.nii.gz", image)
        save(folder / f"labelsTr/{name}.nii.gz", made_labels())
    (folder / "dataset.json").write_text(json.dumps({"labels": NAMES}))
    return folder


def checked(folder: Path) -> DatasetReport:
    return result_of(check_dataset_steps(read_dataset(folder)))


LABELS: list[tuple[str, dict[str, Any], str | dict[int, Any]]] = [
    # origin, contents of dataset.json, what the numbers mean or the error
    (
        "MIC-DKFZ/nnUNet#2500, #2868",
        {"labels": {"SAR": 0, "RF": 1}},
        r"label 'SAR': 0; .*background",
    ),
    ("ours", {"labels": {"VL": 1, "ignore": 0}}, "'ignore': 0; .*0 is the background"),
    ("ours", {"labels": {"background": 5, "VL": 1}}, "label 'background': 5; accepted: 0"),
    ("PyTorch's ignore_index", {"labels": {"VL": 1, "ignore": -1}}, {1: ("thigh", 1), -1: IGNORE}),
    ("ours", {"labels": {"VL": -1, "VM": 2}}, "label 'VL': -1"),
    ("ours", {"labels": {"VL": 10**9}}, "label 'VL': 1000000000; accepted: 1 to 65535"),
    ("ours", {"labels": {"AM": 6, "AL": 6}}, "number 6 for 'AM' and for 'AL'"),
    ("ours", {"labels": {"AM": 6, "ignore": 6}}, "number 6 for 'AM' and for 'ignore'"),
    ("ours", {"labels": {"SAR": 1, "Sartorius": 2}}, "'SAR' and 'Sartorius', which are one muscle"),
    (
        "MIC-DKFZ/nnUNet#946, #1952: version 1",
        {"labels": {"0": "background", "1": "SAR", "2": "rectus femoris"}},
        {1: ("thigh", 5), 2: ("thigh", 4)},
    ),
    ("ours", {"labels": {"1": "SAR", "2": "Sartorius"}}, "which are one muscle"),
    (
        "nnU-Net, region_based_training.md",
        {"labels": {"background": 0, "SAR": [1], "RF": [2, 3]}},
        r"label 'SAR': \[1\]; accepted: one number per label. Regions are not supported: give each",
    ),
    ("ours", {"labels": {"background": "0", "SAR": "1"}}, {1: ("thigh", 5)}),
    ("ours", {"labels": {"SAR": 1.0}}, {1: ("thigh", 5)}),
    ("ours", {"labels": {"SAR": 1.5}}, "label 'SAR': 1.5; accepted: one number per label"),
    ("ours", {"labels": {"SAR": True}}, "label 'SAR': True"),
    ("ours", {"labels": {"SAR": None}}, "label 'SAR': None"),
    ("ours", {"labels": {"SAR": {"a": 1}}}, "label 'SAR': a table"),
    ("ours", {"labels": ["background", "SAR"]}, "labels that are not a table"),
    ("ours", {"label": {}}, 'no "labels"'),
    (
        "ours: extra classes",
        {"labels": {"VL": 1, "femur": 2}},
        r'label \'femur\'; .*"musclejax_names": {"femur": "background"} \(or ignore, or a muscle\)',
    ),
    ("ours: a typing error", {"labels": {"Sartorus": 1}}, "Did you mean sartorius"),
    (
        "ours: extra classes, explained",
        {
            "labels": {"VL": 1, "femur": 2, "AB": 3, "vasto med": 4, "skin": 5},
            "musclejax_names": {
                "femur": "background",
                "AB": "ignore",
                "vasto med": "VM",
                "skin": "ignore",
            },
        },
        {1: ("thigh", 1), 4: ("thigh", 2), 2: 0, 3: IGNORE, 5: IGNORE},
    ),
    (
        "ours: left and right apart become one number, parts too",
        {"labels": {"VL_left": 3, "vastus_lateralis_R": 4, "BF-LH": 2, "Sartorius, left": 9}},
        {3: ("thigh", 1), 4: ("thigh", 1), 2: ("thigh", 10), 9: ("thigh", 5)},
    ),
    (
        "MuscleMap: peroneus longus alone has a number",
        {"labels": {"fibularis longus left": 1, "peroneus_brevis_left": 2, "tibialis anterior": 3}},
        {1: ("leg", 6), 2: ("leg", 6), 3: ("leg", 4)},
    ),
    ("ours", {"labels": {"VL_left": 1, "VL": 2}}, "'VL_left' and 'VL', which are one muscle"),
    ("ours", {"labels": {"VL_left": 1, "left VL": 2}}, "which are one muscle; .* or one per side"),
    (
        "TotalSegmentator, thigh_shoulder_muscles",
        {"labels": {"quadriceps_femoris_left": 1, "sartorius_left": 7}},
        r"'quadriceps_femoris_left', a group \(VL, VM, VI, RF\) and no muscle",
    ),
    (
        "ours",
        {"labels": {"VL": 1}, "musclejax_names": {"femr": "background"}},
        "'femr'; accepted: a name among the labels",
    ),
    (
        "ours",
        {"labels": {"VL": 1, "femur": 2}, "musclejax_names": {"femur": "bone"}},
        "a muscle's name, background or ignore",
    ),
    ("ours", {"labels": NAMES, "file_ending": 5}, "file_ending '5'; accepted: .nii.gz, .nii"),
    ("ours", {"labels": NAMES, "file_ending": ".nrrd"}, "file_ending '.nrrd'.*Convert"),
    (
        "ours",
        {"labels": NAMES, "musclejax_intensity": [1]},
        "musclejax_intensity that is not a table",
    ),
]


@pytest.mark.parametrize(("origin", "index", "expected"), LABELS)
def test_labels_in_dataset_json(origin: str, index: dict, expected: Any, tiny: Path) -> None:
    (tiny / "dataset.json").write_text(json.dumps(index))
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            read_dataset(tiny)
        return
    dataset = read_dataset(tiny)
    found = {**dataset.values, **dataset.others}
    found |= {} if dataset.ignore is None else {dataset.ignore: IGNORE}
    assert found == expected


def test_map_explains_names_without_an_edit(tiny: Path) -> None:
    index = {"labels": {"VL": 1, "femur": 2, "vasto med": 4, "quadriceps_left": 5}}
    (tiny / "dataset.json").write_text(json.dumps(index))
    texts = ("femur=ignore", "vasto med = VM", "quadriceps_left=background")
    [dataset] = read_datasets([tiny], renamed=parse_map(texts))
    assert dataset.values == {1: ("thigh", 1), 4: ("thigh", 2)}
    assert (dataset.ignore, dataset.others) == (2, {5: 0})
    with pytest.raises(InputError, match=r"--map: found label 'femr'.*Did you mean femur"):
        read_datasets([tiny], renamed=parse_map(["femr=ignore"]))
    for text, message in (("femur", "LABEL=MEANING"), ("femur=ignroe", "Did you mean ignore")):
        with pytest.raises(InputError, match=message):
            parse_map([text])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"labels": {"VL": 1, "VM": 2, "VL": 3}}', "'VL' twice in one table"),
        (b'{"labels": {"VL": NaN}}', "the number NaN"),
        (b'{"labels": {"VL": ' + b"1" * 5000 + b"}}", "no readable JSON"),  # Python's own limit
        (b'{"labels": ' + b'{"a":' * 100_000, "nested too deep"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'["labels"]', "a list, no table"),
        (b'{"labels": {"M\xfcller": 1}}', "no readable JSON"),  # Latin-1
        (b"", "no readable JSON"),
    ],
)
def test_damaged_json_is_one_line(content: bytes, message: str, tiny: Path) -> None:
    (tiny / "dataset.json").write_bytes(content)
    with pytest.raises(InputError, match=f"dataset.json: found .*{message}.*labels"):
        read_dataset(tiny)


def test_giant_json_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_JSON + 1)  # a hole: no room on the disk
    with pytest.raises(InputError, match="bytes, more than"):
        parse_json(path, "JSON")


def as_float(off: float) -> Callable[[Path], None]:
    one = np.float32(1 + off)
    return lambda path: save(path, np.where(made_labels() == 1, one, made_labels()).astype("<f4"))


@pytest.mark.parametrize(
    ("origin", "store", "error"),
    [
        ("ours: 0.001 x 3000", lambda p: save_scaled(p, 0.001), ""),
        ("ours", lambda p: save_scaled(p, 1 / 9999), ""),
        ("ours: MATLAB's floats", as_float(1.2e-7), ""),
        ("ours", as_float(0.4), "label values 1.39999998; accepted: whole numbers"),
        ("ours: linear interpolation", as_float(0.02), "label values 1.01999998; .*nearest"),
        ("ours", as_float(np.nan), "label values nan"),
        ("ours", as_float(np.inf), "label values inf"),
        ("ours: no table of a gigabyte", as_float(2e9), r"label values 2e\+09; accepted: 0, 1, 2"),
    ],
)
def test_stored_label_values(
    origin: str, store: Callable[[Path], None], error: str, tiny: Path
) -> None:
    dataset = read_dataset(tiny)
    store(dataset.cases[0].labels)
    if error:
        with pytest.raises(InputError, match=error):
            read_case(dataset.cases[0], dataset)
        return
    np.testing.assert_array_equal(read_case(dataset.cases[0], dataset)[1], made_labels())


def test_a_header_that_disagrees_with_itself_is_named(tiny: Path) -> None:
    """`cases/train/07_scaled_labels.py`: pixdim of 1 beside a true sform, which ITK rescales."""
    dataset = read_dataset(tiny)
    image = nib.load(dataset.cases[0].labels)
    header = image.header.copy()
    header["pixdim"][1:4] = 1
    moved = nib.Nifti1Image(np.asarray(image.dataobj), None, header)
    moved.header.set_sform(image.affine, 1)
    moved.header["pixdim"][1:4] = 1
    nib.save(moved, dataset.cases[0].labels)
    with pytest.raises(InputError, match="Mend its header: pixdim says"):
        read_case(dataset.cases[0], dataset)


@pytest.mark.parametrize("value", [-1, 12, 4000])
def test_the_unknown_is_unknown_whatever_its_number(value: int, tiny: Path) -> None:
    """`"ignore": -1` made the unknown the muscle with the highest number."""
    index = {"labels": {**NAMES, "ignore": value}}
    (tiny / "dataset.json").write_text(json.dumps(index))
    stored = made_labels().astype(np.int16)
    stored[0, 0] = value
    save(tiny / "labelsTr/a.nii.gz", stored)
    dataset = read_dataset(tiny)
    labels = read_case(dataset.cases[0], dataset)[1]
    assert (labels[0, 0] == IGNORE).all()
    np.testing.assert_array_equal(labels[1:], made_labels()[1:])


def moved(**by: Any) -> np.ndarray:
    """Return the affine of a large oblique scan with changed entries; `row_column=by`."""
    turn = nib.eulerangles.euler2mat(0.1, 0.2, 0.3)
    affine = nib.affines.from_matvec(turn @ np.diag([0.742, 0.742, 24]), [-180, 90, -400])
    for place, change in by.items():
        affine[tuple(int(n) for n in place.strip("_").split("_"))] += change
    return affine


@pytest.mark.parametrize(
    ("origin", "affine", "error"),
    [
        ("ours: rounded", moved(_0_3=0.02), ""),
        (
            "ours: 0.0099 in each entry of a column, 8.7 mm at the far end",
            moved(_0_0=0.0099, _1_0=0.0099, _2_0=0.0099),
            r"by up to 8\.7\d mm \(\d",
        ),
        ("ours: half a pixel, from resampling", moved(_0_3=0.371), "by up to 0.371 mm"),
        ("ours", moved(_1_1=np.nan), "singular or not finite"),
        ("ours: flat", moved() @ np.diag([1, 1, 0, 1]), "singular or not finite"),
    ],
)
def test_labels_lie_on_the_grid_of_the_scan(
    origin: str, affine: np.ndarray, error: str, tmp_path: Path
) -> None:
    shape = (509, 283, 3)
    scan, labels = (Volume(np.zeros(shape, np.float32), a) for a in (moved(), affine))
    if not error:
        assert to_scan_order(labels, scan, tmp_path) is labels.data
        return
    with pytest.raises(InputError, match=error) as caught:
        to_scan_order(labels, scan, tmp_path)
    assert "image's header" not in str(caught.value)  # that advice would destroy the labels


@pytest.mark.parametrize("number", [0, 7, 22, 41, 47])
def test_labels_in_another_order_of_axes_are_reoriented(number: int, tiny: Path) -> None:
    """As after `nib.as_closest_canonical` or `fslreorient2std` of the labels alone."""
    path = tiny / "labelsTr/a.nii.gz"
    nib.save(nib.load(path).as_reoriented(ORIENTATIONS[number]), path)
    dataset = read_dataset(tiny)
    np.testing.assert_array_equal(read_case(dataset.cases[0], dataset)[1], made_labels())


def test_labels_of_another_shape_are_refused(tiny: Path) -> None:
    save(tiny / "labelsTr/a.nii.gz", made_labels()[:, :-1])
    dataset = read_dataset(tiny)
    with pytest.raises(InputError, match="shape 8 x 6 x 6; .*8 x 7 x 6. Resample the labels"):
        read_case(dataset.cases[0], dataset)


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_hidden_files_are_no_cases(folder: str, tiny: Path) -> None:
    """scverse/spatialdata-io#260, OpenNeuroOrg/openneuro#2520: `._` files that macOS leaves."""
    for path in list((tiny / folder).iterdir()):
        (tiny / folder / f"._{path.name}").write_bytes(b"\0\5\26\7Mac OS X")
    report = checked(tiny)
    assert (len(report.cases), report.errors) == (2, [])


def test_what_is_left_out_is_reported(tiny: Path) -> None:
    save(tiny / "labelsTr/c.nii", made_labels())
    save(tiny / "imagesTr/d_0000.nii.gz", made_labels())
    report = checked(tiny)
    assert report.warnings[:2] == [
        "labelsTr: not .nii.gz, left out (1): c.nii",
        "imagesTr: without labels, left out (1): d_0000.nii.gz",
    ]


def test_a_case_in_both_folders_is_refused(tiny: Path) -> None:
    save(tiny / "imagesTs/a_0000.nii.gz", made_labels())
    save(tiny / "labelsTs/a.nii.gz", made_labels())
    with pytest.raises(InputError, match="case a in labelsTr and in labelsTs; .*each case once"):
        read_dataset(tiny)


TABLES: list[tuple[bytes, str | dict[str, str]]] = [
    (b"case,subject\na,P1\na,P2\n", "two rows of case a"),
    (b"case,subject\na,P1,x\n", "row 2 with 3 cells; accepted: 2"),
    ("case,subject\na,Jos\xe9\n".encode("latin-1"), "no readable table .*UTF-8"),
    ("case,subject\na,P1\n".encode("utf-16"), "no readable table .*Save it as CSV, UTF-8"),
    (b"case;subject\na;P1\n", "columns case;subject.*Separate columns by commas"),
    (b"case,subject,subject\na,P1,P2\n", "columns case, subject, subject"),
    (b'case,subject\na,"P1', "no readable table"),
    (b"", "columns ;"),
    (b"case,subject\r\n a , P1 \r\n\r\nb\r\n", {"a": "P1", "b": ""}),
    (b'case,subject\na,"Doe, J."\n', {"a": "Doe, J."}),
]


@pytest.mark.parametrize(("content", "expected"), TABLES)
def test_tables_of_cases(content: bytes, expected: Any, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            read_case_table(path)
    else:
        rows = read_case_table(path)
        assert {name: row["subject"] for name, row in rows.items()} == expected


def test_written_tables_are_read_back(tmp_path: Path) -> None:
    write_cases(tmp_path, [{"case": "a", "subject": 'Doe, "J."'}])
    assert read_case_table(tmp_path / "cases.csv")["a"]["subject"] == 'Doe, "J."'


def test_copies_are_found_in_any_order_of_axes(tiny: Path) -> None:
    image = nib.load(tiny / "imagesTr/a_0000.nii.gz").as_reoriented(ORIENTATIONS[29])
    nib.save(image, tiny / "imagesTr/b_0000.nii.gz")
    assert checked(tiny).errors == [
        "b and a are the same scan under two subjects (b, a): one subject in cases.csv"
    ]
    (tiny / "cases.csv").write_text("case,subject\na,P1\nb,P1\n")
    assert "b and a are the same scan, which counts twice: keep one" in checked(tiny).warnings
    (tiny / "cases.csv").write_text("case,subject\na,P1\nb,p1\n")
    assert any("P1 and p1 count as two people" in line for line in checked(tiny).warnings)


def cases(folder: str, **splits: str) -> list[Case]:
    return [
        Case(name, Path(folder), Path(folder, "labelsTr", name), name, split=split, dataset=folder)
        for name, split in splits.items()
    ]


def test_two_datasets_do_not_overwrite_each_other() -> None:
    """`--data A --data B`: the last split of a name held for both; held-out subjects trained."""
    config = default_config().split
    a, b = cases("A", case_1="test", case_2="train"), cases("B", case_1="train", case_2="test")
    assert list(assign_splits(a + b, config).values()) == ["test", "train", "train", "test"]
    named = [replace(c, subject=f"{c.dataset}{c.name}") for c in a + b]
    assert list(assign_splits(named, config).values()) == ["test", "train", "train", "test"]
    one = [replace(c, subject=f"S{c.name[-1]}") for c in a + b]  # somebody has named the people
    with pytest.raises(InputError, match="S1: found test and train.*two names in cases.csv"):
        assign_splits(one, config)
    mixed = cases("A", case_1="test", case_2="train")  # the second scan is of case_1's person
    with pytest.raises(InputError, match="subject case_1: found test and train"):
        assign_splits([mixed[0], replace(mixed[1], subject="case_1")], config)
    free = cases("A", x="", y="", z="") + cases("B", x="", y="", z="")
    roles = list(assign_splits(free, config).values())
    assert roles[:3] == roles[3:]  # one name, one side
    assert shared_names(free) == ["x", "y", "z"]
    assert shared_names(named) == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["task=thigh"], "cases of the leg, while task thigh learns from the thigh: 2"),
        (["data.min_muscles=7"], r"slices with fewer than 7 muscles \(data.min_muscles\): 2"),
        (["data.clean_px=90000"], "slices cleared by data.clean_px = 90000: 2"),
    ],
)
def test_no_slice_left_gives_the_reason(settings: list[str], reason: str, leg: Path) -> None:
    config = load_recipe("tiny", ["task=leg", "data.min_muscles=1", *settings])
    dataset = read_dataset(leg)
    splits = dict.fromkeys(dataset.cases, "train")
    slices = result_of(load_slices_steps([dataset], config, splits))
    with pytest.raises(InputError, match=rf"train split: found no annotated slice \({reason}"):
        make_samplers(slices, config)


@pytest.fixture(scope="module")
def leg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two legs of one slice each."""
    folder = tmp_path_factory.mktemp("leg") / "study"
    return limbs.write_dataset(folder, subjects=2, slices=1, splits=("train", "validation"))


def test_what_reading_decided_is_reported_once_before_training(
    leg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ("its header contradicts itself", *(f"slice {n} was leveled" for n in range(5)))
    monkeypatch.setattr("musclejax.data.slices.scan_warnings", lambda volume: texts)
    found = load_data([leg], load_recipe("tiny", ["task=leg", "data.crop_px=(48, 96)"])).warnings
    assert found[-6:] == (
        "leg00, leg01: its header contradicts itself",
        *(f"leg00, leg01: slice {n} was leveled" for n in range(4)),
        "and 1 more warnings of scans; all: musclejax dataset check",
    )


def test_a_run_knows_its_scans_and_those_before_it(leg: Path, tmp_path: Path) -> None:
    """MIC-DKFZ/nnUNet#2476: a fold continued from another."""
    config = load_recipe("tiny", ["task=leg", "data.crop_px=(48, 96)"])
    first = load_data([leg], config)
    (scan,) = first.record["train"]["scans"]
    image = nib.load(leg / "imagesTr/leg00_0000.nii.gz")
    content = content_of(Volume(np.asarray(image.dataobj, np.float32), image.affine))
    identity = {"dataset": "study", "case": "leg00", "subject": "subject00", "content": content}
    assert scan == identity
    check_training_record(first.record)

    def weights(record: Any) -> Weights:
        network = Network(config, find(config.variant), {})
        return Weights("fold0", {"leg": network}, {"leg": Provenance(data=record)})

    def seen(data: Data) -> list[str]:
        return [line for line in data.warnings if "start from" in line]

    swapped = {"train": first.record["validation"], "validation": first.record["train"]}
    second = start_from(replace(first, record=swapped), config, weights(first.record))
    (warning,) = seen(second)
    assert "(fold0) were trained on subjects of the validation split: subject00" in warning
    # What the first run saw is known to a third one, which begins with the second.
    third = start_from(replace(first, record=swapped), config, weights(second.record))
    assert len(third.record["earlier"]) == 2
    assert "were trained on" in seen(third)[0]
    assert start_from(first, config, None) is first

    run = tmp_path / "run"
    run.mkdir()
    record = {"start": "fold0", "warnings": list(second.warnings), "data": second.record}
    open_run(run, config, record, 1, resume=False)
    renamed = {name: {**part, "scans": []} for name, part in swapped.items()}
    open_run(run, config, {"start": "random", "data": renamed}, 1, resume=True)
    resumed = read_run(run) or {}
    assert resumed["start"] == "fold0"
    assert resumed["data"]["earlier"] == second.record["earlier"]
    assert resumed["warnings"] == list(second.warnings)


def test_a_scan_is_in_one_split_under_any_name(leg: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data: found .* twice"):
        check_once([leg, leg / ".." / leg.name])
    config = load_recipe("tiny", ["task=leg", "data.crop_px=(48, 96)"])
    dataset = read_dataset(leg)
    splits = dict(zip(dataset.cases, ("train", "validation"), strict=True))
    slices = result_of(load_slices_steps([dataset], config, splits))
    check_copies(slices)
    train, other = slices["train"], slices["validation"]
    copy = replace(other.origins[0], content=train.origins[0].content)
    with pytest.raises(InputError, match=r"scan of leg00 \(train\) again as leg01 \(validation\)"):
        check_copies({"train": train, "validation": replace(other, origins=(copy,))})


def scan(text: str) -> ScanIdentity:
    return ScanIdentity(*text.split())


def part(*scans: str) -> dict[str, Any]:
    found = [scan(s) for s in scans]
    subjects = sorted({s.subject for s in found})
    return {"subjects": subjects, "scans": [s._asdict() for s in found]}


RECORD = {
    "train": part("A case_1 P1 c1", "A case_2 P2 c2"),
    "validation": part("A case_3 P3 c3"),
    "earlier": [part("Z case_9 P9 c9"), {"subjects": ["HV002"], "source": "phantom"}],
}


@pytest.mark.parametrize(
    ("identity", "role"),
    [
        ("A case_1 P1 c1", "train"),
        ("moved renamed X1 c1", "train"),  # the same voxels
        ("A visit_2 P1 c8", "train"),  # MIC-DKFZ/nnUNet#2688: a second scan of a training subject
        ("A visit_2 P3 c8", "validation"),
        ("A case_7 P7 c7", "test"),
        ("B case_1 Q1 b1", "test"),  # MIC-DKFZ/nnUNet#1871: another hospital's case_1
        ("B case_1 P1 b1", "unknown"),  # perhaps another hospital's P1
        ("A case_1 P1 b1", "unknown"),  # another folder of this name: other voxels
        ("Z case_9 P9 c9", "train"),  # seen by the weights that the training began with
        ("B case_1 HV002 b1", "unknown"),
    ],
)
def test_who_was_trained_on(identity: str, role: str) -> None:
    check_training_record(RECORD)
    assert role_in(RECORD, scan(identity)) == role


def test_unknown_names_are_reported_at_the_start() -> None:
    record = {"train": part("B x X b0"), "validation": part("B case_1 P1 b1")}
    (warning,) = seen_before(record, [RECORD["train"]], "w0")
    assert "(w0) may have been trained on subjects of the validation split: P1" in warning


@pytest.mark.parametrize(
    "data",
    [
        {"train": []},
        {"train": {"slices": "3"}},
        {"train": {"subjects": "P1"}},
        {"train": {"subjects": [1]}},
        {"train": {"scans": [{"case": "a"}]}},
        {"validation": {"scans": [5]}},
        {"earlier": {}},
        {"earlier": [5]},
    ],
)
def test_damaged_records_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="provenance.data"):
        check_training_record(data)
