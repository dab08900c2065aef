"""Models of Hugging Face in and out by their tables, against ``transformers`` itself at random weights."""

from __future__ import annotations

import json

import pytest
import torch

import glassformer as gf
from glassformer.errors import ConfigError, DataError
from glassformer.models.build import build
from glassformer.models.hugging_face import read_tensors
from glassformer.models.layout import UNSEEN
from glassformer.models.layouts import BERT
from glassformer.models.presets import preset

transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")

TINY = {
    "vocab_size": 61,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}


def theirs(**changes):
    """A BERT of transformers, every weight random, the norms' and biases' too."""
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(transformers.BertConfig(**(TINY | changes), attn_implementation="eager"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": False}, {"type_vocab_size": 3}, {"layer_norm_eps": 1e-5}, {"num_hidden_layers": 1}],
    ids=str,
)
def test_logits_are_those_of_transformers_both_ways(changes, tmp_path):
    reference = theirs(**changes)
    reference.save_pretrained(tmp_path / "in")
    model = gf.from_pretrained(tmp_path / "in")
    tokens = torch.randint(61, (3, 17))
    padding = torch.zeros(3, 17, dtype=torch.bool)
    padding[1, 12:] = True
    with torch.no_grad():
        expected = reference(tokens).logits
        torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-5)
        of_pads = reference(tokens, attention_mask=(~padding).long()).logits
        torch.testing.assert_close(model(tokens, padding=padding)[~padding], of_pads[~padding], rtol=0, atol=1e-5)
    gf.save_pretrained(model, tmp_path / "out")
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).logits, expected, rtol=0, atol=1e-5)


def test_a_folder_that_was_written_is_read_with_the_same_bits(tmp_path):
    model = build(preset("bert-tiny").model.override({"vocab_size": 50, "d_model": 16, "feedforward.d_ff": 64}))
    gf.save_pretrained(model, tmp_path)
    again = gf.from_pretrained(tmp_path)
    weights = again.named_weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.named_weights().items())
    assert again.config == model.config


def test_a_fused_projection_is_written_as_three(tmp_path):
    config = preset("bert-tiny").model.override({"vocab_size": 50, "d_model": 16, "attention.projection": "fused"})
    model = build(config).eval()
    gf.save_pretrained(model, tmp_path)
    tokens = torch.randint(50, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(gf.from_pretrained(tmp_path)(tokens), model(tokens), rtol=0, atol=1e-6)


def test_every_weight_of_ours_has_a_name_of_theirs_and_back():
    model = build(preset("bert-tiny").model.override({"vocab_size": 50, "d_model": 16, "head.tied": False}))
    names = BERT.names(model)
    assert len(set(names.values())) == len(names)
    assert set(names.values()) <= set(theirs(tie_word_embeddings=False).state_dict())


LOST = {
    "norm.placement": "pre",
    "norm.kind": "rmsnorm",
    "norm.bias": False,
    "norm.final": True,
    "positions.kind": "sinusoidal",
    "feedforward.kind": "relu",
    "feedforward.bias": False,
    "feedforward.dropout": 0.5,
    "attention.bias": False,
    "attention.scale": False,
    "attention.qk_norm": "rmsnorm",
    "attention.d_head": 8,
    "attention.n_kv_heads": 1,
    "attention.projection": "shared",
    "embedding.norm": False,
    "embedding.scale": True,
    "head.bias": False,
    "head.transform": False,
    "residual": "none",
    "sublayers": "feedforward",
}


@pytest.mark.parametrize("setting", LOST)
def test_what_a_bert_cannot_hold_is_named_and_nothing_is_written(setting, tmp_path):
    small = preset("bert-tiny").model.override({"vocab_size": 50, "d_model": 32})
    model = build(small.override({setting: LOST[setting]}))
    with pytest.raises(ConfigError, match=setting):
        gf.save_pretrained(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_that_are_not_compared_change_no_output():
    assert not {"norm", "positions", "head"} & {name.split(".")[0] for name in UNSEEN}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, 'hidden_act is "relu"; only "gelu"'),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder is true"),
        ({"hidden_size": 15}, "d_model 15 does not divide"),
        ({"num_attention_heads": "four"}, "n_heads"),
        ({"model_type": "bertie"}, "model_type is 'bertie'"),
        ({"intermediate_size": 41}, "intermediate.dense.weight has shape"),
        ({"num_hidden_layers": 3}, "encoder.layer.2"),
        ({"num_hidden_layers": 1}, "has no place in the model"),
        ({"vocab_size": 10**12}, "vocab_size"),
    ],
    ids=str,
)
def test_a_folder_that_does_not_fit_is_refused_in_one_message(changes, message, tmp_path):
    theirs().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises((ConfigError, DataError), match=message):
        gf.from_pretrained(tmp_path)


def test_tensors_that_take_no_part_are_passed_over(tmp_path):
    from safetensors.torch import save_file

    theirs().save_pretrained(tmp_path)
    tensors = read_tensors(tmp_path)
    tensors |= {"bert.pooler.dense.weight": torch.ones(16, 16), "cls.seq_relationship.weight": torch.ones(2, 16)}
    tensors["bert.embeddings.position_ids"] = torch.arange(20)[None]
    save_file(tensors, tmp_path / "model.safetensors")
    assert gf.from_pretrained(tmp_path).config.n_layers == 2


def test_a_gpt2_comes_in_by_the_same_door(tmp_path):
    model = build(
        preset("gpt2").model.override({"vocab_size": 50, "d_model": 16, "n_layers": 1, "attention.n_heads": 2})
    )
    gf.save_pretrained(model, tmp_path)
    tokens = torch.randint(50, (1, 8))
    with torch.no_grad():
        torch.testing.assert_close(gf.from_pretrained(tmp_path)(tokens), model.eval()(tokens))
