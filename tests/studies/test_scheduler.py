"""The queue of a study with any executor: lost runs are submitted again, and fail in the end."""

from __future__ import annotations

from executors import InThisProcess

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
