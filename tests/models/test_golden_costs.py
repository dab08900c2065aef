"""What the presets cost does not change unseen."""

from __future__ import annotations

import pytest
from models.golden_costs import costs_of, golden

from glassformer.models.presets import preset_names


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_costs_what_it_did(name):
    assert costs_of(name) == golden()[name]
