"""Points out of the folders of our own runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glassformer.errors import ConfigError, RunError
from glassformer.scaling.fits.points import Points, join, unusable
from glassformer.scaling.fits.repeats import without_repeats
from glassformer.scaling.laws.law import Counting

if TYPE_CHECKING:
    from glassformer.runs.folder import Run
    from glassformer.studies.outcomes import RunOutcome


def points_of_runs(path: Path, *, counting: Counting, curves: bool) -> Points:
    """Points of a run, a folder of runs, a study, or a folder of studies, as ``read_points`` says.

    N is exact, of the model's configuration; D the tokens predicted in training; C the trainer's own count of training
    FLOPs, attention included, so that it is more than 6·N·D for a small model; the loss that of the last validation.
    """
    parts, left_out, data = [], [], set()
    for label, run, outcome in _endings(path):
        if run is None or outcome is None:
            left_out.append(f"{label} is left out: it has not ended.")
        elif outcome.status != "finished":
            reason = outcome.reason.split(". ")[0].removesuffix(".")  # what happened; what to do about it is behind
            left_out.append(f"{label} is left out: it {outcome.status} ({reason}).")
        else:
            parts.append(_points_of_run(run, label, outcome, counting, curves=curves))
            data.add(str(run.config["data"]))
    if not parts:
        what = left_out or ["there is no run in it; give a .csv file, a run's folder, a folder of runs or a study's."]
        raise unusable(str(path), what)
    if len(data) > 1:
        left_out.append(f"The runs have {len(data)} different settings of data, so their losses may not be comparable.")
    return without_repeats(join(parts, source=str(path), notes=left_out))


def _endings(path: Path) -> Iterator[tuple[str, Run | None, RunOutcome | None]]:
    """Every run in a folder: a label that no other has, its folder, and how it ended, if it did."""
    from glassformer.runs.folder import Run, list_runs
    from glassformer.runs.seal import CONFIG
    from glassformer.studies.folder import Study
    from glassformer.studies.lookup import STUDY, list_studies
    from glassformer.studies.outcomes import read_outcome

    if (path / STUDY).is_file():
        study = Study.open(path)
        for planned in study.plan:
            outcome = study.outcome(planned)
            run = Run.open(outcome.run) if outcome is not None and outcome.run is not None else None
            if outcome is not None and outcome.status == "finished" and run is None:
                raise RunError(f"The run {planned.run_key} of {study.name} ended, and its folder is gone.")
            yield f"{planned.variant}, seed {planned.seed}", run, outcome
        return
    for folder in [path] if (path / CONFIG).is_file() else list_runs(path):
        run = Run.open(folder)
        seed = run.config.get("training", {}).get("seed", 0)
        yield f"{run.name}, seed {seed}", run, read_outcome(run, run.name, seed)
    for inner in list_studies(path):
        for label, of_study, outcome in _endings(inner):
            yield f"{inner.name}: {label}", of_study, outcome


def _points_of_run(run: Run, label: str, outcome: RunOutcome, counting: Counting, *, curves: bool) -> Points:
    """The end of a run as a point; with ``curves``, its validations before as well."""
    from glassformer.models.counting import active_parameters, parameters
    from glassformer.tasks.opening import run_config

    try:
        counts = parameters(run_config(run).model)
        idle = counts.total - active_parameters(run_config(run).model)  # of experts: no law counts them
    except ConfigError as error:
        raise RunError(f"The configuration of {run.path} cannot be read: {error}") from error
    trained = [record for record in run.metrics() if record.get("kind") == "train"]
    validations = [(step, loss) for step, loss in zip(outcome.curve.steps, outcome.curve.losses, strict=True)
                   if step > 0 and loss is not None]  # fmt: skip
    if not trained or not validations:
        raise RunError(f"The run {run.path} kept no record of its training: it cannot be a point.")
    steps, losses = zip(*(validations if curves else validations[-1:]), strict=True)
    d = np.array([_tokens_at(step, trained) for step in steps])
    n = (counts.total if counting == "total" else counts.matrices) - idle
    epoch = max((record["tokens"] / record["epoch"] for record in trained if record.get("epoch")), default=math.inf)
    return Points.of(
        n=np.full(len(d), float(n)),
        d=d,
        loss=losses,
        c=d * _flops_per_token(run, trained),
        run=[label] * len(d),
        unique=np.minimum(d, epoch) if d[-1] > epoch else None,
        counting=counting,
        source=str(run.path),
    )


def _tokens_at(step: int, trained: Sequence[Mapping[str, float]]) -> float:
    """Tokens predicted by a step: recorded, or on the line through the records beside it.

    That is exact where all batches are of one size, as those of a text are.
    """
    known = [(0.0, 0.0), *((record["step"], record["tokens"]) for record in trained)]
    lines = list(pairwise(known))
    (step_0, tokens_0), (step_1, tokens_1) = next((line for line in lines if step <= line[1][0]), lines[-1])
    return tokens_0 + (tokens_1 - tokens_0) * (step - step_0) / (step_1 - step_0)


def _flops_per_token(run: Run, trained: Sequence[Mapping[str, float]]) -> float:
    """Training FLOPs for a token predicted: of a text by formula, of other data as the trainer counted them."""
    from glassformer.data.config import DataConfig
    from glassformer.models.counting import flops_per_token
    from glassformer.tasks.opening import run_config

    config = run_config(run)
    if isinstance(config.data, DataConfig):
        return float(flops_per_token(config.model, config.seq_len).training)
    rates = [record["flops_per_second"] / record["tokens_per_second"] for record in trained
             if record["tokens_per_second"] > 0]  # fmt: skip
    if not rates:
        raise RunError(f"The run {run.path} kept no rates, from which its FLOPs would follow.")
    return rates[-1]
