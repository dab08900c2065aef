"""A Hugging Face folder from anywhere: read as data alone, and whatever is wrong with it is one message."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glassformer.errors import ConfigError, DataError, GlassformerError
from glassformer.models.decoder import Decoder
from glassformer.models.hugging_face import read_json, read_tensors
from glassformer.models.interop import load_gpt2, save_gpt2
from glassformer.models.presets import preset
from glassformer.training.importing import open_folder

ODD = [None, [], {}, "abc", -1, 0, 2**62, 10**30, 1e308, 0.5, True, [[1]], {"a": 1}, "../../x"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    small = {"vocab_size": 50_257, "max_seq_len": 16, "d_model": 8, "n_layers": 1, "attention.n_heads": 2}
    save_gpt2(Decoder(preset("gpt2").model.override(small | {"vocab_size": 300})), folder)
    return folder


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edit(folder: Path, **changes) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | changes))


def test_every_setting_with_every_odd_value_is_a_model_or_one_message(folder):
    settings = json.loads((folder / "config.json").read_text())
    refused = 0
    for name in settings:
        for value in ODD:
            (folder / "config.json").write_text(json.dumps(settings | {name: value}))
            try:
                load_gpt2(folder)
            except (DataError, ConfigError):
                refused += 1
    assert refused > 5 * len(ODD)


@pytest.mark.parametrize("n_layer", [10**7, 9_000])
def test_layers_that_the_weights_do_not_hold_are_refused_before_a_model_is_made(folder, n_layer):
    edit(folder, n_layer=n_layer)
    with pytest.raises(GlassformerError, match=r"are there|layers"):
        load_gpt2(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_fifo_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match=name):
        load_gpt2(folder)


def test_an_index_names_files_beside_it_only(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "model.safetensors").rename(outside / "model-2.safetensors")
    for name in ("outside/model-2.safetensors", f"{outside}/model-2.safetensors", "../model-2.safetensors", "", "."):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"wte.weight": name}}))
        with pytest.raises(DataError):
            read_tensors(folder)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F9", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}},
        {"a": 1},
        [],
    ],
    ids=str,
)
def test_a_file_of_impossible_tensors_is_damage(folder, header):
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    with pytest.raises(DataError, match=r"model\.safetensors|do not fit|are there"):
        load_gpt2(folder)


def test_integers_in_the_place_of_weights_are_named(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("ln_f.weight"))
    save_file(tensors | {name: torch.ones(8, dtype=torch.int64)}, folder / "model.safetensors")
    with pytest.raises(DataError, match=r"ln_f\.weight is of torch\.int64; expected floating-point numbers"):
        load_gpt2(folder)


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_pickle_runs_nothing_and_whatever_it_holds_is_one_message(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    file = folder / "pytorch_model.bin"
    one = torch.zeros(1).expand(2**40)  # a terabyte by its shape, four bytes in memory
    torch.save({"wte.weight": one}, file)
    whole = file.read_bytes()
    contents = [
        b"",
        b"\x80",
        pickle.dumps(_Evil()),
        pickle.dumps({"a": 1}),
        pickle.dumps([1]),
        b"PK\x03\x04" + bytes(99),
    ]
    contents += [whole[: len(whole) * part // 9] for part in range(1, 9)]
    contents += [whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :] for at in range(0, len(whole), len(whole) // 40)]
    for content in [whole, *contents]:
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"pytorch_model\.bin|do not fit|are there"):
            load_gpt2(folder)
    for odd in (torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta"), 3, None):
        torch.save({"wte.weight": odd}, file)
        with pytest.raises(DataError):
            load_gpt2(folder)
    assert not (folder / "executed").exists()


def test_code_of_the_models_own_is_named_and_not_executed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "modeling_evil.py").write_text("open('executed', 'w')")
    edit(folder, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"}, trust_remote_code=True, vocab_size=300)
    (folder / "vocab.json").write_text("[]")
    (folder / "merges.txt").write_text("")
    with (
        pytest.warns(UserWarning, match=r"names code of its own \(auto_map, trust_remote_code\). It is not executed"),
        pytest.raises(DataError),
    ):
        open_folder(folder)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [
        (b"[]", b"#version\n"),
        (b"null", b"#version\n"),
        (b'{"a": "b"}', b"#version\n"),
        (b'{"a": 0, "b": [1]}', b"#version\n"),
        (b'{"a": 0, "a": 1}', b"#version\n"),
        (b'{"a": 0}', b"#version\n"),
        (b'{"a": %s}' % (b"9" * 400), b"#version\n"),
        (b"{" * 100_000, b"#version\n"),
        (b"\xff\xfe", b"#version\n"),
        (b'{"a": 0}', bytes(range(256))),
        (b'{"a": 0}', b"#version\na b c\n"),
        (b'{"a": 0}', b""),
    ],
)
def test_a_damaged_tokenizer_is_one_message(folder, vocabulary, merges):
    (folder / "vocab.json").write_bytes(vocabulary)
    (folder / "merges.txt").write_bytes(merges)
    with pytest.raises(DataError):
        open_folder(folder)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"a"', b"7", b"NaN", b"[" * 100_000, b"\xff", b"", b"9" * 5000])
def test_settings_that_are_no_object_are_one_message(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"config\.json"):
        read_json(folder / "config.json")
