"""Predictions and references as people have them: whose numbers, which subjects, what a mean is of.
A row an input, with the thread it comes from."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from musclejax import anatomy
from musclejax.cli.evaluate import evaluate as command
from musclejax.data.dataset import Case, Dataset
from musclejax.errors import InputError
from musclejax.evaluation.compare import RIM
from musclejax.evaluation.result import Evaluation
from musclejax.evaluation.run import evaluate, from_folders
from musclejax.evaluation.splits import phantom_warnings, split_of, split_warnings
from musclejax.models.provenance import Provenance
from musclejax.models.training_record import ScanIdentity
from musclejax.models.weights import Weights, load_weights
from musclejax.phantom.write import MANIFEST
from musclejax.reports.evaluation import save
from musclejax.scan.nifti import save_labels
from musclejax.scan.numbering import to_written
from musclejax.scan.volume import Volume
from tests.pairs import AFFINE, thigh, write

OWN = {"background": 0, "AM": 1, "VL": 2, "ignore": 3}
"""Numbers of a dataset; ours are 1 VL and 7 AM."""
TO_OWN = np.array([0, 2, 0, 0, 0, 0, 0, 1], np.uint8)


@pytest.fixture
def reference(tmp_path: Path, limbs: np.ndarray) -> Path:
    """A dataset of one case in its own numbers; a corner is unknown."""
    folder = tmp_path / "data"
    labels = TO_OWN[thigh(limbs)]
    labels[:2, :2] = 3
    write(folder / "imagesTr/a_0000.nii.gz", limbs)
    write(folder / "labelsTr/a.nii.gz", labels)
    (folder / "dataset.json").write_text(json.dumps({"labels": OWN}))
    return folder


def dsc(folder: Path, reference: Path, chosen: str = "") -> float:
    found = evaluate(from_folders(reference, folder, whose_numbers=chosen))
    return float(found.comparison.cases["dsc"][0])


def plain(labels: np.ndarray, path: Path) -> None:
    write(path, labels)


def with_names(labels: np.ndarray, path: Path) -> None:
    """As `musclejax segment` writes it, under another name."""
    path.parent.mkdir(exist_ok=True)
    volume = Volume(labels.astype(np.float32), AFFINE)
    save_labels(path, labels, volume, anatomy.REGIONS["thigh"])


def with_sides(labels: np.ndarray, path: Path) -> None:
    """As `musclejax segment --labels musclemap` writes it."""
    path.parent.mkdir(exist_ok=True)
    volume, sides = Volume(labels.astype(np.float32), AFFINE), np.ones_like(labels)
    sides[len(sides) // 2 :] = 2
    save_labels(path, labels, volume, anatomy.REGIONS["thigh"], "musclemap", sides)


def edited_sides(labels: np.ndarray, path: Path) -> None:
    """As `musclejax segment --labels sides` writes it, its header dropped by an editor."""
    sides = np.ones_like(labels)
    sides[len(sides) // 2 :] = 2
    write(path, to_written(labels, sides, anatomy.REGIONS["thigh"], "sides"))


def with_record(labels: np.ndarray, path: Path) -> None:
    write(path, labels)
    (path.parent / "a_run.json").write_text('{"region": "thigh"}')


JSON = json.dumps({"labels": OWN})
WHOSE = [
    # origin, writer, whose numbers, name, dataset.json beside it, --numbers, DSC or error
    ("MIC-DKFZ/nnUNet#1310", plain, "own", "a", JSON, "", 1),
    ("MIC-DKFZ/nnUNet#1310, without dataset.json", plain, "own", "a", "", "", "that may be"),
    ("MIC-DKFZ/nnUNet#1310, without dataset.json", plain, "own", "a", "", "dataset", 1),
    ("ours: named as segment does", plain, "our", "a_labels", "", "", 1),
    ("ours: names in the header", with_names, "our", "a", "", "", 1),
    ("ours: sides apart", with_sides, "our", "a", "", "", 1),
    ("ours: sides apart, header lost", edited_sides, "our", "a_labels", "", "", 1),
    ("ours: a record beside it", with_record, "our", "a", "", "", 1),
    ("ours", plain, "our", "a", "", "", "--numbers musclejax, or --numbers dataset"),
    ("ours", plain, "our", "a", "", "musclejax", 1),
    ("ours", plain, "our", "a", JSON, "musclejax", 1),
    ("ours", with_names, "our", "a", JSON, "", "marks of musclejax, and other numbers in"),
    ("ours: other numbers than the reference", plain, "our", "a", '{"labels": {"VL": 1, "AM": 7}}',
     "", 1),
    ("ours", plain, "own", "a", '{"labels": {"VL": 1', "", "no readable JSON"),
    ("ours", plain, "own", "a", '{"labels": {"SOL": 1, "GM": 2}}', "", "leg and thigh"),
]  # fmt: skip


@pytest.mark.parametrize(("origin", "store", "whose", "name", "index", "chosen", "expected"), WHOSE)
def test_whose_numbers_predictions_have(
    origin: str,
    store: Any,
    whose: str,
    name: str,
    index: str,
    chosen: str,
    expected: Any,
    reference: Path,
    limbs: np.ndarray,
    tmp_path: Path,
) -> None:
    ours = thigh(limbs)
    folder = tmp_path / "predictions"
    store(ours if whose == "our" else TO_OWN[ours], folder / f"{name}.nii.gz")
    if index:
        (folder / "dataset.json").write_text(index)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            dsc(folder, reference, chosen)
    else:
        assert dsc(folder, reference, chosen) == expected


def test_the_reference_labels_are_a_perfect_prediction(reference: Path, tmp_path: Path) -> None:
    """MIC-DKFZ/nnUNet#1310: DSC 0.13 once. The dataset lies above its label folder."""
    assert dsc(reference / "labelsTr", reference) == 1
    source = from_folders(reference, reference / "labelsTr")
    assert source.what.endswith(f"their numbers by {reference / 'dataset.json'}")
    manual = tmp_path / "manual"
    write(manual / "a.nii.gz", np.zeros((90, 60, 4), np.uint8))
    with pytest.raises(InputError, match="--numbers dataset: found no dataset.json"):
        from_folders(manual, manual, "thigh", "dataset")


def test_equal_numbers_need_no_statement(
    reference: Path, limbs: np.ndarray, tmp_path: Path
) -> None:
    labels = thigh(limbs)
    write(reference / "labelsTr/a.nii.gz", labels)
    (reference / "dataset.json").write_text('{"labels": {"background": 0, "VL": 1, "AM": 7}}')
    write(tmp_path / "predictions/a.nii.gz", labels)
    assert dsc(tmp_path / "predictions", reference) == 1


def test_predictions_in_another_order_of_axes_and_as_floats(
    reference: Path, limbs: np.ndarray, tmp_path: Path
) -> None:
    write(tmp_path / "p/a_labels.nii.gz", thigh(limbs).astype(np.float32) * 1.0000001, "PIR")
    assert dsc(tmp_path / "p", reference) == 1
    write(tmp_path / "p/a_labels.nii.gz", thigh(limbs) * np.float32(0.9))
    with pytest.raises(InputError, match="label values 0.899999976, 6.29999971; accepted: whole"):
        dsc(tmp_path / "p", reference)


@pytest.fixture
def one_missed(limbs: np.ndarray, tmp_path: Path) -> Evaluation:
    """Two cases; VL is missed in one of them."""
    labels = thigh(limbs)
    for name, prediction in (("a", labels), ("b", np.where(labels == 1, 0, labels))):
        write(tmp_path / "ref" / f"{name}.nii.gz", labels)
        write(tmp_path / "pred" / f"{name}.nii.gz", prediction.astype(np.uint8))
    return evaluate(from_folders(tmp_path / "ref", tmp_path / "pred", "thigh"))


def test_a_mean_names_the_number_it_is_of(one_missed: Evaluation, tmp_path: Path) -> None:
    """A muscle that is missed in one of two cases: "n 2, HD95 0.0" once."""
    assert any(
        line.startswith("mean distances leave out 1 of 4 muscles, as one map lacks them: b VL;")
        for line in one_missed.warnings
    )
    save(one_missed, tmp_path / "out")
    cases = pd.read_csv(tmp_path / "out/cases.csv").set_index("case")
    assert cases[["dsc_n", "hd95_mm_n", "msd_mm_n"]].to_numpy().tolist() == [[2, 2, 2], [2, 1, 1]]
    numbers = ["dsc_n", "jaccard_n", "hd95_mm_n", "msd_mm_n"]
    assert list(cases.columns)[-6:] == [*numbers, "fat_fraction_unit", "warnings"]
    lines = (tmp_path / "out/summary.md").read_text().splitlines()
    row = next(line for line in lines if "| VL " in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[4:6] == ["2", "0.500 ± 0.707"]
    assert cells.count("0.500 ± 0.707") == 2  # DSC and Jaccard
    assert "0.0 (n 1)" in cells
    report = (tmp_path / "out/report.md").read_text()
    assert RIM in report
    heads = [line for line in report.splitlines() if line.startswith("| case")]
    assert [cell.strip() for cell in heads[0].split("|")][-3:-1] == ["muscles", "with distance"]


@pytest.mark.usefixtures("one_missed")
def test_the_terminal_names_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musclejax.app.evaluate.save", lambda *_, **__: [])  # slow
    folders = ["--reference", tmp_path / "ref", "--prediction", tmp_path / "pred"]
    arguments = [*folders, "--region", "thigh", "-o", tmp_path / "scores"]
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    assert result.exit_code == 0
    assert "b: thigh, 4 slices, DSC 0.500, HD95 0.0 mm over 1 of 2 muscles" in result.stdout
    assert "warning: mean distances leave out 1 of 4 muscles" in result.stderr


def test_slices_that_count_for_distances(limbs: np.ndarray, tmp_path: Path) -> None:
    """In-plane distances leave out a slice that shows the muscle in one map only."""
    labels = thigh(limbs)
    labels[..., 1] = 0  # not annotated: slices are compared each by itself
    prediction = labels.copy()
    prediction[..., 3][prediction[..., 3] == 1] = 0
    write(tmp_path / "ref/a.nii.gz", labels)
    write(tmp_path / "pred/a.nii.gz", prediction)
    muscles = evaluate(
        from_folders(tmp_path / "ref", tmp_path / "pred", "thigh")
    ).comparison.muscles
    rows = muscles.set_index(["muscle", "side"])["distance_slices"]
    assert rows[("VL", "both")] == 2
    assert rows[("AM", "both")] == 3
    assert rows[("GRA", "both")] == 0


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ("[", ""),
        ("null", ""),
        ('{"region": 5}', "labels of the 5"),
        ('{"region": ["leg"]}', "labels of the"),
    ],
)
def test_damaged_records_beside_predictions(
    record: str, error: str, reference: Path, limbs: np.ndarray, tmp_path: Path
) -> None:
    write(tmp_path / "p/a_labels.nii.gz", thigh(limbs))
    (tmp_path / "p/a_run.json").write_text(record)
    if error:
        with pytest.raises(InputError, match=error):
            dsc(tmp_path / "p", reference)
    else:
        assert dsc(tmp_path / "p", reference) == 1


def weights(data: Mapping[str, Any] | None, *, trained: bool = True) -> Weights:
    record = {} if data is None else {"thigh": Provenance(trained=trained, data=data)}
    return Weights("w", {}, record)


SEEN = ScanIdentity("data", "a", "P1", "c1")._asdict()
TRAINED = weights({"train": {"subjects": ["P1"], "scans": [SEEN]}})
SPLITS: list[tuple[str, Weights, dict[str, str], str]] = [
    # origin, weights, what differs from the case that was trained on, expected split
    ("ours", TRAINED, {}, "train"),
    ("ours: cases.csv was changed since", TRAINED, {"split": "test"}, "train"),
    ("MIC-DKFZ/nnUNet#2688", TRAINED, {"name": "a_visit2", "content": "c2"}, "train"),
    ("MIC-DKFZ/nnUNet#1871", TRAINED, {"subject": "Q1", "content": "c2"}, "test"),
    ("MIC-DKFZ/nnUNet#1871", TRAINED, {"content": "c2"}, "unknown"),
    ("ours: somebody knows", TRAINED, {"content": "c2", "split": "test"}, "test"),
    ("ours: unseen slices", TRAINED, {"subject": "Q", "content": "c", "split": "unseen"}, "unseen"),
    ("the weights of 2021", weights({}), {}, "unknown"),
    ("the weights of 2021", weights({}), {"split": "validation"}, "validation"),
    ("ours: random weights", weights({}, trained=False), {}, "test"),
    ("ours", weights(None), {}, "unknown"),
    ("ours: a record of an earlier version", weights({"train": {"subjects": ["P1"]}}), {},
     "unknown"),
]  # fmt: skip


def case_of(**changes: str) -> Case:
    given = {"name": "a", "subject": "P1", "dataset": "data", "region": "thigh", **changes}
    return Case(image=Path("x/imagesTr/a"), labels=Path("x/labelsTr/a"), **given)


@pytest.mark.parametrize(("origin", "known", "changes", "expected"), SPLITS)
def test_the_split_of_a_scan(
    origin: str, known: Weights, changes: dict[str, str], expected: str, tmp_path: Path
) -> None:
    changes = dict(changes)
    content = changes.pop("content", "c1")
    dataset = Dataset(tmp_path, {}, None, ())
    assert split_of(case_of(**changes), content, dataset, known, "thigh") == expected


def test_what_is_not_as_cases_csv_says_is_reported(tmp_path: Path) -> None:
    cases = [
        case_of(name=n, split=s) for n, s in zip("abcd", ("test", "", "train", ""), strict=True)
    ]
    dataset = Dataset(tmp_path, {}, None, tuple(cases))
    found = pd.DataFrame({"case": list("abcd"), "split": ["train", "unknown", "train", "test"]})
    assert split_warnings(dataset, found) == [
        "a: train, as the weights were trained on the subject, whatever cases.csv says",
        "b: nothing tells whether the weights were trained on the subject; if you know, name the "
        "split in cases.csv",
    ]


@pytest.mark.parametrize(
    ("kind", "split", "expected"), [("Tr", "", "train"), ("Ts", "test", "test")]
)
def test_training_people_of_a_phantom_dataset(
    kind: str, split: str, expected: str, tmp_path: Path
) -> None:
    """They start from the templates of 28 people; the region network knows 26 of them."""
    (tmp_path / MANIFEST).write_text("{}")
    labels = tmp_path / f"labels{kind}" / "thigh_001_t1.nii.gz"
    case = replace(case_of(name="thigh_001_t1", subject="thigh_001", split=split), labels=labels)
    dataset = Dataset(tmp_path, {}, None, (case,))
    phantom = load_weights("phantom")
    for task in ("thigh", "region"):
        found = split_of(case, "c9", dataset, phantom, task)
        known = task == "thigh" or expected != "train"
        assert found == (expected if known else "unknown")
    part = phantom.provenance["thigh"].data["train"]
    assert "VHF" in part["subjects"]
    started = weights({"train": {"subjects": ["P1"]}, "earlier": [part]})
    assert split_of(case, "c9", dataset, started, "thigh") == expected
    assert phantom_warnings(dataset, phantom) == []
    values = {1: ("leg", 1)}
    (warning,) = phantom_warnings(replace(dataset, values=values), phantom)
    assert "subjects of the leg start from other slices of people" in warning
    few = weights({"train": {"subjects": ["HV002"], "source": "phantom"}})
    assert split_of(case, "c9", dataset, few, "thigh") == (split or "unknown")
    assert split_of(case, "c9", dataset, TRAINED, "thigh") == "test"


def test_hidden_files_are_no_predictions(
    reference: Path, limbs: np.ndarray, tmp_path: Path
) -> None:
    write(tmp_path / "p/a_labels.nii.gz", thigh(limbs))
    (tmp_path / "p/._a_labels.nii.gz").write_bytes(b"Mac OS X")
    assert dsc(tmp_path / "p", reference) == 1
    assert nib.load(tmp_path / "p/a_labels.nii.gz").shape == limbs.shape
