"""Runs that equal earlier ones are reused, and no others."""

from __future__ import annotations

import torch

from glassformer import places
from glassformer.studies.reuse import reuse
from glassformer.studies.worker import train_run


def reused(study, studies=None):
    return reuse(
        study, runs=places.runs_folder(), studies=studies or study.path.parent, threads=torch.get_num_threads()
    )


def test_an_equal_run_is_found_and_reused_and_an_unequal_one_is_not(create, design, tmp_path):
    study = create(design(["model.residual=none"], seeds=[0, 1]))
    made = {planned.run_key: train_run(study, planned) for planned in study.plan[:2]}
    same = create(design(["model.residual=none", "model.n_layers=1"], seeds=[0, 1]))
    found = reused(same)
    assert [(outcome.variant, outcome.seed) for outcome in found] == [("base", 0), ("residual=none", 0)]
    assert [outcome.loss for outcome in found] == [outcome.loss for outcome in made.values()]
    assert all(outcome.reused and outcome.run.is_relative_to(study.runs) for outcome in found)
    assert len(same.pending()) == 4
    for change in ({"training.optimizer.learning_rate": 3e-4}, {"training.telemetry.validation_tokens": 48}):
        assert reused(create(design(["model.residual=none"], seeds=[0], set=change))) == []
    logged_more = {"training.telemetry.log_every": 1, "training.checkpoints.every": None}
    assert len(reused(create(design(["model.residual=none"], seeds=[0], set=logged_more)))) == 2
    timed = {"training.max_seconds": 100.0}
    assert reused(create(design(["model.residual=none"], seeds=[0], set=timed))) == []
