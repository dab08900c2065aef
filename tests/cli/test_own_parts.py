"""A part of each kind, added in one file: counted, trained, inspected and studied, without a line anywhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from models.whole_models import counted_flops, kept_bytes, lengths_of

from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.counting import activation_bytes, flops_per_sequence, parameters
from glassformer.models.presets import preset
from glassformer.registry import find, kinds, load_part_file, register
from glassformer.testing import PROMISES, part_configs

FILE = Path(__file__).parent.parent / "own_parts.py"
OWN = {
    "attention": "own-gated",
    "cross-attention": "own-gated",
    "feedforward": "own-geglu",
    "norm": "own-mixing",
    "positions": "own-low-rank",
}
SETTING = {kind: f"model.{kind}.kind" for kind in OWN} | {"cross-attention": "model.attention.cross"}
in_all_uses = pytest.mark.slow(reason="trains, inspects and studies one more part; quick for the feed-forward")


def config_with(kind: str) -> ModelConfig:
    """The first small model of the contract suite with the part of the file."""
    return next(iter(part_configs(kind, OWN[kind], part_files=[FILE]).values()))


def config_in_python(kind: str) -> ModelConfig:
    """The same with a part that is registered by a module of the package, not by a file."""
    load_part_file(FILE)
    part = find(kind, OWN[kind])
    name = f"test-{OWN[kind]}"
    register(kind, name)(type(part.__name__, (part,), {"__module__": f"glassformer.parts.{kind}"}))
    return next(iter(part_configs(kind, name).values()))


def test_every_kind_is_tried():
    assert set(kinds()) - {"router"} == set(
        OWN
    )  # a router is an argument of a layer of experts: test_experts tries one


@pytest.mark.parametrize("registered", [config_with, config_in_python])
@pytest.mark.parametrize("kind", OWN)
def test_what_is_counted_is_what_is_built(kind, registered):
    config = registered(kind)
    model, lengths = build(config), lengths_of(config, 9, 12)
    assert parameters(config).total == sum(weight.numel() for weight in model.parameters())
    assert flops_per_sequence(config, 9, 12).forward == counted_flops(model, 1, *lengths)
    for path in ("fused", "explicit"):
        kept = activation_bytes(config, 2, 9, source_len=12, path=path)
        assert sum(kept.values()) == kept_bytes(model, path, 2, *lengths)


@pytest.mark.parametrize("promise", ["costs_are_counted", "trains_with_every_optimizer", "saved_equals_loaded"])
@pytest.mark.parametrize("kind", OWN)
def test_it_is_trained_and_saved(kind, promise):
    PROMISES[promise](config_with(kind))


@pytest.mark.parametrize("kind", OWN)
def test_info_counts_it(say, kind):
    name = "transformer-tiny" if kind == "cross-attention" else "nanogpt-shakespeare-cpu"
    options = ["--set", f"model.part_files={FILE}", "--set", f"{SETTING[kind]}={OWN[kind]}"]
    found = json.loads(say("info", name, "--json", *options).out)
    config = preset(name).model.override({"part_files": [str(FILE)], SETTING[kind].removeprefix("model."): OWN[kind]})
    assert found["costs"]["parameters"]["total"] == sum(weight.numel() for weight in build(config).parameters())


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=in_all_uses) for kind in ("attention", "norm", "positions")), "feedforward"]
)
def test_it_is_trained_inspected_and_studied_by_commands(say, place, small, kind):
    use = f"{SETTING[kind]}={OWN[kind]}"
    own = ["--data", "words.txt", "--steps", 4, *small, "--set", f"model.part_files={FILE}"]
    said = say("train", "nanogpt-shakespeare-cpu", *own, "--set", use, "--name", "own")
    assert (said.status, said.err) == (0, "")
    said = say("inspect", "latest", "-o", "page.html", "--text", "the residual")
    assert said.status == 0
    assert (place / "page.html").stat().st_size > 100_000
    words = ["study", "nanogpt-shakespeare-cpu", *own, "--vary", use, "--seeds", 1, "--workers", 1, "--no-report"]
    said = say(*words)
    assert said.status == 0
    assert OWN[kind] in said.out


@in_all_uses
def test_a_cross_attention_is_trained_by_a_command(say, place, small_translator):
    (place / "numbers.tsv").write_text("one two\teins zwei\ntwo\tzwei\none\teins\ntwo one\tzwei eins\n" * 5)
    own = ["--set", f"model.part_files={FILE}", "--set", f"{SETTING['cross-attention']}={OWN['cross-attention']}"]
    said = say("train", "transformer-tiny", "--data", "numbers.tsv", "--steps", 2, *small_translator, *own)
    assert (said.status, said.err) == (0, "")


def test_a_geglu_in_the_packages_own_room_is_counted_as_it_is_built():
    """It passed check_part, was counted as 804,096 parameters, and ended ``info`` and ``train`` with a KeyError."""
    kind = config_in_python("feedforward").feedforward.kind
    config = preset("nanogpt-shakespeare-cpu").model.override({"feedforward.kind": kind})
    model = build(config)
    assert parameters(config).total == sum(weight.numel() for weight in model.parameters()) == 1_066_240
    assert sum(activation_bytes(config, 2, 16).values()) == kept_bytes(model, "fused", 2, 16)
