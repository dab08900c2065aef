"""The final loss of a running training, forecast with an interval from what the run has recorded so far.

    for record in run.metrics():
        forecast = extrapolation.hear(record)       at a validation, once there is enough: 1.62 [1.58, 1.67]

A forecast is a pure function of the records before it and the schedule: a run that was resumed hears its old records
again and says what an uninterrupted run says. So forecasts may stand in ``metrics.jsonl`` among what was measured.

The interval is checked by the run itself: every forecast is a curve (``learning_curve.py``), and each later validation
says how many of its standard deviations it was wrong at that horizon. Where the earlier forecasts were worse than they
held themselves to be, the interval widens by that factor.

No forecast is made before there are enough records, of a run that ends at a moment in time, or while the loss rises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassformer.training.learning_curve import Curve, Floats, LearningRateCurve, predict

FROM = 0.15
"""Of the steps: before this nothing is forecast, so that there is some distance to go by."""
APART = 0.04
"""Of the steps: at least so far apart are two forecasts."""
TRAINING_RECORDS, VALIDATIONS, TOGETHER = 5, 3, 10
"""The fewest after which there is a forecast: of each kind, and of both."""
RISEN = 0.1
"""In ln L: a training loss so far above its lowest diverges, and no curve is fitted to it."""
FLOOR = 0.05
"""ε of y = ln(L + ε), in first losses."""
EASE = 4.0
"""How many forecasts' worth of trust the model has before the back-test says anything of it."""
QUANTILE = 1.96
"""Of the normal distribution, for 95 %."""
HORIZONS = 12
"""Steps at which a forecast's curve is kept; between them it is interpolated."""


@dataclass(frozen=True)
class Forecast:
    """What a run's validation loss is expected to be when it ends, in nats per token.

    Attributes:
        step: of the last record it knows.
        final_step: of the loss it is about.
        loss: the expected final loss.
        low, high: its 95 % interval.
        checked: earlier forecasts of this run that the interval was checked by.
        widened: the factor by which they widened it (1: as good as they held themselves to be).
    """

    step: int
    final_step: int
    loss: float
    low: float
    high: float
    checked: int
    widened: float

    def to_record(self) -> dict[str, Any]:
        """As it stands in ``metrics.jsonl``."""
        return {"kind": "extrapolation", **asdict(self)}


class Extrapolation:
    """Hears a run's records, in order, and forecasts its final validation loss.

    Attributes:
        silence: why the last validation brought no forecast; empty if it did.
    """

    def __init__(self, rates: LearningRateCurve | None) -> None:
        """With the schedule up to the end, or None where only time ends the run: then it says nothing."""
        self.rates = rates
        self.silence = "the run ends at a moment in time, and at which step is not known" if rates is None else ""
        self._floor: float | None = None
        self._training: list[tuple[float, float]] = []
        self._validation: list[tuple[float, float]] = []
        self._recorded_at = 0
        self._curves: list[tuple[int, Curve]] = []  # earlier forecasts, by the step at which they were made

    def observe(self, record: Mapping[str, Any]) -> Forecast | None:
        """Take note of a training or validation record (others say nothing); a forecast where one is due."""
        kind = record.get("kind")
        if self.rates is None or kind not in ("train", "validation"):
            return None
        step, loss = int(record["step"]), float(record["loss"])
        if not math.isfinite(loss):
            self.silence = "a loss was not finite"
            self.rates = None
            return None
        if self._floor is None:
            self._floor = max(FLOOR * loss, 1e-6)
        y = math.log(max(loss, 0.0) + self._floor)
        if kind == "train":
            self._training.append(((self._recorded_at + step + 1) / 2, y))  # the middle of the steps it averages
            self._recorded_at = step
            return None
        if step > 0:
            self._validation.append((step, y))
        return self._forecast(step, self.rates)

    def _forecast(self, step: int, rates: LearningRateCurve) -> Forecast | None:
        """At a validation: a forecast, or the reason why there is none."""
        last = rates.last_step
        training, validation = np.array(self._training), np.array(self._validation)
        if step >= last:
            self.silence = "the run has ended"
        elif step < FROM * last or not self._enough():
            self.silence = "too little of the run is done"
        elif _rises(training[:, 1]):
            self.silence = "the loss rises"
        elif self._curves and step - self._curves[-1][0] < APART * last:
            self.silence = "the last forecast was just before"
        else:
            self.silence = ""
            curve = predict(training, validation, rates, np.geomspace(step + 1, last, HORIZONS))
            widened, checked = self._back_test()
            self._curves.append((step, curve))
            return self._emit(step, last, curve, widened, checked)
        return None

    def _enough(self) -> bool:
        training, validation = len(self._training), len(self._validation)
        return training >= TRAINING_RECORDS and validation >= VALIDATIONS and training + validation >= TOGETHER

    def _back_test(self) -> tuple[float, int]:
        """By how much earlier forecasts were worse than they held themselves to be, never below 1; and their number.

        The errors of one forecast hang together, so each forecast counts once: by its mean squared error in its own
        standard deviations, over all validations since.
        """
        squares = []
        for step, curve in self._curves:
            since = [(at, y) for at, y in self._validation if at > step]
            expected = [(y, *curve.at(at)) for at, y in since]
            squares.append(float(np.mean([((y - mean) / sd) ** 2 for y, mean, sd in expected])))
        return max(1.0, math.sqrt((EASE + sum(squares)) / (EASE + len(squares)))), len(squares)

    def _emit(self, step: int, last: int, curve: Curve, widened: float, checked: int) -> Forecast:
        assert self._floor is not None
        mean, reach = float(curve.mean[-1]), QUANTILE * widened * float(curve.sd[-1])
        loss, low, high = (max(0.0, math.exp(y) - self._floor) for y in (mean, mean - reach, mean + reach))
        return Forecast(step, last, loss, low, high, checked, widened)


def _rises(y: Floats) -> bool:
    """Whether the training loss is well above the lowest it has been, each taken over a tenth of the records."""
    width = max(2, len(y) // 10)
    level = np.convolve(y, np.full(width, 1 / width), mode="valid")
    return bool(level[-1] > level.min() + RISEN)
