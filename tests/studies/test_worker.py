"""One run as a worker trains it: under its lock, resumed from its checkpoint, on the study's own data."""

from __future__ import annotations

import json
import signal

from glassformer.runs.folder import Run, list_runs
from glassformer.runs.locks import FileLock
from glassformer.studies.outcomes import failed
from glassformer.studies.worker import train_run


def test_a_run_is_made_under_its_claim_and_the_claim_ends_with_it(create, design, monkeypatch):
    study = create(design(["model.residual=none"], seeds=1))
    planned = study.plan[0]
    claim = study.path / "claims" / f"{planned.run_key}.lock"

    def train(*_: object):
        assert not FileLock(claim).acquire(wait=False)
        return failed(planned.variant, planned.seed, "tried")

    monkeypatch.setattr("glassformer.studies.worker._train", train)
    assert train_run(study, planned).reason == "tried"
    free = FileLock(claim)
    assert free.acquire(wait=False)
    free.release()


def test_a_run_cut_short_goes_on_from_its_checkpoint_and_counts_once(create, design, assert_same_run):
    config = design(["model.residual=none"], seeds=[0])
    whole, cut = create(config), create(config)
    first = whole.plan[0]
    expected = train_run(whole, first)

    def stop(record):
        if record.get("kind") == "train" and record["step"] == 4:
            signal.raise_signal(signal.SIGTERM)

    assert train_run(cut, first, [stop]) is None
    assert cut.pending() == cut.plan
    found = train_run(cut, first)
    assert (found.loss, found.steps, found.curve.losses) == (expected.loss, expected.steps, expected.curve.losses)
    assert len(list_runs(cut.runs)) == 1
    assert_same_run(Run.open(found.run), Run.open(expected.run))
    before = Run.open(found.run).metrics_path.read_bytes()
    assert train_run(cut, first) == found  # recorded: not trained again
    (cut.path / "outcomes" / f"{first.run_key}.json").unlink()  # a kill between the run's end and its outcome
    assert train_run(cut, first) == found
    assert Run.open(found.run).metrics_path.read_bytes() == before


def test_a_run_on_other_data_than_the_study_began_with_is_no_result(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    begun = study.path / "data.json"
    begun.write_text(json.dumps(dict.fromkeys(json.loads(begun.read_text()), "0123")))
    outcome = train_run(study, study.plan[0])
    assert outcome.status == "failed"
    assert "its data are not those that the study began with" in outcome.reason
    assert "0123" in outcome.reason
