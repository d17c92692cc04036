"""Commands that `kills` kills: their arguments, and what must be equal at the end."""

from typing import NamedTuple

from tests.small import VARIANT

_SETTINGS = ("task=leg", f"variant={VARIANT}", "data.crop_px=(96,144)", "train.batch_size=4")
_SHORT = ("train.epoch_slices=16", "train.epochs=3", "train.checkpoint_minutes=0.0")
_TRIALS = ("tune.max_epochs=2", "tune.eta=2")


class Command(NamedTuple):
    """A row of the table; {data}, {run} and {out} stand for folders.

    Attributes:
        arguments: Of `musclejax`.
        compared: Pattern of the files that must be equal.
        again: Further arguments where a killed run has left the folder.
    """

    arguments: tuple[str, ...]
    compared: str
    again: tuple[str, ...] = ()


def _learning(command: str, *settings: str) -> tuple[str, ...]:
    changes = [f"--set={setting}" for setting in (*_SETTINGS, *_SHORT, *settings)]
    return command, "--config", "tiny", "--data", "{data}", "--workdir", "{out}", *changes


COMMANDS = {
    "train": Command(_learning("train"), "metrics.jsonl", ("--resume",)),
    "tune": Command(_learning("tune", *_TRIALS), "trials.jsonl"),
    "phantom": Command(
        ("phantom", "--region", "leg", "--subjects", "2", "--test", "1", "-o", "{out}"), "**/*.*"
    ),
    "weights": Command(("weights", "export", "{run}", "-o", "{out}"), "*.safetensors"),
    "export": Command(
        ("export", "--task", "region", "--format", "stablehlo", "-o", "{out}/region.stablehlo"),
        "*.json",
    ),
    "evaluate": Command(
        ("evaluate", "--reference", "{data}", "--prediction", "{data}/labelsTr", "-o", "{out}"),
        "*.csv",
    ),
}
