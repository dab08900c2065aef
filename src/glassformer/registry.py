"""Parts by kind and name, and the user's own beside ours.

    @register("norm", "centred")
    class CentredNorm(nn.Module): ...

A registered name can stand in a configuration (``norm.kind=centred``), and the contract suite
(``glassformer.testing``) runs over everything that is registered. A user's file is read by :func:`load_part_file`,
which a ``ModelConfig`` does for each of its ``part_files``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from glassformer.errors import ConfigError, nearest

USER_MODULE = "glassformer_user_parts_"

PartClass = TypeVar("PartClass", bound=type)

_parts: dict[str, dict[str, type]] = {}
_loaded_files: dict[str, Path] = {}  # content hash -> where it was read first


def register(kind: str, name: str) -> Callable[[PartClass], PartClass]:
    """Put a class under a kind (``norm``, ``feedforward``, ``positions``, ``attention``) and a name of its own."""

    def put(cls: PartClass) -> PartClass:
        known = _parts.setdefault(kind, {})
        if name in known and _origin(known[name]) != _origin(cls):
            raise ConfigError(f"A {kind} named '{name}' is registered already, by {known[name].__qualname__}.")
        known[name] = cls
        return cls

    return put


def _origin(cls: type) -> tuple[str, str]:
    """Where a class is from: that of a user's file may be registered again, after an edit or from a run's copy."""
    if cls.__module__.startswith(USER_MODULE):
        return Path(str(sys.modules[cls.__module__].__file__)).name, cls.__qualname__
    return cls.__module__, cls.__qualname__


def registered(kind: str) -> dict[str, type]:
    """Every class of this kind, by name."""
    return dict(_parts.get(kind, {}))


def kinds() -> list[str]:
    """The kinds of parts there are."""
    return sorted(_parts)


def find(kind: str, name: str) -> Any:
    """The class registered under this kind and name; :class:`ConfigError` with the nearest name if there is none."""
    known = _parts.get(kind, {})
    if name not in known:
        raise ConfigError(f"There is no {kind} named '{name}'. {nearest(name, known)}")
    return known[name]


def load_part_file(path: str | Path) -> None:
    """Execute a user's Python file so that its ``@register`` lines take effect. The same content is read once."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"part_files names {str(path)!r}, and there is no such file.")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest in _loaded_files:
        return
    name = USER_MODULE + digest[:12]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"part_files names {str(path)!r}, which is not a Python file (its name must end in .py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"The part file {str(path)!r} cannot be read: {type(error).__name__}: {error}") from error
    _loaded_files[digest] = path
