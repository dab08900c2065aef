"""JSON that every reader accepts: the one way in which the product writes objects for other programs.

Python writes ``NaN`` and ``Infinity``, which JSON does not have and other readers refuse. Here they are ``null``.
(``metrics.jsonl`` is read back, and spells them as strings: :mod:`glassformer.runs.metrics`.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON text, numbers that are not finite as ``null``.

    >>> strict_json({"loss": float("nan"), "steps": [1, float("inf")]})
    '{"loss": null, "steps": [1, null]}'
    """
    return json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """Plain values with None for every number that is not finite; tuples become lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
