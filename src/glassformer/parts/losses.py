"""Auxiliary losses: what a part wants to be small beside the objective, an expert's load balance for one.

A sublayer returns its output ``y``, or ``(y, {"smallness": loss})`` with scalars that are means over the tokens it was
given, weighed as they shall be added. They are returned and never stored, so that the pass stays a function: under
``torch.func``, a compiler, and checkpointing alike. Losses of one name are added up over the layers.

The balance of experts is no mean over tokens but a product of two, and a product of sums over pieces is not the sum of
their products. So a layer of experts returns the sums themselves (:class:`Routing`), and :func:`settled` makes the
losses of them: of a pass alone, or of a piece with the loads of the whole step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ROUTING = "routing"
"""The name under which layers of experts return theirs."""


class Routing(NamedTuple):
    """What one layer of experts did with its tokens: sums over those that count (no pads), so that pieces add up.

    Attributes:
        load: [E], how many tokens each expert was given; a token counts once for each of its experts. Without a
            gradient.
        balance: [E], the router's probability of each expert, times E and the weight of the balance loss; None without.
        z: the squared log-sum-exp of the router's logits, times the weight of the z-loss; None without.
        entropy: of the router's distribution, in nats. Without a gradient.
        tokens: how many they are.
    """

    load: Tensor
    balance: Tensor | None
    z: Tensor | None
    entropy: Tensor
    tokens: Tensor

    @property
    def shares(self) -> Tensor:
        """[E], of the load; they sum to 1."""
        return self.load / self.load.sum().clamp_min(1)


Term = Tensor | tuple[Routing, ...]
Losses = dict[str, Term]
"""Scalars by name, and under :data:`ROUTING` what each layer of experts did, the first layer first."""


def split_losses(returned: Tensor | tuple[Tensor, Losses]) -> tuple[Tensor, Losses]:
    """What a sublayer returned → its output and its losses."""
    return returned if isinstance(returned, tuple) else (returned, {})


def add_losses(first: Losses, second: Losses) -> Losses:
    """The sum of each name; of routing, the layers of both."""
    if not second:
        return first
    return first | {name: first[name] + loss if name in first else loss for name, loss in second.items()}  # type: ignore[operator]


def routing_of(losses: Losses) -> tuple[Routing, ...]:
    """What each layer of experts did; none without experts."""
    found = losses.get(ROUTING, ())
    return found if isinstance(found, tuple) else ()


def scalars_of(losses: Losses) -> dict[str, Tensor]:
    """The losses that are means over tokens."""
    return {name: loss for name, loss in losses.items() if isinstance(loss, Tensor)}


def settled(losses: Losses) -> dict[str, Tensor]:
    """All losses of a pass as scalars by name, those of its experts too."""
    return scalars_of(losses) | expert_losses(routing_of(losses))


def expert_losses(routings: Sequence[Routing], step: Sequence[Routing] | None = None) -> dict[str, Tensor]:
    """The sums over the layers of the experts' losses, by name; a piece's shares, where ``step`` is given.

    - ``balance`` = w · E · Σᵢ fᵢ Pᵢ: f the shares of the load, which sum to 1, P the mean probabilities (Fedus et al.
      2021, Switch Transformer, eq. 4): w where all experts are given as many. The fᵢ are those of the step.
    - ``router_z`` = w · mean (logsumexp z)² (Zoph et al. 2022, ST-MoE, eq. 5).
    """
    found: dict[str, Tensor] = {}
    for routing, whole in zip(routings, routings if step is None else step, strict=True):
        tokens = whole.tokens.clamp_min(1)
        own = {} if routing.balance is None else {"balance": (whole.shares * routing.balance).sum() / tokens}
        own |= {} if routing.z is None else {"router_z": routing.z / tokens}
        found |= {name: found[name] + loss if name in found else loss for name, loss in own.items()}
    return found


def detached(routings: Sequence[Routing]) -> tuple[Routing, ...]:
    """The same without gradients."""
    return tuple(
        Routing(
            routing.load.detach(),
            None if routing.balance is None else routing.balance.detach(),
            None if routing.z is None else routing.z.detach(),
            routing.entropy.detach(),
            routing.tokens.detach(),
        )
        for routing in routings
    )


def add_routings(first: Sequence[Routing], second: Sequence[Routing]) -> tuple[Routing, ...]:
    """The sums of two pieces of a batch, layer by layer; either may be of none."""
    if not first or not second:
        return tuple(first or second)
    return tuple(
        Routing(
            one.load + other.load,
            None if one.balance is None or other.balance is None else one.balance + other.balance,
            None if one.z is None or other.z is None else one.z + other.z,
            one.entropy + other.entropy,
            one.tokens + other.tokens,
        )
        for one, other in zip(first, second, strict=True)
    )


def describe(names: Sequence[str], routings: Sequence[Routing]) -> Mapping[str, dict[str, float | list[float]]]:
    """Plain numbers of each layer by its name: shares of the tokens, entropy in nats, and the largest excess of load.

    The last is MaxVio of Wang et al. 2024 (arXiv 2408.15664): (maximum − mean) / mean of the loads; 0 is balance.
    """
    found: dict[str, dict[str, float | list[float]]] = {}
    for name, routing in zip(names, routings, strict=True):
        share = routing.shares.double()
        found[name] = {
            "load": share.tolist(),
            "entropy": float(routing.entropy / routing.tokens.clamp_min(1)),
            "max_violation": float(share.max() * len(share) - 1) if torch.is_nonzero(routing.tokens) else 0.0,
        }
    return found
