"""The trained models of a study, and a text that none of them was trained on."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from glassformer.models.decoder import Decoder
from glassformer.runs.folder import Run
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.tasks.open_run import open_model
from glassformer.tasks.opening import build_model
from glassformer.tasks.run_data import open_samples
from glassformer.tasks.training_data import TrainingData


def trained_models(study: Study, arm: str) -> dict[int, Decoder]:
    """The language models of an arm at the end of their training, by seed, on the CPU; those that diverged left out."""
    return {
        outcome.seed: open_model(Run.open(outcome.run), device="cpu").model
        for outcome in study.outcomes()
        if outcome.variant == arm and outcome.status == "finished" and outcome.run is not None
    }


def untrained_models(study: Study, arm: str) -> dict[int, Decoder]:
    """An arm's models at their starting weights."""
    found = {}
    for planned in study.plan:
        if planned.variant == arm:
            found[planned.seed] = cast("Decoder", build_model(planned.config).eval())
    return found


def base_samples(study: Study) -> TrainingData:
    """The data that the base's runs were trained on. Raises :class:`DataError` if they are not there any more."""
    run = next(Run.open(each.run) for each in study.outcomes() if each.variant == BASE and each.run is not None)
    return open_samples(run, study.config.base)


def validation_tokens(study: Study, rows: int) -> Tensor:
    """Token ids of the validation split, int64 [rows, context]; the same for every arm."""
    batch = next(base_samples(study).validation(rows * study.config.base.seq_len))
    tokens = batch.arguments[0]
    assert isinstance(tokens, torch.Tensor)
    return tokens[:rows]
