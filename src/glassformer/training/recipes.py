"""From a preset's name, or from a file, to a whole run: its model, data of its kind, its recipe, and what is changed.

# plan.toml: a preset and what is set       # config.json: a run's configuration, every setting of it
preset = "modern-small"                     {
data = "tinyshakespeare"                      "model": {"vocab_size": 65, "d_model": 128, ...},
steps = 2000                                  "data": {"source": "tinyshakespeare", ...},
                                              "training": {"max_steps": 2000, ...}
[set]                                       }
"model.n_layers" = 3
"training.grad_clip" = "none"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassformer.config import parse, parse_assignments
from glassformer.data.config import DataConfig
from glassformer.data.pairs import BUILT_IN as PAIRS
from glassformer.data.pairs import DATES
from glassformer.data.sources import BUILT_IN as TEXTS
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import TASKS
from glassformer.errors import ConfigError, nearest, shown
from glassformer.models.config import ModelConfig
from glassformer.models.presets import Preset, preset
from glassformer.training.config import RunConfig

SUFFIXES = (".json", ".toml")
"""Of files that describe a run."""

GIVE = "Give a file that glassformer scale plan wrote, or a run's config.json."

KEYS: dict[str, tuple[type, str]] = {
    "preset": (str, "text"),
    "data": (str, "text"),
    "steps": (int, "a whole number"),
    "seed": (int, "a whole number"),
    "set": (dict, "a table of settings"),
}
"""What a TOML file may say."""


def configuration(
    model: str, *, data: str | None, steps: int | None, seed: int | None, assignments: Sequence[str]
) -> RunConfig:
    """A preset with its recipe, or a file (.json, .toml), and what the command line changes.

    The name of a task, as of any built-in data, goes before a file of that name, which ``./copy`` is.

    Raises:
        ConfigError: with every complaint.
    """
    changes = _changes(data, steps, seed, parse_assignments(assignments))
    if Path(model).suffix not in SUFFIXES:
        return _of_preset(model, changes)
    base = read_run_file(Path(model))
    _check_data_kind(model, base.model, changes)
    to_task, from_task = "data.kind" in changes, isinstance(base.data, SyntheticConfig)
    if to_task != from_task and (to_task or "data.source" in changes):  # data of the other kind, from their defaults
        other = SyntheticConfig() if to_task else DataConfig()
        base = RunConfig.build(base.to_dict() | {"data": other.to_dict()})
    return base.override(changes)


def read_run_file(path: Path) -> RunConfig:
    """The run that a file describes: JSON with every setting, or TOML with a preset and what is set.

    Raises:
        ConfigError: the file cannot be read, or the run cannot work, for every reason.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = parse(text, toml=path.suffix == ".toml")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {str(path)!r}.", subject="command") from None
    except (OSError, ValueError) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", error)
        raise ConfigError(f"{path} cannot be read: {why}. {GIVE}", subject="command") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}; expected an object. {GIVE}", subject="command")
    if path.suffix == ".json":
        return RunConfig.build(tree, subject=f"file {path}")
    return _from_toml(path, tree)


def _from_toml(path: Path, tree: Mapping[str, Any]) -> RunConfig:
    complaints = [f"'{key}' is not a setting of a run's file. {nearest(key, KEYS)}" for key in tree if key not in KEYS]
    for key, value in tree.items():
        kind, words = KEYS.get(key, (object, ""))
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            complaints.append(f"{key} is {shown(value)}; expected {words}.")
    complaints += [] if "preset" in tree else ["preset is missing: the model that the run starts from."]
    if complaints:
        raise ConfigError(complaints, subject=f"file {path}")
    changes = _changes(tree.get("data"), tree.get("steps"), tree.get("seed"), flat(tree.get("set", {})))
    return _of_preset(tree["preset"], changes)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted settings, however the tables were nested."""
    settings: dict[str, Any] = {}
    for key, value in tree.items():
        settings |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return settings


def _changes(data: str | None, steps: int | None, seed: int | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options and settings as one; what is given by both is refused."""
    options = {
        "data.kind" if data in TASKS else "data.source": data,
        "training.max_steps": steps,
        "training.seed": seed,
    }
    given = {path: value for path, value in options.items() if value is not None}
    both = sorted(set(given) & set(settings))
    if both:
        raise ConfigError([f"{path} is given twice, by its option and by --set." for path in both], subject="command")
    if "model.vocab_size" in settings:
        raise ConfigError("model.vocab_size cannot be set: it is the number of tokens of the text.", subject="command")
    wanted = given | dict(settings)
    if wanted.get("data.source") in TASKS and "data.kind" not in wanted:
        wanted["data.kind"] = wanted.pop("data.source")
    return wanted


def _of_preset(name: str, changes: Mapping[str, Any]) -> RunConfig:
    chosen = preset(name)
    _check_data_kind(name, chosen.model, changes)
    return with_recipe(chosen, changes)


def _check_data_kind(model: str, chosen: ModelConfig, wanted: Mapping[str, Any]) -> None:
    """Built-in data that the model cannot learn from. Of files, their reader knows."""
    source, task = str(wanted.get("data.source", "")), wanted.get("data.kind")
    if source and task is not None:
        raise ConfigError(f"{source!r} is a text, and data.kind={task} a task; choose one of them.", subject="command")
    if task is not None and chosen.has_encoder:
        raise ConfigError(
            f"{task!r} is a task for language models, and {model} is a translator, which learns from sentence pairs; "
            "choose a preset without an encoder, such as gpt-nano.",
            subject="command",
        )
    if source in PAIRS and not chosen.has_encoder:
        raise ConfigError(
            f"{source!r} are sentence pairs, and {model} is a language model, which learns from a text; "
            "choose a preset with an encoder, such as transformer-small, or give a text.",
            subject="command",
        )
    if source in TEXTS and chosen.has_encoder:
        raise ConfigError(
            f"{source!r} is a text, and {model} is a translator, which learns from sentence pairs; "
            f"choose a preset without an encoder, such as gpt-nano, or give pairs: {', '.join(PAIRS)}, a file.",
            subject="command",
        )
    hint = nearest(source, [*TASKS, *TEXTS])
    meant = hint.startswith("Did you mean") and any(f"'{each}'" in hint for each in TASKS)
    if meant and "." not in source and not chosen.has_encoder and not Path(source).exists():
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
