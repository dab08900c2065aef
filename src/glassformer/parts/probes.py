"""Probe points: a stable dotted name for every activation, and a recorder that attaches from outside.

A :class:`Probe` is the identity. Its name is where it stands in the module tree, so the attention weights of the
fourth block are ``blocks.3.attention.weights`` in every model. Nothing is kept, and nothing is computed, unless
somebody attaches; a compiled graph does not contain it at all.

    with record(model, "blocks.*.attention.weights") as seen:
        model(tokens)
    seen["blocks.3.attention.weights"]  # [batch, head, query, key]
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from glassformer.errors import ConfigError, nearest


class Probe(nn.Module):
    """The identity, with a name. A forward hook on it sees the activation, and may return another in its place."""

    def __call__(self, x: Tensor) -> Tensor:
        if not self._forward_hooks:  # a module's own call asks for eight kinds of hooks: it is 15 times as long
            return x
        seen: Tensor = super().__call__(x)
        return seen

    def forward(self, x: Tensor) -> Tensor:
        return x

    @property
    def watched(self) -> bool:
        """Whether anyone attached: parts use it to compute what only an observer needs (the weights, say)."""
        return not torch.compiler.is_compiling() and len(self._forward_hooks) > 0


def probe_points(model: nn.Module) -> dict[str, Probe]:
    """Every probe of a model by its dotted name, in the order of the module tree."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Probe)}


def matching_probes(model: nn.Module, *patterns: str) -> dict[str, Probe]:
    """The probes whose names match any of the shell-style patterns (``blocks.*.attention.weights``).

    Raises:
        ConfigError: a pattern matches nothing; the nearest name is suggested.
    """
    points = probe_points(model)
    chosen: dict[str, Probe] = {}
    for pattern in patterns:
        found = {name: point for name, point in points.items() if fnmatch.fnmatchcase(name, pattern)}
        if not found:
            raise ConfigError(f"No activation is named '{pattern}'. {nearest(pattern, points)}", subject="recording")
        chosen |= found
    return chosen


@contextmanager
def watch(model: nn.Module, see: Callable[[str, Tensor], Tensor | None], *patterns: str) -> Iterator[None]:
    """Call ``see(name, activation)`` for each matching activation; what it returns, if anything, replaces it."""

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        return lambda _module, _inputs, output: see(name, output)

    handles = [
        probe.register_forward_hook(hook_for(name))
        for name, probe in matching_probes(model, *patterns or ("*",)).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def record(model: nn.Module, *patterns: str) -> Iterator[dict[str, Tensor]]:
    """Keep every matching activation of the forward passes inside the block, by name (the last pass wins).

    The tensors are those of the pass, with their history: gradients can flow through what was recorded.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str, activation: Tensor) -> None:
        seen[name] = activation

    with watch(model, keep, *patterns):
        yield seen
