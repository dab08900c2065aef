"""Matched controls: each variant made equal to the base in parameters, FLOPs or seconds, and what that changed.

A part that is taken out takes parameters and computation with it. Whether it was the part that mattered, or its size,
is measured by a variant of the baseline's size without the part:

- *parameters*: the variant's width is adjusted: that of the feed-forward layers (d_ff) where a moderate change is
  enough, or else that of the residual stream (d_model, in whole heads), with d_ff in proportion and for the rest;
- *flops*: its number of steps;
- *seconds*: its number of steps too, from the time per step of every arm, which ``studies/step_times.py`` measures side
  by side when the study begins.

So every run of a matched study is an ordinary one, of a number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.counting import flops_per_token, parameters
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.step_times import StepTime, step_times
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import TrainingData
from glassformer.training.budgets import budget_ends
from glassformer.wording import counted

CLOSE = 0.005
"""Relative difference in parameters that is close enough to look no further."""

MODERATE = 2.0
"""Factor by which d_ff may grow or shrink before d_model is adjusted instead."""

WIDEST = 2**20

D_MODEL, D_FF = "model.d_model", "model.feedforward.d_ff"

Adjustment = dict[str, Any]
Measure = Callable[[Mapping[str, RunConfig], Mapping[str, TrainingData]], Mapping[str, StepTime]]
T = TypeVar("T")


def needs_matching(config: StudyConfig) -> bool:
    """Whether the study's variants are still to be adjusted; those of a study that is resumed are adjusted already.

    Raises:
        ConfigError: an earlier version began it, and matched its variants by a time budget, which is no longer done.
    """
    if config.matched == "none" or not config.adjusted:
        return config.matched != "none"
    if config.matched == "seconds" and not all("training.max_steps" in each for each in config.variants.values()):
        raise ConfigError(
            "the study was begun by an earlier version, which matched seconds by a time budget; now they are matched "
            "by steps. Begin it again.",
            subject="study",
        )
    return False


def match(config: StudyConfig, samples: Mapping[str, TrainingData], measure: Measure = step_times) -> StudyConfig:
    """The study with every variant adjusted, and what was adjusted in ``adjusted``.

    Args:
        samples: of each variant, and of the base.
        measure: gives the time per step of every arm, where seconds are matched.

    Raises:
        ConfigError: variants that cannot be matched, all of them.
    """
    if config.matched == "none":
        return config
    arms = {name: samples[name].with_vocabulary(config.arm(name)) for name in config.arms}
    times: Mapping[str, StepTime] = {}
    if config.matched in ("flops", "seconds"):
        _check_baseline(arms[BASE], samples[BASE])
        _of_variants(config, lambda name: _check_free(config.variants[name]))
    if config.matched == "seconds":
        times = measure(arms, samples)

    def matched(name: str) -> tuple[Adjustment, str]:
        base, variant = arms[BASE], arms[name]
        if config.matched == "parameters":
            return match_parameters(base.model, variant.model, set(config.variants[name]))
        if config.matched == "flops":
            changes, note = match_flops(base, variant, samples[BASE], samples[name])
        else:
            changes, note = match_seconds(base, times[name])
        _check_budgets(variant.override(changes), samples[name], "variant")
        return changes, note

    found = _of_variants(config, matched)
    variants = {name: {**config.variants[name], **changes} for name, (changes, _) in found.items()}
    adjusted = config.adjusted | {name: note for name, (_, note) in found.items() if note}
    return StudyConfig.build(config.to_dict() | {"variants": variants, "adjusted": adjusted})


def _of_variants(config: StudyConfig, make: Callable[[str], T]) -> dict[str, T]:
    """What is made of each variant's name. Raises :class:`ConfigError` with the complaints about all of them."""
    made, complaints = {}, []
    for name in config.variants:
        try:
            made[name] = make(name)
        except ConfigError as error:
            complaints += [f"variant {name!r}: {complaint}" for complaint in error.complaints]
    if complaints:
        raise ConfigError(complaints, subject="study")
    return made


# ------------------------------------------------------------------------------------------------ parameters


def match_parameters(base: ModelConfig, variant: ModelConfig, varied: set[str]) -> tuple[Adjustment, str]:
    """The width at which the variant has the base's number of parameters, and a sentence about it."""
    wanted, has = parameters(base).total, parameters(variant).total
    if has == wanted:
        return {}, ""
    best = min(_widths(variant, wanted, varied), key=lambda changes: _distance(variant, changes, wanted), default=None)
    if best is None:
        raise ConfigError(
            "its parameters cannot be matched: the variant sets both widths (d_model and feedforward.d_ff)."
        )
    nearest = parameters(_with_model(variant, best)).total
    if abs(nearest - wanted) >= abs(has - wanted):
        return {}, f"no width comes closer to the baseline's {wanted:,} parameters than its own {has:,}"
    widths = ", ".join(f"{path.removeprefix('model.')}={value}" for path, value in best.items())
    return best, (
        f"{widths}: {nearest:,} parameters, {_percent(nearest, wanted)} the baseline's {wanted:,} "
        f"({has:,} before matching)"
    )


def _widths(variant: ModelConfig, wanted: int, varied: set[str]) -> Iterator[Adjustment]:
    """Candidates: the first that is ``CLOSE`` is the last."""
    free_d_ff = variant.has_feedforward and variant.n_layers > 0 and D_FF not in varied
    free_d_model = D_MODEL not in varied
    if free_d_ff:
        changes = _nearest_d_ff(variant, wanted)
        if _is_moderate(variant, changes[D_FF]) or not free_d_model:
            yield changes
            if _distance(variant, changes, wanted) <= CLOSE * wanted:
                return
    if free_d_model:
        changes = _nearest_d_model(variant, wanted, in_proportion=free_d_ff)
        yield changes
        if free_d_ff:
            wide = _with_model(variant, changes)
            finer = _nearest_d_ff(wide, wanted)
            if _is_moderate(wide, finer[D_FF]):
                yield changes | finer


def _is_moderate(model: ModelConfig, d_ff: int) -> bool:
    return model.d_ff / MODERATE <= d_ff <= model.d_ff * MODERATE


def _distance(variant: ModelConfig, changes: Adjustment, wanted: int) -> int:
    return abs(parameters(_with_model(variant, changes)).total - wanted)


def _nearest_d_ff(variant: ModelConfig, wanted: int) -> Adjustment:
    return _nearest(variant, wanted, lambda width: {D_FF: width}, 1)


def _nearest_d_model(variant: ModelConfig, wanted: int, *, in_proportion: bool) -> Adjustment:
    """In whole heads, even where positions need it; a d_ff that is set keeps its ratio."""
    ratio = variant.d_ff / variant.d_model if in_proportion and variant.feedforward.d_ff is not None else None

    def changes(width: int) -> Adjustment:
        return {D_MODEL: width} | ({} if ratio is None else {D_FF: max(1, round(width * ratio))})

    unit = 1 if variant.attention.d_head else variant.attention.n_heads
    unit *= 2 if variant.positions.kind in ("rotary", "sinusoidal") else 1
    return _nearest(variant, wanted, changes, unit)


def _nearest(variant: ModelConfig, wanted: int, changes: Callable[[int], Adjustment], unit: int) -> Adjustment:
    """The changes, of a width that is a multiple of ``unit``, that come nearest to the parameters that are wanted."""
    low, high = 1, max(2, WIDEST // unit)
    while high - low > 1:  # parameters grow with the width
        middle = (low + high) // 2
        if parameters(_with_model(variant, changes(middle * unit))).total > wanted:
            high = middle
        else:
            low = middle
    return min((changes(low * unit), changes(high * unit)), key=lambda each: _distance(variant, each, wanted))


def _with_model(model: ModelConfig, changes: Adjustment) -> ModelConfig:
    return model.override({path.removeprefix("model."): value for path, value in changes.items()})


# ---------------------------------------------------------------------------------- steps, by FLOPs or seconds


def match_flops(
    base: RunConfig, variant: RunConfig, base_samples: TrainingData, variant_samples: TrainingData
) -> tuple[Adjustment, str]:
    """The number of steps in which the variant spends the base's FLOPs, and a sentence about it."""
    steps = _steps(base)
    a_base_step, a_step = _flops_per_step(base, base_samples), _flops_per_step(variant, variant_samples)
    matched = max(1, round(steps * a_base_step / a_step))
    if matched == steps:
        return {}, ""
    return {"training.max_steps": matched}, (
        f"max_steps={matched:,} (baseline: {steps:,}): {matched * a_step:.4g} FLOPs, "
        f"{_percent(matched * a_step, steps * a_base_step)} the baseline's {steps * a_base_step:.4g}"
    )


def match_seconds(base: RunConfig, time: StepTime) -> tuple[Adjustment, str]:
    """The number of steps that take the variant as long as the base's take it, and a sentence about it.

    Args:
        time: of the variant's step, against the base's.
    """
    steps = _steps(base)
    matched = max(1, round(steps / time.ratio))
    return {"training.max_steps": matched}, (
        f"max_steps={matched:,} (baseline: {steps:,}): {time.ratio:.3g} times the baseline's time per step, measured "
        f"alternately over {counted(time.rounds, 'round')} (range {time.low:.3g} to {time.high:.3g})"
    )


def _flops_per_step(config: RunConfig, samples: TrainingData) -> float:
    positions = samples.tokens_per_step * samples.positions_per_token
    return positions * flops_per_token(config.model, samples.seq_len).training


def _steps(base: RunConfig) -> int:
    steps = base.training.max_steps
    assert steps is not None, "a baseline without steps has been refused"
    return steps


def _check_baseline(base: RunConfig, samples: TrainingData) -> None:
    """Raise :class:`ConfigError` for a baseline whose end is not a number of steps."""
    if base.training.max_steps is None:
        raise ConfigError(
            "FLOPs and seconds are matched by steps, and the baseline's training.max_steps is none: set it (--steps).",
            subject="study",
        )
    _check_budgets(base, samples, "baseline")


def _check_free(varied: Iterable[str]) -> None:
    """Raise :class:`ConfigError` for a variant that sets its number of steps itself."""
    if "training.max_steps" in varied:
        raise ConfigError("FLOPs and seconds are matched by steps, and the variant sets training.max_steps itself.")


def _check_budgets(config: RunConfig, samples: TrainingData, arm: str) -> None:
    """Raise :class:`ConfigError` if another budget than its steps may end the run."""
    training = config.training
    ends = budget_ends(training, samples)
    steps = ends.pop("max_steps")
    sooner = [name for name, end in ends.items() if end < steps] + ["max_seconds"] * (training.max_seconds is not None)
    if sooner:
        settings = " and ".join(f"training.{name}" for name in sooner)
        raise ConfigError(
            f"the {arm} would end by {settings} before its {steps:,} steps: set it to none.", subject="study"
        )


def _percent(value: float, of: float) -> str:
    """``0.12 % more than``, ``exactly``."""
    if value == of:
        return "exactly"
    difference = 100 * (value - of) / of
    return f"{abs(difference):.2g} % {'more' if difference > 0 else 'less'} than"
