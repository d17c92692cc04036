"""Saved weights: the networks of a folder, one file each, and their provenance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

import musclejax
from musclejax.anatomy import TASKS
from musclejax.config import config_hash
from musclejax.errors import InputError, did_you_mean
from musclejax.files import locked_folder, staging_folder
from musclejax.models.network import Network
from musclejax.models.provenance import UNTRAINED, Provenance, joined, summary
from musclejax.models.weight_file import (
    SUFFIX,
    Header,
    check_network,
    read_header,
    read_network,
    write_network,
)

_NEW = ".weights.new"
"""In a weights folder: the folder of a set that is whole, by its tasks (`.weights.new-leg-thigh`),
until its files are in their places."""
BUNDLED = Path(musclejax.__file__).parent / "bundled"
"""Folder of the weights that ship with the package."""


class SavedNetworks(Mapping):
    """The networks of a folder by task, each read when it is first used.

    Not a `Mapping[str, Network]` in name, or checkers of types at run time would read one.

    Attributes:
        headers: What each file says of its network, by task.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.headers: dict[str, Header] = {t: read_header(path) for t, path in files.items()}
        self._files = dict(files)
        self._read: dict[str, Network] = {}

    def __getitem__(self, task: str) -> Network:
        """Return a network, which is read at its first use.

        Raises:
            InputError: If its file is damaged.
        """
        if task not in self._read:
            self._read[task] = read_network(self._files[task], self.headers[task])
        return self._read[task]

    def __contains__(self, task: object) -> bool:
        """Return whether there is such a network; nothing is read."""
        return task in self._files

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tasks; nothing is read."""
        return iter(self._files)

    def __len__(self) -> int:
        """Return the number of networks."""
        return len(self._files)


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """The networks of a tree, any subset of the three, and where they come from.

    Attributes:
        name: Name of the bundled weights, or of the folder.
        networks: Networks by task; saved ones are read when they are first used.
        provenance: Where each network comes from, by task.
        bundled: Whether they ship with the package.
    """

    name: str
    networks: Mapping[str, Network] | SavedNetworks
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    bundled: bool = False

    @property
    def version(self) -> str:
        """Version of the set; empty if none is stated."""
        return joined(self.provenance, lambda record: record.version)

    @property
    def trained(self) -> bool:
        """Whether all networks have learned something; random weights have not."""
        return all(record.trained for record in self.provenance.values())

    @property
    def description(self) -> str:
        """What the networks are."""
        return joined(self.provenance, lambda record: record.description)

    @property
    def license(self) -> str:
        """Under which license the networks stand."""
        return joined(self.provenance, lambda record: record.license)

    @property
    def warning(self) -> str:
        """What a user must know before relying on the labels; empty if nothing."""
        random = "" if self.trained else UNTRAINED
        return joined(self.provenance, lambda record: record.warning) or random

    @property
    def summary(self) -> str:
        """One short line: name, version, what the networks were trained on, what they reached."""
        name = " ".join(filter(None, ("weights", self.name, self.version)))
        return f"{name}: {summary(self.provenance)}".removesuffix(": ")

    @property
    def headers(self) -> Mapping[str, Header] | Mapping[str, Network]:
        """Specification, settings and checksum of each network, by task; no array is read."""
        saved = self.networks
        return saved.headers if isinstance(saved, SavedNetworks) else saved

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits over the checksums of the networks; no array is read."""
        return config_hash({task: header.checksum for task, header in self.headers.items()})

    def __repr__(self) -> str:
        """Return the summary and the networks, on one line."""
        return f"<{self.summary} ({', '.join(self.networks)})>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        facts = {
            "networks": ", ".join(self.networks),
            "description": self.description,
            "license": self.license,
            "warning": self.warning,
            "hash": self.hash,
        }
        rows = (f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in facts.items() if v)
        caption = f"<caption>{escape(self.summary)}</caption>"
        return f"<table>{caption}{''.join(rows)}</table>"


def load_weights(name_or_folder: str | Path) -> Weights:
    """Load bundled weights by name, or any weights folder.

    Nothing is unpickled, executed or downloaded. The headers of all networks are read now, the
    arrays of each when it is first used.

    Raises:
        InputError: If there are no such weights, or a file is damaged or does not fit its own
            specification.
    """
    folder = find_weights(name_or_folder)
    networks = SavedNetworks(weight_files(folder))
    records = {task: header.provenance for task, header in networks.headers.items()}
    return Weights(folder.name, networks, records, bundled=folder.parent == BUNDLED)


def save_weights(
    folder: str | Path,
    networks: Mapping[str, Network],
    provenance: Provenance | Mapping[str, Provenance],
    *,
    half: bool = False,
) -> None:
    """Write networks into a folder, one file each; weights that are there are replaced.

    The set is replaced as a whole: whenever the process dies, the old or the new one can be loaded.

    Args:
        folder: Folder to make.
        networks: Networks by task, any subset of the three.
        provenance: Where all of them come from, or each by task.
        half: Whether kernels are stored in half precision; loaded arrays are float32 again.

    Raises:
        InputError: If a file of another program is in the way, or a network is another task's or
            does not fit its specification.
    """
    folder = Path(folder).absolute()
    for task, network in networks.items():
        check_network(folder / f"{task}{SUFFIX}", network)
    folder.mkdir(parents=True, exist_ok=True)
    with locked_folder(folder):
        _finish_replacing(folder)
        for path in weight_files(folder).values():
            _check_replaceable(path)
        with staging_folder(folder, "weights") as stage:
            new = stage / "-".join((_NEW, *sorted(networks)))
            new.mkdir()
            for task, network in networks.items():
                record = provenance if isinstance(provenance, Provenance) else provenance[task]
                write_network(new / f"{task}{SUFFIX}", network, record, half=half)
        _finish_replacing(folder)


def _finish_replacing(folder: Path) -> None:
    """Move the files of a new set to their places, and remove what it replaces."""
    new = _new_set(folder)
    if new is None:
        return
    for task in TASKS:
        path, place = new / f"{task}{SUFFIX}", folder / f"{task}{SUFFIX}"
        if path.is_file():
            path.replace(place)
        elif task not in _tasks_of(new):
            place.unlink(missing_ok=True)
    new.rmdir()


def _new_set(folder: Path) -> Path | None:
    """Return the folder of a whole set whose files are not all in their places yet, if any."""
    return next((path for path in folder.glob(f"{_NEW}-*") if path.is_dir()), None)


def _tasks_of(new: Path) -> list[str]:
    return new.name.split("-")[1:]


def _check_replaceable(path: Path) -> None:
    """Check that a file is ours to replace."""
    try:
        read_header(path)
    except InputError as error:
        found, accepted = "a file that is no weights", "a new folder, or weights to replace"
        raise InputError(path, found, accepted, "Remove it, or take another folder.") from error


def list_weights() -> dict[str, Weights]:
    """Return the weights that ship with the package, by name; their headers alone are read."""
    return {folder.name: load_weights(folder) for folder in _bundled()}


def weight_files(folder: Path) -> dict[str, Path]:
    """Return the files of a weights folder by task; empty if it is none.

    While a set replaces another, the files are those of the new one.
    """
    new = _new_set(folder)
    tasks = TASKS if new is None else [task for task in TASKS if task in _tasks_of(new)]
    paths = {task: folder / f"{task}{SUFFIX}" for task in tasks}
    if new is not None:  # the process that wrote it was killed: what it had not moved is there
        moved = {task: new / path.name for task, path in paths.items()}
        paths = {t: moved[t] if moved[t].is_file() else path for t, path in paths.items()}
    return {task: path for task, path in paths.items() if path.is_file()}


def find_weights(name_or_folder: str | Path) -> Path:
    """Return the folder of some weights.

    Raises:
        InputError: If there are no such weights.
    """
    for folder in (Path(name_or_folder), BUNDLED / str(name_or_folder)):
        if weight_files(folder):
            return folder.absolute()
    names = [folder.name for folder in _bundled()]
    none = f"a folder without {', '.join(f'{task}{SUFFIX}' for task in TASKS)}"
    found = none if Path(name_or_folder).is_dir() else "no such weights"
    accepted = f"a bundled name ({', '.join(names)}) or a folder made by import-keras or train"
    hint = did_you_mean(str(name_or_folder), names)
    raise InputError(f"weights {name_or_folder}", found, accepted, hint)


def _bundled() -> list[Path]:
    return sorted(folder for folder in BUNDLED.iterdir() if weight_files(folder))
