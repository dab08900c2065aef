"""GPT-2 in and out, against transformers at random weights."""

from __future__ import annotations

import builtins
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from glassformer.errors import ConfigError, DataError, DependencyError
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.interop import config_from_gpt2, load_gpt2, save_gpt2
from glassformer.models.presets import preset
from glassformer.testing import shrunk

SIZES = {
    "plain": {},
    "deep and narrow": {"n_layer": 5, "n_embd": 8, "n_head": 1},
    "n_inner": {"n_inner": 40},
    "untied": {"tie_word_embeddings": False},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "not scaled": {"scale_attn_weights": False},
    "epsilon": {"layer_norm_epsilon": 1e-3},
    "GPT-2's vocabulary": {"vocab_size": 50_257, "n_layer": 1},
}


def theirs(**changes):
    sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**(sizes | {"bos_token_id": None, "eos_token_id": None} | changes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def edit(folder, **changes):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | changes))


@pytest.fixture
def folder(tmp_path):
    theirs().save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_imported_logits_are_the_originals(size, tmp_path):
    original = theirs(**SIZES[size])
    original.save_pretrained(tmp_path)
    tokens = torch.randint(original.config.vocab_size, (3, 16))
    model = load_gpt2(tmp_path)
    assert not model.training
    torch.testing.assert_close(model(tokens), original(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_exported_logits_are_the_originals(size, tmp_path):
    torch.manual_seed(1)
    settings = theirs(**SIZES[size]).config.to_dict()
    model = Decoder(config_from_gpt2(settings)).eval()
    save_gpt2(model, tmp_path)
    exported, report = GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report  # nothing missing, unexpected or of another shape
    tokens = torch.randint(model.config.vocab_size, (3, 16))
    torch.testing.assert_close(exported.eval()(tokens).logits, model(tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_a_round_trip_is_exact_bit_for_bit(tied, tmp_path):
    model = Decoder(shrunk(preset("gpt2").model).override({"head.tied": tied}))
    save_gpt2(model, tmp_path / "once")
    again = load_gpt2(tmp_path / "once")
    for (name, before), (same, after) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == same
        assert torch.equal(before, after)
    assert (again.head.weight is again.embedding.tokens.weight) == tied
    save_gpt2(again, tmp_path / "twice")
    once, twice = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("once", "twice"))
    assert once == twice


def test_importing_draws_no_random_number(folder):
    before = torch.get_rng_state()
    load_gpt2(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_rows_that_pad_the_vocabulary_stay_behind(tmp_path):
    model = Decoder(shrunk(preset("gpt2").model).override({"pad_vocab_to": 64})).eval()
    save_gpt2(model, tmp_path)
    again = load_gpt2(tmp_path)
    tokens = torch.arange(8)[None]
    assert again.config.padded_vocab_size == model.config.vocab_size == 61
    torch.testing.assert_close(again(tokens), model(tokens), atol=1e-6, rtol=0)


@torch.no_grad()
def test_files_of_the_hub_read_alike_without_prefix_with_masks_and_in_shards(folder, tmp_path):
    tokens = torch.arange(16)[None]
    expected = load_gpt2(folder)(tokens)
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    bare |= {"h.0.attn.bias": torch.ones(1, 1, 16, 16), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    bare["lm_head.weight"] = bare["wte.weight"].clone()
    save_file(bare, folder / "model.safetensors")
    assert torch.equal(load_gpt2(folder)(tokens), expected)

    (folder / "model.safetensors").unlink()
    names = sorted(bare)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: bare[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load_gpt2(folder)(tokens), expected)
    (folder / "b.safetensors").unlink()
    with pytest.raises(DataError, match="b.safetensors, which its index names"):
        load_gpt2(folder)


def test_half_precision_weights_are_read_into_fp32(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, folder / "model.safetensors")
    model = load_gpt2(folder)
    assert model.dtype == torch.float32
    assert torch.equal(model.final_norm.weight, tensors["transformer.ln_f.weight"].half().float())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"activation_function": "silu"}, "activation_function is 'silu'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({"embd_pdrop": 0.3}, "embd_pdrop is 0.3 and resid_pdrop 0.1"),
        ({"n_head": 5}, "d_model 24 does not divide into 5 heads"),
        ({"n_embd": "wide"}, "d_model is 'wide'"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
    ],
)
def test_settings_we_do_not_compute_are_refused_by_name(folder, changes, named):
    edit(folder, **changes)
    with pytest.raises(ConfigError, match=named):
        load_gpt2(folder)


def test_all_strange_settings_are_named_at_once(folder):
    edit(folder, activation_function="silu", reorder_and_upcast_attn=True, add_cross_attention=True)
    with pytest.raises(ConfigError) as caught:
        load_gpt2(folder)
    assert len(caught.value.complaints) == 3


def test_a_model_that_gpt2_cannot_hold_is_refused_with_every_reason(tmp_path):
    model = Decoder(shrunk(preset("modern-small").model))
    with pytest.raises(ConfigError) as caught:
        save_gpt2(model, tmp_path / "out")
    told = "\n".join(caught.value.complaints)
    for setting in (
        "positions.kind",
        "norm.kind",
        "n_kv_heads",
        "qk_norm",
        "attention.bias",
        "feedforward.bias",
        "swiglu",
    ):
        assert setting in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.placement": "post"},
        {"norm.final": False},
        {"head.bias": True},
        {"embedding.scale": True},
        {"residual": "none"},
        {"sublayers": "attention"},
        {"attention.projection": "separate"},
        {"attention.d_head": 4},
        {"attention.output_bias": False},
        {"feedforward.convolution": True},
        {"feedforward.dropout": 0.1},
        {"feedforward.kind": "relu2"},
        {"norm.bias": False},
    ],
)
def test_each_single_difference_from_gpt2_is_refused(changes, tmp_path):
    model = Decoder(shrunk(preset("gpt2").model).override(changes))
    with pytest.raises(ConfigError) as caught:
        save_gpt2(model, tmp_path)
    assert len(caught.value.complaints) == 1
    assert next(iter(changes)) in caught.value.complaints[0]


def test_missing_and_damaged_files_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        load_gpt2(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no config.json"):
        load_gpt2(empty)
    shutil.copy(folder / "config.json", empty)
    with pytest.raises(DataError, match=r"no model.safetensors.*it holds config.json"):
        load_gpt2(empty)
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in (b"", whole[:100], whole[:-10], b"\xff" * 64):
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(DataError, match="model.safetensors is damaged"):
            load_gpt2(folder)
    for text in ("{", "[1]", "\x00"):
        (folder / "config.json").write_text(text)
        with pytest.raises(DataError, match="config.json"):
            load_gpt2(folder)


def test_tensors_that_do_not_fit_are_all_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.ln_f.bias"]
    tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(24, 7)
    tensors["transformer.h.9.ln_1.weight"] = torch.zeros(24)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError) as caught:
        load_gpt2(folder)
    told = str(caught.value)
    assert "ln_f.bias is missing" in told
    assert "h.0.mlp.c_fc.weight has shape [24, 7]; config.json says [24, 96]" in told
    assert "h.9.ln_1.weight has no place" in told


def test_a_tied_model_with_another_head_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError, match="tie_word_embeddings"):
        load_gpt2(folder)


def test_a_hub_name_without_the_extra_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_hub(name, *args, **kwargs):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(DependencyError, match=r"glassformer\[hf\]"):
        load_gpt2("owner/model")


def test_a_hub_that_cannot_be_reached_is_a_message(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="hub gave no model of that name"):
        load_gpt2("owner/no-such-model-of-ours")


def test_a_folder_that_cannot_be_written_is_a_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        save_gpt2(Decoder(shrunk(preset("gpt2").model)), tmp_path / "file" / "out")


def test_settings_left_out_are_gpt2s_own_defaults():
    assert config_from_gpt2({}) == ModelConfig.build(preset("gpt2").model.to_dict())
