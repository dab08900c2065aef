"""From a preset's name to a whole run: its model, data of its kind, its recipe, and what is changed about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassformer.config import parse_assignments
from glassformer.data.pairs import BUILT_IN as PAIRS
from glassformer.data.pairs import DATES
from glassformer.data.sources import BUILT_IN as TEXTS
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import TASKS
from glassformer.errors import ConfigError, nearest
from glassformer.models.presets import Preset, preset
from glassformer.training.config import RunConfig


def configuration(
    model: str, *, data: str | None, steps: int | None, seed: int | None, assignments: Sequence[str]
) -> RunConfig:
    """A preset with its recipe and what the command line changes. Raises :class:`ConfigError` with every complaint.

    The name of a task, as of any built-in data, goes before a file of that name, which ``./copy`` is.
    """
    chosen = preset(model)
    options = {
        "data.kind" if data in TASKS else "data.source": data,
        "training.max_steps": steps,
        "training.seed": seed,
    }
    given = {path: value for path, value in options.items() if value is not None}
    changes = parse_assignments(assignments)
    both = sorted(set(given) & set(changes))
    if both:
        raise ConfigError([f"{path} is given twice, by its option and by --set." for path in both], subject="command")
    if "model.vocab_size" in changes:
        raise ConfigError("model.vocab_size cannot be set: it is the number of tokens of the text.", subject="command")
    wanted = given | changes
    if wanted.get("data.source") in TASKS and "data.kind" not in wanted:
        wanted["data.kind"] = wanted.pop("data.source")
    _refuse_data_of_another_kind(model, chosen, wanted)
    return with_recipe(chosen, wanted)


def _refuse_data_of_another_kind(model: str, chosen: Preset, wanted: Mapping[str, Any]) -> None:
    """Built-in data that the model cannot learn from. Of files, their reader knows."""
    source, task = str(wanted.get("data.source", "")), wanted.get("data.kind")
    if source and task is not None:
        raise ConfigError(f"{source!r} is a text, and data.kind={task} a task; choose one of them.", subject="command")
    if task is not None and chosen.model.has_encoder:
        raise ConfigError(
            f"{task!r} is a task for language models, and {model} is a translator, which learns from sentence pairs; "
            "choose a preset without an encoder, such as gpt-nano.",
            subject="command",
        )
    if source in PAIRS and not chosen.model.has_encoder:
        raise ConfigError(
            f"{source!r} are sentence pairs, and {model} is a language model, which learns from a text; "
            "choose a preset with an encoder, such as transformer-small, or give a text.",
            subject="command",
        )
    if source in TEXTS and chosen.model.has_encoder:
        raise ConfigError(
            f"{source!r} is a text, and {model} is a translator, which learns from sentence pairs; "
            f"choose a preset without an encoder, such as gpt-nano, or give pairs: {', '.join(PAIRS)}, a file.",
            subject="command",
        )
    hint = nearest(source, [*TASKS, *TEXTS])
    meant = hint.startswith("Did you mean") and any(f"'{each}'" in hint for each in TASKS)
    if meant and "." not in source and not chosen.model.has_encoder and not Path(source).exists():
        raise ConfigError(f"There is no file, folder, text or task named {source!r}. {hint}", subject="command")


def with_recipe(chosen: Preset, changes: Mapping[str, Any]) -> RunConfig:
    """A preset's model, data of its kind, its recipe, and changes to all of that."""
    recipe = dict(chosen.recipe)
    if "training.batch_size" in changes and "training.batch_tokens" not in changes:
        recipe.pop("training.batch_tokens", None)  # a batch has one limit
    kind = changes.get("data.tokenizer", "auto")
    by_letters = kind == "auto" and changes.get("data.source", DATES) == DATES
    if by_letters or kind in ("words", "characters"):
        recipe.pop("data.vocab_size", None)  # only byte pairs are so many as one wants
    if "data.kind" in changes:
        own = {name: value for name, value in recipe.items() if not name.startswith("data.")}
        return RunConfig(model=chosen.model, data=SyntheticConfig()).override(own | dict(changes))
    return RunConfig(model=chosen.model).override(recipe | dict(changes))
