"""Parts by name, and a user's own from a file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.norms import LayerNorm
from glassformer.registry import find, kinds, load_part_file, register, registered
from glassformer.trust import trusting_parts

OWN_PARTS = """
import torch
from torch import nn
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.feedforward import FeedForward
from glassformer.parts.positions import PositionEncoding
from glassformer.registry import register


@register("norm", "my-centred")
class Centred(nn.Module):
    def __init__(self, d_model, *, eps, bias, strength=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((d_model,), strength))

    def forward(self, x):
        return self.weight * (x - x.mean(-1, keepdim=True))


@register("feedforward", "my-leaky")
class Leaky(FeedForward):
    def __init__(self, d_model, d_ff, *, slope=0.1, **options):
        super().__init__(d_model, d_ff, **options)
        self.slope = slope

    def activation(self, x):
        return nn.functional.leaky_relu(x, self.slope)


@register("positions", "my-linear")
class Linear(PositionEncoding):
    def __init__(self, *, d_model, max_seq_len, step=0.01, **sizes):
        super().__init__(d_model=d_model, max_seq_len=max_seq_len, **sizes)
        self.direction = nn.Parameter(torch.ones(d_model))
        self.step = step

    def embed(self, positions):
        return self.step * positions[..., None] * self.direction


@register("attention", "my-gated")
class Gated(MultiHeadAttention):
    def __init__(self, d_model, n_heads, **options):
        super().__init__(d_model, n_heads, **options)
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, x, context, cache=None):
        return torch.sigmoid(self.gate(x)) * super().forward(x, context, cache)
"""
SIZES = {"vocab_size": 11, "max_seq_len": 8, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}


@pytest.fixture
def part_file(tmp_path):
    file = tmp_path / "my_parts.py"
    file.write_text(OWN_PARTS)
    load_part_file(file)
    return file


def test_every_kind_has_its_parts():
    assert set(kinds()) >= {"attention", "feedforward", "norm", "positions"}
    assert set(registered("norm")) >= {"layernorm", "annotated-layernorm", "rmsnorm", "batchnorm", "none"}
    assert set(registered("positions")) >= {"learned", "sinusoidal", "rotary", "alibi", "none"}
    assert set(registered("feedforward")) >= {"relu", "gelu", "gelu-tanh", "relu2", "swiglu"}
    assert find("norm", "layernorm") is LayerNorm


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(ConfigError, match="There is no norm named 'layernrm'. Did you mean 'layernorm'"):
        find("norm", "layernrm")


def test_the_list_of_parts_is_a_copy():
    registered("norm").clear()
    assert registered("norm")


def test_a_users_parts_of_every_kind_work_from_a_file_with_their_options(part_file):
    config = ModelConfig.build(
        SIZES
        | {
            "part_files": [str(part_file)],
            "norm": {"kind": "my-centred", "options": {"strength": 0.5}},
            "feedforward": {"kind": "my-leaky", "options": {"slope": 0.3}},
            "positions": {"kind": "my-linear", "options": {"step": 0.2}},
            "attention": {"kind": "my-gated", "n_heads": 4},
        }
    )
    model = Decoder(config)
    assert model.blocks[0].attention_norm.weight[0] == 0.5
    assert model.blocks[1].feedforward.slope == 0.3
    assert model.embedding.positions.step == 0.2
    assert "blocks.1.attention.gate.weight" in model.state_dict()
    assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 11)
    assert ModelConfig.build(config.to_dict()) == config  # what a run saves builds it again


def test_options_can_be_set_from_the_command_line(part_file):
    config = ModelConfig.build(SIZES | {"part_files": [str(part_file)]})
    changed = config.override({"feedforward.kind": "my-leaky", "feedforward.options.slope": "0.7"})
    assert Decoder(changed).blocks[0].feedforward.slope == 0.7


def test_an_option_that_the_class_does_not_take_is_named(part_file):
    config = ModelConfig.build(
        SIZES | {"part_files": [str(part_file)], "norm": {"kind": "my-centred", "options": {"strenght": 2.0}}}
    )
    with pytest.raises(ConfigError, match="'my-centred' .Centred. .*options.*strenght"):
        Decoder(config)


def test_a_name_of_ours_is_not_taken_away_even_by_a_class_of_the_same_name(tmp_path):
    file = tmp_path / "clash.py"
    file.write_text(
        "from torch import nn\nfrom glassformer.registry import register\n\n"
        "@register('norm', 'layernorm')\nclass LayerNorm(nn.Module): ...\n"
    )
    with pytest.raises(ConfigError, match="A norm named 'layernorm' is registered already, by LayerNorm"):
        load_part_file(file)
    assert find("norm", "layernorm") is LayerNorm


def test_two_classes_cannot_share_a_name():
    @register("test-kind", "one")
    class First(nn.Module): ...

    with pytest.raises(ConfigError, match="registered already"):

        @register("test-kind", "one")
        class Second(nn.Module): ...

    assert find("test-kind", "one") is First


def test_an_edited_file_registers_its_classes_again(tmp_path):
    file = tmp_path / "edited.py"
    text = (
        "from glassformer.registry import register\n\n"
        "@register('test-kind', 'edited')\nclass Edited:\n    version = {}\n"
    )
    for version in (1, 2):
        file.write_text(text.format(version))
        load_part_file(file)
        assert find("test-kind", "edited").version == version


def test_the_same_content_is_executed_once(tmp_path):
    count = tmp_path / "count"
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(f"with open({str(count)!r}, 'a') as file:\n    file.write('x')\n")
        load_part_file(tmp_path / name)
    assert count.read_text() == "x"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("leaves.py", "raise SystemExit(3)\n", "leaves.py' cannot be read: SystemExit: 3"),
        ("broken.py", "def (:\n", "broken.py' cannot be read: SyntaxError"),
        ("raises.py", "1 / 0\n", "raises.py' cannot be read: ZeroDivisionError: division by zero"),
        ("imports.py", "import no_such_package_of_ours\n", "ModuleNotFoundError"),
        ("parts.txt", "x = 1\n", "must end in .py"),
        ("missing.py", None, "there is no such file"),
    ],
)
def test_a_broken_file_is_one_message(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=told):
        load_part_file(tmp_path / name)
    with pytest.raises(ConfigError, match=told), trusting_parts():
        ModelConfig.build(SIZES | {"part_files": [str(tmp_path / name)]})
