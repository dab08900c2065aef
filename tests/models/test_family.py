"""Families: what a configuration says of its own, what old files leave out, and how models of each are wired."""

import json
from pathlib import Path

import pytest
import torch

from glassformer.config import flat
from glassformer.errors import ConfigError
from glassformer.models.build import build
from glassformer.models.classes import MODELS
from glassformer.models.config import ModelConfig
from glassformer.models.family import FAMILIES, family_of
from glassformer.models.presets import preset, preset_names
from glassformer.parts.probes import probe_points

SMALL = {"vocab_size": 13, "max_seq_len": 8, "d_model": 8, "n_layers": 2, "attention": {"n_heads": 2}}
CONFIGS = {
    "decoder": ModelConfig.build(SMALL),
    "encoder": ModelConfig.build({"family": "encoder", **SMALL}),
    "encoder-decoder": ModelConfig.build({**SMALL, "n_encoder_layers": 1}),
}


def test_every_family_has_a_model_class_and_a_configuration():
    assert FAMILIES.keys() == MODELS.keys() == CONFIGS.keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_without_a_family_is_of_the_one_that_its_layers_say(name):
    assert CONFIGS[name].family == name
    assert type(build(CONFIGS[name])) is MODELS[name]


@pytest.mark.parametrize("name", preset_names())
def test_the_json_of_a_preset_names_its_family_only_if_it_is_an_encoder_and_is_read_back(name):
    config = preset(name).model
    tree = json.loads(config.to_json())
    assert ("family" in tree) == (config.family == "encoder")
    assert ModelConfig.build(tree) == config


def test_a_file_from_before_there_were_families_opens_and_all_that_it_says_is_written_as_it_was():
    written = (Path(__file__).parent / "before_families.json").read_text(encoding="utf-8")
    config = ModelConfig.build(json.loads(written))
    assert config.family == "encoder-decoder"
    assert config == preset("transformer-tiny").model
    before, now = flat(json.loads(written)), flat(json.loads(config.to_json()))
    assert {name: now[name] for name in before} == before
    assert "family" not in now


def test_only_the_encoder_is_named_in_json():
    assert [name for name, config in CONFIGS.items() if "family" in config.to_dict()] == ["encoder"]
    assert ModelConfig.build(json.loads(CONFIGS["encoder"].to_json())) == CONFIGS["encoder"]


def test_naming_the_usual_family_changes_nothing():
    for name, config in CONFIGS.items():
        named = ModelConfig.build(config.to_dict() | {"family": name})
        assert named == config
        assert named.to_json() == config.to_json()


def test_an_override_changes_the_family():
    assert CONFIGS["decoder"].override({"n_encoder_layers": "2"}).family == "encoder-decoder"
    assert CONFIGS["encoder-decoder"].override({"n_encoder_layers": "none"}) == CONFIGS["decoder"]
    assert CONFIGS["decoder"].override({"family": "encoder"}) == CONFIGS["encoder"]
    assert CONFIGS["encoder"].override({"family": "decoder"}) == CONFIGS["decoder"]


@pytest.mark.parametrize(
    ("changes", "stable"),
    [
        ({"family": "encoder", "n_encoder_layers": 1}, "leave n_encoder_layers out"),
        ({"family": "decoder", "n_encoder_layers": 1}, "leave n_encoder_layers out"),
        ({"family": "encoder-decoder"}, "set n_encoder_layers"),
        ({"family": "encoder", "source_vocab_size": 5}, "source_vocab_size .* family=encoder"),
        ({"family": "encoder", "embedding": {"source": "own"}}, "embedding.source=own .* family=encoder"),
        ({"family": "gpt"}, "family is 'gpt'; expected 'decoder', 'encoder' or 'encoder-decoder'"),
    ],
)
def test_settings_that_do_not_fit_the_family_are_refused(changes, stable):
    with pytest.raises(ConfigError, match=stable):
        ModelConfig.build(SMALL | changes)


@pytest.mark.parametrize("name", CONFIGS)
def test_stacks_are_the_modules_that_the_family_says(name):
    config = CONFIGS[name]
    model, family = build(config), family_of(config)
    probes = probe_points(model)
    for stack in family.stacks:
        module = stack.module(model)
        assert module.causal == stack.causal
        assert len(module.blocks) == stack.n_layers(config)
        assert all(block.has_cross_attention == stack.cross for block in module.blocks)
        assert module.embedding.tokens.num_embeddings == family.inputs(config)[stack.reads].rows
        assert f"{stack.prefix}embedding.output" in probes


@pytest.mark.parametrize("name", CONFIGS)
def test_inputs_are_the_arguments_of_forward(name):
    model, inputs = build(CONFIGS[name]), FAMILIES[name].inputs(CONFIGS[name])
    ids = {each.name: torch.zeros(2, 3, dtype=torch.long) for each in inputs}
    padding = {each.padding: torch.zeros(2, 3, dtype=torch.bool) for each in inputs if each.padding}
    assert model(**ids, **padding).shape == (2, 3, 13)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("decoder", {}),
        ("decoder", {"head.tied": False}),
        ("encoder", {}),
        ("encoder", {"head.tied": False}),
        ("encoder-decoder", {}),
        ("encoder-decoder", {"head.tied": False}),
        ("encoder-decoder", {"head.tied": False, "embedding.source": "head"}),
        ("encoder-decoder", {"embedding.source": "own"}),
    ],
)
def test_ties_are_exactly_the_weights_that_are_one(name, changes):
    config = CONFIGS[name].override(changes)
    model = build(config)
    state = model.state_dict(keep_vars=True)
    groups = {}
    for weight, value in state.items():
        groups.setdefault(id(value), set()).add(weight)
    shared = {frozenset(names) for names in groups.values() if len(names) > 1}
    expected = {}
    for replaced, kept in family_of(config).ties(config).items():
        expected.setdefault(id(state[kept]), set()).update({replaced, kept})
    assert shared == {frozenset(names) for names in expected.values()}


def test_an_encoder_sees_the_whole_sequence_and_a_decoder_does_not():
    tokens = torch.tensor([[1, 2, 3, 4]])
    other = torch.tensor([[1, 2, 3, 5]])
    for name, moves in (("decoder", False), ("encoder", True)):
        model = build(CONFIGS[name]).eval()
        assert torch.equal(model(tokens)[0, 0], model(other)[0, 0]) is not moves
