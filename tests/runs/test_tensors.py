from __future__ import annotations

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
    "text for numbers": b'{"a":{"dtype":"F32","shape":["1"],"data_offsets":["0","4"]}}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_malformed_tensor_file_is_a_value_error(tmp_path, header):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ValueError, match=r"header|shape"):
        read_tensors(file)
