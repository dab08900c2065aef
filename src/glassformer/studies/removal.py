"""The same part, left out of training and removed after training: two different questions, in one table.

*Trained without it*, a model can learn to do with what it has. *Taken out of a trained model*, the part leaves a hole
that the rest was never prepared for. How much of the second loss training wins back is what the part was needed for;
the rest is only what the model had come to rely on.

A part is taken out by giving the base's trained weights to the variant's model: what the variant has not is left away,
and nothing else changes. For attention that is the same as zeroing its output, for one without skips the same as
cutting them. A variant with weights of its own (another width, another kind of layer) has no such counterpart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from glassformer.errors import CheckpointError, GlassformerError
from glassformer.models.build import Model
from glassformer.runs.checkpoints import latest_checkpoint
from glassformer.runs.folder import Run
from glassformer.scoring.likelihood import evaluate
from glassformer.statistics.comparison import Comparison, compare
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.tasks.opening import build_model
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import OtherDataError, open_samples
from glassformer.training.execution import ExecutionConfig

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Removal:
    """Both ways of removing, each compared with the whole model, paired by seed.

    Attributes:
        trained: the variants as they were trained.
        removed: the base's own weights without the part; variants that cannot be made of them are not among its rows.
        reasons: why not, by variant.
        other_data: of these, the variants that were not measured because the data are not those of the runs any more.
    """

    trained: Comparison
    removed: Comparison
    reasons: Mapping[str, str]
    other_data: frozenset[str] = frozenset()

    def recovered(self, variant: str) -> float | None:
        """The share of the loss that removing costs a trained model which training without the part wins back.

        1: the part was never needed; 0: training cannot make up for it. None where removing costs nothing or is not
        possible.
        """
        if variant in self.reasons:
            return None
        trained, removed = self.trained.row(variant).mean, self.removed.row(variant).mean
        if trained is None or removed is None or removed <= 0:
            return None
        return 1 - trained / removed


def removal(study: Study, *, progress: Progress | None = None) -> Removal:
    """Take each variant's part out of every finished run of the base, and measure the validation loss.

    The batches are those of the runs' own validations.

    Args:
        progress: called with the variant and the seed before each measurement.

    Raises:
        RunError: the study has no finished run of the base, or its folder is damaged.
    """
    losses = study.losses()
    bases = {outcome.seed: outcome for outcome in study.outcomes() if outcome.variant == BASE and outcome.run}
    removed: dict[str, dict[int, float | None]] = {}
    reasons: dict[str, str] = {}
    other_data: set[str] = set()
    for variant in study.config.variants:
        config = study.config.at_the_baselines(variant)
        if reason := _other_question(study.config.arm(BASE), config):
            reasons[variant] = reason
        for seed, outcome in bases.items():
            if outcome.status != "finished" or variant in reasons:
                continue
            if progress is not None:
                progress(variant, seed)
            assert outcome.run is not None
            try:
                removed.setdefault(variant, {})[seed] = loss_without(Run.open(outcome.run), config)
            except GlassformerError as error:
                reasons[variant] = str(error).rstrip(".")
                removed.pop(variant, None)
                if isinstance(error, OtherDataError):
                    other_data.add(variant)
    variants = {name: losses[name] for name in study.config.variants}
    base = losses.get(BASE, {})
    return Removal(compare(base, variants), compare(base, removed), reasons, frozenset(other_data))


def _other_question(base: RunConfig, variant: RunConfig) -> str:
    """Why a variant takes nothing out of the model that the base's validation could measure; empty if it does."""
    if variant.model == base.model:
        return "it changes only the training"
    if (variant.data, variant.seq_len) != (base.data, base.seq_len):
        return "it is validated on other data than the baseline"
    return ""


def loss_without(run: Run, variant: RunConfig) -> float | None:
    """The validation loss of a run's final weights in the variant's model, nats per token; None if it is not finite.

    Raises:
        CheckpointError: the run has no whole checkpoint, or the variant has weights that its model has not.
        OtherDataError: the data are not those that the run was trained on.
    """
    checkpoint, _ = latest_checkpoint(run.checkpoints)
    samples = open_samples(run, variant)
    model = transplanted(checkpoint.tensors["model"], samples.with_vocabulary(variant))
    execution = ExecutionConfig.from_dict(checkpoint.state["acceleration"])
    batches = samples.validation(execution.micro_batch_tokens)
    loss = evaluate(model, batches, precision=variant.training.precision).loss
    return loss if math.isfinite(loss) else None


def transplanted(weights: Mapping[str, Tensor], variant: RunConfig) -> Model:
    """The variant's model with weights of the same names from another one.

    Raises:
        CheckpointError: it has weights of its own, or of other shapes; they are named.
    """
    model = build_model(variant)
    own = model.named_weights()
    strange = [name for name, weight in own.items() if name not in weights or weights[name].shape != weight.shape]
    if strange:
        listed = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        raise CheckpointError(f"it has weights that the baseline lacks ({listed})")
    model.load_weights({name: weights[name] for name in own})
    return model.eval()
