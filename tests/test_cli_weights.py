"""The commands about weights and networks: weights, describe, import-keras."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from musclejax.anatomy import TASKS
from musclejax.models.weights import Weights, load_weights
from musclejax.reports.weights import weights_record, weights_sheets
from tests.test_cli import call


def test_describe() -> None:
    rows = json.loads(call("describe", "--json").stdout)
    assert [r["trainable_parameters"] for r in rows] == [
        *(7_056_130, 7_842_586, 45_445_005, 45_444_807)
    ]
    assert rows[2]["receptive_fields"][-1] == [188, 284, 380]
    shown = call("describe", "--variant", "compact8").stdout
    assert "2,845,485" in shown
    assert "188x188, 284x284, 380x380" in shown
    wrong = call("describe", "--variant", "papre")
    assert (wrong.exit_code, "Did you mean paper?" in wrong.stderr) == (2, True)


def test_list_says_one_line_of_each() -> None:
    records = json.loads(call("weights", "list", "--json").stdout)
    lines = call("weights", "list").stdout.splitlines()
    assert lines == [record["summary"] for record in records.values()]
    assert lines[0].startswith("weights phantom 2: trained on synthetic slices of ")
    assert "DSC" in lines[0]


def test_show_prints_all_details() -> None:
    shown = call("weights", "show", "phantom").stdout
    record = json.loads(call("weights", "show", "phantom", "--json").stdout)
    weights = load_weights("phantom")
    assert record == json.loads(json.dumps(weights_record(weights)))
    for task in TASKS:
        network = record["networks"][task]
        assert network["spec"] == json.loads(json.dumps(asdict(weights.headers[task].spec)))
        assert network["checksum"][:12] in shown
        assert f"{network['parameters']:,}" in shown
        assert network["provenance"]["license"] in shown
    for text in (weights.warning, weights.hash, "VL Vastus lateralis", "rematerialize", "numpy"):
        assert text in shown
    wrong = call("weights", "show", "fantom")
    assert (wrong.exit_code, "Did you mean phantom?" in wrong.stderr) == (2, True)


def test_weights_without_a_record_are_shown_too() -> None:
    networks = load_weights("phantom").networks
    bare = Weights("bare", {"leg": networks["leg"]})
    sheets = weights_sheets(bare)
    assert ("name", "bare") in sheets[0].rows
    assert all(len(row) == len(sheet.columns) for sheet in sheets for row in sheet.rows)


def test_random_weights(tmp_path: Path) -> None:
    done = call("weights", "init", "--variant", "compact4", "-o", tmp_path / "w")
    assert "not trained" in done.stdout
    weights = load_weights(tmp_path / "w")
    assert (set(weights.networks), weights.trained) == (set(TASKS), False)
    assert weights.headers["leg"].config.variant == "compact4"
    assert not call("weights", "init", "--variant", "compact4", "-o", tmp_path / "q", "-q").stdout
    wrong = call("weights", "init", "--variant", "compct4", "-o", tmp_path / "x")
    assert (wrong.exit_code, "Did you mean compact4?" in wrong.stderr) == (2, True)


def test_import_keras_of_a_wrong_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["x"] = 1
    result = call("import-keras", "--leg", tmp_path / "f.hdf5", "-o", tmp_path / "w")
    assert result.exit_code == 1
    assert "HDF5 without the attribute layer_names" in result.stderr
    assert not (tmp_path / "w").exists()
    assert call("import-keras", "-o", tmp_path / "w").exit_code == 2


def test_import_keras_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "f.hdf5").write_text("")
    result = call("import-keras", "--leg", tmp_path / "f.hdf5", "-o", tmp_path / "w")
    assert result.exit_code == 1
    assert "no package h5py" in result.stderr
    assert "pip install 'musclejax[keras]'" in result.stderr
