"""The inputs of a plan: an allocation law, a preset's run, and the text's vocabulary and length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from glassformer.config import parse_assignments
from glassformer.data.config import DataConfig
from glassformer.errors import ConfigError, DataError
from glassformer.scaling.laws.chinchilla import BESIROGLU_FIT
from glassformer.scaling.laws.known import law as law_of
from glassformer.scaling.laws.law import ParametricLoss
from glassformer.scaling.plans.law_estimates import AllocationLaw, allocation_laws
from glassformer.scaling.plans.request import PlanRequest
from glassformer.scaling.wording import Interval
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.text import TextSamples
from glassformer.tasks.training_data import PrepareProgress
from glassformer.training.recipes import configuration

PLANNED = (
    *("model.d_model", "model.n_layers", "model.attention.n_heads", "model.attention.n_kv_heads"),
    *("model.attention.d_head", "model.feedforward.d_ff", "model.vocab_size", "model.n_encoder_layers"),
    *("training.max_steps", "training.max_tokens", "training.max_epochs", "training.max_seconds"),
)
"""Settings that the plan chooses, and so cannot be set."""

DEFAULT_LOSS_LAW = BESIROGLU_FIT
"""Predicts the loss where the allocation law is a frontier, which does not."""

Rate = Literal["deepseek", "step-law", "preset"]
"""Source of the learning rate."""


@dataclass(frozen=True)
class OwnFit:
    """A law fitted to the user's own runs.

    Attributes:
        interval: 95 % prediction interval of the loss of a new run at N and D, widened by the back-test.
    """

    law: ParametricLoss
    interval: Callable[[float, float], Interval]


@dataclass(frozen=True)
class Text:
    """The training text.

    Attributes:
        vocabulary: distinct tokens.
        unique: training tokens; None where they were not counted.
        source: of these two.
    """

    vocabulary: int
    unique: float | None
    source: str


@dataclass(frozen=True)
class PlanInputs:
    """Everything that a plan is computed from.

    Attributes:
        law: allocates the budget; that of ``own``, if given.
        loss_law: predicts the loss: ``law``, or the default where ``law`` is a frontier.
        own: the fit to the user's own runs.
        base: the preset's run with the user's settings and the text's vocabulary.
        recipe: the preset's unchanged run.
        assigned: the settings that were set, dotted.
    """

    request: PlanRequest
    law: AllocationLaw
    loss_law: ParametricLoss
    own: OwnFit | None
    preset: str
    base: RunConfig
    recipe: RunConfig
    assigned: frozenset[str]
    text: Text
    rate: Rate

    def sets(self, name: str) -> bool:
        """Whether the user set this."""
        return name in self.assigned

    @property
    def batch_size(self) -> int | None:
        """Sequences of an update, where the user set them."""
        return self.base.training.batch_size if self.sets("training.batch_size") else None

    @property
    def unique(self) -> float | None:
        """Unique tokens available; None where unknown."""
        return self.request.data_limit or self.text.unique

    @property
    def unique_source(self) -> str:
        """Source of that number."""
        return "--data-limit" if self.request.data_limit else self.text.source


def plan_inputs(
    request: PlanRequest,
    law: str,
    fit: Path | None,
    preset: str,
    data: str | None,
    rate: str,
    assignments: Sequence[str],
    progress: PrepareProgress | None,
) -> PlanInputs:
    """Arguments and errors as of :func:`glassformer.scaling.plans.planning.plan`."""
    chosen_law, base, chosen_rate = collect_errors(
        lambda: allocation_law(law), lambda: base_run(preset, data, assignments), lambda: rate_source(rate)
    )
    own = None if fit is None else own_fit(fit)
    text = _read_text(base, request, progress)
    chosen_law = chosen_law if own is None else own.law
    return PlanInputs(
        request=request,
        law=chosen_law,
        loss_law=chosen_law if isinstance(chosen_law, ParametricLoss) else DEFAULT_LOSS_LAW,
        own=own,
        preset=preset,
        base=base.override({"model.vocab_size": text.vocabulary}),
        recipe=configuration(preset, data=None, steps=None, seed=None, assignments=()),
        assigned=frozenset(parse_assignments(assignments)),
        text=text,
        rate=chosen_rate,
    )


def collect_errors(*makers: Callable[[], Any]) -> list[Any]:
    """The results of all calls, or one :class:`ConfigError` with the complaints of all."""
    made, complaints = [], []
    for make in makers:
        try:
            made.append(make())
        except ConfigError as error:
            complaints += error.complaints
    if complaints:
        raise ConfigError(complaints, subject="plan")
    return made


def allocation_law(name: str) -> AllocationLaw:
    """The law of this name. Raises :class:`ConfigError` if it is unknown or does not allocate a budget."""
    found = law_of(name)
    if not isinstance(found, AllocationLaw) or name not in allocation_laws():
        raise ConfigError(
            f"--law {name} does not say how to spend a budget; laws that do: {', '.join(allocation_laws())}.",
            subject="plan",
        )
    return found


def rate_source(name: str) -> Rate:
    """Source of the learning rate. Raises :class:`ConfigError` for an unknown name."""
    known = get_args(Rate)
    if name not in known:
        raise ConfigError(f"--rate is {name!r}; expected one of {', '.join(known)}.", subject="plan")
    return cast("Rate", name)


def base_run(preset: str, data: str | None, assignments: Sequence[str]) -> RunConfig:
    """The preset's run with the user's settings. Raises :class:`ConfigError` unless it is a language model's."""
    chosen = [path for path in parse_assignments(assignments) if path in PLANNED]
    if chosen:
        raise ConfigError(
            [f"{path} is what the plan chooses; leave it out, or train without a plan." for path in chosen],
            subject="plan",
        )
    base = configuration(preset, data=data, steps=None, seed=None, assignments=assignments)
    if not isinstance(base.data, DataConfig):
        raise ConfigError(
            f"scaling laws are of language models on text, and {preset} with these data is not one. Choose a preset "
            "without an encoder, such as modern-small, and a text.",
            subject="plan",
        )
    return base


@np.errstate(all="ignore")
def own_fit(path: Path) -> OwnFit:
    """E + A/N^α + B/D^β fitted to a table or a folder of runs, with a bootstrap clustered by run and a back-test; or as
    ``glassformer scale fit`` saved it, with the saved bootstrap's settings.

    Raises:
        DataError: the runs cannot be read, or do not identify the law's constants.
    """
    from glassformer.scaling.fits.bootstrap import DRAWS, bootstrap
    from glassformer.scaling.fits.fitting import fit
    from glassformer.scaling.fits.held_out_prediction import back_test, predict
    from glassformer.scaling.fits.reading import read_points
    from glassformer.scaling.fits.saved_fit import read_fit

    if path.suffix == ".json":
        saved = read_fit(path)
        fitted, draws, seed = saved.fit, saved.draws, saved.seed
    else:
        fitted, draws, seed = fit(read_points(path)), DRAWS, 0
    law = fitted.law()
    if not all(fitted.parameters[name] > 0 for name in ("A", "B", "alpha", "beta")):
        listed = ", ".join(f"{name} = {value:.3g}" for name, value in fitted.parameters.items())
        raise DataError(f"The fit of {path} allocates no budget ({listed}): its loss does not fall with both N and D.")
    trust, history = bootstrap(fitted, draws=draws, seed=seed), back_test(fitted, seed=seed)

    def interval(n: float, d: float) -> Interval:
        low, high = predict(trust, n, d, back_test=history).calibrated
        return float(low), float(high)

    return OwnFit(law, interval)


def _read_text(base: RunConfig, request: PlanRequest, progress: PrepareProgress | None) -> Text:
    """Vocabulary and number of tokens of the run's text, or the assumed vocabulary."""
    if request.vocabulary is not None:
        return Text(request.vocabulary, None, "--vocab: assumed vocabulary, no text was read")
    samples = prepare_samples(base, progress)
    assert isinstance(samples, TextSamples)
    assert isinstance(base.data, DataConfig)
    return Text(samples.data.vocab_size, len(samples.data.train), f"{base.data.source}, {base.data.tokenizer}")
