from __future__ import annotations

import os

import pytest
import safetensors.torch
import torch

from glassformer.runs.tensors import DTYPES, read_tensors, write_tensors


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, torch.Size, bytes]]:
    return {
        name: (tensor.dtype, tensor.shape, bytes(tensor.reshape(-1).view(torch.uint8).numpy()))
        for name, tensor in tensors.items()
    }


def test_the_safetensors_package_reads_ours_and_we_read_its(tmp_path):
    random = torch.Generator().manual_seed(0)
    tensors = {  # of random bytes: NaNs and negative zeros may be among them; a bool's byte is 0 or 1
        name: torch.randint(0, 2 if dtype == torch.bool else 256, (3 * 2 * dtype.itemsize,), generator=random)
        .to(torch.uint8)
        .view(dtype)
        .reshape(3, 2)
        for name, dtype in DTYPES.items()
    }
    write_tensors(tmp_path / "ours.safetensors", tensors)
    assert bits(safetensors.torch.load_file(tmp_path / "ours.safetensors")) == bits(tensors)
    with safetensors.safe_open(tmp_path / "ours.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    safetensors.torch.save_file(tensors, tmp_path / "theirs.safetensors")
    assert bits(read_tensors(tmp_path / "theirs.safetensors")[0]) == bits(tensors)


HEADERS = {
    "not JSON": b"{",
    "not an object": b"[]",
    "unknown dtype": b'{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}',
    "no offsets": b'{"a":{"dtype":"F32","shape":[1]}}',
    "one offset": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}',
    "a gap": b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
    "beyond the end": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    "too little": b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}',
    "huge shape": b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
    "negative shape": b'{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}',
    "fractional shape": b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
    "nothing times 2^124": (
        b'{"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    ),
    "2^63 bytes": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775808,9223372036854775812]}}',
    "a number of 400 digits": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,' + b"9" * 400 + b"]}}",
    "overlapping": (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    ),
    "a name twice": (
        b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}'
    ),
    "a dtype that is a list": b'{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}',
    "nested deep": b"[" * 1000 + b"]" * 1000,
    "text for numbers": b'{"a":{"dtype":"F32","shape":["1"],"data_offsets":["0","4"]}}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_malformed_tensor_file_is_a_value_error(tmp_path, header):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ValueError, match=r"header|shape"):
        read_tensors(file)


def test_a_file_of_more_bytes_than_this_machine_has_memory_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "large.safetensors"
    size = 2**43
    header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    try:
        os.truncate(file, 8 + len(header) + size)  # of nothing, which takes no room
    except OSError:
        pytest.skip("this file system has no files so large")
    with pytest.raises(ValueError, match="this machine has .* of memory"):
        read_tensors(file)


def test_a_header_longer_than_the_format_allows_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "header.safetensors"
    file.write_bytes((200_000_000).to_bytes(8, "little"))
    os.truncate(file, 300_000_000)
    with pytest.raises(ValueError, match="its header has 200,000,000 bytes"):
        read_tensors(file)
