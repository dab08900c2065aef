"""The rungs of a ladder: models of one architecture in several sizes, each trained for several lengths.

How a run is trained follows from its size, so that no rung is badly trained and the law is not of that:

- the peak learning rate is a factor over d_model, the form that transfers over widths (Yang et al. 2022, "Tensor
  Programs V", arXiv 2203.03466: 1/width for matrices). The factor is measured (:mod:`.rate_sweep`); 0.5, with which a
  ladder is planned, gives what GPT-3 used from 125 M to 13 B parameters within a third (Brown et al. 2020, table 2.1:
  6e-4 at width 768, 1.2e-4 at 4,096). A learning rate that is set holds at the base's width, and is not measured;
- 5 % of the steps warm up, and the rate then falls as a cosine to zero at the last step: a schedule of another run's
  length would make short runs look bad (Hoffmann et al. 2022, appendix B; Porian et al. 2024);
- one batch for all, no dropout, no token seen twice where the text is long enough.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.counting import active_parameters, flops_per_token
from glassformer.models.family import family_of
from glassformer.scaling.laws.hyperparameters import DEEPSEEK_BATCH
from glassformer.scaling.plans.shapes import Shape, by_width
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import TrainingData
from glassformer.training.recipes import configuration

RATE = "training.optimizer.learning_rate"

FACTOR = 0.5
"""Peak learning rate times d_model, before it is measured."""

WARMUP = 0.05
"""Of the steps."""

FEWEST_STEPS = 800
"""Of a rung: in fewer, a model has hardly left its warm-up, and larger models look worse than small ones."""

PATH = 20.0
"""Tokens per parameter along the path, and of the target, unless it is set (Hoffmann et al. 2022, table 3)."""

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of a rung, by the path's, where the law has both N and D."""

NEAR = tuple(2 ** (k / 4) for k in range(-2, 3))
"""How far a rung may lie from the path, where the loss at one compute is flat: whole layers and heads leave gaps."""

SMALLEST = 1 / 60
"""Of the largest rung's compute: what is smaller lies too far from the target to say much about it."""

EPOCHS = 1.0
"""How often a rung may see its text."""

BATCH_TOKENS = 512
"""Of an update, at least."""

RECIPE: Mapping[str, Any] = {
    "training.schedule.kind": "cosine",
    "training.schedule.final_fraction": 0.0,
    "training.optimizer.beta2": 0.95,
    "training.compile": "off",
    "training.telemetry.validation_tokens": 131_072,
    "training.telemetry.gradients_every": None,
    "training.checkpoints.keep_last": 1,
    "model.dropout": 0.0,
    "model.attention.dropout": 0.0,
    "model.feedforward.dropout": 0.0,
}
"""What every rung's training begins with, unless it is set."""

OWN = {
    "training.max_steps": "each rung has its own length",
    "training.max_tokens": "each rung has its own length",
    "training.max_epochs": "each rung has its own length",
    "training.max_seconds": "each rung has its own length",
    "training.schedule.warmup_steps": "each rung warms up for 5 % of its steps",
    "training.seed": "--seeds says how many there are",
}
"""Settings that the ladder chooses itself, and why."""

SIZES = ("model.d_model", "model.n_layers")
"""In which its rungs differ, so that no variant can."""


@dataclass(frozen=True)
class LadderRun:
    """A run of the ladder: a shape and a length.

    Attributes:
        name: short, unique in the ladder: ``N=41k D=0.8M``.
        changes: what it changes of the base, dotted.
        n, d, c: parameters (all that a token meets), training tokens, training FLOPs of matrix products, all exact.
        steps: updates.
        shape: in words.
    """

    name: str
    changes: Mapping[str, Any]
    n: int
    d: int
    c: float
    steps: int
    shape: str

    @property
    def ratio(self) -> float:
        """Tokens per parameter."""
        return self.d / self.n


def base_of(
    preset: str, *, data: str | None, settings: Mapping[str, str], batch_tokens: int | None = None
) -> tuple[RunConfig, bool]:
    """The run that all rungs are variations of, and whether its learning rate was set.

    Raises:
        ConfigError: a setting is the ladder's own, or the model is none that a law of one text is of.
    """
    taken = [f"{path} cannot be set: {why}." for path, why in OWN.items() if path in settings]
    if taken:
        raise ConfigError(taken, subject="ladder")
    recipe = {path: value for path, value in RECIPE.items() if path not in settings}
    plain = configuration(preset, data=data, steps=None, seed=None, assignments=_written(recipe | dict(settings)))
    if (family := family_of(plain.model)).name != "decoder":
        raise ConfigError(
            f"a ladder is of decoder-only models, and this is {family.words}: choose a preset such as "
            "nanogpt-shakespeare-cpu.",
            subject="ladder",
        )
    if "training.batch_size" not in settings:
        rows = max(1, round((batch_tokens or BATCH_TOKENS) / plain.seq_len))
        plain = plain.override({"training.batch_size": rows})
    return plain, RATE in settings


def batch_for(compute: float) -> int:
    """Tokens of an update for runs of about so many FLOPs: a power of two.

    A quarter of what DeepSeek's law says (``deepseek-batch``): small runs need their steps. Here, on the source of
    Python, 600,000 tokens in updates of 512, 1,024 and 2,048 left a model of 100,000 parameters at 2.24, 2.29 and 2.60
    nats per byte.
    """
    wanted = DEEPSEEK_BATCH(C=compute) / 4
    return int(2 ** math.floor(math.log2(max(BATCH_TOKENS, wanted))))


@dataclass(frozen=True)
class RunGrid:
    """Every run that a ladder may be made of.

    Attributes:
        samples: of the base, whose vocabulary is the data's.
        factor: peak learning rate times d_model.
        ratio: tokens per parameter along the path, and of the target.
    """

    base: RunConfig
    samples: TrainingData
    factor: float = FACTOR
    ratio: float = PATH

    @property
    def fewest_steps(self) -> int:
        """Of a rung."""
        return FEWEST_STEPS

    @property
    def most_steps(self) -> float:
        """Of a rung, which sees its text :data:`EPOCHS` times at most."""
        return EPOCHS * self.samples.steps_per_epoch

    def extremes(self) -> tuple[LadderRun, LadderRun] | None:
        """The cheapest and the largest run along the path that the text allows; None where it is too short for any."""
        found = []
        for shape in by_width(self.base.model):
            steps = [round(self.ratio * near * shape.parameters / self.samples.tokens_per_step) for near in NEAR]
            if min(steps) > self.most_steps:
                break
            found += [self.run(shape, number) for number in steps if self.fewest_steps <= number <= self.most_steps]
        return (min(found, key=lambda run: run.c), max(found, key=lambda run: run.c)) if found else None

    def run(self, shape: Shape, steps: int) -> LadderRun:
        """One shape, trained for so many steps."""
        model = shape.model
        d = round(steps * self.samples.tokens_per_step)
        n = active_parameters(model)
        changes = changed(self.base.model, model) | {
            "training.max_steps": steps,
            RATE: rate_for(self.factor, model.d_model),
            "training.schedule.warmup_steps": max(1, round(WARMUP * steps)),
            "training.telemetry.log_every": max(1, steps // 50),
            "training.telemetry.validate_every": steps,
            "training.checkpoints.every": max(1, -(-steps // 4)),
        }
        return LadderRun(f"N={short(n)} D={short(d)}", changes, n, d, self._per_token(shape) * d, steps, shape.words)

    def path(self, most: float, least: float | None = None) -> list[LadderRun]:
        """Runs along the path, up to ``most`` FLOPs, by their compute; from :data:`SMALLEST` of that unless given."""
        return self._runs(most, tuple(self.ratio * near for near in NEAR), SMALLEST * most if least is None else least)

    def grid(self, most: float) -> list[LadderRun]:
        """Runs of several sizes, each of several lengths, up to ``most`` FLOPs, by their compute."""
        return self._runs(most, tuple(self.ratio * factor for factor in LENGTHS), SMALLEST * most)

    def at(self, compute: float) -> LadderRun:
        """The run of ``compute`` FLOPs whose tokens per parameter are nearest to ``ratio``.

        Raises:
            ConfigError: no model is so small.
        """
        best: tuple[float, Shape, int] | None = None
        for shape in _shapes(self.base.model, 4 * math.sqrt(compute / (6 * self.ratio))):
            steps = max(1, round(compute / self._per_token(shape) / self.samples.tokens_per_step))
            off = abs(math.log(steps * self.samples.tokens_per_step / shape.parameters / self.ratio))
            if best is None or off < best[0]:
                best = off, shape, steps
        if best is None:
            raise ConfigError(
                f"no model of the architecture is so small that {compute:.3g} FLOPs train it.", subject="ladder"
            )
        return self.run(best[1], best[2])

    def _runs(self, most: float, ratios: Sequence[float], least: float) -> list[LadderRun]:
        """Each once; the places of the grid do not depend on ``most``, so that ladders share their runs."""
        found = []
        for shape in _shapes(self.base.model, 2 * math.sqrt(most / (6 * min(ratios)))):
            for ratio in ratios:
                steps = round(ratio * shape.parameters / self.samples.tokens_per_step)
                if self.fewest_steps <= steps <= self.most_steps:
                    run = self.run(shape, steps)
                    if least <= run.c <= most:
                        found.append(run)
        return sorted(found, key=lambda run: run.c)

    def _per_token(self, shape: Shape) -> float:
        """Training FLOPs for each token."""
        flops = flops_per_token(shape.model, self.samples.seq_len).training
        return float(flops) * self.samples.positions_per_token


def rate_for(factor: float, width: int) -> float:
    """The peak learning rate at a width, in three digits."""
    return float(f"{factor / width:.3g}")


def changed(base: ModelConfig, model: ModelConfig) -> dict[str, Any]:
    """The dotted settings in which a model differs from the base."""
    return dict(_differences(base.to_dict(), model.to_dict(), "model."))


def _shapes(base: ModelConfig, largest: float) -> Iterator[Shape]:
    """The base's shapes up to about ``largest`` parameters, all of the depth that their width asks for.

    A law of size is not to be one of depth.
    """
    return itertools.takewhile(lambda shape: shape.parameters <= largest, by_width(base))


def short(value: float) -> str:
    """A count in three digits: 41.2k, 820k, 1.64M.

    >>> short(41_210), short(820_000), short(1_638_400)
    ('41.2k', '820k', '1.64M')
    """
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def _written(settings: Mapping[str, Any]) -> list[str]:
    return [f"{path}={'none' if value is None else value}" for path, value in settings.items()]


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(name), dict) and name != "options":
            yield from _differences(before[name], value, f"{prefix}{name}.")
        elif value != before.get(name):
            yield f"{prefix}{name}", value
