"""The contract suite: what every part, and every model made of parts, promises.

    from glassformer.testing import check_part

    check_part("norm", "centred", part_files=["my_parts.py"])

Each promise is a function of a :class:`ModelConfig` that raises ``AssertionError``; ``PROMISES`` has them by name, so
that a test suite can run each as a test of its own. Weights are random and far from their starting values (a norm's
weight is not 1, a bias is not 0), so that no term can hide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of
from glassformer.testing.configs import part_configs, shrunk
from glassformer.testing.paths import compiles_into_one_graph
from glassformer.testing.promises import PROMISES, Promise
from glassformer.testing.use import opens_as_a_page

__all__ = [
    "PROMISES",
    "Promise",
    "check_model",
    "check_part",
    "compiles_into_one_graph",
    "opens_as_a_page",
    "part_configs",
    "shrunk",
]


def check_part(
    kind: str, name: str, *, options: Mapping[str, Any] | None = None, part_files: Sequence[str | Path] = ()
) -> None:
    """Put a registered part into small models of several kinds and check every promise.

    Args:
        kind, name: as it was registered (``"norm", "centred"``).
        options: its further arguments, as they would stand in ``norm.options``.
        part_files: files that register it, if it is not registered yet.

    Raises:
        AssertionError: every promise that is broken, with the model in which it is.
    """
    broken = []
    configs = part_configs(kind, name, options=options, part_files=part_files)
    for variant, config in configs.items():
        broken += [f"{variant}: {complaint}" for complaint in _broken_promises(config)]
    shortest = min(configs.values(), key=lambda config: (len(family_of(config).stacks), config.n_layers))
    broken += _broken({"opens as a page": opens_as_a_page}, shortest)
    assert not broken, f"{kind} '{name}' breaks its contract:\n" + "\n".join(f"  - {line}" for line in broken)


def check_model(config: ModelConfig) -> None:
    """Check every promise for one model.

    Raises:
        AssertionError: every promise that is broken.
    """
    broken = _broken_promises(config)
    assert not broken, "The model breaks its contract:\n" + "\n".join(f"  - {line}" for line in broken)


def _broken_promises(config: ModelConfig) -> list[str]:
    return _broken(PROMISES, config)


def _broken(promises: Mapping[str, Promise], config: ModelConfig) -> list[str]:
    broken = []
    for name, promise in promises.items():
        try:
            promise(config)
        except AssertionError as error:
            broken.append(f"{name.replace('_', ' ')}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a part of the user's own raises
            broken.append(f"{name.replace('_', ' ')}: {type(error).__name__}: {error}")
    return broken
