"""Weight files and HDF5 files that are damaged, hostile, half replaced or of a later version.

Each row names its origin; "ours" are faults found in this project's own trials.
"""

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from musclejax.errors import InputError
from musclejax.models import weights as weights_module
from musclejax.models.initialization import initialize
from musclejax.models.keras_import import import_keras
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance
from musclejax.models.spec import NetworkSpec
from musclejax.models.weight_file import _METADATA_HASH, _hash_of
from musclejax.models.weights import load_weights, save_weights

h5py = pytest.importorskip("h5py")
SMALL = NetworkSpec(widths=(2, 3), strides=(1, 2), norm="none")
TASKS = ("leg", "thigh")


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {task: initialize(task, SMALL, seed=1) for task in TASKS}


@pytest.fixture
def folder(networks: dict[str, Network], tmp_path: Path) -> Path:
    save_weights(tmp_path / "w", networks, Provenance(version="1", description="old"))
    return tmp_path / "w"


def read_all(folder: Path) -> dict[str, Network]:
    weights = load_weights(folder)
    return {task: weights.networks[task] for task in weights.networks}


def test_every_flipped_bit_is_refused(folder: Path) -> None:
    """Source: ours; 6 of 6 were loaded. Here: 60 of the header, words included, and of arrays."""
    path = folder / "leg.safetensors"
    before = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(before), 60):
        content = bytearray(before)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_all(folder)
        assert "\n" not in str(error.value)


def test_files_of_before_the_checksum_of_words_are_read(folder: Path) -> None:
    path = folder / "leg.safetensors"
    with safe_open(path, framework="numpy") as file:
        words = dict(file.metadata())
    del words[_METADATA_HASH]
    save_file(load_file(path), path, words)
    assert set(read_all(folder)) == set(TASKS)


def with_words(path: Path, edit: Callable[[dict[str, str]], object]) -> None:
    with safe_open(path, framework="numpy") as file:
        words = dict(file.metadata())
    edit(words)
    save_file(load_file(path), path, {**words, _METADATA_HASH: _hash_of(words)})


def changed(key: str, *names: str, value: Any) -> Callable[[dict[str, str]], None]:
    def edit(words: dict[str, str]) -> None:
        table = node = json.loads(words[key])
        for name in names[:-1]:
            node = node[name]
        node[names[-1]] = value
        words[key] = json.dumps(table)

    return edit


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        # Source: TotalSegmentator issue 289.
        (
            [changed("config", "optim", "new", value=1), lambda words: words.update(musclejax="9")],
            "leg.safetensors, configuration: .*new.* by musclejax 9; this is .*pip install",
        ),
        (
            [changed("spec", "new", value=1), lambda words: words.update(musclejax="9.0")],
            "leg.safetensors, field: found 'new'.* by musclejax 9.0; this is",
        ),
        ([lambda words: words.update(format="musclejax 2", musclejax="9")], "by musclejax 9; this"),
        ([changed("config", "optim", "new", value=1)], "configuration: .*new"),
        ([changed("config", "intensity", "percentile", value=1000.0)], "intensity.percentile"),
        ([changed("config", "data", "crop_px", value=[-4, 8])], "data.crop_px"),
        ([lambda words: words.update(extra="x")], "header: found 'extra'"),
        ([lambda words: words.pop("musclejax")], "header: found no musclejax"),
    ],
)
def test_what_a_header_must_not_say(
    edits: list[Callable[[dict[str, str]], object]], message: str, folder: Path
) -> None:
    for edit in edits:
        with_words(folder / "leg.safetensors", edit)
    with pytest.raises(InputError, match=message):
        read_all(folder)


def network_of(value: float) -> Network:
    network = initialize("leg", SMALL, seed=1)
    variables = jax.tree.map(np.array, dict(network.variables))
    variables["params"]["head"]["kernel"][0, 0] = value
    return Network(network.config, network.spec, variables)


@pytest.mark.parametrize(
    ("value", "half", "saved"),
    [
        (np.nan, False, False),  # of a run that diverged: ours
        (np.inf, False, False),
        (1e5, True, False),  # half precision ends at 65504
        (1e5, False, True),
        (6e4, True, True),
    ],
)
def test_networks_of_no_numbers_are_not_saved(
    value: float, half: bool, saved: bool, folder: Path
) -> None:
    before = sorted((p.name, p.read_bytes()) for p in folder.iterdir())
    network = network_of(value)
    if saved:
        save_weights(folder, {"leg": network}, Provenance(), half=half)
        read_all(folder)
        return
    with pytest.raises(InputError, match="NaN or infinity in params/head/kernel"):
        save_weights(folder, {"leg": network}, Provenance(), half=half)
    assert sorted((p.name, p.read_bytes()) for p in folder.iterdir()) == before


def test_files_of_no_numbers_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As earlier versions have written them."""
    with monkeypatch.context() as patch:
        patch.setattr("musclejax.models.weight_file._check_finite", lambda *arguments: None)
        save_weights(folder, {"leg": network_of(np.nan)}, Provenance())
    with pytest.raises(InputError, match="leg.safetensors: found NaN or infinity"):
        read_all(folder)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code sees it."""


OPERATIONS = ("replace", "unlink", "rmdir", "rename")


@pytest.mark.parametrize("new", [("leg",), ("leg", "thigh"), ("leg", "region")])
def test_killed_between_any_two_steps_a_set_is_the_old_or_the_new(
    new: tuple[str, ...], networks: dict[str, Network], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Source: ours; files were moved one by one, which left one of each set."""
    spec = NetworkSpec(widths=(2, 3), strides=(1, 2), norm="none")
    following = {task: initialize(task, spec, seed=2) for task in new}
    outcomes = set()
    for step in range(9):
        folder = tmp_path / str(step)
        save_weights(folder, networks, Provenance(version="old"))
        left = [step]
        with monkeypatch.context() as patch:
            for name in OPERATIONS:
                patch.setattr(Path, name, dying(getattr(Path, name), left))
            with suppress(Killed):
                save_weights(folder, following, Provenance(version="new"))
        weights = load_weights(folder)
        tasks = tuple(sorted(read_all(folder)))
        assert (weights.version, tasks) in {("old", TASKS), ("new", tuple(sorted(new)))}
        outcomes.add((weights.version, left[0] < 0))
        save_weights(folder, {"thigh": networks["thigh"]}, Provenance(version="last"))
        assert [p.name for p in folder.iterdir()] == ["thigh.safetensors"]
    assert outcomes == {("old", True), ("new", True), ("new", False)}


def test_of_two_exports_at_once_one_wins_whole(
    networks: dict[str, Network], tmp_path: Path
) -> None:
    """Source: ours; a folder with one network of each would segment without a word."""
    sets = {"a": networks, "b": {"leg": networks["leg"]}}
    whole = {(name, tuple(sorted(tasks))) for name, tasks in sets.items()}
    both = Barrier(len(sets))

    def export(name: str) -> None:
        both.wait()
        save_weights(tmp_path / "w", sets[name], Provenance(version=name))

    with ThreadPoolExecutor(len(sets)) as pool:
        for _ in range(4):
            list(pool.map(export, sets))
            weights = load_weights(tmp_path / "w")
            tasks = tuple(sorted(read_all(tmp_path / "w")))
            assert (weights.version, tasks) in whole
            names = [path.name for path in (tmp_path / "w").iterdir()]
            assert sorted(names) == [f"{task}.safetensors" for task in tasks]


def dying(operation: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def act(self: Path, *arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return operation(self, *arguments, **options)

    return act


def test_files_have_the_mode_of_the_umask(networks: dict[str, Network], tmp_path: Path) -> None:
    """Source: ours; files of temporary folders were readable for their owner only."""
    before = os.umask(0o027)
    try:
        save_weights(tmp_path / "w", networks, Provenance())
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "w").iterdir()}
    assert modes == {0o640}
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o750


def test_a_set_being_replaced_is_read_where_it_is(folder: Path) -> None:
    new = folder / f"{weights_module._NEW}-leg"
    new.mkdir()
    (folder / "leg.safetensors").replace(new / "leg.safetensors")
    assert set(read_all(folder)) == {"leg"}


def keras(path: Path, edit: Callable[[Any, Any, Path], object]) -> None:
    """Write a file like those of 2021 with one layer, then change something of it."""
    with h5py.File(path, "w") as file:
        group = file.create_group("conv")
        file.attrs["layer_names"] = [b"conv"]
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        edit(file, group, path.parent)


def external_link(file: Any, group: Any, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones(3)
    group["conv/kernel:0"] = h5py.ExternalLink(str(folder / "other.h5"), "/x")


def link_to_pipe(file: Any, group: Any, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    group["conv/kernel:0"] = h5py.ExternalLink(str(folder / "pipe"), "/x")


def raw(name: str) -> Callable[[Any, Any, Path], None]:
    def edit(file: Any, group: Any, folder: Path) -> None:
        if name == "pipe":
            os.mkfifo(folder / name)
        place = [(name if name.startswith("/") else str(folder / name), 0, 256)]
        group.create_dataset("conv/kernel:0", (64,), "f4", external=place)

    return edit


def virtual(file: Any, group: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (3,))
    group.create_virtual_dataset("conv/kernel:0", layout)


def declared(**options: Any) -> Callable[[Any, Any, Path], object]:
    return lambda file, group, folder: group.create_dataset("conv/kernel:0", **options)


def named(value: Any) -> Callable[[Any, Any, Path], object]:
    return lambda file, group, folder: group.attrs.__setitem__("weight_names", value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        # A link hangs on a pipe and reads any file that the user may read. Ours; HDF5's own format.
        (external_link, "a link to another file at conv/conv/kernel:0"),
        (link_to_pipe, "a link to another file"),
        (raw("/etc/passwd"), "stored in another file"),
        (raw("pipe"), "stored in another file"),
        (virtual, "stored in another file"),
        # 10 GB in a file of 4 kB. Ours.
        (
            declared(shape=(10**5, 10**5), dtype="f4", chunks=(100, 100)),
            "declare 40000000000 bytes",
        ),
        (
            declared(shape=(4,), maxshape=(None,), chunks=(2**28,), dtype="f4", compression=1),
            "declare 1073741824 bytes",
        ),
        (declared(data=np.array(["a"], object), dtype=h5py.string_dtype()), "of type object"),
        (named(3), "no readable HDF5"),
        (named([b"\xff\xfe"]), "no readable HDF5"),
        (named([b"nothing"]), "no readable HDF5"),
        (named([b"/conv"]), "no readable HDF5"),
        (
            lambda file, group, folder: file.attrs.__delitem__("layer_names"),
            "without the attribute",
        ),
        (lambda file, group, folder: file.attrs.__setitem__("layer_names", [[1]]), "no readable"),
    ],
)
def test_hdf5_that_leads_elsewhere_or_declares_too_much(
    edit: Callable[[Any, Any, Path], object], message: str, tmp_path: Path
) -> None:
    keras(tmp_path / "weights.hdf5", edit)
    with pytest.raises(InputError, match=message) as error:
        import_keras(tmp_path / "weights.hdf5", "leg")
    assert str(tmp_path / "weights.hdf5") in str(error.value)
    assert "\n" not in str(error.value)


def test_flipped_bits_of_hdf5_are_a_line_or_another_layer(tmp_path: Path) -> None:
    """Source: ours; h5py raises a dozen types on damaged files."""
    path = tmp_path / "weights.hdf5"
    keras(path, declared(data=np.ones((3, 3), np.float32)))
    before, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, 3000, 40):
        content = bytearray(before)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(InputError):
            import_keras(path, "leg")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.hdf5")
    with pytest.raises(InputError, match="no such file"):
        import_keras(tmp_path / "weights.hdf5", "leg")
