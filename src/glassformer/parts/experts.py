"""A layer of experts: E feed-forward layers of any registered kind, of which each token is given to K.

    y = Σₖ gₖ · expertₖ(x)  (+ shared(x))

The experts are one module whose projections hold E matrices each (:class:`~glassformer.parts.grouped_products.
ExpertLinear`), so any feed-forward class that makes them by its ``linear`` argument is an expert, a user's own too.

============ ================================================================ =================================
path         how                                                              taken
============ ================================================================ =================================
``fused``    pairs of tokens and experts, sorted by expert; one grouped       by default
             product for each projection
``explicit`` every expert on every token, the weights 0 where it was not      where a probe watches the layer,
             chosen: all activations have an axis of experts                  and under ``torch.func``
============ ================================================================ =================================

No token is ever dropped. The paths compute the same function; which is taken is decided anew at each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from glassformer.errors import ConfigError
from glassformer.parts.context import Context
from glassformer.parts.feedforward import LinearFactory
from glassformer.parts.grouped_products import ExpertLinear, Groups
from glassformer.parts.losses import ROUTING, Losses, Routing
from glassformer.parts.probes import Probe
from glassformer.parts.routers import Choice, Router

OWN_LAYERS = (nn.Linear, nn.Conv1d, nn.Embedding)


class Experts(nn.Module):
    """x [B, T, d_model] → ([B, T, d_model], losses): see the module's docstring.

    Args:
        router: which experts a token is given to.
        make: a factory of linear layers → one expert. Its ``linear`` makes every layer E times.
        shared: a feed-forward layer that every token passes; None for none.
        balance: weight of the balance loss; 1 would add 1 for each layer in balance.
        z_loss: weight of the squared log-sum-exp of the router's logits.

    Attributes:
        path: "fused" or "explicit", as an attention's.

    Raises:
        ConfigError: an expert that has linear layers of its own, which all experts would share; when it runs: one that
            returns losses of its own.
    """

    takes_context = True

    def __init__(
        self,
        router: Router,
        make: Callable[[LinearFactory], nn.Module],
        *,
        shared: nn.Module | None = None,
        balance: float = 0.0,
        z_loss: float = 0.0,
    ) -> None:
        super().__init__()
        self.router = router
        self.groups = Groups()
        self.experts = make(partial(ExpertLinear, router.n_experts, self.groups))
        if any(isinstance(each, OWN_LAYERS) for each in self.experts.modules()):
            raise ConfigError(
                f"{type(self.experts).__qualname__} cannot be an expert: it makes linear layers of its own. Make them "
                "by its argument linear, as in linear(d_model, d_ff, bias=bias).",
                subject="model",
            )
        self.shared = shared
        self.balance, self.z_loss = balance, z_loss
        self.path = "fused"
        self.expert_outputs, self.output = Probe(), Probe()

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor | tuple[Tensor, Losses]:
        """With a context that has no cache, the losses too: generation has no use for them."""
        choice = self.router(x)
        y = self._explicit(x, choice) if self._is_explicit() else self._fused(x, choice)
        if self.shared is not None:
            y = y + self.shared(x)
        y = self.output(y)
        if context is not None and context.slots is not None:
            return y
        return y, {ROUTING: (self._routing(choice, None if context is None else context.counted),)}

    def _is_explicit(self) -> bool:
        if torch.compiler.is_compiling():
            return self.path == "explicit"
        watched = (self.router.gates, self.expert_outputs, *self.experts.modules())
        return (
            self.path == "explicit"
            or torch._C._are_functorch_transforms_active()  # noqa: SLF001 - there is no public question
            or any(isinstance(each, Probe) and each.watched for each in watched)
        )

    def _explicit(self, x: Tensor, choice: Choice) -> Tensor:
        """Every expert on every token."""
        n_rows, n_tokens, _ = x.shape
        n_experts = self.router.n_experts
        flat = torch.zeros(n_rows * n_tokens * n_experts, dtype=choice.weight.dtype, device=x.device)
        flat = flat.scatter_add(0, choice.token * n_experts + choice.expert, choice.weight)
        weights = self.router.gates(flat.view(n_rows, n_tokens, n_experts))
        outputs = self.expert_outputs(self._run(x[:, None], None))  # [B, E, T, d_model]
        return (weights.transpose(1, 2)[..., None] * outputs).sum(1).to(outputs.dtype)

    def _fused(self, x: Tensor, choice: Choice) -> Tensor:
        """Each expert on its own tokens."""
        experts, order = choice.expert.sort(stable=True)  # [P]
        ends = torch.searchsorted(experts, torch.arange(self.router.n_experts, device=x.device), right=True)
        flat = x.flatten(0, 1)
        rows = self._run(flat[choice.token[order]], ends)  # [P, d_model]
        if choice.per_token is None:
            weighed = rows * choice.weight[order, None]
            y = torch.zeros_like(flat, dtype=weighed.dtype).index_add(0, choice.token[order], weighed)
        else:  # a token's own outputs in a fixed order: the sum is the same bit for bit every time
            back = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
            own = rows.index_select(0, back).view(len(flat), choice.per_token, -1)
            y = torch.bmm(choice.weight.to(own.dtype).view(len(flat), 1, -1), own)
        return y.to(rows.dtype).view_as(x)

    def _run(self, x: Tensor, ends: Tensor | None) -> Tensor:
        """The experts on rows that ``ends`` divides, or on an axis of their own."""
        self.groups.ends = ends
        try:
            y = self.experts(x)
        finally:
            self.groups.ends = None
        if isinstance(y, tuple):
            raise ConfigError(
                f"{type(self.experts).__qualname__} cannot be an expert: it returns losses of its own.", subject="model"
            )
        found: Tensor = y
        return found

    def _routing(self, choice: Choice, counted: Tensor | None) -> Routing:
        probabilities = choice.probabilities
        kept = probabilities.new_ones(probabilities.shape[:2]) if counted is None else counted.to(probabilities.dtype)
        load = torch.zeros_like(probabilities[0, 0]).scatter_add(0, choice.expert, kept.flatten()[choice.token])
        balance = z = None
        if self.balance:
            weight = self.balance * self.router.n_experts
            balance = weight * (probabilities * kept[..., None]).sum((0, 1))
        if self.z_loss:
            z = self.z_loss * (choice.logits.logsumexp(-1).square() * kept).sum()
        own = probabilities.detach()
        entropy = (-torch.xlogy(own, own).sum(-1) * kept).sum()
        return Routing(load, balance, z, entropy, kept.sum())

    def active_parameters(self) -> int:
        """Those that a token meets: K experts' of E, and the router's and the shared experts'."""
        every = sum(each.numel() for each in self.parameters())
        experts = sum(each.numel() for each in self.experts.parameters())
        return every - experts + experts * self.router.n_active // self.router.n_experts


def balance_routers(layers: Mapping[str, Experts], routing: Sequence[Routing]) -> None:
    """After an update: every router changes its selection bias, if it has one, by the loads of the whole step."""
    for layer, own in zip(layers.values(), routing, strict=bool(routing)):
        layer.router.balance(own.load)


def layers_of_experts(model: nn.Module) -> dict[str, Experts]:
    """Every layer of experts of a model by its name, in the order of the forward pass."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Experts)}
