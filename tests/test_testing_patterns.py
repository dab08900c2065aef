"""The contract suite over patterns of attention in every family, and faults of patterns that it catches."""

from __future__ import annotations

import pytest

from glassformer.models.config import ModelConfig
from glassformer.parts.gathered import Gathered
from glassformer.testing import PROMISES, check_model, compiles_into_one_graph

BASE = ModelConfig.build(
    {
        "vocab_size": 23,
        "max_seq_len": 16,
        "d_model": 16,
        "n_layers": 2,
        "attention": {"n_heads": 4},
        "feedforward": {"d_ff": 24},
    }
)
PATTERNS = {
    "window": {"attention.pattern": "window", "attention.window": 3},
    "windows in turn": {"attention.pattern": "window", "attention.windows": [None, 3]},
    "blocks": {
        "attention.pattern": "bigbird",
        "attention.block_size": 1,
        "attention.random_blocks": 1,
    },
    "blocks of two": {
        "attention.pattern": "bigbird",
        "attention.block_size": 2,
        "attention.window_blocks": 1,
        "attention.global_blocks": 1,
        "attention.random_blocks": 1,
    },
    "blocks without random ones": {
        "attention.pattern": "bigbird",
        "attention.block_size": 2,
        "attention.window_blocks": 3,
        "attention.global_blocks": 0,
        "attention.random_blocks": 0,
    },
}
FAMILIES = {
    "decoder": {},
    "decoder, rotary, grouped queries": {"positions.kind": "rotary", "attention.n_kv_heads": 2},
    "decoder, ALiBi": {"positions.kind": "alibi"},
    "encoder": {"family": "encoder"},
    "encoder-decoder": {"n_encoder_layers": 2, "source_vocab_size": 19, "embedding.source": "own"},
}
CONFIGS = {
    f"{family}: {pattern}": BASE.override(of_family | of_pattern)
    for family, of_family in FAMILIES.items()
    for pattern, of_pattern in PATTERNS.items()
}
QUICK = {"decoder: window", "decoder: blocks", "encoder: windows in turn", "encoder: blocks", "encoder: blocks of two"}
QUICK |= {"encoder-decoder: blocks", "decoder, rotary, grouped queries: window"}
in_every_family = pytest.mark.slow(reason="every promise of every pattern in every family: a minute and more")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICK else in_every_family) for each in CONFIGS]
)
def test_every_pattern_keeps_the_contract_in_every_family(name, promise):
    PROMISES[promise](CONFIGS[name])


@pytest.mark.slow(reason="torch traces every pattern")
@pytest.mark.parametrize("name", CONFIGS)
def test_every_pattern_compiles_into_one_graph(name):
    compiles_into_one_graph(CONFIGS[name])


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_contract_meets_gathered_blocks(name, monkeypatch):
    """The models above are small, and yet blocks pay in them."""
    seen, attend = set(), Gathered.attend
    monkeypatch.setattr(Gathered, "attend", lambda self, *a, **k: seen.add(self.pads is None) or attend(self, *a, **k))
    PROMISES["fused_equals_explicit"](CONFIGS[name])
    assert True in seen
    assert (False in seen) or name.startswith("encoder-decoder") or "of two" in name


HEADER = """
from dataclasses import dataclass, replace

import torch
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.bigbird import BigBird
from glassformer.parts.patterns import Window
from glassformer.registry import register

"""
FAULTS = {
    "a block more in the gather": (
        """
class Leaking(Window):
    def key_blocks(self, n_tokens, lengths, *, causal, device):
        found = super().key_blocks(n_tokens, lengths, causal=causal, device=device)
        more = found.blocks[..., -1:].roll(1, -2)
        tile = torch.cat((found.tile, torch.ones_like(found.tile[:, : found.size])), 1)
        return replace(found, blocks=torch.cat((found.blocks, more), -1), tile=tile)

PATTERN = Leaking(2)
""",
        ("fused equals explicit", "causal is causal"),
    ),
    "a block counted twice": (
        """
class Twice(Window):
    def key_blocks(self, n_tokens, lengths, *, causal, device):
        found = super().key_blocks(n_tokens, lengths, causal=causal, device=device)
        again = torch.cat((found.blocks, found.blocks[..., -1:]), -1)
        return replace(found, blocks=again, tile=torch.cat((found.tile, found.tile[:, -found.size :]), 1))

PATTERN = Twice(2)
""",
        ("fused equals explicit",),
    ),
    "a mask that looks one ahead": (
        """
class Ahead(Window):
    def key_blocks(self, n_tokens, lengths, *, causal, device):
        found = super().key_blocks(n_tokens, lengths, causal=False, device=device)
        return found

PATTERN = Ahead(2)
""",
        ("fused equals explicit", "causal is causal"),
    ),
    "blocks by the tokens' indices, pads among them": (
        """
class Misplaced(MultiHeadAttention):
    def forward(self, x, context, cache=None):
        return super().forward(x, replace(context, pads=None), cache)

BASE, PATTERN = Misplaced, Window(2)
""",
        ("padding is nothing",),
    ),
    "a ring that is too short": (
        """
class Short(Window):
    @property
    def lookback(self):
        return self.size - 1

PATTERN = Short(4)
""",
        ("cached equals uncached", "cached equals uncached with left padding"),
    ),
    "random blocks that are drawn anew": (
        """
class Anew(MultiHeadAttention):
    def own_pattern(self):
        return replace(self.pattern, draws=torch.randint(99, (self.n_heads, 16, 2)))

BASE, PATTERN = Anew, BigBird(1, 1, 1, causal=True)
""",
        ("fused equals explicit", "saved equals loaded", "off is off"),
    ),
    "a last block that a causal model cannot know": (
        """
PATTERN = BigBird(2, 1, 2, lengths=16)
""",
        ("cached equals uncached",),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_pattern_is_caught(fault, tmp_path, monkeypatch):
    code, promises = FAULTS[fault]
    named = [promise.replace(" ", "_") for promise in promises]
    monkeypatch.setattr("glassformer.testing.PROMISES", {name: PROMISES[name] for name in named})
    name = fault.replace(" ", "-")
    file = tmp_path / "fault.py"
    ending = f'\n@register("attention", {name!r})\nclass Part(BASE):\n    pattern = PATTERN\n'
    file.write_text(HEADER + "BASE = MultiHeadAttention\n" + code + ending)
    from glassformer.registry import load_part_file

    load_part_file(file)
    family = {"family": "encoder"} if promises == ("padding is nothing",) else {}
    config = BASE.override({"attention.kind": name, "part_files": [str(file)], **family})
    with pytest.raises(AssertionError) as caught:
        check_model(config)
    for promise in promises:
        assert f"- {promise}: " in str(caught.value)
