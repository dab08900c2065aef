"""Routers: which experts a token is given to, and what each expert's output is multiplied by.

B rows, T tokens, E experts, K of them for a token. Every router computes in float32 whatever the rest is in: in bf16
the order of two experts is decided by rounding, and trainings diverge (Fedus et al. 2021, table 2).

=================== ======================================================== =======================================
router              a token is given to                                      weight of expert i's output
=================== ======================================================== =======================================
``softmax``         the K largest p = softmax(z)                             pᵢ, over their sum if renormalised
``sigmoid``         the K largest s + b, s = sigmoid(z); b: a selection bias sᵢ, over their sum if renormalised
``softmax-capacity`` as softmax, but an expert takes the first C tokens only pᵢ, and 0 for what is over
``expert-choice``   each expert takes the C tokens with its largest pᵢ       pᵢ
=================== ======================================================== =======================================

The last two break promises, and say which (:attr:`Router.breaks`): what an expert still takes depends on other tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.parts.probes import Probe
from glassformer.registry import register

OTHER_TOKENS = "what an expert still takes depends on the other tokens of the batch"
OF_OTHER_TOKENS = (
    "causal_is_causal",
    "padding_is_nothing",
    "rows_do_not_see_each_other",
    "cached_equals_uncached",
    "cached_equals_uncached_with_left_padding",
    "a_tree_equals_each_of_its_paths",
)


class Choice(NamedTuple):
    """Which pairs of a token and an expert there are: P of them, a token's together.

    Attributes:
        token: int64 [P], the token's index among all B · T.
        expert: int64 [P].
        weight: [P], of the expert's output.
        probabilities: [B, T, E], of the router, sums of 1 over E: for the balance loss and the entropy.
        logits: [B, T, E].
        per_token: K where every token has as many pairs; None where that differs.
    """

    token: Tensor
    expert: Tensor
    weight: Tensor
    probabilities: Tensor
    logits: Tensor
    per_token: int | None


class Router(nn.Module):
    """Token choice: a linear layer without bias, a distribution, and the K best experts of each token.

    A subclass changes :meth:`scores`, :meth:`selection` or :meth:`choose`.

    Args:
        n_active: experts for each token, K.
        renormalise: divide the weights of a token's experts by their sum.
        scale: of all weights.
        jitter: in training, the router's input is multiplied by uniform 1 ± jitter.

    Attributes:
        breaks: promises of :mod:`glassformer.testing` that models with this router do not keep, and why. The suite
            checks that these, and no others, are broken.
        selection_bias: whether there is a bias that balances the loads (:meth:`balance`).
        takes_capacity: whether it has a ``capacity``.
        equal_loads: whether every expert is given as many tokens by construction.
        renormalises: whether ``renormalise`` means anything to it.
    """

    breaks: ClassVar[Mapping[str, str]] = {}
    selection_bias: ClassVar[bool] = False
    takes_capacity: ClassVar[bool] = False
    equal_loads: ClassVar[bool] = False
    renormalises: ClassVar[bool] = True

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        n_active: int,
        *,
        renormalise: bool = True,
        scale: float = 1.0,
        jitter: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_experts, self.n_active = n_experts, n_active
        self.renormalise, self.scale, self.jitter = renormalise, scale, jitter
        self.projection = nn.Linear(d_model, n_experts, bias=False)
        self.logits, self.gates = Probe(), Probe()

    def forward(self, x: Tensor) -> Choice:
        """[B, T, d_model] → the pairs of tokens and experts."""
        exact = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            x = x.to(exact)
            if self.training and self.jitter:
                x = x * torch.empty_like(x).uniform_(1 - self.jitter, 1 + self.jitter)
            logits: Tensor = self.logits(F.linear(x, self.projection.weight.to(exact)))  # [B, T, E]
            return self.choose(logits)

    def scores(self, logits: Tensor) -> Tensor:
        """What experts are compared and weighed by, [B, T, E]."""
        return logits.softmax(-1)

    def selection(self, scores: Tensor) -> Tensor:
        """What experts are compared by, if it is not the scores themselves."""
        return scores

    def probabilities(self, scores: Tensor) -> Tensor:
        """The scores as a distribution."""
        return scores

    def choose(self, logits: Tensor) -> Choice:
        """Logits [B, T, E] → the K best experts of each token, by falling score."""
        scores = self.scores(logits)
        experts = self.selection(scores).topk(self.n_active, dim=-1).indices  # [B, T, K]
        weights = scores.gather(-1, experts)
        if self.renormalise:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        n_tokens = logits.shape[0] * logits.shape[1]
        token = torch.arange(n_tokens, device=logits.device)[:, None].expand(-1, self.n_active)
        return Choice(
            token.flatten(),
            experts.flatten(),
            (self.scale * weights).flatten(),
            self.probabilities(scores),
            logits,
            self.n_active,
        )

    def balance(self, load: Tensor) -> None:
        """After an update: what the router changes, given how many tokens [E] each expert was given in the step."""


@register("router", "softmax")
class SoftmaxRouter(Router):
    """Shazeer et al. 2017 (arXiv 1701.06538); renormalised (Mixtral, arXiv 2401.04088), or not (Switch, OLMoE)."""


@register("router", "sigmoid")
class SigmoidRouter(Router):
    """Scores that do not compete, and a bias that balances the loads without a loss (Wang et al. 2024, arXiv
    2408.15664, algorithm 1; DeepSeek-V3, arXiv 2412.19437). The bias enters the selection, never the weight.

    Args:
        bias_rate: by how much an update raises the bias of an expert with less than the mean load, or lowers it.
    """

    selection_bias = True

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        n_active: int,
        *,
        renormalise: bool = True,
        scale: float = 1.0,
        jitter: float = 0.0,
        bias_rate: float = 1e-3,
    ) -> None:
        super().__init__(d_model, n_experts, n_active, renormalise=renormalise, scale=scale, jitter=jitter)
        self.bias_rate = bias_rate
        self.register_buffer("bias", torch.zeros(n_experts))
        self.bias: Tensor

    def scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def selection(self, scores: Tensor) -> Tensor:
        return scores + self.bias

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores / (scores.sum(-1, keepdim=True) + 1e-20)

    @torch.no_grad()
    def balance(self, load: Tensor) -> None:
        """B += rate · sign(mean load − load), less the mean of that, so that the biases stay centred."""
        step = self.bias_rate * torch.sign(load.mean() - load)
        self.bias += (step - step.mean()).to(self.bias.dtype)


@register("router", "softmax-capacity")
class CapacityRouter(Router):
    """Softmax with a limit: an expert takes C = ⌈capacity · K · tokens / E⌉ tokens of a batch, all first choices before
    any second one, and what is over passes by on the skip connection alone (Lepikhin et al. 2020, GShard, arXiv
    2006.16668; Fedus et al. 2021).

    Args:
        capacity: the factor; 1 leaves room for a perfectly balanced batch.
    """

    takes_capacity = True
    breaks = dict.fromkeys(OF_OTHER_TOKENS, OTHER_TOKENS)

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        n_active: int,
        *,
        renormalise: bool = True,
        scale: float = 1.0,
        jitter: float = 0.0,
        capacity: float = 1.25,
    ) -> None:
        super().__init__(d_model, n_experts, n_active, renormalise=renormalise, scale=scale, jitter=jitter)
        self.capacity = capacity

    def choose(self, logits: Tensor) -> Choice:
        found = super().choose(logits)
        pairs = found.expert.view(-1, self.n_active).T.reshape(-1)  # first choices, then second ones, …
        one_hot = (pairs[:, None] == torch.arange(self.n_experts, device=pairs.device)).long()
        place = (one_hot.cumsum(0) * one_hot).sum(-1).view(self.n_active, -1).T.reshape(-1)  # from 1, in its expert
        most = math.ceil(self.capacity * len(pairs) / self.n_experts)
        return found._replace(weight=found.weight * (place <= most))


@register("router", "expert-choice")
class ExpertChoiceRouter(Router):
    """Each expert takes the C = K · tokens / E tokens of the batch that suit it best, so that loads are equal by
    construction (Zhou et al. 2022, arXiv 2202.09368). Whether a token is taken depends on later ones: in a language
    model it leaks the future.
    """

    equal_loads = True
    renormalises = False
    breaks = dict.fromkeys(OF_OTHER_TOKENS, OTHER_TOKENS)

    def choose(self, logits: Tensor) -> Choice:
        scores = self.scores(logits)
        n_tokens = logits.shape[0] * logits.shape[1]
        taken = min(n_tokens, max(1, n_tokens * self.n_active // self.n_experts))
        weight, token = scores.flatten(0, 1).T.topk(taken, dim=-1)  # [E, C]
        expert = torch.arange(self.n_experts, device=logits.device)[:, None].expand_as(token)
        return Choice(
            token.flatten(), expert.flatten(), (self.scale * weight).flatten(), self.probabilities(scores), logits, None
        )
