"""Real worker processes, killed and failing: every run ends as it would alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassformer.errors import RunError
from glassformer.runs.folder import Run, list_runs
from glassformer.studies.local_processes import LocalProcesses
from glassformer.studies.scheduler import Scheduler
from glassformer.studies.summary import summarise
from glassformer.training import session

FAULTS = Path(__file__).parents[2] / "benchmarks" / "study_faults.py"


def test_many_are_one_though_a_worker_is_killed_and_diverged_and_failed_runs_are_outcomes(
    create, design, assert_same_run, tmp_path
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
    messages, executor = [], LocalProcesses(study, 2)

    def kill_once(event):
        """The worker of one run dies when that run has begun."""
        messages.append(event)
        if event.message.run == "bare.seed-4" and not any(each.message.kind == "lost" for each in messages):
            (worker,) = (each for each in executor.workers.values() if each.run == event.message.run)
            worker.process.kill()

    assert Scheduler(study, executor, [kill_once]).run() is None
    assert [each.message.run for each in messages if each.message.kind == "lost"] == ["bare.seed-4"]
    status = {outcome.variant: outcome.status for outcome in study.outcomes()}
    assert status == {"base": "finished", "bare": "finished", "wild": "diverged", "impossible": "failed"}
    by_variant = {outcome.variant: outcome for outcome in study.outcomes()}
    assert "not finite" in by_variant["wild"].reason
    assert "configuration of the run impossible.seed-4" in by_variant["impossible"].reason
    assert sorted(event.outcome.variant for event in messages if event.outcome) == sorted(by_variant)
    assert any(event.message.validation for event in messages)
    assert Scheduler(study, executor).run() is None  # nothing is left: no worker is started

    config = next(planned.config for planned in study.plan if planned.variant == "bare")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker of two has
    session.start(config, root=tmp_path / "alone", name="alone", command=["test"]).train()
    torch.set_num_threads(threads)
    (alone,) = list_runs(tmp_path / "alone")
    assert_same_run(Run.open(by_variant["bare"].run), Run.open(alone))

    summary = summarise(study)
    assert [(arm.name, len(arm.finished)) for arm in summary.arms] == [
        ("base", 1), ("bare", 1), ("wild", 0), ("impossible", 0),
    ]  # fmt: skip
    assert summary.comparison.row("wild").variant_diverged == (4,)
    json.dumps(summary.to_dict(), allow_nan=False)


def test_workers_that_cannot_start_are_an_error_that_shows_their_words(create, design, monkeypatch, tmp_path):
    study = create(design(["model.residual=none"], seeds=[0]))
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no Python here >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RunError, match="5 workers in a row ended with status 3 .* ends: no Python here"):
        Scheduler(study, LocalProcesses(study, 2)).run()
    assert len(study.pending()) == 2


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
