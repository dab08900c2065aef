from __future__ import annotations

import pytest
import torch

from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.registry import registered
from glassformer.testing import PROMISES, compiles_into_one_graph, part_configs, shrunk

KINDS = ("attention", "feedforward", "norm", "positions")
FULL_SIZE = ("tiny-transformer", "nanogpt-shakespeare-cpu")
PARTS = {
    f"{kind}-{name}-{variant}".replace(" ", "_"): config
    for kind in KINDS
    for name in registered(kind)
    for variant, config in part_configs(kind, name).items()
}
PRESETS = {name: preset(name).model if name in FULL_SIZE else shrunk(preset(name).model) for name in preset_names()}


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("model", PARTS)
def test_every_registered_part_keeps_its_contract(model, promise):
    PROMISES[promise](PARTS[model])


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_keeps_its_contract(name, promise):
    PROMISES[promise](PRESETS[name])
