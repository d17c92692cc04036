"""The BIDS tree: names, tables, protection of edited files."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from musclejax.errors import InputError
from musclejax.reports.bids import name_of, reserve
from musclejax.reports.run_record import read_record
from musclejax.reports.segmentation import save
from musclejax.scan.series import Series
from musclejax.scan.volume import Volume
from tests.test_measurement import example


def volume(name: str, **series: object) -> Volume:
    listed = Series(Path(f"/study/{name}.nii.gz"), **series) if series else None  # type: ignore[arg-type]
    return Volume(np.ones((1, 1, 1), np.float32), np.eye(4), name, series=listed)


@pytest.mark.parametrize(
    ("scan", "stem"),
    [
        (volume("test_up"), "sub-testup/anat/sub-testup_seg-thigh_"),
        (
            volume("sub-01_ses-2_acq-dixon_run-1_T1w"),
            "sub-01/ses-2/anat/sub-01_ses-2_acq-dixon_run-1_seg-thigh_desc-T1w_",
        ),
        (
            volume("x", subject="P-7", visit="2021-03-04", description="t1 vibe", kind="in phase"),
            "sub-P7/ses-20210304/anat/sub-P7_ses-20210304_acq-t1vibe_seg-thigh_desc-inphase_",
        ),
        (volume("x", subject="P7", index=1), "sub-P7/anat/sub-P7_echo-2_seg-thigh_"),
        # SHA-256 of the name, as `printf 大腿 | sha256sum` has it.
        (volume("大腿"), "sub-xc7186176/anat/sub-xc7186176_seg-thigh_"),
    ],
)
def test_names(scan: Volume, stem: str, tmp_path: Path) -> None:
    assert reserve(tmp_path, scan, "thigh") == f"bids/{stem}"
    assert name_of(scan, "leg").entities["seg"] == "leg"


def test_persons_and_scans_never_share_a_name(tmp_path: Path) -> None:
    stems = [reserve(tmp_path, volume(name), "leg") for name in ("a_1", "a-1", "a_1")]
    assert [stem.split("/")[1] for stem in stems] == ["sub-a1", "sub-a1x2", "sub-a1"]
    people = pd.read_csv(tmp_path / "bids" / "participants.tsv", sep="\t")
    assert people.values.tolist() == [["sub-a1", "a_1"], ["sub-a1x2", "a-1"]]
    taken = tmp_path / f"{stems[0]}dseg.nii.gz"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"a person's own")
    assert reserve(tmp_path, volume("a_1"), "leg") == stems[0].replace("seg-leg", "seg-leg_desc-2")


def test_what_a_person_adds_to_participants_stays(tmp_path: Path) -> None:
    table = tmp_path / "bids/participants.tsv"
    table.parent.mkdir()
    table.write_text("\ufeffparticipant_id\tage\tsource_name\r\nsub-a1\t50\ta_1\r\n")
    stems = [reserve(tmp_path, volume(name), "leg") for name in ("a-1", "a_1", "b\tc", "b\tc")]
    assert [stem.split("/")[1] for stem in stems] == ["sub-a1x2", "sub-a1", "sub-bc", "sub-bc"]
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert rows[1:] == [
        ["sub-a1", "50", "a_1"],
        ["sub-a1x2", "n/a", "a-1"],
        ["sub-bc", "n/a", "b c"],
    ]
    table.write_bytes(b"participant_id\tnom\xe9\n")
    with pytest.raises(InputError, match="no readable table"):
        reserve(tmp_path, volume("d"), "leg")


def test_a_tree_and_its_protection(tmp_path: Path) -> None:
    result = replace(example(), warnings=("look",))
    files = save(result, tmp_path, labels="sides", naming="bids")
    stem = tmp_path / "bids" / "sub-case" / "anat" / "sub-case_seg-leg_dseg"
    data = stem.with_suffix(".nii.gz")
    assert data in files
    stored = np.asarray(nib.load(data).dataobj)
    np.testing.assert_array_equal(stored, result.labels + 100 * ((stored > 100) & (stored > 0)))
    assert set(np.unique(stored)) == {0, 1, 101, 102}
    table = pd.read_csv(stem.with_suffix(".tsv"), sep="\t", index_col="index")
    assert table.loc[102].tolist() == [
        "Gastrocnemius, medial head, right", "GM_right", table.loc[102, "color"], 5,
    ]  # fmt: skip
    assert table["color"].str.fullmatch("#[0-9a-f]{6}").all()
    sidecar = json.loads(stem.with_suffix(".json").read_text())
    assert (sidecar["Scan"], sidecar["numbering"], sidecar["Warnings"]) == (
        "case",
        "sides",
        ["look"],
    )
    about = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    rows = pd.read_csv(tmp_path / "case_muscles.csv").set_index(["muscle", "side"])["label"]
    assert (rows["SOL", "left"], rows["GM", "right"]) == (1, 102)
    record = read_record(tmp_path, "case") or {}
    assert data.relative_to(tmp_path).as_posix() in record["files"]
    save(result, tmp_path, labels="sides", naming="bids")  # unchanged files are ours
    data.write_bytes(b"corrected")
    with pytest.raises(InputError, match="edited since"):
        save(result, tmp_path, labels="sides", naming="bids")
    save(result, tmp_path, overwrite="edited")
    assert data.with_name(f"{data.name}.bak").read_bytes() == b"corrected"
    assert not stem.with_suffix(".tsv").exists()  # of labels that are gone
