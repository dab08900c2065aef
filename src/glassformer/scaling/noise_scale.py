"""A run's measured gradient noise scale over its course: a measured critical batch, beside Kaplan's formula.

    measured = read_noise_scale(run.metrics())
    measured.stages[-1].tokens, measured.stages[-1].interval        41,000 tokens, (33,000, 52,000)

The measurement and its unit are described in ``training/noise_scale.py``. A run's records are cut into stages, for
the noise scale grows while the loss falls. In each, |G|² and tr Σ are averaged separately and then divided. The
interval is a bootstrap over steps in blocks of consecutive measurements (Künsch 1989), for neighbours are alike. Where
the gradient is so small beside its noise that a resampled mean of |G|² is not above zero, that resample's noise scale
is infinite: the interval then has no upper end.

The noise scale stands for the critical batch (McCandlish et al. 2018, equation 2.11; derived for plain gradient descent
on a well-conditioned loss, and found to hold within a small factor). A batch of B tokens then needs 1 + B_crit/B times
the fewest steps S_min, and 1 + B/B_crit times the fewest tokens E_min = B_crit·S_min.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.charts.loss import finite_losses, tokens_of
from glassformer.errors import RunError
from glassformer.scaling.laws.known import law
from glassformer.statistics.prediction import percentiles

Floats = NDArray[np.float64]
Records = Sequence[Mapping[str, Any]]

SETTING = "training.telemetry.noise_scale_every"
MEASURED = ("step", "squared_norm", "trace", "tokens", "sequences")
STAGES = 6
"""The most into which a run is cut."""
FEWEST = 10
"""Measurements in a stage; a run with fewer is one stage."""
DRAWS = 2_000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Stage:
    """A stretch of a training.

    Attributes:
        first_step, last_step: of its measurements.
        measurements: how many there are.
        batch_tokens, batch_sequences: of a step, the mean over the measured steps.
        loss: nats per token, the mean over all tokens of its training records; None where there is none.
        squared_norm: |G|², the mean of the unbiased estimates over the measured steps.
        trace: tr Σ, likewise; in tokens.
        tokens: the noise scale tr Σ / |G|², in tokens; infinite where |G|² is not above zero.
        interval: its 95 % interval; the upper end may be infinite.
    """

    first_step: int
    last_step: int
    measurements: int
    batch_tokens: float
    batch_sequences: float
    loss: float | None
    squared_norm: float
    trace: float
    tokens: float
    interval: tuple[float, float]

    @property
    def sequences(self) -> float:
        """The noise scale in sequences of this run's mean length."""
        return self.tokens * self.batch_sequences / self.batch_tokens

    @property
    def kaplan(self) -> float | None:
        """The critical batch that Kaplan's formula gives at this loss, in tokens (equation 5.3).

        It was fitted to texts in GPT-2's tokens: a loss per character, or per token of another kind, is not comparable.
        """
        return None if self.loss is None or self.loss <= 0 else float(law("kaplan-critical-batch")(L=self.loss))

    @property
    def times_fewest_steps(self) -> float:
        """S / S_min = 1 + B_crit / B at this run's batch."""
        return 1 + self.tokens / self.batch_tokens

    @property
    def times_fewest_tokens(self) -> float:
        """E / E_min = 1 + B / B_crit at this run's batch."""
        return 1 + self.batch_tokens / self.tokens if self.tokens > 0 else math.inf


@dataclass(frozen=True)
class MeasuredNoise:
    """The stages of a run, in order."""

    stages: tuple[Stage, ...]

    def sentence(self) -> str:
        """The last stage and its meaning for the batch size."""
        last = self.stages[-1]
        low, high = last.interval
        if not math.isfinite(last.tokens):
            least = f", but above {low:,.0f} tokens with 97.5 % confidence" if math.isfinite(low) else ""
            return (
                f"At the end the gradient is indistinguishable from its noise, without an upper limit{least}. "
                f"Take more measurements, or a batch larger than {last.batch_tokens:,.0f} tokens."
            )
        reach = f"95 % interval {low:,.0f} {f'to {high:,.0f}' if math.isfinite(high) else 'and above, unbounded'}"
        return (
            f"At the end the noise scale is {last.tokens:,.0f} tokens ({last.sequences:,.0f} sequences; {reach}, "
            f"n = {last.measurements:,} measurements). This run's "
            f"batch of {last.batch_tokens:,.0f} tokens takes {last.times_fewest_steps:.2f} times the fewest steps and "
            f"{last.times_fewest_tokens:.2f} times the fewest tokens; a batch as large as the noise scale would take "
            "twice of each."
        )


def read_noise_scale(records: Records, *, stages: int = STAGES, draws: int = DRAWS, seed: int = 0) -> MeasuredNoise:
    """The noise scale over the course of a run, from its metrics.

    Raises:
        RunError: nothing was measured; the message says how to measure it.
    """
    measured = [record for record in records if record.get("kind") == "noise_scale"]
    if len(measured) < 2:
        found = "no measurement" if not measured else "a single measurement"
        raise RunError(
            f"The run has {found} of the gradient noise scale, and at least 2 are needed. It is measured while a model "
            f"trains: glassformer train ... --set {SETTING}=10."
        )
    if not all(_is_number(record.get(name)) for record in measured for name in MEASURED):
        raise RunError(
            "The run's measurements of the gradient noise scale are damaged: each has finite numbers "
            f"{', '.join(MEASURED)}."
        )
    records = [
        r for r in records if r.get("kind") != "train" or (_is_number(r.get("step")) and _is_number(r.get("loss")))
    ]
    n = max(1, min(stages, len(measured) // FEWEST))
    rng = np.random.default_rng(seed)
    edges = [len(measured) * i // n for i in range(n + 1)]
    parts = [measured[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]
    return MeasuredNoise(tuple(_stage(part, records, draws, rng) for part in parts))


def _is_number(value: object) -> bool:
    """Whether a record's value can be computed with: Python's own numbers, finite as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _stage(measured: Records, records: Records, draws: int, rng: np.random.Generator) -> Stage:
    first, last = measured[0]["step"], measured[-1]["step"]

    def column(name: str) -> Floats:
        return np.array([record[name] for record in measured], dtype=np.float64)

    squared_norm, trace = column("squared_norm"), column("trace")
    return Stage(
        first_step=first,
        last_step=last,
        measurements=len(measured),
        batch_tokens=float(column("tokens").mean()),
        batch_sequences=float(column("sequences").mean()),
        loss=_mean_loss(records, first, last),
        squared_norm=float(squared_norm.mean()),
        trace=float(trace.mean()),
        tokens=float(ratio_of_means(trace, squared_norm)),
        interval=block_bootstrap(trace, squared_norm, draws, rng),
    )


def _mean_loss(records: Records, first: int, last: int) -> float | None:
    """Nats per token over the tokens of the training records from ``first`` to ``last``, or of the next one."""
    steps, losses = finite_losses(records, "train")
    tokens = tokens_of(records)
    chosen = (steps >= first) & (steps <= last)
    if not chosen.any():
        chosen = np.arange(len(steps)) == np.searchsorted(steps, first)
    return float(np.average(losses[chosen], weights=tokens[chosen])) if chosen.any() else None


def ratio_of_means(trace: Floats, squared_norm: Floats) -> Floats:
    """Mean tr Σ over mean |G|² along the last axis; infinite where the latter is not above zero, never below zero."""
    above, below = trace.mean(-1), squared_norm.mean(-1)
    positive = below > 0
    return np.asarray(np.where(positive, np.maximum(above, 0.0) / np.where(positive, below, 1.0), np.inf))


def block_bootstrap(trace: Floats, squared_norm: Floats, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of the ratio of means, of circular blocks of n^(1/3) consecutive measurements."""
    n = len(trace)
    length = max(1, round(n ** (1 / 3)))
    starts = rng.integers(n, size=(draws, -(-n // length)))
    chosen = ((starts[..., None] + np.arange(length)) % n).reshape(draws, -1)[:, :n]
    low, high = percentiles(ratio_of_means(trace[chosen], squared_norm[chosen]), outward=True)
    return float(low), float(high)
