"""How a model is trained: the settings of one training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from glassformer.config import Config, Count, Natural, Seed

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Budget = Annotated[float, Field(gt=0.0, le=1e9)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class OptimizerConfig(Config):
    """How gradients become updates."""

    kind: Literal["adamw", "muon", "adam", "sgd"] = "adamw"
    """adamw; muon for the blocks' matrices with adamw for the rest; adam (L2 in the gradient); sgd with momentum."""
    learning_rate: Positive = 1e-3
    """Peak learning rate; with the noam schedule, the factor before the paper's formula, which has 1."""
    beta1: Beta = 0.9
    """Decay of the first moment (adam, adamw), or the momentum (muon, sgd)."""
    beta2: Beta = 0.99
    """Decay of the second moment (adam, adamw)."""
    eps: Positive = 1e-8
    """Added to the root of the second moment (adam, adamw)."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decay of matrices and embeddings; vectors (biases, norms) never decay."""


class ScheduleConfig(Config):
    """The learning rate over the steps."""

    kind: Literal["constant", "cosine", "noam", "inverse-sqrt", "wsd"] = "cosine"
    """constant; cosine; noam (the paper's formula); inverse-sqrt (noam's form, from the peak learning rate down); wsd
    (stable, then linear decay). All warm up linearly."""
    warmup_steps: Natural = 100
    """Steps of linear warm-up."""
    final_fraction: Fraction = 0.1
    """Where cosine and wsd end, as a fraction of the peak."""
    decay_fraction: Fraction = 0.2
    """The last part of the run in which wsd decays."""


class TelemetryConfig(Config):
    """What is recorded while the model trains, and how often."""

    log_every: Count = 10
    """Steps between records of the loss: each is the mean over all tokens of the steps since the last."""
    validate_every: Count = 250
    """Steps between validations."""
    validation_tokens: Count | None = 65_536
    """Tokens of each validation, always the same, evenly spaced; none takes the whole split."""
    gradients_every: Count | None = 250
    """Steps between records of every parameter's gradient norm, update-to-weight ratio and weight norm; none never."""
    noise_scale_every: Count | None = None
    """Steps between measurements of the gradient noise scale, from which `glassformer scale noise` estimates the
    critical batch size; none never. A measurement costs nothing where a step is cut into
    micro-batches, and a step where not."""
    extrapolate: bool = True
    """Forecast the final validation loss, with a 95 % interval, at validations."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run's folder."""


class CheckpointConfig(Config):
    """When the run is saved, and what is kept."""

    every: Count | None = 500
    """Steps between checkpoints; none saves only at the end (and when stopped)."""
    keep_last: Count = 2
    """The newest to keep; the best is kept besides."""
    keep_every: Count | None = None
    """Also save, and keep, one at every multiple of this step, for a slider over the whole training; none keeps no
    more."""


class TrainingConfig(Config):
    """The training of one model."""

    seed: Seed = 0
    """Starting weights, order of samples and dropout all follow from it."""
    max_steps: Count | None = 2_000
    """Updates; none leaves the end to another budget."""
    max_tokens: Count | None = None
    """Stop once about this many tokens have been trained on."""
    max_epochs: Budget | None = None
    """Stop once the training data have been seen this many times."""
    max_seconds: Budget | None = None
    """Stop after this much training time; schedules follow it, so two such runs are not equal bit by bit."""
    batch_size: Count = 32
    """Sequences (or sentence pairs) per update."""
    batch_tokens: Count | None = None
    """Translation: tokens per update instead, the pairs times the longest sentence among both sides."""
    micro_batch_size: Count | None = None
    """Sequences per forward pass, gradients summed to the batch's; none chooses what is fastest here."""
    seq_len: Count | None = None
    """Tokens per sequence; none means the model's max_seq_len. (Sentence pairs have their own lengths.)"""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the target's probability that is spread evenly over the vocabulary (Szegedy et al. 2016; the paper,
    §5.4). What is reported as the loss is the plain negative log-likelihood all the same."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    grad_clip: Positive | None = 1.0
    """Scale the gradient down to this norm where it is larger; none never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the matrix products in bfloat16 by autocast; weights and updates stay float32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto pays its 10 to 40 seconds only where the run is long enough to win them back."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:1, mps."""
    patience: Count | None = None
    """Stop after this many validations without a new best; none never. The first after an update is a new best."""
    telemetry: TelemetryConfig = TelemetryConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()

    def complaints(self) -> Iterator[str]:
        if all(each is None for each in (self.max_steps, self.max_tokens, self.max_epochs, self.max_seconds)):
            yield "training has no end: set one of max_steps, max_tokens, max_epochs, max_seconds."
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            yield (
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}, so the "
                "micro-batches would not be equal."
            )
        if self.schedule.kind in ("noam", "inverse-sqrt") and self.schedule.warmup_steps == 0:
            yield f"the {self.schedule.kind} schedule needs schedule.warmup_steps of at least 1 (the paper: 4,000)."
