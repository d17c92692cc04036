"""Checkpoints of a run: the last state, and the best; orbax writes them whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from musclejax.errors import DiskError, InputError, one_line
from musclejax.training.workdir import of_later_version

_FOLDER = "checkpoints"
_CHECKSUM = "checksum"
"""Key of the checksum among the progress in a checkpoint."""
_ATTEMPTS = 5
"""How often a reader begins anew because the run has replaced the checkpoint meanwhile. Ours."""
_ARGUMENTS = (
    ("state", ocp.PyTreeCheckpointHandler, (ocp.args.PyTreeSave, ocp.args.PyTreeRestore)),
    ("progress", ocp.JsonCheckpointHandler, (ocp.args.JsonSave, ocp.args.JsonRestore)),
)


def save(run: Path, kind: str, number: int, state: Any, progress: Mapping[str, Any]) -> None:
    """Write a checkpoint with its checksum; the one before it goes once this one is whole.

    Args:
        run: Folder of the run.
        kind: "best" or "last".
        number: Names the checkpoint; grows.
        state: The training state.
        progress: JSON-able.

    Raises:
        DiskError: If the disk is full or not writable; the checkpoint before stays.
    """
    values = json.loads(json.dumps(dict(progress)))
    values[_CHECKSUM] = checksum_of(state, values)
    try:
        _write(run, kind, number, state, values)
    except (OSError, ValueError) as error:
        # TensorStore reports a full disk as a ValueError.
        reason = one_line(error, 160)
        remedy = "Make room, then continue with --resume: the checkpoint before is whole."
        raise DiskError(run, f"a disk that cannot be written ({reason})", "room", remedy) from None


def exists(run: Path, kind: str) -> bool:
    """Return whether a run has a checkpoint; it may still turn out to be damaged."""
    if not (run / _FOLDER / kind).is_dir():
        return False
    with _manager(run, kind, writes=False) as manager:
        return manager.latest_step() is not None


def load(run: Path, kind: str, like: Any = None) -> tuple[Any, dict[str, Any]] | None:
    """Return state and progress of a checkpoint, or None if there is none.

    The run may write another meanwhile: nothing of it is changed.

    Args:
        run: Folder of the run.
        kind: "best" or "last".
        like: A state of the same structure, to take shapes, types and devices from.

    Raises:
        InputError: If it cannot be read, or is not what was written.
    """
    if not (run / _FOLDER / kind).is_dir():
        return None
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _load_once(run, kind, like, is_last=attempt == _ATTEMPTS)
        except (_ReplacedError, FileNotFoundError):  # the run has replaced it
            if attempt == _ATTEMPTS:
                raise
    return None


class _ReplacedError(Exception):
    """The run has replaced the checkpoint that was to be read."""


def _load_once(
    run: Path, kind: str, like: Any, *, is_last: bool
) -> tuple[Any, dict[str, Any]] | None:
    with _manager(run, kind, writes=False) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        try:
            return _read(manager, step, like)
        except Exception as error:  # orbax and TensorStore raise a dozen types
            manager.reload()
            if manager.latest_step() != step and not is_last:
                raise _ReplacedError from error
            reason = one_line(error, 160)
    raise _damaged(run, kind, step, f"no readable checkpoint ({reason})")


def is_finite(state: Any) -> bool:
    """Return whether every number of a state is one: a network of NaN labels without an error."""
    return all(bool(np.isfinite(_local(a)).all()) for a in jax.tree.leaves(state))


def checksum_of(state: Any, progress: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a checkpoint: every array by name, type and shape, and the progress.

    Args:
        state: Nested arrays; a state as it trains and one read back have the same checksum.
        progress: JSON-able; a checksum in it is left out.
    """
    rest = {name: value for name, value in progress.items() if name != _CHECKSUM}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    leaves = [("/".join(map(_name, path)), a) for path, a in jax.tree.leaves_with_path(state)]
    for name, array in sorted(leaves, key=lambda leaf: leaf[0]):
        values = np.ascontiguousarray(_local(array))
        digest.update(f"\n{name} {values.dtype} {np.shape(array)}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _name(key: Any) -> str:
    """Return a step of a path, alike for a named tuple and for the dictionary read back from it."""
    return str(next(getattr(key, a) for a in ("name", "key", "idx") if hasattr(key, a)))


def _local(array: Any) -> np.ndarray:
    """Return an array of a state, of which every process has the whole."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return np.asarray(array.addressable_data(0))
    return np.asarray(array)


def _read(manager: ocp.CheckpointManager, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
    arguments = ocp.args.Composite(
        state=_restore(manager, step, like), progress=ocp.args.JsonRestore()
    )
    restored = manager.restore(step, args=arguments)
    state, progress = restored["state"], dict(restored["progress"])
    stated = progress.pop(_CHECKSUM, None)  # runs of earlier versions have none
    if stated is not None and stated != checksum_of(state, progress):
        raise ValueError("its checksum does not fit")
    return state, progress


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
        # A run killed before it could note that it was saved has left one of this number or a
        # later one; it goes like any other, once this one is whole.
        number = max(number, 1 + max(manager.all_steps(), default=-1))
        manager.save(number, args=arguments, force=True)
        manager.wait_until_finished()


def _manager(run: Path, kind: str, *, writes: bool = True) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1 if writes else None,
        # What is begun beside it may be a checkpoint that the run is writing.
        cleanup_tmp_directories=writes,
        create=writes,
        enable_async_checkpointing=False,
    )
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item, handler, arguments in _ARGUMENTS:
        made = handler()
        for kind_of_arguments in arguments:
            registry.add(item, kind_of_arguments, made)
    folder = (run / _FOLDER / kind).absolute()
    return ocp.CheckpointManager(folder, options=options, handler_registry=registry)


def _damaged(run: Path, kind: str, step: int, found: str) -> InputError:
    folder = run / _FOLDER / kind / str(step)
    remedies = {
        "last": f"Remove {folder}: --resume then continues from the best checkpoint.",
        "best": "Export the last one: --checkpoint last.",
    }
    remedy = of_later_version(run) or remedies[kind]
    return InputError(folder, found, "the checkpoint as it was written", remedy)
