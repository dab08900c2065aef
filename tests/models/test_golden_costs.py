"""What the presets cost does not change unseen."""

from __future__ import annotations

import pytest
from models.golden_costs import costs_of, golden

from glassformer.models.presets import preset_names

LARGER = ("gpt2-medium", "gpt2-large", "gpt2-xl", "gopher-44m", "gpt-mini", "gpt-micro", "bert-mini", "bert-base")
larger = pytest.mark.slow(reason="a preset like another, with more of the same layers")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=larger if each in LARGER else ()) for each in preset_names()]
)
def test_a_preset_costs_what_it_did(name):
    assert costs_of(name) == golden()[name]
