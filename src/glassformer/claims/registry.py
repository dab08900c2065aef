"""All claims, by their ids."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache

from glassformer.claims.claim import Claim
from glassformer.errors import ConfigError, nearest

IDS = (
    "residual-loss",
    "residual-gradients",
    "residual-depth",
    "residual-derivative",
    "norm-helps",
    "layernorm-optional",
    "layer-vs-batch-norm",
    "scale-sqrt-dk",
    "q-only",
    "learned-vs-sinusoidal",
    "no-position",
    "no-token-embedding",
    "causal-cache",
    "mask-by-zero",
    "heads-differ",
    "ffn-is-conv",
    "pe-norm",
    "pe-distance",
    "teacher-forcing",
    "ignore-index",
    "kaplan-numbers",
)
"""In the order in which they are listed; the claim ``a-b`` stands as ``CLAIM`` in ``claims/a_b.py``."""


@cache
def claim(name: str) -> Claim:
    """The claim of this id; its file is imported now.

    Raises:
        ConfigError: there is none; the nearest is suggested.
    """
    (found,) = claims([name])
    return found


def claims(names: Sequence[str] = IDS) -> list[Claim]:
    """The claims of these ids, each once, in the order given.

    Raises:
        ConfigError: for every id that is none.
    """
    names = list(dict.fromkeys(names))
    unknown = [f"There is no claim '{name}'. {nearest(name, IDS)}" for name in names if name not in IDS]
    if unknown:
        raise ConfigError(unknown, subject="command")
    return [importlib.import_module(f"glassformer.claims.{name.replace('-', '_')}").CLAIM for name in names]
