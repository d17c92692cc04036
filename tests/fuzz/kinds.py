"""The table of kinds: a valid folder, the files of it that are changed and how, reader, judge."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz.changes.binary import BYTES, Change
from tests.fuzz.changes.dicom import DICOM, dicom_bomb
from tests.fuzz.changes.formats import MGH, TEXT_HEADER
from tests.fuzz.changes.hdf5 import HDF5
from tests.fuzz.changes.jsons import JSON
from tests.fuzz.changes.nifti import NIFTI
from tests.fuzz.changes.packed import gzip_bomb, inside_gzip, zlib_bomb
from tests.fuzz.changes.safetensors import SAFETENSORS
from tests.fuzz.changes.texts import CSV, ENCODING, LINES, SETTINGS
from tests.fuzz.judges import base, scans, tables
from tests.fuzz.judges import formats as judge
from tests.fuzz.judges.base import Judge
from tests.fuzz.readers import records as read_records
from tests.fuzz.readers import scans as read_scans
from tests.fuzz.readers.scans import Reader
from tests.fuzz.valid import dicom, formats, models, records
from tests.fuzz.valid import scans as valid_scans

_GZIP = (*BYTES, *BYTES, gzip_bomb)
_INSIDE = tuple(inside_gzip(change) for change in NIFTI)
_MGZ = (*_GZIP, *(inside_gzip(change) for change in MGH))
_ITK, _PACKED = (*TEXT_HEADER, zlib_bomb), "packed_scan"
_FRAMES = (*BYTES, *DICOM, *DICOM, dicom_bomb)
_TEXT = (*JSON, *BYTES, *ENCODING)
_LOG = (*LINES, *BYTES, *ENCODING)


class Kind(NamedTuple):
    """A row of the table.

    Attributes:
        make: Writes a small valid input into an empty folder.
        files: Pattern of the files of which one is changed.
        changes: Each as likely as the others.
        read: Reads the folder.
        judge: Says whether an accepted answer that differs from the valid one is silently wrong.
    """

    make: Callable[[Path], None]
    files: str
    changes: tuple[Change, ...]
    read: Reader
    judge: Judge


_scan, _dataset, _out = valid_scans.scan, valid_scans.dataset, valid_scans.predictions
_read, _read_dataset = read_scans.scan, read_scans.dataset
KINDS: Mapping[str, Kind] = {
    "nifti": Kind(_scan, "scan.nii", (*BYTES, *NIFTI), _read("scan.nii"), scans.nifti),
    "nifti-gzip": Kind(_scan, "scan.nii.gz", _GZIP, _read("scan.nii.gz"), base.exact),
    "pair": Kind(formats.pair, "scan.hdr", (*BYTES, *NIFTI), _read("scan.img"), judge.pair_header),
    "pair-voxels": Kind(formats.pair, "scan.img", BYTES, _read("scan.hdr"), judge.pair_voxels),
    "mgz": Kind(formats.freesurfer, "scan.mgz", _MGZ, _read("scan.mgz"), judge.freesurfer),
    "nrrd": Kind(formats.itk, "scan.nrrd", TEXT_HEADER, _read("scan.nrrd"), judge.itk),
    "nrrd-packed": Kind(formats.itk, f"{_PACKED}.nrrd", _ITK, _read(f"{_PACKED}.nrrd"), judge.itk),
    "mha": Kind(formats.itk, "scan.mha", TEXT_HEADER, _read("scan.mha"), judge.itk),
    "mha-packed": Kind(formats.itk, f"{_PACKED}.mha", _ITK, _read(f"{_PACKED}.mha"), judge.itk),
    "fat-fraction": Kind(
        formats.fat_map, "fat.nii.gz", _INSIDE, read_scans.fat_fraction, judge.fat
    ),
    "dicom": Kind(dicom.series, "series/*", (*BYTES, *DICOM), _read("series"), scans.slices),
    "dicom-frames": Kind(dicom.frames, "scan.dcm", _FRAMES, _read("scan.dcm"), scans.frames),
    "hdf5": Kind(models.keras, "*.hdf5", (*BYTES, *HDF5), read_records.keras, scans.keras),
    "weights": Kind(
        models.weights, "*.safetensors", (*BYTES, *SAFETENSORS), read_records.weights, base.exact
    ),
    "checkpoint": Kind(
        models.run, "checkpoints/best/**/*", BYTES, read_records.checkpoint, base.exact
    ),
    "dataset": Kind(_dataset, "dataset.json", _TEXT, _read_dataset, tables.labels),
    "dataset-labels": Kind(_dataset, "labelsTr/*", _INSIDE, _read_dataset, tables.label_maps),
    "dataset-gzip": Kind(_dataset, "*Tr/*", _GZIP, _read_dataset, base.exact),
    "dataset-cases": Kind(_dataset, "*.csv", (*CSV, *BYTES), _read_dataset, tables.cases),
    "prediction": Kind(_out, "out/*.gz", _INSIDE, read_scans.prediction, tables.figures),
    "prediction-gzip": Kind(_out, "out/*.gz", _GZIP, read_scans.prediction, tables.figures),
    "record": Kind(_out, "out/*.json", _TEXT, read_scans.prediction, tables.vouching),
    "run": Kind(records.run, "run.json", _TEXT, read_records.run, base.free),
    "metrics": Kind(records.run, "metrics.jsonl", _LOG, read_records.run, tables.metrics),
    "trials": Kind(records.search, "trials.jsonl", _LOG, read_records.search, tables.trials),
    "search": Kind(records.search, "config.json", _TEXT, read_records.search, base.free),
    "manifest": Kind(records.manifest, "*.json", _TEXT, read_records.manifest, base.free),
    "recipe": Kind(records.recipe, "recipe.py", BYTES, read_records.recipe, base.free),
    "settings": Kind(records.recipe, "*.txt", SETTINGS, read_records.settings, base.free),
}


class Input(NamedTuple):
    """One changed file of a kind; it follows from the kind, a seed and a number."""

    kind: str
    number: int
    file: str
    change: str
    content: bytes


def make_input(kind: str, folder: Path, seed: int, number: int) -> Input:
    """Return an input; `folder` holds the valid one."""
    rng = Random(f"{kind} {seed} {number}")
    path = rng.choice(sorted(p for p in folder.glob(KINDS[kind].files) if p.is_file()))
    change = rng.choice(KINDS[kind].changes)
    file = path.relative_to(folder).as_posix()
    return Input(kind, number, file, change.__name__, change(path.read_bytes(), rng))
