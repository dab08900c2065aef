"""The one loop: batch, gradient, update, and what is recorded and saved along the way.

Everything that the arithmetic depends on is a pure function of the step (samples, dropout, learning rate) or is in the
checkpoint (weights, optimizer, running sums), so a resumed run continues exactly where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from glassformer import speed
from glassformer.data.batches import Batch
from glassformer.errors import CheckpointError, TrainingError
from glassformer.models.counting import active_parameters, flops_per_token
from glassformer.models.transformer import Transformer
from glassformer.parts.experts import balance_routers, layers_of_experts
from glassformer.runs.checkpoints import Checkpoint, prune, save_checkpoint
from glassformer.runs.folder import Run
from glassformer.scoring.likelihood import evaluate
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import TrainingData
from glassformer.training.budgets import total_steps
from glassformer.training.execution import ExecutionConfig
from glassformer.training.extrapolation import Extrapolation
from glassformer.training.noise_scale import NoiseMeasurement
from glassformer.training.optimizers import Optimizer
from glassformer.training.progress import Progress
from glassformer.training.recording import (
    Recorder,
    TrainingClock,
    TrainingResult,
    experts_record,
    train_record,
    training_result,
    validation_record,
)
from glassformer.training.schedules import factor, rates
from glassformer.training.signals import SignalHandler
from glassformer.training.start_warnings import start_warnings
from glassformer.training.step import GradientStep
from glassformer.training.telemetry import (
    Observer,
    ParameterTelemetry,
    Record,
    clip_gradients,
    first_bad_module,
    gradient_norm,
    without_gradient,
)

__all__ = ["Trainer", "TrainingResult"]


@dataclass
class Trainer:
    """Trains one model on its data and keeps its run's folder.

    :func:`glassformer.training.session.start` and :func:`~glassformer.training.session.resume` make one.
    """

    run: Run
    config: RunConfig
    samples: TrainingData
    model: Transformer
    execution: ExecutionConfig
    observers: Sequence[Observer] = ()
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        training = self.config.training
        self.model.to(self.execution.device)
        self.model.set_attention_path(self.execution.attention_path)
        self.optimizer = Optimizer(training.optimizer, self.model)
        self.gradient = GradientStep(
            self.model,
            self.execution,
            precision=training.precision,
            seed=training.seed,
            label_smoothing=training.label_smoothing,
        )
        self._experts = layers_of_experts(self.model)
        computed = flops_per_token(self.config.model, self.samples.seq_len).training
        self.flops_per_token = computed * self.samples.positions_per_token
        self._statistics = [each for each in self.model.named_weights().values() if not isinstance(each, nn.Parameter)]
        """What a forward pass changes without an update: the running statistics of a batch norm."""
        self._seal = self.run.seal()  # as the run is now: what happens to its files later is noticed
        self._saved_at: int | None = None

    # ---------------------------------------------------------------------------------------------- the loop

    def train(self) -> TrainingResult:
        """Train until a budget is used up, patience ends or a signal comes; the run's folder then holds everything.

        Raises:
            TrainingError: the loss or the gradient is not finite; the state before that update is saved.
            RunError: another process trains this run, or its folder cannot be written.
        """
        torch.set_num_threads(self.execution.threads)
        if self.execution.device.startswith("cpu"):
            speed.keep_freed_memory()
        with (
            self.run.lock(),
            self.run.metrics_writer() as writer,
            SignalHandler() as interruption,
            speed.use_fast_matmul(self.execution.fast_matmul),
        ):
            self._clock = TrainingClock(self.progress)
            if self._saved_at is not None or self.run.metrics():  # what was measured after the state is void
                writer.resumed(-1 if self._saved_at is None else self._saved_at)
            self._recorder = Recorder(writer, self.observers, self._new_extrapolation())
            self._announce()
            self.model.train()
            if self.progress.step == 0 and not self._validations():
                self._validate()
            reason = self.ended()
            while reason is None:
                self._update()
                self._after_update()
                reason = self.ended() or interruption.requested
            self._save()
            result = training_result(reason, self.progress, self._validations())
            self._recorder.emit({"event": "end", "step": result.step, "reason": reason, "seconds": result.seconds})
        return result

    def _update(self) -> None:
        """One update of the weights."""
        training, progress = self.config.training, self.progress
        # 1. the batch of this step
        batch = self.samples.batch(progress.step)
        # 2. its loss and gradient
        statistics = [each.clone() for each in self._statistics]
        self.optimizer.zero_grad()
        noise = self._noise_measurement()
        loss = self.gradient(progress.step, batch, noise=noise)
        if self.gradient.fell_back is not None:
            self._warn(f"compiling failed, and the steps are eager: {self.gradient.fell_back}")
            self.gradient.fell_back = None
        norm = gradient_norm(self.optimizer.parameters)
        if not (math.isfinite(loss.objective) and math.isfinite(norm)):
            self._check_finite(loss.objective, float(norm), batch, statistics)
        if progress.step == 0:
            self._warn_of_dead_parameters()
        telemetry = self._parameter_telemetry()
        # 3. the update
        if training.grad_clip is not None:
            clip_gradients(self.optimizer.parameters, norm, training.grad_clip)
        rate = training.optimizer.learning_rate * self._schedule()
        self.optimizer.set_learning_rate(rate)
        self.optimizer.step()
        balance_routers(self._experts, loss.routing)
        progress.step += 1
        progress.tokens += batch.n_tokens
        # 4. what is recorded of it
        progress.add(batch.n_tokens, loss.nll, loss.objective, loss.auxiliary)
        if telemetry is not None:
            self._recorder.emit({"kind": "gradients", "step": progress.step, "parameters": telemetry.after_update()})
        if noise is not None and noise.measured:
            self._recorder.emit(noise.to_record(progress.step, rows=len(batch.targets)))
        if progress.step % training.telemetry.log_every == 0 or progress.step == self.total_steps:
            if loss.routing:
                self._recorder.emit(experts_record(progress.step, self._experts, loss.routing))
            self._record_loss(rate, float(norm))

    def _after_update(self) -> None:
        """Validate and save when it is time; the end of the run is always validated."""
        training, step = self.config.training, self.progress.step
        self._clock.tick()
        if step % training.telemetry.validate_every == 0 or self.ended():
            self._validate()
        kept = training.checkpoints
        if any(every is not None and step % every == 0 for every in (kept.every, kept.keep_every)):
            self._save()

    def ended(self) -> str | None:
        """Why there is nothing more to train, as :class:`TrainingResult` says it; None while there is."""
        training, progress = self.config.training, self.progress
        if training.patience is not None and progress.since_best >= training.patience:
            return "stopped early"
        if self.total_steps is not None and progress.step >= self.total_steps:
            return "finished"
        if training.max_seconds is not None and progress.seconds >= training.max_seconds:
            return "time is up"
        return None

    @property
    def total_steps(self) -> int | None:
        """The step at which the budget of steps, tokens or epochs ends; None when only time ends it."""
        return total_steps(self.config.training, self.samples)

    def _schedule(self) -> float:
        """The factor of the learning rate for the update about to be made."""
        training, progress = self.config.training, self.progress
        used = [progress.step / self.total_steps] if self.total_steps else []
        if training.max_seconds is not None:
            used.append(progress.seconds / training.max_seconds)
        return factor(training.schedule, progress.step, min(1.0, max(used)), self.config.model.d_model)

    # ---------------------------------------------------------------------------------------- recording

    def _new_extrapolation(self) -> Extrapolation | None:
        """One that has observed what the run has recorded so far; None where it is not asked for."""
        training = self.config.training
        if not training.telemetry.extrapolate:
            return None
        end = None if training.max_seconds is not None else self.total_steps  # a schedule may follow the time
        made = Extrapolation(None if end is None else rates(training.schedule, end, self.config.model.d_model))
        for record in self.run.metrics():
            made.observe(record)
        return made

    def _announce(self) -> None:
        self._recorder.emit(
            {
                "event": "start",
                "step": self.progress.step,
                "total_steps": self.total_steps,
                "parameters_in_all": sum(p.numel() for p in self.model.parameters()),
                **({"parameters_active": active_parameters(self.config.model)} if self._experts else {}),
                "acceleration": self.execution.to_dict(),
            }
        )
        if self.progress.step == 0:
            for warning in start_warnings(self.config, self.samples):
                self._warn(warning)

    def _record_loss(self, rate: float, norm: float) -> None:
        """Record the loss since the last record, and begin its sums anew."""
        progress = self.progress
        tokens_per_second = self._clock.tokens_per_second()
        self._clock.restart()
        record = train_record(
            progress,
            self.samples,
            learning_rate=rate,
            gradient_norm=norm,
            tokens_per_second=tokens_per_second,
            flops_per_second=tokens_per_second * self.flops_per_token,
            peak=self._peak,
            smoothed=bool(self.config.training.label_smoothing),
        )
        progress.restart_sums()
        self._recorder.emit(record)

    @property
    def _peak(self) -> float:
        """FLOP/s of a large matrix product on this machine, measured once."""
        dtype = torch.bfloat16 if self.config.training.precision == "bf16" else torch.float32
        return speed.matmul_peak(dtype, self.execution.device)

    def _validate(self) -> None:
        """The loss on the validation batches, always the same; a new best is saved.

        What no update has changed cannot be the best: the first validation after an update is one, however bad, so
        that there is always a trained checkpoint to call "best".
        """
        training, progress = self.config.training, self.progress
        batches = self.samples.validation(self.execution.micro_batch_tokens)
        accuracy = self.samples.measures_accuracy or self.samples.has_exact_answers
        result = evaluate(self.model, batches, precision=training.precision, accuracy=accuracy)
        lowest = progress.best_loss is None or result.loss < progress.best_loss
        is_best = progress.step > 0 and math.isfinite(result.loss) and lowest
        if is_best:
            progress.best_loss, progress.since_best = result.loss, 0
        elif progress.step > 0:
            progress.since_best += 1
        self._clock.tick()
        self._recorder.emit(validation_record(progress, self.samples, result, is_best=is_best))
        if not math.isfinite(result.loss):
            self._warn(f"the validation loss after step {progress.step} is {result.loss}: the training diverged")
        if is_best:
            self._save(is_best=True)
        self._clock.restart()

    def _validations(self) -> list[Record]:
        """Of the run so far, those that a resumed run measured again left out."""
        return [record for record in self.run.metrics() if record.get("kind") == "validation"]

    def _parameter_telemetry(self) -> ParameterTelemetry | None:
        every = self.config.training.telemetry.gradients_every
        after = self.progress.step + 1
        if every is None or not (after == 1 or after % every == 0 or after == self.total_steps):
            return None
        return ParameterTelemetry(self.optimizer.parameters)

    def _noise_measurement(self) -> NoiseMeasurement | None:
        every = self.config.training.telemetry.noise_scale_every
        return NoiseMeasurement() if every is not None and (self.progress.step + 1) % every == 0 else None

    def _warn_of_dead_parameters(self) -> None:
        for name in without_gradient(self.optimizer.parameters):
            message = f"{name} gets no gradient: the loss does not depend on it, and training will not change it."
            self._warn(message, parameter=name)

    def _warn(self, message: str, **details: str) -> None:
        self._recorder.warn(self.progress.step, message, **details)

    def _check_finite(self, loss: float, norm: float, batch: Batch, statistics: list[Tensor]) -> None:
        what = "loss" if not math.isfinite(loss) else "gradient"
        arguments = [None if each is None else each.to(self.model.device) for each in batch.arguments]
        where = first_bad_module(self.model, arguments)
        for statistic, before in zip(self._statistics, statistics, strict=True):
            statistic.copy_(before)
        self._save()
        message = (
            f"The {what} of step {self.progress.step} is not finite (loss {loss}, gradient norm {norm}); the first bad "
            f"numbers are in {where}. {batch.describe()} The update was not made; the state before it is saved in "
            f"{self.run.path}. Lower training.optimizer.learning_rate, lengthen the warm-up, or use "
            "training.precision=fp32."
        )
        self._recorder.emit({"event": "not finite", "step": self.progress.step, "message": message})
        raise TrainingError(message)

    # ---------------------------------------------------------------------------------------- saving

    def _save(self, *, is_best: bool = False) -> None:
        if self._saved_at == self.progress.step:
            return
        self._clock.tick()
        self._recorder.writer.sync()  # no checkpoint without its records
        save_checkpoint(
            self.run.checkpoints,
            self.progress.step,
            self.tensors(),
            {
                "progress": self.progress.state(),
                "data": self.samples.fingerprint,
                "acceleration": self.execution.to_dict(),
            },
            is_best=is_best,
            seal=self._seal,
        )
        self._saved_at = self.progress.step
        kept = self.config.training.checkpoints
        prune(self.run.checkpoints, kept.keep_last, keep_every=kept.keep_every)
        self._clock.restart()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that is learned, by group and name: the model's weights and the optimizer's state."""
        return {"model": self.model.named_weights(), "optimizer": self.optimizer.state()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a checkpoint of this run. Raises :class:`CheckpointError` if it does not fit."""
        self.model.load_weights(checkpoint.tensors["model"])
        self.optimizer.load_state(checkpoint.tensors["optimizer"])
        if checkpoint.state["data"] != self.samples.fingerprint:
            raise CheckpointError(
                f"The checkpoint {checkpoint.path} was trained on other data ({checkpoint.state['data']}) than are "
                f"prepared now ({self.samples.fingerprint}): the text or its tokenizer has changed."
            )
        self.progress = Progress.from_state(checkpoint.state["progress"], self.samples.tokens_per_step)
        self._saved_at = self.progress.step
