"""The queue: many runs are each as one alone, whatever becomes of workers and driver. Real processes, real kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassformer import places
from glassformer.errors import RunError
from glassformer.runs.checkpoints import latest_checkpoint
from glassformer.runs.folder import Run, list_runs
from glassformer.runs.locks import FileLock
from glassformer.studies.checking import check
from glassformer.studies.execution import LOST_IN_A_ROW, Driver, Report
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import failed
from glassformer.studies.processes import LocalProcesses
from glassformer.studies.reuse import reuse
from glassformer.studies.summary import summarise
from glassformer.studies.worker import make
from glassformer.training import session

FAULTS = Path(__file__).parents[2] / "benchmarks" / "study_faults.py"


def silent(record) -> None:
    pass


def reused(study, studies=None):
    return reuse(
        study, runs=places.runs_folder(), studies=studies or study.path.parent, threads=torch.get_num_threads()
    )


def assert_same_run(found: Run, expected: Run, measured) -> None:
    one, other = latest_checkpoint(found.checkpoints)[0], latest_checkpoint(expected.checkpoints)[0]
    assert one.step == other.step
    for group, named in other.tensors.items():
        assert [name for name in named if not torch.equal(named[name], one.tensors[group][name])] == []
    assert json.dumps(measured(found)) == json.dumps(measured(expected))
    assert found.config == expected.config


def test_a_run_is_made_under_its_claim_and_the_claim_ends_with_it(create, design, monkeypatch):
    study = create(design(["model.residual=none"], seeds=1))
    planned = study.plan[0]
    claim = study.path / "claims" / f"{planned.slot}.lock"

    def train(*_: object):
        assert not FileLock(claim).acquire(wait=False)
        return failed(planned.variant, planned.seed, "tried")

    monkeypatch.setattr("glassformer.studies.worker._train", train)
    assert make(study, planned, silent).reason == "tried"
    free = FileLock(claim)
    assert free.acquire(wait=False)
    free.release()


def test_many_are_one_though_a_worker_is_killed_and_diverged_and_failed_runs_are_outcomes(
    create, design, measured, tmp_path
):
    """One study for all that needs processes: every run of it ends, each in its way, and the next call is a no-op."""
    study = create(
        design(
            {
                "bare": {"model.norm.kind": "none", "model.dropout": 0.1, "training.max_steps": 200},
                "wild": {"training.optimizer.learning_rate": 1e30, "training.grad_clip": None},
                "impossible": {"training.checkpoints.every": 1},
            },
            seeds=[4],
        )
    )
    (study.runs / "impossible.seed-4-20260101-000000").mkdir()
    (study.runs / "impossible.seed-4-20260101-000000" / "config.json").write_text("{}")  # a run nobody can resume
    heard, executor = [], LocalProcesses(study, 2)

    def kill_once(event):
        """The worker of one run dies when that run has begun."""
        heard.append(event)
        if event.report.run == "bare.seed-4" and not any(each.report.kind == "lost" for each in heard):
            (worker,) = (each for each in executor.workers.values() if each.run == event.report.run)
            worker.process.kill()

    assert Driver(study, executor, [kill_once]).run() is None
    assert [each.report.run for each in heard if each.report.kind == "lost"] == ["bare.seed-4"]
    status = {outcome.variant: outcome.status for outcome in study.outcomes()}
    assert status == {"base": "finished", "bare": "finished", "wild": "diverged", "impossible": "failed"}
    by_variant = {outcome.variant: outcome for outcome in study.outcomes()}
    assert "not finite" in by_variant["wild"].reason
    assert "configuration of the run impossible.seed-4" in by_variant["impossible"].reason
    assert sorted(event.outcome.variant for event in heard if event.outcome) == sorted(by_variant)
    assert any(event.report.validation for event in heard)
    assert Driver(study, executor).run() is None  # nothing is left: no worker is started

    config = next(planned.config for planned in study.plan if planned.variant == "bare")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker of two has
    session.start(config, root=tmp_path / "alone", name="alone", command=["test"]).train()
    torch.set_num_threads(threads)
    (alone,) = list_runs(tmp_path / "alone")
    assert_same_run(Run.open(by_variant["bare"].run), Run.open(alone), measured)

    summary = summarise(study)
    assert [(arm.name, len(arm.finished)) for arm in summary.arms] == [
        ("base", 1), ("bare", 1), ("wild", 0), ("impossible", 0),
    ]  # fmt: skip
    assert summary.comparison.row("wild").variant_diverged == (4,)
    json.dumps(summary.to_dict(), allow_nan=False)


def test_a_run_cut_short_goes_on_from_its_checkpoint_and_counts_once(create, design, measured):
    config = design(["model.residual=none"], seeds=[0])
    whole, cut = create(config), create(config)
    first = whole.plan[0]
    expected = make(whole, first, silent)

    def stop(record):
        if record.get("kind") == "train" and record["step"] == 4:
            signal.raise_signal(signal.SIGTERM)

    assert make(cut, first, stop) is None
    assert cut.waiting() == cut.plan
    found = make(cut, first, silent)
    assert (found.loss, found.steps, found.curve.losses) == (expected.loss, expected.steps, expected.curve.losses)
    assert len(list_runs(cut.runs)) == 1
    assert_same_run(Run.open(found.run), Run.open(expected.run), measured)
    before = Run.open(found.run).metrics_path.read_bytes()
    assert make(cut, first, silent) == found  # recorded: not trained again
    (cut.path / "outcomes" / f"{first.slot}.json").unlink()  # a kill between the run's end and its outcome
    assert make(cut, first, silent) == found
    assert Run.open(found.run).metrics_path.read_bytes() == before


def test_an_equal_run_is_found_and_reused_and_an_unequal_one_is_not(create, design, tmp_path):
    study = create(design(["model.residual=none"], seeds=[0, 1]))
    made = {planned.slot: make(study, planned, silent) for planned in study.plan[:2]}
    same = create(design(["model.residual=none", "model.n_layers=1"], seeds=[0, 1]))
    found = reused(same)
    assert [(outcome.variant, outcome.seed) for outcome in found] == [("base", 0), ("residual=none", 0)]
    assert [outcome.loss for outcome in found] == [outcome.loss for outcome in made.values()]
    assert all(outcome.reused and outcome.run.is_relative_to(study.runs) for outcome in found)
    assert len(same.waiting()) == 4
    for change in ({"training.optimizer.learning_rate": 3e-4}, {"training.telemetry.validation_tokens": 48}):
        assert reused(create(design(["model.residual=none"], seeds=[0], set=change))) == []
    logged_more = {"training.telemetry.log_every": 1, "training.checkpoints.every": None}
    assert len(reused(create(design(["model.residual=none"], seeds=[0], set=logged_more)))) == 2
    timed = {"training.max_seconds": 100.0}
    assert reused(create(design(["model.residual=none"], seeds=[0], set=timed))) == []


class Fragile:
    """An executor without processes that loses every run so many times before it makes it."""

    count = 1

    def __init__(self, study: Study, losses: int) -> None:
        self.study, self.losses = study, losses
        self.queue: list[str] = []
        self.lost: dict[str, int] = {}
        self.stopped = False

    def submit(self, run: str) -> None:
        self.queue.append(run)

    def next(self, timeout: float) -> Report | None:
        run = self.queue.pop(0)
        self.lost[run] = self.lost.get(run, 0) + 1
        if self.lost[run] <= self.losses:
            return Report(run, "lost", detail="was killed by SIGKILL")
        make(self.study, self.study.by_slot[run], silent)
        return Report(run, "done")

    def stop(self) -> None:
        self.stopped = True


def test_any_executor_will_do_and_a_lost_run_is_submitted_again(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    executor = Fragile(study, losses=LOST_IN_A_ROW - 1)
    assert Driver(study, executor).run() is None
    assert [outcome.status for outcome in study.outcomes()] == ["finished", "finished"]
    assert executor.stopped


def test_a_run_that_keeps_killing_its_process_fails_in_the_end(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    Driver(study, Fragile(study, losses=LOST_IN_A_ROW)).run()
    assert [outcome.status for outcome in study.outcomes()] == ["failed", "failed"]
    assert "its process was killed by SIGKILL, 10 times in a row" in study.outcomes()[0].reason


def test_a_run_on_other_data_than_the_study_began_with_is_no_result(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    begun = study.path / "data.json"
    begun.write_text(json.dumps(dict.fromkeys(json.loads(begun.read_text()), "0123")))
    outcome = make(study, study.plan[0], silent)
    assert outcome.status == "failed"
    assert "its data are not those that the study began with" in outcome.reason
    assert "0123" in outcome.reason


def test_variants_matched_in_seconds_are_made_after_the_base_and_in_its_time(create, design):
    study = create(design(["model.n_layers=1"], seeds=[0, 1], matched="seconds"))
    executor = Fragile(study, losses=0)
    Driver(study, executor).run()
    assert list(executor.lost) == ["base.seed-0", "base.seed-1", "n_layers=1.seed-0", "n_layers=1.seed-1"]
    base = [outcome.seconds for outcome in study.outcomes() if outcome.variant == "base"]
    (made,) = {
        Run.open(outcome.run).config["training"]["max_seconds"]
        for outcome in study.outcomes()
        if outcome.variant != "base"
    }
    assert made == pytest.approx(sum(base) / 2)


def test_workers_that_cannot_start_are_an_error_that_shows_their_words(create, design, monkeypatch, tmp_path):
    study = create(design(["model.residual=none"], seeds=[0]))
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no Python here >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RunError, match="5 workers in a row ended with status 3 .* ends: no Python here"):
        Driver(study, LocalProcesses(study, 2)).run()
    assert len(study.waiting()) == 2


def test_checking_a_study_again_finds_nothing_to_change(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    again = check(study.config)
    assert (again.config, again.data) == (study.config, study.data())


@pytest.mark.slow(reason="a minute of processes that are killed and begin again")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the experiment looks for workers in /proc")
def test_a_study_whose_driver_and_workers_are_killed_ends_as_one_left_in_peace():
    if not FAULTS.is_file():
        pytest.skip(f"{FAULTS} is not here")
    command = [sys.executable, str(FAULTS), "--runs", "4", "--driver-kills", "1", "--worker-kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "driver killed 1 times, workers 2 times" in done.stdout
    assert done.stdout.endswith("\nthe same\n")
