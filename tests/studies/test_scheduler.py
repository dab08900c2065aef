"""The queue of a study with any executor: lost runs are submitted again, and fail in the end."""

from __future__ import annotations

import pytest
from executors import InThisProcess

from glassformer.runs.folder import Run
from glassformer.studies.scheduler import MAX_ATTEMPTS, Scheduler


def test_any_executor_will_do_and_a_lost_run_is_submitted_again(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    executor = InThisProcess(study, losses=MAX_ATTEMPTS - 1)
    assert Scheduler(study, executor).run() is None
    assert [outcome.status for outcome in study.outcomes()] == ["finished", "finished"]
    assert executor.stopped


def test_a_run_that_keeps_killing_its_process_fails_in_the_end(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    Scheduler(study, InThisProcess(study, losses=MAX_ATTEMPTS)).run()
    assert [outcome.status for outcome in study.outcomes()] == ["failed", "failed"]
    assert "its process was killed by SIGKILL, 10 times in a row" in study.outcomes()[0].reason


def test_variants_matched_in_seconds_are_made_after_the_base_and_in_its_time(create, design):
    study = create(design(["model.n_layers=1"], seeds=[0, 1], matched="seconds"))
    executor = InThisProcess(study, losses=0)
    Scheduler(study, executor).run()
    assert list(executor.submitted) == ["base.seed-0", "base.seed-1", "n_layers=1.seed-0", "n_layers=1.seed-1"]
    base = [outcome.seconds for outcome in study.outcomes() if outcome.variant == "base"]
    (made,) = {
        Run.open(outcome.run).config["training"]["max_seconds"]
        for outcome in study.outcomes()
        if outcome.variant != "base"
    }
    assert made == pytest.approx(sum(base) / 2)
