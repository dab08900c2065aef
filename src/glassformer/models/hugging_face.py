"""A model's folder as Hugging Face lays it out: ``config.json`` and its weights; from a disk, or from the hub.

The formats are read here; the ``transformers`` package is not needed.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer import machine, untrusted
from glassformer.errors import DataError, DependencyError

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
HUB_FILES = ["*.json", "*.safetensors", "merges.txt", "*.spm"]
SHOWN = 20  # complaints about weights that one message lists


def find_folder(source: str | Path) -> Path:
    """The local folder, or the hub's files brought here.

    Raises:
        DataError: there is no such folder, here or on the hub.
        DependencyError: a hub name, without the extra ``[hf]``.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    name = str(source)
    if isinstance(source, Path) or name.count("/") > 1 or name.startswith((".", "/", "~")) or folder.exists():
        raise DataError(f"{name!r} is not a folder; give one with config.json and model.safetensors, or a hub name.")
    try:
        import huggingface_hub
    except ImportError as error:
        raise DependencyError(
            f"There is no folder {name!r}, and reading a hub name needs huggingface_hub: pip install 'glassformer[hf]'"
        ) from error
    try:
        brought = Path(huggingface_hub.snapshot_download(name, allow_patterns=HUB_FILES))
        if not any(brought.glob("*.safetensors")):  # many OPUS-MT models have the older format only
            brought = Path(huggingface_hub.snapshot_download(name, allow_patterns=[*HUB_FILES, PICKLED]))
    except Exception as error:  # its own tree, and that of whatever carries its requests
        if isinstance(error, AssertionError | TypeError | NameError):
            raise
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"There is no folder {name!r}, and the Hugging Face hub gave no model of that name: "
            f"{type(error).__name__}: {reason}"
        ) from error
    return brought


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises :class:`DataError` if it is missing or holds something else."""
    try:
        content = untrusted.read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path.parent} has no {path.name}; a Hugging Face model's folder does.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; expected a JSON object.")
    return content


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of ``model.safetensors``, of the files that its index names, or of ``pytorch_model.bin``.

    Raises:
        DataError: there is none of them, or it is damaged.
    """
    index = folder / f"{SAFETENSORS}.index.json"
    if (folder / SAFETENSORS).is_file():
        files = [folder / SAFETENSORS]
    elif index.is_file():
        by_name = read_json(index).get("weight_map")
        if not isinstance(by_name, dict) or not all(isinstance(name, str) for name in by_name.values()):
            raise DataError(f"{index} has no weight_map from tensors to files.")
        files = [folder / Path(name).name for name in sorted(set(by_name.values()))]
    elif (folder / PICKLED).is_file():
        return _read_pickled(folder / PICKLED)
    else:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(f"{folder} has no {SAFETENSORS} (and no index of shards); it holds {found}.")
    _check_sizes(files)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _read_safetensors(file)
    return tensors


def _check_sizes(files: Iterable[Path]) -> None:
    """Raise :class:`DataError` for what is not a regular file, and for more bytes than this machine has memory."""
    there, size = machine.describe().memory, 0
    for file in files:
        try:
            with untrusted.open_regular(file) as opened:
                size += opened.seek(0, os.SEEK_END)
        except FileNotFoundError:
            raise DataError(f"{file.parent} has no {file.name}, which its index names.") from None
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    if there is not None and size > there:
        raise DataError(f"The weights in {file.parent} have {size:,} bytes, and this machine has {there:,} of memory.")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # safetensors' own, or torch's where a shape is none that it can have
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{file} is damaged or not in the safetensors format: {reason}") from error


def _read_pickled(file: Path) -> dict[str, Tensor]:
    """Tensors alone: ``weights_only`` rejects a file that would run code."""
    _check_sizes([file])
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes lead torch's reader to
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{file} is damaged, or holds more than tensors: {reason}") from error
    named = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
    if not named or not all(isinstance(tensor, Tensor) and _is_whole(tensor) for tensor in tensors.values()):
        raise DataError(f"{file} does not hold a model's tensors by name.")
    return dict(tensors)


def _is_whole(tensor: Tensor) -> bool:
    """Whether it has as many values in memory as its shape says: a pickle can name one value a trillion times."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def wrong_types(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """A complaint for each tensor that holds no floating-point numbers."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            yield f"{name} is of {tensor.dtype}; expected floating-point numbers"


def check_own_code(folder: Path, settings: Mapping[str, Any]) -> None:
    """Warn where ``config.json`` names code of the model's own, which is never executed here."""
    named = [key for key in ("auto_map", "trust_remote_code", "custom_pipelines") if settings.get(key)]
    if named:
        warnings.warn(
            f"{folder / 'config.json'} names code of its own ({', '.join(named)}). It is not executed: the model is "
            "read as its model_type says.",
            stacklevel=3,
        )


def check_fit(folder: Path, complaints: Iterable[str]) -> None:
    """Raise :class:`DataError` naming the weights that do not fit, if there are any."""
    found = list(complaints)
    if found:
        more = f"\n  - and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        listed = "\n".join(f"  - {complaint}" for complaint in found[:SHOWN])
        raise DataError(f"The weights in {folder} do not fit its config.json:\n{listed}{more}")


def write_folder(folder: str | Path, files: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> None:
    """Write JSON files by their names, and ``model.safetensors``. Raises :class:`DataError` if that fails."""
    from safetensors.torch import save_file

    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file(dict(tensors), folder / SAFETENSORS, metadata={"format": "pt"})
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error


def misfits(subject: str, fixed: Mapping[str, tuple[Any, Any]]) -> Iterable[str]:
    """A complaint for each setting whose value differs from the only one that ``subject``'s format can hold.

    Args:
        fixed: our setting -> (what it is, what the format has).
    """
    for setting, (is_, has) in fixed.items():
        if is_ != has:
            yield f"{setting} is {_shown(is_)}, and {subject} has {_shown(has)}."


def _shown(value: Any) -> str:
    return json.dumps(value).strip('"')
