"""What a plan starts from: a law that spends budgets, a preset's run, and the text's vocabulary and length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.config import parse_assignments
from glassformer.data.config import DataConfig
from glassformer.errors import ConfigError
from glassformer.scaling.laws.chinchilla import BESIROGLU_FIT
from glassformer.scaling.laws.known import law as law_of
from glassformer.scaling.laws.law import Frontier, ParametricLoss
from glassformer.scaling.plans.allocating import Spending
from glassformer.scaling.plans.disagreement import names
from glassformer.scaling.plans.expecting import OwnFit, own_fit
from glassformer.scaling.plans.plan_request import PlanRequest
from glassformer.scaling.plans.plan_settings import Rate, rate_of
from glassformer.training.config import RunConfig
from glassformer.training.recipes import configuration
from glassformer.training.samples import PrepareProgress, TextSamples, prepare_samples

THE_PLANS = (
    *("model.d_model", "model.n_layers", "model.attention.n_heads", "model.attention.n_kv_heads"),
    *("model.attention.d_head", "model.feedforward.d_ff", "model.vocab_size", "model.n_encoder_layers"),
    *("training.max_steps", "training.max_tokens", "training.max_epochs", "training.max_seconds"),
)
"""Settings that the plan chooses, and so cannot be set."""

LOSS_WITHOUT_ONE = BESIROGLU_FIT
"""What says the loss where the plan's law is a frontier, which does not."""


@dataclass(frozen=True)
class Text:
    """What the model reads.

    Attributes:
        vocabulary: distinct tokens.
        unique: training tokens, None where nobody counted them.
        source: where these two are from.
    """

    vocabulary: int
    unique: float | None
    source: str


@dataclass(frozen=True)
class Start:
    """What a plan starts from.

    Attributes:
        law: that spends the budget; of ``own``, if there is one.
        loss_law: that says the loss: the same, or the default one where a frontier says nothing of it.
        own: the fit to the user's own runs.
        base: the preset's run with what was set, and the text's vocabulary.
        recipe: the preset's run as it stands.
        assigned: the settings that were set, dotted.
    """

    request: PlanRequest
    law: Spending
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
    def rows(self) -> int | None:
        """Sequences of an update, where the user set them."""
        return self.base.training.batch_size if self.sets("training.batch_size") else None

    @property
    def unique(self) -> float | None:
        """Different tokens there are; None where nobody says."""
        return self.request.data_limit or self.text.unique

    @property
    def unique_source(self) -> str:
        """Where that is from."""
        return "--data-limit" if self.request.data_limit else self.text.source


def begin(
    request: PlanRequest,
    law: str,
    fit: Path | None,
    preset: str,
    data: str | None,
    rate: str,
    assignments: Sequence[str],
    progress: PrepareProgress | None,
) -> Start:
    """All that a plan starts from; arguments and errors as of :func:`glassformer.scaling.plans.planning.plan`."""
    spending, base, chosen = all_or_every_complaint(
        lambda: spending_law(law), lambda: base_run(preset, data, assignments), lambda: rate_of(rate)
    )
    own = None if fit is None else own_fit(fit)
    text = read_text(base, request, progress)
    spending = spending if own is None else own.law
    return Start(
        request=request,
        law=spending,
        loss_law=spending if isinstance(spending, ParametricLoss) else LOSS_WITHOUT_ONE,
        own=own,
        preset=preset,
        base=base.override({"model.vocab_size": text.vocabulary}),
        recipe=configuration(preset, data=None, steps=None, seed=None, assignments=()),
        assigned=frozenset(parse_assignments(assignments)),
        text=text,
        rate=chosen,
    )


def all_or_every_complaint(*makers: Callable[[], Any]) -> list[Any]:
    """What each of them makes, or one error with the complaints of all."""
    made, complaints = [], []
    for make in makers:
        try:
            made.append(make())
        except ConfigError as error:
            complaints += error.complaints
    if complaints:
        raise ConfigError(complaints, subject="plan")
    return made


def spending_law(name: str) -> Spending:
    """The law of this name. Raises :class:`ConfigError` if there is none, or it says nothing of spending a budget."""
    found = law_of(name)
    if not isinstance(found, ParametricLoss | Frontier) or name not in names():
        raise ConfigError(
            f"--law {name} says nothing of how to spend a budget; laws that do: {', '.join(names())}.", subject="plan"
        )
    return found


def base_run(preset: str, data: str | None, assignments: Sequence[str]) -> RunConfig:
    """The preset with what was set; of a language model, without what the plan chooses."""
    chosen = [path for path in parse_assignments(assignments) if path in THE_PLANS]
    if chosen:
        raise ConfigError(
            [f"{path} is what the plan chooses; leave it out, or train without a plan." for path in chosen],
            subject="plan",
        )
    base = configuration(preset, data=data, steps=None, seed=None, assignments=assignments)
    if not isinstance(base.data, DataConfig):
        raise ConfigError(
            f"scaling laws are of language models on text; {preset} with these data is none. Choose a preset without "
            "an encoder, such as modern-small, and a text.",
            subject="plan",
        )
    return base


def read_text(base: RunConfig, request: PlanRequest, progress: PrepareProgress | None) -> Text:
    """The vocabulary and the number of tokens of the text that the plan's run will be trained on; or on paper."""
    if request.vocabulary is not None:
        return Text(request.vocabulary, None, "--vocab: a plan on paper, no text was read")
    samples = prepare_samples(base, progress)
    assert isinstance(samples, TextSamples)
    assert isinstance(base.data, DataConfig)
    return Text(samples.data.vocab_size, len(samples.data.train), f"{base.data.source}, {base.data.tokenizer}")
