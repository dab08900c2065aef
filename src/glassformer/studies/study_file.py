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
from pathlib import Path
from typing import Any

from glassformer.config import parse
from glassformer.errors import ConfigError, nearest, shown
from glassformer.studies.design import StudyConfig, study
from glassformer.training.recipes import flat
from glassformer.trust import trusting_parts

SUFFIXES = (".toml", ".py")

KEYS: dict[str, type | tuple[type, ...]] = {
    "preset": str,
    "name": str,
    "data": str,
    "steps": int,
    "seeds": (int, list),
    "matched": str,
    "grid": bool,
    "until_decided": bool,
    "budget_seeds": int,
    "margin": (float, int),
    "vary": list,
    "variants": dict,
    "set": dict,
}

PASSED_ON = ("data", "steps", "seeds", "matched", "grid", "until_decided", "budget_seeds", "margin")


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
    complaints = [f"'{key}' is not a setting of a study. {nearest(key, KEYS)}" for key in tree if key not in KEYS]
    complaints += [
        f"{key} is {shown(value)}; expected {_named(KEYS[key])}."
        for key, value in tree.items()
        if key in KEYS and (not isinstance(value, KEYS[key]) or (isinstance(value, bool) and KEYS[key] is not bool))
    ]
    complaints += [] if "preset" in tree else ["preset is missing: the model that the study starts from."]
    if "vary" in tree and "variants" in tree:
        complaints.append("vary and variants exclude each other: move the changes of vary to variants.")
    for name, changes in tree.get("variants", {}).items() if isinstance(tree.get("variants"), dict) else ():
        if not isinstance(changes, dict):
            complaints.append(f"variants.{name} is {changes!r}; expected a table of settings.")
    vary, seeds = tree.get("vary", []), tree.get("seeds", [])
    for each in vary if isinstance(vary, list) else ():
        if not isinstance(each, str | dict):
            complaints.append(f"vary has {each!r}; expected a text such as 'model.residual=none', or a table.")
    for each in seeds if isinstance(seeds, list) else ():
        if not isinstance(each, int) or isinstance(each, bool):
            complaints.append(f"seeds has {each!r}; expected an integer.")
    if complaints:
        raise ConfigError(complaints, subject=f"study {path}")
    return study(
        tree["preset"],
        vary={name: flat(changes) for name, changes in tree["variants"].items()}
        if "variants" in tree
        else [each if isinstance(each, str) else flat(each) for each in tree.get("vary", [])],
        set=flat(tree.get("set", {})),
        name=tree.get("name", path.stem),
        **{key: tree[key] for key in PASSED_ON if key in tree},
    )


def _named(kind: Any) -> str:
    words = {
        str: "text", int: "an integer", float: "a number", list: "a list", dict: "a table", bool: "true or false",
    }  # fmt: skip
    return " or ".join(words[each] for each in (kind if isinstance(kind, tuple) else (kind,)))


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
