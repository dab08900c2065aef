"""Checkpoints that are there whole, or not at all, and that say so when they are damaged.

    checkpoints/
      step-00005000/
        model.safetensors, optimizer.safetensors, ...   one file per group of tensors
        state.json                                      everything else that a run needs to resume
        manifest.json                                   length and SHA-256 of each file, and of itself

A checkpoint is written under a temporary name (``.tmp-...``), flushed to the disk file by file, renamed, and its parent
folder flushed: a process killed at any moment leaves the earlier checkpoints and at most some rubbish under a temporary
name, which the next save removes. Nothing here is a pickle, so opening a stranger's checkpoint runs no code of theirs.

``folder`` is always the folder that holds the checkpoints, ``run.checkpoints``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from glassformer.errors import CheckpointError
from glassformer.runs.files import (
    NO_ROOM,
    FileRecord,
    fsync_folder,
    need_room,
    readable_bytes,
    remove_folders,
    remove_leftovers,
    temporary,
    write_durably,
)
from glassformer.runs.locks import FileLock
from glassformer.runs.manifest import (
    MANIFEST,
    STEP_FOLDER,
    Manifest,
    glance,
    is_whole,
    read_manifest,
    step_of,
    verify,
    write_manifest,
)
from glassformer.runs.tensors import read_tensors, tensors_size, write_tensors
from glassformer.untrusted import parse_json, read_bytes

STATE, TENSORS = "state.json", ".safetensors"
LONGEST_NUMBER = 19  # digits of a step, by far
BLOCK = 4096  # bytes: what a disk gives a file at least, and in multiples of

_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved at one step, read and verified."""

    step: int
    """Optimizer steps taken when it was saved."""
    tensors: dict[str, dict[str, Tensor]]
    """Groups (``model``, ``optimizer``, ...) of named tensors, on the CPU, bit for bit what was saved."""
    state: dict[str, Any]
    """Everything else, as JSON holds it."""
    is_best: bool
    """Whether it was the best of its run so far when it was saved."""
    path: Path


# -------------------------------------------------------------------------------------------------------- save


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    *,
    is_best: bool = False,
    seal: Mapping[str, str] | None = None,
) -> Path:
    """Save groups of tensors and a JSON state as the checkpoint of ``step``; returns its folder.

    Tensors may be on any device, in any layout, and share memory (each is then written out in full: give tied weights
    once). ``is_best`` marks it as the best of the run so far; the newest so marked is the best. ``seal`` is that of the
    run's own files (:meth:`glassformer.runs.folder.Run.seal`).

    A checkpoint of the same step is replaced, unless it is whole and says exactly the same.

    Raises :class:`CheckpointError` when the disk has not enough room, or refuses to be written, with the bytes needed
    and free. The checkpoints that were there before are then intact, and nothing else is left.
    """
    assert step >= 0, step
    assert all(_GROUP.fullmatch(group) for group in tensors), list(tensors)
    state_text = json.dumps(dict(state), allow_nan=False).encode()
    final = folder / f"step-{step:08d}"
    needed = _bytes_needed(tensors, state_text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _writers_lock(folder):
            remove_leftovers(folder)
            need_room(folder, needed)
            draft = temporary(final)
            try:
                _write(draft, step, tensors, state_text, is_best=is_best, seal=seal or {})
                _put_in_place(draft, final)
            finally:
                shutil.rmtree(draft, ignore_errors=True)  # after the rename there is nothing under this name
    except OSError as error:
        raise CheckpointError(_cannot_save(final, needed, error)) from error
    return final


def _write(
    draft: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state_text: bytes,
    *,
    is_best: bool,
    seal: Mapping[str, str],
) -> None:
    draft.mkdir()
    files = {group + TENSORS: write_tensors(draft / (group + TENSORS), named) for group, named in tensors.items()}
    files[STATE] = write_durably(draft / STATE, state_text)
    write_manifest(draft, Manifest(step, is_best, files, dict(seal)))
    fsync_folder(draft)


def _put_in_place(draft: Path, final: Path) -> None:
    """Give the finished draft its name. One that has the name already goes first, if it is not the same."""
    folder = final.parent
    if final.exists():
        if _same(draft, final):
            return
        removed = temporary(final)
        final.rename(removed)
        try:
            draft.rename(final)
        except BaseException:  # Ctrl-C included
            removed.rename(final)
            raise
        fsync_folder(folder)
        shutil.rmtree(removed, ignore_errors=True)
    else:
        draft.rename(final)
        fsync_folder(folder)


def _same(draft: Path, final: Path) -> bool:
    """Whether the checkpoint that is there is whole and its manifest, hence all it holds, equals the draft's."""
    try:
        return (draft / MANIFEST).read_bytes() == (final / MANIFEST).read_bytes() and is_whole(final)
    except OSError:
        return False


def _bytes_needed(tensors: Mapping[str, Mapping[str, Tensor]], state_text: bytes) -> int:
    """Bytes that the disk must have free, each file rounded up to whole blocks."""
    sizes = [tensors_size(named) for named in tensors.values()]
    sizes += [len(state_text), 2048 + 256 * (len(sizes) + 1)]  # the last: room for the manifest
    return sum(-(-size // BLOCK) * BLOCK for size in sizes)


def _cannot_save(final: Path, needed: int, error: OSError) -> str:
    try:
        free = readable_bytes(shutil.disk_usage(final.parent).free)
    except OSError:
        free = "an unknown number of bytes"
    room = f"It needs {readable_bytes(needed)}; {free} are free. Checkpoints saved earlier are intact."
    if error.errno in NO_ROOM:
        return (
            f"There is no room to save {final}: {error.strerror}. {room} "
            "Free some space, or keep fewer checkpoints, and resume the run."
        )
    return f"{final} cannot be written: {error.strerror or error}. {room} Fix the cause and resume the run."


def _writers_lock(folder: Path) -> FileLock:
    """Held while anything in the folder is written or removed. Readers do without."""
    return FileLock(folder / ".lock")


# -------------------------------------------------------------------------------------------------------- load


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint in folder ``path``, verifying every byte before anything is handed out.

    Each file is read once, and the hash is taken of the very bytes that end up in the tensors: the memory needed is
    that of the tensors, once. Raises :class:`CheckpointError` naming everything that is wrong with a damaged one.
    """
    tensors: dict[str, dict[str, Tensor]] = _Entries(path, "tensors")
    state: dict[str, Any] = _Entries(path, STATE)

    def read(file: Path) -> FileRecord:
        if file.suffix == TENSORS:
            tensors[file.stem], record = read_tensors(file)
            return record
        if file.name != STATE:
            raise ValueError(f"a checkpoint has {STATE} and files of tensors ({TENSORS})")
        content = read_bytes(file)
        state.update(_object(parse_json(content, lenient=True)))
        return FileRecord(len(content), hashlib.sha256(content).hexdigest())

    manifest = verify(path, read)
    return Checkpoint(manifest.step, tensors, state, manifest.is_best, path)


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"it holds a {type(value).__name__}, and should hold a JSON object")


class _Entries(dict[str, Any]):
    """What a checkpoint holds by name; a name that is not there means that it is not of a training of ours."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__()
        self._path, self._what = path, what

    def __missing__(self, name: str) -> Any:
        raise CheckpointError(f"The checkpoint {self._path} has no '{name}' among its {self._what}: it is not a run's.")


def latest_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that verifies, and a warning for each newer one that is damaged (they are left alone).

    Raises :class:`CheckpointError` when there is none, or none that verifies.
    """
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            if not path.exists():  # a process that trains has pruned it since, and so has saved newer ones
                return latest_checkpoint(folder)
            damaged.append(str(error))
        else:
            return checkpoint, [f"{message} Went back to {path.name}." for message in damaged]
    if damaged:
        raise CheckpointError("\n".join([f"No checkpoint in {folder} can be used:", *damaged]))
    raise CheckpointError(f"There is no checkpoint in {folder} yet: the run has saved none.")


def open_checkpoint(folder: Path, which: str | int = "latest") -> tuple[Checkpoint, list[str]]:
    """The checkpoint called ``latest``, ``best``, or by its step (``5000``, ``"5000"``, ``"step-00005000"``).

    Only ``latest`` goes back to an earlier one when the one asked for is damaged; the list holds its warnings. Where no
    checkpoint is the best (the run was stopped before its first validation, or none was finite), ``best`` is the
    latest, and the list says so.
    Raises :class:`CheckpointError` when there is no such checkpoint, or it is damaged.
    """
    if which == "latest":
        return latest_checkpoint(folder)
    if which == "best":
        best = _load_best(folder)
        return (best, []) if best is not None else _latest_for_want_of_a_best(folder)
    number = str(which).removeprefix("step-")
    paths = {step_of(path): path for path in list_checkpoints(folder)}
    if not (number.isascii() and number.isdigit() and len(number) < LONGEST_NUMBER):
        raise CheckpointError(
            "A checkpoint is 'latest', 'best', the number of a step or, where weights alone are read, 'average-N'; "
            f"{which!r} is none of them."
        )
    if int(number) not in paths:
        steps = ", ".join(str(step) for step in sorted(paths)) or "none"
        raise CheckpointError(f"There is no checkpoint of step {int(number)} in {folder}. Steps saved: {steps}.")
    return load_checkpoint(paths[int(number)]), []


def _latest_for_want_of_a_best(folder: Path) -> tuple[Checkpoint, list[str]]:
    latest, warnings = latest_checkpoint(folder)
    reason = "No checkpoint is marked as the best: no validation after an update was finite, or there was none."
    return latest, [*warnings, f"{reason} Using the latest, of step {latest.step}."]


def _load_best(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that was the best of the run when it was saved; None if none was."""
    for path in reversed(list_checkpoints(folder)):
        try:
            if read_manifest(path).is_best:
                return load_checkpoint(path)
        except (ValueError, CheckpointError) as error:
            if not path.exists():  # pruned since we listed it, as in latest_checkpoint
                return _load_best(folder)
            if isinstance(error, CheckpointError):
                raise
            # Going on would hand out an earlier, worse checkpoint under the name of the best.
            raise CheckpointError(
                f"The checkpoint {path} is damaged: {error}. Whether it is the best is unknown; "
                "choose one by its step, or move that folder away."
            ) from None
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """The folders of the checkpoints, earliest step first. Nothing in them is read."""
    try:
        found = [path for path in folder.iterdir() if STEP_FOLDER.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"The checkpoints in {folder} cannot be listed: {error.strerror}.") from error
    return sorted(found, key=step_of)


# ------------------------------------------------------------------------------------------------------- prune


def prune(folder: Path, keep_last: int, keep_best: bool = True, keep_every: int | None = None) -> list[Path]:
    """Remove old checkpoints; returns what was removed.

    Kept are the newest ``keep_last``, the best, those whose step is a multiple of ``keep_every``, the newest one that
    verifies if none of these does, and whatever is visibly damaged, which does not count and may be worth repairing.
    """
    assert keep_last >= 1, keep_last
    assert keep_every is None or keep_every >= 1, keep_every
    try:
        return _prune(folder, keep_last, keep_best, keep_every)
    except OSError as error:
        raise CheckpointError(f"Old checkpoints in {folder} cannot be removed: {error.strerror}.") from error


def _prune(folder: Path, keep_last: int, keep_best: bool, keep_every: int | None) -> list[Path]:
    with _writers_lock(folder):
        remove_leftovers(folder)
        manifests = {path: manifest for path in list_checkpoints(folder) if (manifest := glance(path))}
        newest_first = sorted(manifests, key=step_of, reverse=True)
        kept = set(newest_first[:keep_last])
        if keep_best:
            kept |= set([path for path in newest_first if manifests[path].is_best][:1])
        if keep_every is not None:
            kept |= {path for path in newest_first if manifests[path].step % keep_every == 0}
        # Verifying costs a pass over the bytes: stop at the first good one, which is nearly always the newest.
        if not any(is_whole(path) for path in newest_first if path in kept):
            kept |= set([path for path in newest_first if path not in kept and is_whole(path)][:1])
        removed = [path for path in reversed(newest_first) if path not in kept]
        remove_folders(removed)
    return removed
