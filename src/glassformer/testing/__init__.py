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
from glassformer.registry import find
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
    "declared_breaks",
    "opens_as_a_page",
    "part_configs",
    "shrunk",
]


def check_part(
    kind: str, name: str, *, options: Mapping[str, Any] | None = None, part_files: Sequence[str | Path] = ()
) -> None:
    """Put a registered part into small models of several kinds and check every promise.

    A part whose class declares promises that it does not keep (``breaks``, a promise's name → why) must break exactly
    these: each in some use, and no other in any.

    Args:
        kind, name: as it was registered (``"norm", "centred"``).
        options: its further arguments, as they would stand in ``norm.options``.
        part_files: files that register it, if it is not registered yet.

    Raises:
        AssertionError: every promise that is broken, with the model in which it is.
    """
    broken = []
    configs = part_configs(kind, name, options=options, part_files=part_files)
    declared: dict[str, str] = dict(getattr(find(kind, name), "breaks", {}))
    kept = set(declared)
    for variant, config in configs.items():
        found = _broken_promises(config)
        kept -= set(found)
        broken += [f"{variant}: {found[promise]}" for promise in found if promise not in declared]
    broken += [
        f"it declares that it breaks '{promise}' ({declared[promise]}), and keeps it in every use"
        for promise in declared
        if promise in kept
    ]
    shortest = min(configs.values(), key=lambda config: (len(family_of(config).stacks), config.n_layers))
    broken += _broken({"opens_as_a_page": opens_as_a_page}, shortest).values()
    assert not broken, f"{kind} '{name}' breaks its contract:\n" + "\n".join(f"  - {line}" for line in broken)


def check_model(config: ModelConfig) -> None:
    """Check every promise for one model, but for those that one of its parts declares not to keep.

    Raises:
        AssertionError: every promise that is broken.
    """
    declared = declared_breaks(config)
    broken = [complaint for promise, complaint in _broken_promises(config).items() if promise not in declared]
    assert not broken, "The model breaks its contract:\n" + "\n".join(f"  - {line}" for line in broken)


def declared_breaks(config: ModelConfig) -> dict[str, str]:
    """The promises that a model's parts declare not to keep, and why."""
    found: dict[str, str] = {}
    for kind, name in config.parts().values():
        found |= getattr(find(kind, name), "breaks", {})
    return found


def _broken_promises(config: ModelConfig) -> dict[str, str]:
    return _broken(PROMISES, config)


def _broken(promises: Mapping[str, Promise], config: ModelConfig) -> dict[str, str]:
    """A complaint for each promise that is broken, by the promise's name."""
    broken = {}
    for name, promise in promises.items():
        try:
            promise(config)
        except AssertionError as error:
            broken[name] = f"{name.replace('_', ' ')}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a part of the user's own raises
            broken[name] = f"{name.replace('_', ' ')}: {type(error).__name__}: {error}"
    return broken
