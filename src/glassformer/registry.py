"""Parts by kind and name, and the user's own beside ours.

    @register("norm", "centred")
    class CentredNorm(nn.Module): ...

A registered name can stand in a configuration (``norm.kind=centred``), and the contract suite
(``glassformer.testing``) runs over everything that is registered. A user's file is executed by :func:`load_part_file`.
A ``ModelConfig`` opens each of its ``part_files`` by :func:`open_part_file`, which executes only what is trusted
(:mod:`glassformer.trust`): a configuration may be a stranger's.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from glassformer import trust
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
    """Execute a user's Python file so that its ``@register`` lines take effect. The same content is executed once.

    Its content is trusted from then on, on this machine: who calls this has named the file themselves.

    Raises:
        ConfigError: there is no such file, or it cannot be executed.
    """
    path, content, digest = _read_part_file(path)
    _execute(path, content, digest)
    trust.remember(digest)


def open_part_file(path: str | Path) -> None:
    """What a configuration does with a file that it names: :func:`load_part_file`, if the content is trusted.

    Raises:
        ConfigError: it is not trusted (the message has its SHA-256 and what to do), or as :func:`load_part_file`.
    """
    path, content, digest = _read_part_file(path)
    if digest not in _loaded_files and not trust.is_trusted(digest):
        raise ConfigError(
            f"The part file {str(path)!r} is Python code, and nothing shows that it was written or used on this "
            f"machine before, so it was not executed. SHA-256: {digest}. Read it; if you trust it, repeat the command "
            "with --trust-parts (in Python: trust_parts=True, or glassformer.load_part_file(path) first)."
        )
    _execute(path, content, digest)


def part_file_content(path: str | Path) -> bytes:
    """The content of a part file that a configuration of this process has executed, for a copy of it.

    Raises:
        ConfigError: it is gone, or its content is not what was executed.
    """
    path, content, digest = _read_part_file(path)
    if digest not in _loaded_files:
        raise ConfigError(f"The part file {str(path)!r} has changed since it was executed. Start again.")
    return content


def _read_part_file(path: str | Path) -> tuple[Path, bytes, str]:
    path = Path(path)
    try:
        if not path.is_file():
            raise ConfigError(f"part_files names {str(path)!r}, and there is no such file.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"part_files names {str(path)!r}, which cannot be read: {error}.") from error
    return path, content, hashlib.sha256(content).hexdigest()


def _execute(path: Path, content: bytes, digest: str) -> None:
    """Run the very bytes that were hashed, as a module of their own."""
    if digest in _loaded_files:
        return
    name = USER_MODULE + digest[:12]
    if path.suffix != ".py":
        raise ConfigError(f"part_files names {str(path)!r}, which is not a Python file (its name must end in .py).")
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    linecache.cache[str(path)] = (len(content), None, content.decode(errors="replace").splitlines(True), str(path))
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - what a part file is for
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"The part file {str(path)!r} cannot be read: {type(error).__name__}: {error}") from error
    _loaded_files[digest] = path
    trust.note_executed(digest)
