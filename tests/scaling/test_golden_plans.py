"""Plans as they were before their redesign: every number that does not depend on the machine, within rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glassformer.scaling.plans.planning import plan
from glassformer.scaling.plans.request import PlanRequest

GOLDEN = json.loads((Path(__file__).parent / "golden_plans.json").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_a_plan_is_what_it_was(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("glassformer.speed.SECONDS", 0.01)
    monkeypatch.setattr("glassformer.scaling.plans.machine_costs.PATIENCE", 0.0)
    kept = GOLDEN[name]
    made = plan(PlanRequest(**kept["request"]), **kept["options"])
    assert made.shape.words == kept["words"]
    for number, value in kept["numbers"].items():
        assert made[number].value == pytest.approx(value, rel=1e-9), number
    estimates = {each.law: [each.parameters, each.tokens, each.loss, each.here] for each in made.estimates}
    assert list(estimates) == list(kept["estimates"])
    for law, values in kept["estimates"].items():
        for now, before in zip(estimates[law], values, strict=True):
            assert now == before if before is None else now == pytest.approx(before, rel=1e-9), law
    assert [each.loss for each in made.off] == pytest.approx(kept["losses"], rel=1e-9)
