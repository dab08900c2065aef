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

from glassformer.config import flat, parse, parse_assignments
from glassformer.data.config import DataConfig
from glassformer.data.kind import DataKind, kinds_for
from glassformer.errors import ConfigError, nearest, shown
from glassformer.models.config import ModelConfig
from glassformer.models.family import FAMILIES, family_of
from glassformer.models.presets import Preset, preset, preset_names
from glassformer.registry import open_part_file
from glassformer.tasks.registry import task_named, task_of, task_with, tasks
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.task import Task

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
    _check_data(model, base.model, changes)
    kind = _kind(base.model, changes, type(base.data))
    if kind is not type(base.data):  # data of another kind, from their defaults
        base = RunConfig.build(base.to_dict() | {"data": kind.build({}).to_dict()})
    return base.override(_without_task(changes))


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
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", error)
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


def _changes(data: str | None, steps: int | None, seed: int | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options and settings as one; what both give is an error.

    The part files among them are executed first if they are trusted: they may bring the task of the data.
    """
    files = settings.get("model.part_files")
    for path in files.strip("[]()").split(",") if isinstance(files, str) else files if isinstance(files, list) else ():
        if isinstance(path, str) and path.strip():  # the field's type says what is wrong with others
            open_part_file(path.strip())
    options = {data_setting(data): data, "training.max_steps": steps, "training.seed": seed}
    given = {path: value for path, value in options.items() if value is not None}
    both = sorted(set(given) & set(settings))
    if both:
        raise ConfigError([f"{path} is given twice, by its option and by --set." for path in both], subject="command")
    if "model.vocab_size" in settings:
        raise ConfigError("model.vocab_size cannot be set: it is the number of tokens of the text.", subject="command")
    wanted = given | dict(settings)
    source = str(wanted.get("data.source", ""))
    if (setting := data_setting(source)) != "data.source" and setting not in wanted:
        wanted[setting] = wanted.pop("data.source")
    return wanted


def data_setting(name: str | None, present: DataKind | None = None) -> str:
    """The setting that names some data: that of the task of built-in data, of others that of the present kind.

    Without a present kind, ``data.source``.
    """
    task = (None if name is None else task_with(name)) or (None if present is None else task_of(present))
    return f"data.{'source' if task is None else task.data_setting}"


def _of_preset(name: str, changes: Mapping[str, Any]) -> RunConfig:
    chosen = preset(name)
    _check_data(name, chosen.model, changes)
    return with_recipe(chosen, changes)


def _check_data(model: str, chosen: ModelConfig, changes: Mapping[str, Any]) -> None:
    """Refuse built-in data that the model cannot be trained on, and names that are nearly built-in ones."""
    named = {f"data.{task.data_setting}": task for task in reversed(tasks())}
    values = {setting: str(changes[setting]) for setting in named if changes.get(setting) is not None}
    if len(values) > 1:
        several = " and ".join(f"{setting}={value}" for setting, value in values.items())
        raise ConfigError(f"{several} name data of two kinds; choose one of them.", subject="command")
    for setting, value in values.items():
        task = task_with(value, chosen.family) or (named[setting] if setting != "data.source" else None)
        if task is not None and chosen.family not in task.config.families:
            raise ConfigError(_other_family(value, task, model, chosen), subject="command")
    source = values.get("data.source", "")
    fitting = [task for task in tasks() if chosen.family in task.config.families]
    hint = nearest(source, [name for task in fitting for name in task.built_in])
    others = [name for task in fitting if task.data_setting != "source" for name in task.built_in]
    meant = hint.startswith("Did you mean") and any(f"'{name}'" in hint for name in others)
    if meant and "." not in source and not Path(source).exists():
        raise ConfigError(f"There is no file, folder, text or task named {source!r}. {hint}", subject="command")


def _other_family(data: str, task: Task, model: str, chosen: ModelConfig) -> str:
    """That a model cannot be trained on some data, and what can."""
    presets = [each for each in map(preset, preset_names()) if each.model.family in task.config.families]
    smallest = min(presets, key=lambda each: each.n_parameters).name
    kinds = kinds_for(chosen.family)
    learned = " or ".join(kind.learned for kind in kinds) or "nothing yet"
    built_in = [name for kind in kinds for name in task_named(kind).built_in]
    trained = " or ".join(FAMILIES[family].words for family in task.config.families)
    return (
        f"{data!r} ({task.config.learned}) trains {trained}, and {model} is {family_of(chosen).words}, which learns "
        f"from {learned}; choose a preset such as {smallest}, or other data: {', '.join([*built_in, 'a file'])}."
    )


def _kind(model: ModelConfig, changes: Mapping[str, Any], present: type[DataKind] | None = None) -> type[DataKind]:
    """The kind of data that the changes choose; else the present one, or the model's default.

    A change chooses a kind by its task, or by a setting that names the data of that kind alone.

    Raises:
        ConfigError: a task is named that there is none of for this model.
    """
    kinds = kinds_for(model.family)
    asked = changes.get("data.task")
    for kind in kinds:
        setting = task_named(kind).data_setting
        if asked == kind.model_fields["task"].default or (setting != "source" and f"data.{setting}" in changes):
            return kind
    if asked is not None:
        names = [str(kind.model_fields["task"].default) for kind in kinds]
        raise ConfigError(
            f"data.task is {shown(asked)}; {family_of(model).words} learns from {', '.join(names) or 'nothing yet'}. "
            f"{nearest(str(asked), names)}",
            subject="command",
        )
    if present is not None and (task_named(present).data_setting == "source" or "data.source" not in changes):
        return present
    return kinds[0] if kinds else DataConfig  # of a family that nothing trains, the configuration says so


def _without_task(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that are left once the kind of data is chosen."""
    return {path: value for path, value in changes.items() if path != "data.task"}


def with_recipe(chosen: Preset, changes: Mapping[str, Any]) -> RunConfig:
    """A preset's model, data of its kind, its recipe, and changes to all of that."""
    recipe = dict(chosen.recipe)
    if "training.batch_size" in changes and "training.batch_tokens" not in changes:
        recipe.pop("training.batch_tokens", None)  # a batch has one limit
    kind = _kind(chosen.model, changes)
    recipe = task_named(kind).recipe(recipe, changes)
    return RunConfig(model=chosen.model, data=kind.build({})).override(recipe | _without_task(changes))
