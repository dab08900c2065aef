"""Settings of a layer of experts, and what they say only together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from glassformer.config import Config
from glassformer.registry import registered

MOST_EXPERTS = 4_096
Natural = Annotated[int, Field(ge=0, le=MOST_EXPERTS)]
Number = Annotated[int, Field(ge=1, le=MOST_EXPERTS)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]

BALANCE = 0.01
"""The weight of the balance loss unless it is given: Switch Transformer's and OLMoE's."""


class ExpertsConfig(Config):
    """Experts in place of the feed-forward layer: several of its kind, of which each token is given to a few."""

    n_experts: Number
    """Number of experts, E."""
    n_active: Number = 2
    """Experts for each token, K."""
    d_ff: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Inner width of one expert; none means feedforward.d_ff. Fine-grained experts are more and narrower ones."""
    n_shared: Natural = 0
    """Shared experts, which every token passes: one layer n_shared times as wide as an expert."""
    every: Annotated[int, Field(ge=1, le=2_000)] = 1
    """Experts in every n-th layer only (n, 2 n, …); the others have the feed-forward layer itself."""
    router: str = "softmax"
    """Registered router: softmax, sigmoid, softmax-capacity, expert-choice; the last two are not causal."""
    renormalise: bool | None = None
    """Divide the weights of a token's experts by their sum; none means where n_active is above 1."""
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """A factor of all weights."""
    balance: Weight | None = None
    """Weight of the balance loss of each layer, which is 1 in balance; none means 0.01, and 0 with a selection bias."""
    z_loss: Weight = 0.0
    """Weight of the squared log-sum-exp of each router's logits (ST-MoE and OLMoE: 0.001)."""
    jitter: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """In training, the router's input is multiplied by uniform 1 ± jitter (Switch Transformer: 0.01)."""
    bias_rate: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Change of the selection bias at an update; none means 0.001. Of routers that have one: sigmoid."""
    capacity: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Room of an expert, over a balanced load; none means 1.25. Of routers that have one: softmax-capacity."""
    options: dict[str, Any] = {}
    """Further arguments of a registered router of your own."""

    def complaints(self) -> Iterator[str]:
        router = registered("router").get(self.router)
        if self.n_active > self.n_experts:
            yield (
                f"feedforward.experts.n_active is {self.n_active}, and there are {self.n_experts} experts; "
                f"choose n_active up to {self.n_experts}, or more experts."
            )
        if router is None:
            return  # the model says so, with the nearest name
        renormalises = getattr(router, "renormalises", True)
        if self.n_active == 1 and self.renormalise and renormalises:
            yield (
                "feedforward.experts.renormalise with n_active=1 makes every weight 1, so that the loss gives the "
                "router no gradient and it never learns; set feedforward.experts.renormalise=false, or n_active=2."
            )
        if self.renormalise is not None and not renormalises:
            yield (
                f"feedforward.experts.renormalise has no effect with router={self.router}, whose weights are never "
                "renormalised; leave it out."
            )
        if self.bias_rate is not None and not getattr(router, "selection_bias", False):
            yield (
                f"feedforward.experts.bias_rate is of a selection bias, and router={self.router} has none; "
                "set feedforward.experts.router=sigmoid, or leave it out."
            )
        if self.capacity is not None and not getattr(router, "takes_capacity", False):
            yield (
                f"feedforward.experts.capacity is a limit, and router={self.router} has none (no token is dropped); "
                "set feedforward.experts.router=softmax-capacity, or leave it out."
            )
        if self.balance and getattr(router, "equal_loads", False):
            yield (
                f"feedforward.experts.balance has no effect with router={self.router}, where every expert takes as "
                "many tokens as the others; leave it out."
            )

    def in_layer(self, layer: int) -> bool:
        """Whether the layer of this index, from 0, has experts."""
        return (layer + 1) % self.every == 0

    def balance_weight(self) -> float:
        """The weight of the balance loss."""
        if self.balance is not None:
            return self.balance
        router = registered("router").get(self.router)
        return 0.0 if getattr(router, "selection_bias", False) or getattr(router, "equal_loads", False) else BALANCE

    def router_options(self) -> dict[str, Any]:
        """The router's arguments behind the sizes."""
        options: dict[str, Any] = {"scale": self.scale, "jitter": self.jitter}
        if getattr(registered("router").get(self.router), "renormalises", True):
            options["renormalise"] = self.n_active > 1 if self.renormalise is None else self.renormalise
        options |= {} if self.bias_rate is None else {"bias_rate": self.bias_rate}
        options |= {} if self.capacity is None else {"capacity": self.capacity}
        return options | self.options
