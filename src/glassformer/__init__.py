"""glassformer: a glass-box Transformer workbench.

    import glassformer as gf

    gf.describe()  # what this machine is

The public names live in the rooms below and are imported when they are first asked for, so that ``import glassformer``
costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# The public surface: name -> the module it lives in.
_EXPORTS = {
    "GlassformerError": "glassformer.errors",
    "describe": "glassformer.machine",
    "loss_chart": "glassformer.charts",
    "register": "glassformer.registry",
    "save_chart": "glassformer.charts",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 - every key is a str


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'glassformer' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value  # asked for once, found at once from then on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
