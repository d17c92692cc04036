"""Files that are damaged, another program's, or state what they should not: one line each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from musclejax.errors import InputError
from musclejax.models.weight_file import _METADATA_HASH, _hash_of
from musclejax.models.weights import load_weights

NAME = "leg.safetensors"


@pytest.fixture
def file(weights_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes((weights_folder / NAME).read_bytes())
    return path


def read_all(folder: Path) -> None:
    weights = load_weights(folder)
    for task in weights.networks:
        weights.networks[task]


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_all(path.parent)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as opened:
        return dict(opened.metadata())


def rewrite(path: Path, **metadata: str) -> None:
    """Change the header as somebody would who means it: with the checksum of its words."""
    words = {**header(path), **metadata}
    save_file(load_file(path), path, {**words, _METADATA_HASH: _hash_of(words)})


def edited(path: Path, key: str, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(header(path)[key])
    edit(values)
    rewrite(path, **{key: json.dumps(values)})


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "no readable weights"),
        (lambda content: content[:7], "no readable weights"),
        (lambda content: content[:-1], "no readable weights"),
        (lambda content: content[: len(content) // 2], "no readable weights"),
        (lambda content: b"\x89HDF\r\n" + content, "no readable weights"),
        (lambda content: b"not weights at all", "no readable weights"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "its checksum does not fit"),
        (replaced(b'percentile\\": 99.0', b'percentile\\": 98.0'), "its checksum does not fit"),
        (replaced(b'momentum\\": 0.99', b'momentum\\": 0.98'), "its checksum does not fit"),
    ],
)
def test_damaged_files(damage: Callable[[bytes], bytes], message: str, file: Path) -> None:
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    refused(file, message)


def test_a_flipped_bit_anywhere_is_one_line(file: Path) -> None:
    before = file.read_bytes()
    for position in np.random.default_rng(0).integers(0, 12_000, 60):
        content = bytearray(before)
        content[position] ^= 1 << int(position) % 7
        file.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_all(file.parent)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "pt"}, "format: found 'pt'; accepted: musclejax 1. Is it another file"),
        ({"format": "musclejax 2"}, "found musclejax 2; accepted: musclejax 1. Run: pip install"),
        ({"format": ""}, "format: found ''"),
        ({"task": "arm"}, "task: found 'arm'; accepted: region, level, thigh, leg"),
        ({"task": "thigh"}, "found a thigh network with settings of leg; accepted: a leg network"),
        ({"spec": "[]"}, "list in place of a table"),
        ({"spec": "{"}, "JSONDecodeError"),
        ({"config": "{"}, "JSONDecodeError"),
        ({"provenance": '{"license": {}}'}, "provenance.license: found {}; accepted: a str"),
        ({"spec": "[" * 100_000}, "RecursionError"),
    ],
)
def test_headers_that_state_something_else(
    metadata: dict[str, str], message: str, file: Path
) -> None:
    rewrite(file, **metadata)
    refused(file, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("strdes", [1], "field: found 'strdes'; .*Did you mean strides"),
        ("widths", [4, 8], "strides: .*; accepted: 2, one per width"),
        ("widths", [0] * 6, "each 1 to 8192"),
        ("widths", [10**9] * 6, "each 1 to 8192"),
        ("widths", [4] * 99, "1 to 12 widths"),
        ("widths", "48", "widths: found '48'; accepted: integers"),
        ("widths", [4.5] * 6, "accepted: integers"),
        ("units", 10**9, "units: found 1000000000; accepted: 1 to 16"),
        ("units", True, "units: found True; accepted: an integer"),
        ("residual", "yes", "residual: found 'yes'; accepted: true or false"),
        ("norm", "layer", "norm: found 'layer'; accepted: batch, group, none"),
        ("momentum", float("nan"), "momentum: found nan"),
        ("widths", [8, 8, 16, 32, 64, 128], r"of shape \(4,\); accepted: \(8,\)"),
        ("norm", "none", "found an array batch_stats/contract_0"),
        (
            "strides",
            [1, 2, 2, 2, 2, 5],
            "strides: .* accepted: factors of 432, the leg",
        ),
    ],
)
def test_specifications_are_known_bounded_and_fit_the_arrays(
    field: str, value: Any, message: str, file: Path
) -> None:
    edited(file, "spec", lambda spec: spec.update({field: value}))
    refused(file, message)


def test_settings_must_exist(file: Path) -> None:
    edited(file, "config", lambda config: config.update(color="blue"))
    refused(file, "color")


def test_fields_that_a_file_leaves_out_have_their_defaults(file: Path) -> None:
    """What a later version adds to the specification, files of today lack."""
    edited(file, "spec", lambda spec: spec.pop("rematerialize"))
    assert load_weights(file.parent).headers["leg"].spec.rematerialize
    edited(file, "provenance", lambda provenance: provenance.update(since=["a later version"]))
    assert load_weights(file.parent).provenance["leg"].trained is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("params/head/bias"), "no array params/head/bias"),
        (lambda arrays: arrays.update({"a/b": np.zeros(1, np.float32)}), "found an array a/b"),
        (
            lambda arrays: arrays.update({"params/head/bias": np.zeros(7, np.int8)}),
            "arrays of type I8; accepted: F16 or F32",
        ),
    ],
)
def test_arrays_must_be_those_of_the_specification(
    change: Callable[[dict[str, np.ndarray]], object], message: str, file: Path
) -> None:
    arrays, metadata = load_file(file), header(file)
    change(arrays)
    save_file(arrays, file, metadata)
    refused(file, message)


def test_a_file_that_was_replaced_meanwhile_is_not_taken_for_the_first(
    file: Path, weights_folder: Path
) -> None:
    weights = load_weights(file.parent)
    arrays, metadata = load_file(file), header(file)
    arrays["params/head/bias"] += 1
    save_file(arrays, file, metadata)
    with pytest.raises(InputError, match="checksum"):
        weights.networks["leg"]
