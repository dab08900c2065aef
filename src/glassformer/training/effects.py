"""Settings that have no effect beside others: a table of them, with the reason of each.

What no run can do is a complaint of its configuration. A setting without effect is harmless in a run's file, which
holds every setting, and a mistake on a command line, which holds those that somebody chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from glassformer.config import Config, value_at
from glassformer.errors import ConfigError
from glassformer.tasks.run_config import RunConfig


@dataclass(frozen=True)
class Ineffective:
    """Settings that have no effect where ``when`` holds; ``why`` is formatted with the configuration as ``c``."""

    paths: tuple[str, ...]
    when: Callable[[RunConfig], bool]
    why: str


def _without_norms(config: RunConfig) -> bool:
    norm = config.model.norm
    return norm.kind == "none" or (norm.placement == "none" and not norm.final)


OF_TRAINING = (
    Ineffective(
        ("training.optimizer.beta2", "training.optimizer.eps"),
        lambda c: c.training.optimizer.kind == "sgd",
        "training.optimizer.kind=sgd has no second moment",
    ),
    Ineffective(
        ("training.schedule.final_fraction",),
        lambda c: c.training.schedule.kind not in ("cosine", "wsd"),
        "training.schedule.kind={c.training.schedule.kind} has no end to decay to (cosine and wsd have)",
    ),
    Ineffective(
        ("training.schedule.decay_fraction",),
        lambda c: c.training.schedule.kind != "wsd",
        "only training.schedule.kind=wsd has a last part in which it decays",
    ),
    Ineffective(
        ("training.batch_size",),
        lambda c: c.training.batch_tokens is not None,
        "training.batch_tokens={c.training.batch_tokens} limits the batch instead (set it to none)",
    ),
)
"""Of these a run's start warns, too."""

OF_THE_MODEL = (
    Ineffective(
        ("model.attention.",),
        lambda c: not c.model.has_attention,
        "model.sublayers=feedforward leaves attention out",
    ),
    Ineffective(
        ("model.feedforward.",),
        lambda c: not c.model.has_feedforward,
        "model.sublayers=attention leaves the feed-forward layers out",
    ),
    Ineffective(
        ("model.feedforward.d_ff",),
        lambda c: (
            (experts := c.model.feedforward.experts) is not None and experts.d_ff is not None and experts.every == 1
        ),
        "every layer has experts, whose width is model.feedforward.experts.d_ff",
    ),
    Ineffective(
        ("model.norm.eps", "model.norm.bias", "model.norm.options."),
        _without_norms,
        "the model has no norm (model.norm.kind={c.model.norm.kind}, model.norm.placement={c.model.norm.placement})",
    ),
    Ineffective(
        ("model.norm.placement", "model.norm.final"),
        lambda c: c.model.norm.kind == "none",
        "model.norm.kind=none leaves every norm out",
    ),
    Ineffective(
        ("model.norm.kind",),
        lambda c: c.model.norm.placement == "none" and not c.model.norm.final and c.model.norm.kind != "none",
        "model.norm.placement=none and model.norm.final=false leave every norm out",
    ),
    Ineffective(("model.norm.bias",), lambda c: c.model.norm.kind == "rmsnorm", "model.norm.kind=rmsnorm has no bias"),
    Ineffective(
        ("model.positions.theta",),
        lambda c: c.model.positions.kind in ("learned", "alibi", "none"),
        "model.positions.kind={c.model.positions.kind} has no wavelengths (sinusoidal and rotary have)",
    ),
    Ineffective(
        ("model.initialisation.std", "model.initialisation.scale_residual"),
        lambda c: c.model.initialisation.scheme != "gpt2",
        "they are of model.initialisation.scheme=gpt2, and it is {c.model.initialisation.scheme}",
    ),
    Ineffective(
        ("model.initialisation.scale_residual",),
        lambda c: c.model.initialisation.scheme == "gpt2" and c.model.residual == "none",
        "model.residual=none leaves no skip connection to scale for",
    ),
)


def without_effect(config: RunConfig, paths: Iterable[str]) -> Iterator[str]:
    """A sentence for each of the settings ``paths`` that has no effect in this configuration."""
    for path in paths:
        for settings in (*OF_TRAINING, *OF_THE_MODEL):
            named = any(path == each or (each.endswith(".") and path.startswith(each)) for each in settings.paths)
            if named and settings.when(config):
                yield f"{path}={_written(config, path)} has no effect: {settings.why.format(c=config)}."
                break


def check_effects(config: RunConfig, paths: Iterable[str]) -> None:
    """Raise :class:`ConfigError` with every setting that was chosen and has no effect."""
    if complaints := list(without_effect(config, paths)):
        raise ConfigError(complaints, subject="command")


def ineffective_in_training(config: RunConfig) -> Iterator[str]:
    """The same for every setting of the training that is not its default."""
    changed = [path for settings in OF_TRAINING for path in settings.paths if not _is_default(config, path)]
    yield from without_effect(config, changed)


def _written(config: Config, path: str) -> str:
    value = value_at(config, path)
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def _is_default(config: RunConfig, path: str) -> bool:
    holder, _, name = path.rpartition(".")
    return bool(value_at(config, path) == type(value_at(config, holder)).model_fields[name].default)
