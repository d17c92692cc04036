"""Commands that `kills` kills: their arguments, and what must be equal at the end."""

from typing import NamedTuple

from tests.small import VARIANT

_SETTINGS = ("task=leg", f"variant={VARIANT}", "data.crop_px=(96,144)", "train.batch_size=4")
_OFTEN = "train.checkpoint_minutes=0.0"
_EPOCHS = ("train.epoch_slices=16", "train.epochs=3", _OFTEN)
_TRIALS = ("train.epoch_slices=8", "tune.max_epochs=2", "tune.eta=2", _OFTEN)
"""Four trials, two of one epoch; a trial takes seconds to trace, each of its steps is saved."""


class Command(NamedTuple):
    """A row of the table; {data}, {run}, {weights} and {out} stand for folders.

    Attributes:
        arguments: Of `musclejax`.
        compared: Patterns of the files that must be equal; all checkpoints must be, too.
        again: Further arguments where a killed run has left the folder.
        on_workers: Whether the command gives its work to a cluster, whose workers are killed
            rather than the command; the run that is left alone has no cluster.
    """

    arguments: tuple[str, ...]
    compared: tuple[str, ...]
    again: tuple[str, ...] = ()
    on_workers: bool = False


def _learning(command: str, *settings: str) -> tuple[str, ...]:
    changes = [f"--set={setting}" for setting in (*_SETTINGS, *settings)]
    return command, "--config", "tiny", "--data", "{data}", "--workdir", "{out}", *changes


_SEGMENT = (
    "segment",
    "{data}/imagesTr",
    "--weights",
    "{weights}",
    "--region",
    "leg",
    "-o",
    "{out}",
)
_TUNE = Command(_learning("tune", *_TRIALS), ("trials.jsonl", "best.py"))
COMMANDS = {
    "train": Command(_learning("train", *_EPOCHS), ("metrics.jsonl",), ("--resume",)),
    "tune": _TUNE,
    "tune-workers": _TUNE._replace(on_workers=True),
    "segment-workers": Command(_SEGMENT, ("*_labels.nii.gz", "*.csv"), on_workers=True),
    "phantom": Command(
        ("phantom", "--region", "leg", "--subjects", "2", "--test", "1", "-o", "{out}"), ("**/*.*",)
    ),
    "weights": Command(("weights", "export", "{run}", "-o", "{out}"), ("*.safetensors",)),
    "export": Command(
        ("export", "--task", "region", "--format", "stablehlo", "-o", "{out}/region.stablehlo"),
        ("*",),
    ),
    "evaluate": Command(
        ("evaluate", "--reference", "{data}", "--prediction", "{data}/labelsTr", "-o", "{out}"),
        ("*.csv",),
    ),
}
