"""Runs that equal earlier ones are reused, and no others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

import glassformer
from glassformer import places
from glassformer.runs.folder import Run
from glassformer.runs.source import source_digest
from glassformer.studies.folder import Study
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


def train_with(package: Path, study) -> None:
    """Train a study's runs by a worker that imports the package found in a folder."""
    runs = "".join(f"{planned.run_key}\n" for planned in study.plan)
    command = [sys.executable, "-m", "glassformer.studies.worker", str(study.path)]
    environment = os.environ | {"PYTHONPATH": str(package)}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for run in runs.splitlines():
        process.stdin.write(f"{run}\n")
        process.stdin.flush()
        while f'"run": "{run}", "kind": "done"' not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
    process.communicate()


def test_runs_made_by_other_code_are_not_reused(create, design, tmp_path):
    here = Path(glassformer.__file__).parent
    other = shutil.copytree(here, tmp_path / "other" / "glassformer", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "training" / "optimizers.py").open("a", encoding="utf-8") as file:
        file.write("\nMORE = 1\n")
    made = create(design(["model.residual=none"], seeds=[0]))
    train_with(other.parent, made)
    assert [outcome.status for outcome in made.outcomes()] == ["finished", "finished"]
    sources = {Run.open(outcome.run).environment()["source"] for outcome in made.outcomes()}
    assert len(sources) == 1
    assert source_digest() not in sources
    again = create(design(["model.residual=none"], seeds=[0]))
    assert reused(again) == []
    for outcome in made.outcomes():  # and that is the only reason
        path = outcome.run / "environment.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"source": source_digest()}))
    assert [outcome.variant for outcome in reused(again)] == ["base", "residual=none"]


def test_runs_that_say_nothing_of_their_code_are_not_reused(create, design):
    made = create(design(["model.residual=none"], seeds=[0]))
    for planned in made.plan:
        path = train_run(made, planned).run / "environment.json"
        tree = json.loads(path.read_text())
        del tree["source"]
        path.write_text(json.dumps(tree))
    assert reused(create(design(["model.residual=none"], seeds=[0]))) == []


def test_a_study_matched_in_seconds_reuses_the_runs_of_one_with_the_same_steps(create, design):
    made = create(design(["model.n_layers=1"], seeds=[0], matched="seconds"))
    for planned in made.plan:
        train_run(made, planned)
    again = Study.create(made.config, data=made.data(), command=["test"], root=made.path.parent)
    assert [outcome.variant for outcome in reused(again)] == ["base", "n_layers=1"]
