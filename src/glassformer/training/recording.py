"""The records of a training: what each says, and where they go.

They are written to the run's ``metrics.jsonl``, given to the observers, and read by the forecast of the final loss,
whose own records follow those that it is made from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from glassformer.parts.losses import Routing, describe
from glassformer.runs.metrics import MetricsWriter
from glassformer.scoring.likelihood import Evaluation
from glassformer.tasks.training_data import TrainingData
from glassformer.training.extrapolation import Extrapolation
from glassformer.training.progress import Progress
from glassformer.training.telemetry import Observer, Record


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        reason: "finished", "stopped early", "time is up", or the signal that stopped it.
        best_loss, best_step: the lowest validation loss of trained weights, and their step, which is the checkpoint
            "best"; None where no validation after an update was finite.
        first_loss: the validation loss before the first update; None where it was not measured, or not finite.
    """

    reason: str
    step: int
    best_loss: float | None
    seconds: float
    best_step: int | None = None
    first_loss: float | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it, so that there is more to train."""
        return self.reason.startswith("SIG")


@dataclass
class Recorder:
    """Where the records of one session go.

    Attributes:
        forecast: of the final loss; None where none is made.
    """

    writer: MetricsWriter
    observers: Sequence[Observer]
    forecast: Extrapolation | None

    def emit(self, record: Record) -> None:
        """Write a record, show it to the observers, and forecast from it."""
        self.writer.append(record)
        for observer in self.observers:
            observer(record)
        forecast = None if self.forecast is None else self.forecast.observe(record)
        if forecast is not None:
            self.emit(forecast.to_record())

    def warn(self, step: int, message: str, **details: str) -> None:
        """Record a warning."""
        self.emit({"event": "warning", "step": step, "message": message, **details})


class TrainingClock:
    """Seconds of training, added to a run's progress, and tokens per second since the last restart."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._ticked = time.perf_counter()
        self.restart()

    def tick(self) -> None:
        """Add the time since the last tick to the run's."""
        now = time.perf_counter()
        self.progress.seconds += now - self._ticked
        self._ticked = now

    def restart(self) -> None:
        """Tokens per second count from here: validating and saving are not training."""
        self.tick()
        self._since = (self.progress.seconds, self.progress.tokens)

    def tokens_per_second(self) -> float:
        """Since the last restart."""
        self.tick()
        seconds, tokens = self._since
        elapsed = self.progress.seconds - seconds
        return (self.progress.tokens - tokens) / elapsed if elapsed > 0 else 0.0


def train_record(
    progress: Progress,
    samples: TrainingData,
    *,
    learning_rate: float,
    gradient_norm: float,
    tokens_per_second: float,
    flops_per_second: float,
    peak: float,
    smoothed: bool,
) -> Record:
    """The loss since the last record, each token counted once: batches of pairs have unequal numbers of them.

    Bits per byte are that loss at the training split's mean bytes per token.

    Args:
        peak: FLOP/s of the machine.
        smoothed: whether labels are: then what is minimised is not the loss itself.
    """
    n_tokens = max(1, progress.token_sum)
    loss, objective = progress.nll_sum / n_tokens, progress.objective_sum / n_tokens
    auxiliary = {name: total / n_tokens for name, total in progress.auxiliary_sums.items()}
    return {
        "kind": "train",
        "step": progress.step,
        "loss": loss,
        **({"objective": objective} if smoothed or auxiliary else {}),
        **({"auxiliary": auxiliary} if auxiliary else {}),
        **_bits_per_byte(loss, samples, "train"),
        "learning_rate": learning_rate,
        "gradient_norm": gradient_norm,
        "tokens": progress.tokens,
        "epoch": samples.epochs_before(progress.step),
        "tokens_per_second": tokens_per_second,
        "flops_per_second": flops_per_second,
        "peak_fraction": flops_per_second / peak,
        "seconds": progress.seconds,
    }


def experts_record(step: int, layers: Iterable[str], routing: Sequence[Routing]) -> Record:
    """What each layer of experts did with the batch of one step: shares of the load, entropy, excess of the load."""
    return {"kind": "experts", "step": step, "layers": describe(list(layers), routing)}


def validation_record(progress: Progress, samples: TrainingData, result: Evaluation, *, is_best: bool) -> Record:
    """What was measured on the validation batches."""
    return {
        "kind": "validation",
        "step": progress.step,
        "loss": result.loss,
        "perplexity": result.perplexity,
        **_bits_per_byte(result.loss, samples, "validation"),
        **({} if result.accuracy is None else {"accuracy": result.accuracy}),
        **({"exact": result.exact} if samples.has_exact_answers else {}),
        "n_tokens": result.n_tokens,
        "best": is_best,
        "seconds": progress.seconds,
    }


def _bits_per_byte(loss: float, samples: TrainingData, split: str) -> Record:
    bytes_per_token = samples.bytes_per_token(split)
    return {} if bytes_per_token is None else {"bits_per_byte": loss / math.log(2) / bytes_per_token}


def training_result(reason: str, progress: Progress, validations: Sequence[Record]) -> TrainingResult:
    """How a training ended, from where it stands and the validations of the whole run."""
    best = [record["step"] for record in validations if record["best"] and record["step"] > 0]
    first = [record["loss"] for record in validations if record["step"] == 0 and math.isfinite(record["loss"])]
    return TrainingResult(
        reason,
        progress.step,
        progress.best_loss if best else None,
        progress.seconds,
        best_step=best[-1] if best else None,
        first_loss=first[0] if first else None,
    )
