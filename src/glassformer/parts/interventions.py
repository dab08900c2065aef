"""Changing what a model computes while it runs: any activation or single head zeroed, averaged, exchanged or replaced.

    with intervene(model, zero("blocks.2.attention.heads", head=3)):
        model(tokens)  # as if the output projection had no columns for that head

Interventions name activations as :mod:`~glassformer.parts.probes` does, patterns too, and act in the order in which
they are given. What stands *before* the output projection, ``attention.heads``, is where a single head can be taken
out: after it the heads are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.errors import ConfigError, DataError
from glassformer.parts.probes import matching_probes, watch

HEADED = ("query", "key", "value", "scores", "masked_scores", "weights", "heads", "expert_outputs")
"""Last words of the names of activations [B, H, T, …], in which a head (of ``expert_outputs``, an expert) has its own
slice."""

OF_ROUTERS = "router.logits"
"""Last words of the logits [B, T, E] from which a router chooses experts."""

AGAINST_KEYS = ("scores", "masked_scores", "weights")
"""Those of them whose last axis is the keys: averaged over queries they would depend on later tokens."""

HEADS, TOKENS = -3, -2  # axes

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Intervention:
    """A change to the activations that ``name`` matches, or to a part of them. Made by the functions below.

    Attributes:
        name: of the activation, or a shell-style pattern of several.
        change: the activation (or its part) → what stands in its place, of a shape that broadcasts to it.
        head: which head alone is changed, from 0; of ``key`` and ``value`` it is a key-value head.
        tokens: which tokens alone are changed; of scores and weights these are queries.
        sees_all: whether ``change`` is given all tokens even so, and what it makes of the others is not used.
    """

    name: str
    change: Change
    head: int | None = None
    tokens: tuple[int, ...] | None = None
    sees_all: bool = False

    def __call__(self, name: str, activation: Tensor) -> Tensor:
        """The activation with the change in place; what was given is not written to."""
        if self.head is None and self.tokens is None:
            return self._changed(name, activation)
        if self.head is not None:
            self._check_in_range(name, activation, HEADS, self.head)
        for token in self.tokens or ():
            self._check_in_range(name, activation, TOKENS, token)
        tokens = slice(None) if self.tokens is None else list(self.tokens)
        part = activation if self.head is None else activation.select(HEADS, self.head).unsqueeze(HEADS)
        new = self._changed(name, part)[..., tokens, :] if self.sees_all else self._changed(name, part[..., tokens, :])
        whole = activation.clone()
        if self.head is None:
            whole[..., tokens, :] = new
        else:
            whole.select(HEADS, self.head)[..., tokens, :] = new.squeeze(HEADS)
        return whole

    def _changed(self, name: str, part: Tensor) -> Tensor:
        new = self.change(part)
        try:
            return new.to(part).expand(part.shape)
        except RuntimeError as error:
            raise DataError(
                f"What shall replace {name} has the shape {list(new.shape)}; needed is {list(part.shape)}, or what "
                "broadcasts to it."
            ) from error

    def _check_in_range(self, name: str, activation: Tensor, axis: int, index: int) -> None:
        size, what = activation.shape[axis], "head" if axis == HEADS else "token"
        if not -size <= index < size:
            raise ConfigError(
                f"{name} has {size} {what}s, numbered from 0; there is no {what} {index}.", subject="intervention"
            )


def zero(name: str, *, head: int | None = None, tokens: Sequence[int] | None = None) -> Intervention:
    """Put zeros there."""
    return transform(name, torch.zeros_like, head=head, tokens=tokens)


def mean(
    name: str, *, head: int | None = None, tokens: Sequence[int] | None = None, over: Tensor | None = None
) -> Intervention:
    """Put the mean there, which carries nothing of this text but has the usual size.

    With ``tokens``, only those are replaced, by the mean over all.

    Args:
        over: the activations that are averaged, as a :class:`~glassformer.models.trace.Trace` of other texts holds
            them (the whole of them, all heads); unless given, those of the pass itself. They are averaged over
            sequences and tokens; scores and weights over sequences alone, so that nothing looks ahead.
    """
    if over is not None and head is not None:
        over = over.select(HEADS, head).unsqueeze(HEADS)

    def average(activation: Tensor) -> Tensor:
        seen = activation if over is None else over
        against_keys = name.rpartition(".")[2] in AGAINST_KEYS
        axes = [axis for axis in (0, None if against_keys else seen.dim() + TOKENS) if axis is not None]
        return seen.mean(sorted(set(axes)), keepdim=True)

    return transform(name, average, head=head, tokens=tokens, sees_all=True)


def resample(name: str, *, head: int | None = None, tokens: Sequence[int] | None = None, seed: int = 0) -> Intervention:
    """Put another sequence's activation there: a real one, of the wrong text. Needs two sequences or more.

    Args:
        seed: of the order in which the sequences of the batch are passed around; none keeps its own.
    """

    def exchange(activation: Tensor) -> Tensor:
        rows = len(activation)
        if rows < 2:
            raise DataError(
                f"To resample {name} takes at least 2 sequences in the batch, and there is {rows}; add some, or use "
                "replace() with an activation of another trace."
            )
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).to(activation.device)
        exchanged = torch.empty_like(activation)
        exchanged[order] = activation[order.roll(1)]  # each is given the one before it, in a random order
        return exchanged

    return transform(name, exchange, head=head, tokens=tokens)


def replace(name: str, value: Tensor, *, head: int | None = None, tokens: Sequence[int] | None = None) -> Intervention:
    """Put ``value`` there, of the activation's shape or one that broadcasts to it.

    With a head the value is that head's, the axis of heads 1 or left out: [B, T, d_head] of ``attention.heads``.
    """

    def put(activation: Tensor) -> Tensor:
        lacks_head = head is not None and value.dim() == activation.dim() - 1
        return value.unsqueeze(HEADS) if lacks_head else value

    return transform(name, put, head=head, tokens=tokens)


def without_expert(name: str, expert: int, *, tokens: Sequence[int] | None = None) -> Intervention:
    """Switch an expert off: its logit becomes −∞, so its tokens go to the next best instead.

    To leave a token's choice as it is and take out what the expert adds, zero ``feedforward.expert_outputs``, with the
    expert as ``head``.

    Args:
        name: of router logits, ``blocks.2.feedforward.router.logits``.
    """

    def switch_off(logits: Tensor) -> Tensor:
        _check_expert(name, logits, expert)
        return logits.index_fill(-1, torch.tensor([expert], device=logits.device), -torch.inf)

    return _of_router(name, switch_off, tokens)


def route_to(name: str, expert: int, *, tokens: Sequence[int] | None = None) -> Intervention:
    """Force a route: every other expert's logit becomes −∞, so the tokens are this expert's alone.

    Args:
        name: of router logits, ``blocks.2.feedforward.router.logits``.
    """

    def force(logits: Tensor) -> Tensor:
        _check_expert(name, logits, expert)
        forced = torch.full_like(logits, -torch.inf)
        forced[..., expert] = logits[..., expert]
        return forced

    return _of_router(name, force, tokens)


def _of_router(name: str, change: Change, tokens: Sequence[int] | None) -> Intervention:
    if not name.endswith(OF_ROUTERS):
        raise ConfigError(
            f"{name} is not the logits of a router, which are named …feedforward.{OF_ROUTERS}.", subject="intervention"
        )
    return transform(name, change, tokens=tokens)


def _check_expert(name: str, logits: Tensor, expert: int) -> None:
    n_experts = logits.shape[-1]
    if not 0 <= expert < n_experts:
        raise ConfigError(
            f"{name} has {n_experts} experts, numbered from 0; there is no expert {expert}.", subject="intervention"
        )


def transform(
    name: str,
    change: Change,
    *,
    head: int | None = None,
    tokens: Sequence[int] | None = None,
    sees_all: bool = False,
) -> Intervention:
    """Put there what ``change`` makes of it; of ``tokens`` alone, if they are given, unless it ``sees_all``."""
    if head is not None and name.rpartition(".")[2] not in HEADED:
        raise ConfigError(
            f"{name} has no heads of its own; activations that have are named …{', …'.join(HEADED)}, and "
            "attention.heads is where a head is whole and not yet mixed with the others.",
            subject="intervention",
        )
    return Intervention(name, change, head, None if tokens is None else tuple(tokens), sees_all)


@contextmanager
def intervene(model: nn.Module, *interventions: Intervention) -> Iterator[None]:
    """Every forward pass inside the block is changed so; the model itself is not.

    Raises:
        ConfigError: names that match no activation, all of them at once; when the pass runs: a head or token that is
            not there.
        DataError: when the pass runs: a replacement of the wrong shape.
    """
    complaints = []
    for intervention in interventions:
        try:
            matching_probes(model, intervention.name)
        except ConfigError as error:
            complaints += error.complaints
    if complaints:
        raise ConfigError(complaints, subject="intervention")
    with ExitStack() as stack:
        for intervention in interventions:
            stack.enter_context(watch(model, intervention, intervention.name))
        yield
