"""A study from its folder to its end: reused, retried, stopped and resumed, whoever runs it."""

from __future__ import annotations

import json
import os
import signal

import pytest
from executors import InThisProcess

from glassformer.errors import RunError
from glassformer.runs.folder import list_runs
from glassformer.studies.checking import check
from glassformer.studies.outcomes import failed
from glassformer.studies.runner import StoppedError, StudyRunner


@pytest.fixture
def run():
    """``run(study)``: its runs made in this process."""

    def run(study, make_executor=lambda study, _checked: InThisProcess(study), **options):
        return StudyRunner(studies=study.path.parent, make_executor=make_executor, **options).run(
            study, check(study.config)
        )

    return run


def test_equal_runs_are_reused_and_the_others_trained_unless_all_are_to_be_fresh(create, design, run):
    first = run(create(design(["model.residual=none"], seeds=[0])))
    assert (first.stopped, first.reused, first.failed) == (None, (), [])
    notes = []
    wider = run(create(design(["model.residual=none", "model.n_layers=1"], seeds=[0])), report=notes.append)
    assert [outcome.variant for outcome in wider.reused] == ["base", "residual=none"]
    assert len(list_runs(wider.study.runs)) == 1
    assert wider.check().pending() == []
    assert any("1 of 3 runs to train, 1 at a time" in note for note in notes)
    fresh = run(create(design(["model.residual=none"], seeds=[0])), fresh=True)
    assert fresh.reused == ()
    assert fresh.study.losses() == first.study.losses()


def test_a_study_that_began_with_other_code_says_so_when_it_is_resumed(create, design, run):
    study = create(design(["model.residual=none"], seeds=[0]))
    notes = []
    run(study, report=notes.append)
    assert not any("other code" in note for note in notes)
    environment = study.path / "environment.json"
    environment.write_text(json.dumps(json.loads(environment.read_text()) | {"source": "0" * 64}))
    run(study, report=notes.append)
    assert (
        sum("this study began with other code of glassformer (source 000000000000, now" in note for note in notes) == 1
    )


def test_a_failed_run_is_named_and_retried_by_the_next_call(create, design, run):
    study = create(design(["model.residual=none"], seeds=[0]))

    class Failing(InThisProcess):
        def submit(self, run):
            planned = self.study.run_by_key[run]
            if planned.variant != "base":
                self.study.record(planned, failed(planned.variant, planned.seed, "the disk is full"))
            super().submit(run)

    result = run(study, lambda study, _checked: Failing(study))
    assert [outcome.variant for outcome in result.failed] == ["residual=none"]
    with pytest.raises(RunError, match=r"1 of 2 runs .* failed(.|\n)*residual=none, seed 0: the disk is full"):
        result.check()
    assert run(study).failed == []


def test_a_signal_stops_it_and_the_next_call_resumes_it(create, design, run):
    study = create(design(["model.residual=none"], seeds=[0]))

    class Interrupted(InThisProcess):
        def next(self, timeout):
            message = super().next(timeout)
            os.kill(os.getpid(), signal.SIGTERM)
            return message

    result = run(study, lambda study, _checked: Interrupted(study))
    assert result.stopped == "SIGTERM"
    with pytest.raises(StoppedError, match="1 of 2 runs"):
        result.check()
    assert run(study).check().pending() == []
    assert len(list_runs(study.runs)) == 2


def test_seeds_are_added_until_the_decision(create, design, run):
    study = create(design({"same": {"training.telemetry.log_every": 1}}, seeds=1, until_decided=True, budget_seeds=4))
    result = run(study)
    assert result.study.config.seeds == (0, 1, 2)  # equal in every pair, from 3 pairs on
    assert result.check().pending() == []


def test_a_study_that_is_being_run_is_left_alone(create, design, run):
    study = create(design(["model.residual=none"], seeds=[0]))
    with study.lock_study(), pytest.raises(RunError, match="is being run already"):
        run(study)
    assert list_runs(study.runs) == []
