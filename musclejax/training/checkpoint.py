"""Checkpoints of a run: the last state, and the best; orbax writes them whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from musclejax.errors import InputError

_FOLDER = "checkpoints"


def save(run: Path, kind: str, number: int, state: Any, progress: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one before it goes once this one is whole.

    Args:
        run: Folder of the run.
        kind: "best" or "last".
        number: Names the checkpoint; grows.
        state: The training state.
        progress: JSON-able.

    Raises:
        InputError: If the disk is full or not writable; the checkpoint before stays.
    """
    try:
        _write(run, kind, number, state, progress)
    except (OSError, ValueError) as error:
        # TensorStore reports a full disk as a ValueError.
        reason = " ".join(str(error).split())[:160]
        remedy = "Make room, then continue with --resume: the checkpoint before is whole."
        raise InputError(run, f"a disk that cannot be written ({reason})", "room", remedy) from None


def load(run: Path, kind: str, like: Any = None) -> tuple[Any, dict[str, Any]] | None:
    """Return state and progress of a checkpoint, or None if there is none.

    Args:
        run: Folder of the run.
        kind: "best" or "last".
        like: A state of the same structure, to take shapes, types and devices from.

    Raises:
        InputError: If it cannot be read.
    """
    if not (run / _FOLDER / kind).is_dir():
        return None
    with _manager(run, kind) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        try:
            arguments = ocp.args.Composite(
                state=_restore(manager, step, like), progress=ocp.args.JsonRestore()
            )
            restored = manager.restore(step, args=arguments)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(run / _FOLDER / kind, reason, "a whole checkpoint") from None
        return restored["state"], dict(restored["progress"])


def _restore(manager: ocp.CheckpointManager, step: int, like: Any) -> ocp.args.PyTreeRestore:
    """Return how to restore the arrays."""
    if like is not None:
        arguments = ocp.checkpoint_utils.construct_restore_args(like)
        return ocp.args.PyTreeRestore(item=like, restore_args=arguments)
    # As NumPy arrays: the processes that saved them need not be there.
    stored = manager.item_metadata(step)["state"].tree
    plain = jax.tree.map(lambda array: ocp.RestoreArgs(restore_type=np.ndarray), stored)
    return ocp.args.PyTreeRestore(restore_args=plain)


def _write(run: Path, kind: str, number: int, state: Any, progress: Mapping[str, Any]) -> None:
    arguments = ocp.args.Composite(
        state=ocp.args.PyTreeSave(state), progress=ocp.args.JsonSave(dict(progress))
    )
    with _manager(run, kind) as manager:
        if number in manager.all_steps():  # of a run killed before it could note that it was saved
            manager.delete(number)
        manager.save(number, args=arguments, force=True)
        manager.wait_until_finished()


def _manager(run: Path, kind: str) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item, handler, arguments in (
        ("state", ocp.PyTreeCheckpointHandler(), (ocp.args.PyTreeSave, ocp.args.PyTreeRestore)),
        ("progress", ocp.JsonCheckpointHandler(), (ocp.args.JsonSave, ocp.args.JsonRestore)),
    ):
        for kind_of_arguments in arguments:
            registry.add(item, kind_of_arguments, handler)
    folder = (run / _FOLDER / kind).absolute()
    return ocp.CheckpointManager(folder, options=options, handler_registry=registry)
