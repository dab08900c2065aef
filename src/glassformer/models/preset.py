"""A named model, and the table of all there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from glassformer.errors import ConfigError, nearest
from glassformer.models.config import ModelConfig


@dataclass(frozen=True)
class Preset:
    """A named model.

    Attributes:
        model: the configuration.
        n_parameters: the exact count, every parameter once.
        source: where it is from.
        recipe: settings it was trained with (``{"training.batch_size": 12}``), if it has its own.
    """

    name: str
    model: ModelConfig
    n_parameters: int
    source: str
    recipe: Mapping[str, Any] = field(default_factory=dict)


_builders: dict[str, tuple[Callable[[], ModelConfig], int, Mapping[str, Any]]] = {}


def preset_names() -> list[str]:
    """The names of all presets, in the order they are declared."""
    return list(_builders)


def preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        ConfigError: there is none of that name; the nearest is suggested.
    """
    if name not in _builders:
        raise ConfigError(f"There is no preset '{name}'. {nearest(name, _builders)}", subject="model")
    build, n_parameters, recipe = _builders[name]
    source = " ".join((build.__doc__ or "").split())
    return Preset(name=name, model=build(), n_parameters=n_parameters, source=source, recipe=recipe)


def declare(
    name: str, n_parameters: int, recipe: Mapping[str, Any] | None = None
) -> Callable[[Callable[[], ModelConfig]], Callable[[], ModelConfig]]:
    """Put the function under a name; its docstring is the source."""

    def put(build: Callable[[], ModelConfig]) -> Callable[[], ModelConfig]:
        _builders[name] = (build, n_parameters, recipe or {})
        return build

    return put
