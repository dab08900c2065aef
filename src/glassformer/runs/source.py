"""What code made a run: a digest of the source that its numbers depend on.

Two runs of one configuration are the same run only if the same code made them, and a version number does not say so
while the code is being worked on. The digest is over the rooms of the package that a run's arithmetic goes through, as
syntax trees: docstrings, comments and layout are not in it, and neither are the rooms that only start, compare or draw
runs. The user's own part files have digests of their own.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import glassformer

ROOMS = (
    "config.py", "registry.py", "numbers.py", "speed.py",
    "data", "generation", "models", "parts", "scoring", "tasks", "training",
)  # fmt: skip
"""Of the package: where the data are made, the model is built and trained, and its loss is measured."""

SUFFIXES = (".py", ".json")
"""Code, and the data that generated tasks are made from."""


@functools.cache
def source_digest(package: Path = Path(glassformer.__file__).parent) -> str:
    """The SHA-256, in hexadecimal, of the source that a run's numbers depend on, read once in a process.

    An installation without source files (compiled ones only, or a zip archive) has ``"no source, VERSION"`` instead.
    """
    digest = hashlib.sha256()
    files = list(_files(package))
    if not any(path.suffix == ".py" for path in files):
        return f"no source, {glassformer.__version__}"
    for path in files:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(package).as_posix()}\0".encode())
        digest.update(_code(content) if path.suffix == ".py" else content)
    return digest.hexdigest()


def _files(package: Path) -> Iterator[Path]:
    """The files of the rooms, in an order that does not depend on the file system."""
    for room in ROOMS:
        path = package / room
        found = [path] if path.is_file() else [each for each in path.rglob("*") if each.suffix in SUFFIXES]
        yield from sorted(found)


def _code(source: bytes) -> bytes:
    """What a file's source says to Python; as it stands if that is nothing."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    parts: list[str] = []
    _write(tree, parts)
    return "\0".join(parts).encode()


def _write(node: ast.AST, parts: list[str]) -> None:
    """Append a syntax tree as text: without positions, and without strings that are statements, such as docstrings.

    Unlike ``ast.dump`` it is the same for every version of Python: fields that are empty are left out.
    """
    parts.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if name == "ctx" or value is None:  # whether a name is read or written follows from where it is
            continue
        if isinstance(value, ast.AST):
            parts.append(name)
            _write(value, parts)
        elif not isinstance(value, list):
            parts.append(f"{name}={value!r}")
        elif kept := [each for each in value if not _is_docstring(each)]:
            parts.append(f"{name} {len(kept)}")
            for each in kept:
                _write(each, parts) if isinstance(each, ast.AST) else parts.append(repr(each))
    parts.append(")")


def _is_docstring(node: Any) -> bool:
    return type(node) is ast.Expr and type(node.value) is ast.Constant and type(node.value.value) is str
