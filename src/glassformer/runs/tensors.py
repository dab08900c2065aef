"""Tensors as a hashed stream, in the safetensors format.

The file is: 8 bytes, the length of the header (little-endian); the header, JSON padded with spaces to a multiple of 8;
the tensors' bytes, without gaps. The ``safetensors`` package reads it. It is written and read here, tensor by tensor
with the hash beside it, because the package copies the whole model once on the way out and once on the way in, and
because what is handed back must be the very bytes that were hashed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.machine import describe
from glassformer.runs.files import CHUNK, FileRecord, durable_file
from glassformer.untrusted import open_regular, parse_json

# The format's names of the types of numbers, https://github.com/huggingface/safetensors#format
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip
LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    """Write a new safetensors file, holding at most one tensor's copy at a time (none for a contiguous CPU tensor)."""
    header, order = _header(tensors)
    with durable_file(path) as file:
        file.write(header)
        for name in order:
            file.write(_bytes_of(tensors[name].detach().cpu().contiguous()))
    return file.record()


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the file that :func:`write_tensors` makes."""
    header, _ = _header(tensors)
    return len(header) + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], FileRecord]:
    """Read a safetensors file onto the CPU, each byte once, and hash what was read.

    Each tensor gets memory of its own, aligned as torch aligns any other, so that sums over it come out the same.
    Raises ``ValueError`` where the file is not in the format; a hash that differs is for the caller to notice.
    """
    digest, tensors = hashlib.sha256(), {}
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = file.read(8)
        if len(length) != 8 or (count := int.from_bytes(length, "little")) > size - 8:
            raise ValueError("its header is cut short")
        memory = describe().memory
        if memory is not None and size > memory:
            raise ValueError(f"it has {size:,} bytes, and this machine has {memory:,} of memory")
        if count > LARGEST_HEADER:
            raise ValueError(f"its header has {count:,} bytes, and the format allows {LARGEST_HEADER:,}")
        header = file.read(count)
        digest.update(length + header)
        position = 8 + count
        for name, dtype, shape, start, end in _layout(header, data_bytes=size - position):
            if math.prod(shape) * dtype.itemsize != end - start:
                raise ValueError(f"the shape of '{name}' does not fit its bytes")
            try:
                tensor = torch.empty(shape, dtype=dtype)
            except (RuntimeError, TypeError, MemoryError) as error:  # [0, 2**62, 2**62], or more than there is
                raise ValueError(f"no tensor can have the shape of '{name}'") from error
            position += _read_into(file, _bytes_of(tensor), digest)
            tensors[name] = tensor
        return tensors, FileRecord(position, digest.hexdigest())


def _header(tensors: Mapping[str, Tensor]) -> tuple[bytes, list[str]]:
    """The header with its length, and the order of the tensors: wide types first, so that each stays aligned."""
    assert sys.byteorder == "little", "safetensors files are little-endian, and so far so is every machine we run on"
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for this mark
    start = 0
    for name in order:
        tensor = tensors[name]
        assert name != "__metadata__", "the format keeps this name for itself"
        assert tensor.dtype in DTYPE_NAMES, f"{name}: {tensor.dtype} cannot be stored"
        end = start + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end],
        }  # fmt: skip
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order


def _layout(header: bytes, data_bytes: int) -> Iterator[tuple[str, torch.dtype, list[int], int, int]]:
    """(name, dtype, shape, start, end) in the order of the file; ``ValueError`` unless they cover the data exactly."""
    try:
        entries = parse_json(header)
        entries.pop("__metadata__", None)
        rows = [
            (name, DTYPES[entry["dtype"]], list(entry["shape"]), *entry["data_offsets"])
            for name, entry in entries.items()
        ]
        rows.sort(key=lambda row: (row[3], row[4]))
        ends = [0, *(row[4] for row in rows)]
        covered = all(row[3] == end <= row[4] for row, end in zip(rows, ends, strict=False)) and ends[-1] == data_bytes
        plain = all(type(size) is int and size >= 0 for row in rows for size in (*row[2], row[3], row[4]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("its header cannot be read") from error
    if not covered or not plain:
        raise ValueError("its header does not fit its length")
    yield from rows


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, as bytes; writing into it writes into the tensor."""
    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _read_into(file: Any, target: memoryview, digest: Any) -> int:
    """Fill ``target`` from the file, hashing as it comes; the number of bytes read."""
    position = 0
    while position < len(target):
        count = file.readinto(target[position : position + CHUNK])
        if not count:
            raise ValueError("it ended while being read")
        digest.update(target[position : position + count])
        position += count
    return position
