"""A study from a file: TOML, or Python that makes one.

# residual.toml                          # residual.py
preset = "tiny-transformer"              import glassformer as gf
data = "tinyshakespeare"
steps = 2000                             study = gf.study(
seeds = 8                                    "tiny-transformer", data="tinyshakespeare", steps=2000, seeds=8,
vary = ["model.residual=none"]               vary={"no skip": {"model.residual": "none"}},
                                         )
[set]
"training.batch_size" = 16

[variants."no norm"]
"model.norm.kind" = "none"
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassformer.config import Config, Count, Natural, flat, parse
from glassformer.errors import ConfigError, shown
from glassformer.studies.design import Matched, StudyConfig, study
from glassformer.studies.variation import Vary
from glassformer.trust import trusting_parts

SUFFIXES = (".toml", ".py")


class StudyFile(Config):
    """The settings of a study file; those of :func:`~glassformer.studies.design.study`, but for ``variants``."""

    preset: str
    """The model that the study starts from."""
    name: str | None = None
    data: str | None = None
    steps: Count | None = None
    seeds: Any = 3
    matched: Matched = "none"
    grid: bool = False
    until_decided: bool = False
    budget_seeds: Natural | None = None
    margin: float | None = None
    learning_rates: Any = None
    tune: Any = None
    selection_seeds: Any = None
    selection_steps: Count | None = None
    controls: bool = True
    vary: tuple[Any, ...] = ()
    variants: dict[str, dict[str, Any]] | None = None
    """Changes by the variant's name, instead of ``vary``."""
    set: dict[str, Any] = {}

    def complaints(self) -> Iterator[str]:
        listed = self.seeds if isinstance(self.seeds, list | tuple) else [self.seeds]
        if not all(type(seed) is int for seed in listed):
            yield f"seeds is {shown(self.seeds)}; expected an integer or a list of integers."
        if not isinstance(self.learning_rates, str | list | tuple | None):
            yield f"learning_rates is {shown(self.learning_rates)}; expected a list of numbers."
        for each in self.vary:
            if not isinstance(each, str | dict):
                yield f"vary has {shown(each)}; expected a text such as 'model.residual=none', or a table."
        if self.variants is not None and "vary" in self.model_fields_set:
            yield "vary and variants exclude each other: move the changes of vary to variants."


def read_study(path: Path) -> StudyConfig:
    """The study that a file describes.

    Raises:
        ConfigError: the file cannot be read, or the study cannot work, for every reason.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {str(path)!r}.", subject="study")
    return _from_toml(path) if path.suffix == ".toml" else _from_python(path)


def _from_toml(path: Path) -> StudyConfig:
    try:
        tree = parse(path.read_text(encoding="utf-8"), toml=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", subject="study") from error
    asked = StudyFile.build(tree, subject=f"study {path}")
    options = {field: getattr(asked, field) for field in asked.model_fields_set - {"preset", "variants", "vary", "set"}}
    if isinstance(asked.tune, dict):
        options["tune"] = flat(asked.tune)
    vary: Vary = [each if isinstance(each, str) else flat(each) for each in asked.vary]
    if asked.variants is not None:
        vary = {name: flat(changes) for name, changes in asked.variants.items()}
    return study(asked.preset, vary=vary, set=flat(asked.set), **({"name": path.stem} | options))


def _from_python(path: Path) -> StudyConfig:
    """The file's ``study``: a study, or a function that gives one. The file is executed."""
    try:
        with trusting_parts():  # a part file that this program names is as much the user's own
            found = runpy.run_path(str(path)).get("study")
            made = found() if callable(found) and not isinstance(found, type) else found
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be executed: {type(error).__name__}: {error}.", subject="study") from error
    if not isinstance(made, StudyConfig):
        raise ConfigError(
            f"{path} makes no study: it must set study = gf.study(...), or define a function study() that gives one.",
            subject="study",
        )
    return made
