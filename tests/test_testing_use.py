"""The contract suite knows the weights that real parts have, and catches parts that training or opening cannot take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from glassformer.registry import register
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.testing import PROMISES, check_part, opens_as_a_page, part_configs
from glassformer.testing.use import saved_equals_loaded, trains_with_every_optimizer
from glassformer.training.optimizers import Optimizer

ODD = Path(__file__).with_name("odd_parts.py")
PARTS = [
    *(("norm", name) for name in ("scalar", "only-scalar", "buffers", "frozen", "nothing", "unused")),
    *(("feedforward", name) for name in ("transposed", "tied", "cube")),
]
USE = ("costs_are_counted", "trains_with_every_optimizer", "saved_equals_loaded")


@pytest.mark.parametrize("promise", USE)
@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_parts_with_odd_weights_can_be_used(kind, name, promise):
    PROMISES[promise](next(iter(part_configs(kind, name, part_files=[ODD]).values())))


@pytest.mark.slow(reason="every promise of nine parts: what depends on the kinds of their weights is quick, above")
@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_parts_with_odd_weights_keep_their_contract(kind, name, promise):
    for variant, config in part_configs(kind, name, part_files=[ODD]).items():
        if promise in USE or variant in ("pre", "plain"):
            PROMISES[promise](config)


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_models_with_odd_weights_open_as_a_page(kind, name):
    first = next(iter(part_configs(kind, name, part_files=[ODD]).values()))
    opens_as_a_page(first.override({"n_layers": 1}))


@register("norm", "test-forgets")
class Forgets(nn.Module):
    """A weight that is no parameter and no buffer is in no checkpoint."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.table = torch.rand(d_model) + 0.5

    def forward(self, x):
        self.table = self.table * 0.9
        return torch.tanh(x) * self.table


@register("norm", "test-restless")
class Restless(nn.Module):
    """A frozen parameter that changes in every pass."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d_model), requires_grad=False)

    def forward(self, x):
        self.scale.data = self.scale.data * 0.9
        return torch.tanh(x) * self.scale


@register("norm", "test-detached")
class Detached(nn.Module):
    """Raises what only the page's chapters ask of it: gradients of a block's output."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        if x.dim() == 3 and x.shape[0] == 1 and not self.weight.requires_grad:
            raise KeyError("no weights")
        return torch.tanh(x) * self.weight


def test_a_weight_outside_the_checkpoint_breaks_the_contract():
    config = part_configs("norm", "test-forgets")["pre"]
    with pytest.raises(AssertionError, match="an update after loading"):
        saved_equals_loaded(config)


def test_a_frozen_parameter_that_changes_breaks_the_contract():
    config = part_configs("norm", "test-restless")["pre"]
    with pytest.raises(AssertionError, match="which has no gradient"):
        trains_with_every_optimizer(config)


def test_a_part_that_a_page_cannot_open_breaks_the_contract_whatever_it_raises(monkeypatch):
    monkeypatch.setattr("glassformer.testing.PROMISES", {})  # the others take long, and it keeps them
    with pytest.raises(AssertionError, match="opens as a page: KeyError: 'no weights'"):
        check_part("norm", "test-detached")


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "muon"])
def test_frozen_parameters_are_in_no_optimizer(kind):
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(requires_grad=False)
    model.count = nn.Parameter(torch.tensor(3), requires_grad=False)
    assert list(Optimizer(OptimizerConfig(kind=kind), model).parameters) == ["weight"]
