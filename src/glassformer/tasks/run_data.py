"""A run's data, opened again: they are what the run was trained on, in its own tokens, or an error says why not.

Whatever measures, shows or resumes a run gets its data here. What the run recorded when it began (its ``data`` event)
is compared with what is there now:

1. the identity, which is a hash of the content and the settings. A relative path is looked for in the working
   directory, then where it was when the run began, then beside the run's folder as it was then;
2. the tokenizer. The run carries its own; where the same text would give another one now, because another version of a
   library learns it, the text is encoded with the run's own;
3. the tokens, of which the run recorded a hash.

Of a run from an earlier version, whose identity was made of the path and the time of change, the counts and entropies
that it recorded are compared, and its tokenizer.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassformer.data.kind import DataKind
from glassformer.data.prepared_folders import versions
from glassformer.errors import DataError
from glassformer.runs.folder import Run
from glassformer.runs.metrics import Record
from glassformer.tasks.registry import task_of
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import PrepareProgress, TrainingData

FOLDERS = "folders"
"""In the data event: where relative paths were looked up, and the same seen from the run's folder."""

COMPARED = ("tokens", "pairs", "bytes_per_token", "unigram", "bigram")
"""What a run from an earlier version recorded of its data."""

TOLERANCE = 1e-6
"""Relative: sums of logarithms differ in their last digits from one processor to another."""


class OtherDataError(DataError):
    """The data that are there now are not those that a run was trained on."""


def recorded_data(run: Run) -> Record | None:
    """What the run recorded of its data when it began; None of one that was imported or has not begun."""
    events = (event for event in run.events() if event["event"] == "data")
    return next((event for event in events if isinstance(event.get("fingerprint"), str)), None)


def describe_data(run: Run, config: RunConfig, samples: TrainingData) -> dict[str, Any]:
    """What a run records of its data: :meth:`TrainingData.describe`, and where relative paths lead from."""
    described = samples.describe()
    if task_of(config).content is not None and _relative_paths(config.data):
        here = Path.cwd()
        home = Path.home()
        shown = f"~/{here.relative_to(home).as_posix()}" if here.is_relative_to(home) else str(here)
        folders = [shown]
        if here.drive == run.path.resolve().drive:  # on Windows no path leads from one drive to another
            folders.append(Path(os.path.relpath(here, run.path.resolve())).as_posix())
        described[FOLDERS] = folders
    return described


def open_samples(run: Run, config: RunConfig, progress: PrepareProgress | None = None) -> TrainingData:
    """The data that a run was trained on, in the tokens of its own tokenizer.

    Args:
        config: the run's own, or a variant's on the same data.
        progress: as of :meth:`~glassformer.tasks.task.Task.samples`.

    Raises:
        OtherDataError: what is there now is something else, or nothing; the message says what, and what to do.
        DataError: the run did not record what it was trained on, or the data cannot be read.
    """
    recorded = recorded_data(run)
    if recorded is None:
        raise DataError(
            f"The run {run.name} was imported, and which data it was trained on is not known; "
            "name the data to measure it on with --data."
        )
    if task_of(config).content is None:
        samples = task_of(config).samples(config, progress)
        if samples.fingerprint != recorded["fingerprint"]:
            why = "others, for config.json has other settings or this version makes others of them"
            raise _refusal(run, config, recorded, why)
        return samples
    located = _located(run, config, recorded)
    found = config.override({f"data.{name}": getattr(located, name) for name in located.paths})
    samples = _in_own_tokens(run, found, recorded, progress)
    if located is not config.data:
        samples.moved = f"the run's data are read from {', '.join(map(str, _paths(located)))}"
    samples.recorded_fingerprint = recorded["fingerprint"]
    if "content" not in recorded:
        _check_as_recorded(run, config, recorded, samples)
    elif samples.digests != recorded.get("sha256"):
        then, now = recorded.get("made_with"), versions("tokenizers")
        raise _refusal(run, config, recorded, f"the same content gives other tokens with {now} than with {then}")
    return samples


def _located(run: Run, config: RunConfig, recorded: Record) -> DataKind:
    """The data's configuration with paths that lead to what the run was trained on."""
    task = task_of(config)
    assert task.content is not None
    seen: dict[str, str] = {}
    for folder in _folders(run, config.data, recorded):
        candidate = config.data if folder is None else _below(config.data, folder)
        shown = ", ".join(map(str, _paths(candidate))) or candidate.name
        if shown in seen:
            continue
        try:
            content = task.content(candidate)
        except DataError as error:
            there = _paths(candidate) or candidate.name in task.built_in
            seen[shown] = str(error).rstrip(".") if there else f"there is no {candidate.name}, seen from {Path.cwd()}"
            continue
        if "content" not in recorded or task.fingerprint(candidate, content) == recorded["fingerprint"]:
            return candidate
        if content == recorded["content"]:
            seen[shown] = f"{shown}: the same content, but config.json has other settings under data"
        else:
            seen[shown] = f"{shown}: content {content[:12]}…{_size(candidate)}"
    raise _refusal(run, config, recorded, "; ".join(seen.values()).rstrip("."))


def _in_own_tokens(run: Run, config: RunConfig, recorded: Record, progress: PrepareProgress | None) -> TrainingData:
    """The samples, encoded anew with the run's tokenizer if what is prepared has another."""
    task = task_of(config)
    own = task.load_tokenizer(run.tokenizer)
    samples = task.samples(config, progress)
    if samples.tokenizer.to_dict() == own.to_dict():
        return samples
    if "content" not in recorded:
        there = ", ".join(map(str, _paths(config.data))) or config.data.name
        raise _refusal(run, config, recorded, f"{there}, which would yield a different tokenizer than the run's")
    return task.samples(config, progress, tokenizer=own)


def _check_as_recorded(run: Run, config: RunConfig, recorded: Record, samples: TrainingData) -> None:
    """Raise :class:`OtherDataError` if a number that a run from an earlier version recorded is another now."""
    now = samples.describe()
    different = [
        f"{name} {recorded[name]} then and {now[name]} now"
        for name in COMPARED
        if name in recorded and name in now and not _equal(recorded[name], now[name])
    ]
    if different:
        raise _refusal(run, config, recorded, "; ".join(different))


def _equal(then: object, now: object) -> bool:
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=TOLERANCE)
    return then == now


def _refusal(run: Run, config: RunConfig, recorded: Record, found: str) -> OtherDataError:
    """What the run was trained on, what is there now, and what to do."""
    task = task_of(config)
    source = config.data.learned if task.content is None else config.data.name
    counts = _object(recorded.get("tokens") or recorded.get("pairs"))
    kind = "tokens" if "tokens" in recorded else "pairs"
    known = ", ".join(f"{number:,} {split} {kind}" for split, number in counts.items() if isinstance(number, int))
    content = recorded.get("content")
    trained = [
        *([f"content {content[:12]}…"] if isinstance(content, str) else []),
        *([known] if known else []),
        f"fingerprint {recorded['fingerprint']}",
    ]
    if also := task.made_from(config.data, recorded):
        found += f". {also}"
    takes_others = any(option.name == "data" for option in task.evaluation_options)
    command = shlex.join(["glassformer", "evaluate", run.name, "--data", source])
    on_purpose = f", or measure other data with the run's own tokenizer: {command}" if takes_others else ""
    return OtherDataError(
        f"The data of the run {run.name} are not those that it was trained on. Trained on: {source} "
        f"({'; '.join(trained)}). Now: {found}. Restore what it was trained on{on_purpose}."
    )


# --------------------------------------------------------------------------------------------------- paths


def _folders(run: Run, data: DataKind, recorded: Record) -> Iterator[Path | None]:
    """Where to look: as the path is (None), then in the folders of the record."""
    yield None
    if not _relative_paths(data):
        return
    folders = recorded.get(FOLDERS)
    for folder in folders if isinstance(folders, list) else []:
        if isinstance(folder, str):
            place = _expanded(folder)
            yield place if place.is_absolute() else (run.path.resolve() / place)


def _below(data: DataKind, folder: Path) -> DataKind:
    """The same data with relative paths that lead from ``folder``."""
    return data.override({name: _joined(value, folder) for name, value in _relative_paths(data).items()})


def _joined(name: str, folder: Path) -> str:
    """A name of a file, of two with a comma between them, or of a local data set of the hub, below a folder."""
    if name.startswith("hf:"):
        local = folder / name.removeprefix("hf:")
        return f"hf:{os.path.normpath(local)}" if _exists(local) else name
    parts = name.split(",") if "," in name and not _exists(folder / name) else [name]
    return ",".join(os.path.normpath(folder / part.strip()) for part in parts)


def _relative_paths(data: DataKind) -> dict[str, str]:
    """The settings that name files by a relative path, or may do so."""
    built_in = task_of(data).built_in
    named = {name: value for name in data.paths if isinstance(value := getattr(data, name), str)}
    return {
        name: value
        for name, value in named.items()
        if value not in built_in and not _expanded(value.removeprefix("hf:")).is_absolute()
    }


def _paths(data: DataKind) -> list[Path]:
    """The absolute paths of what is named and is there."""
    found, built_in = [], task_of(data).built_in
    for value in [getattr(data, name) for name in data.paths]:
        for part in [value, *value.split(",")] if isinstance(value, str) else []:
            path = _expanded(part.strip().removeprefix("hf:"))
            if part.strip() not in ("", *built_in) and _exists(path):
                found.append(path.absolute())
    return list(dict.fromkeys(found))


def _size(data: DataKind) -> str:
    sizes = [path.stat().st_size for path in _paths(data) if path.is_file()]
    return f" ({sum(sizes):,} bytes)" if sizes else ""


def _expanded(path: str) -> Path:
    """With the home folder in place of ``~``; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _exists(path: Path) -> bool:
    """Whether something is there; nothing is at a path that cannot be."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _object(value: object) -> dict[str, Any]:
    """A value of the record that should be an object; an empty one where the record says something else."""
    return value if isinstance(value, dict) else {}
