"""Experts: which tokens of a text go to which, how sure the router is, and how their loads went over the training.

L layers with experts, E experts, T tokens of one sequence, S recorded steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import ConfigError, RunError
from glassformer.models.family import Side
from glassformer.models.trace import Trace
from glassformer.parts.experts import layers_of_experts
from glassformer.runs.folder import Run


@dataclass(frozen=True)
class ExpertRouting(Drawable):
    """What the routers of one stack did with a sequence.

    Attributes:
        layers: L names, "layer 1".
        tokens: T texts.
        weights: [L, E, T], of each expert's output for each token; 0 where it is not given to it.
        probabilities: [L, E, T], of the router; the largest need not be chosen where a bias selects.
        entropy: [L, T], of these, in nats: log E where the router does not distinguish.
    """

    layers: tuple[str, ...]
    tokens: tuple[str, ...]
    weights: Tensor
    probabilities: Tensor
    entropy: Tensor

    def load(self) -> Tensor:
        """[L, E], the share of the token-expert pairs that each expert has."""
        pairs = (self.weights != 0).double().sum(-1)
        return pairs / pairs.sum(-1, keepdim=True).clamp_min(1)

    def __str__(self) -> str:
        rows = zip(self.layers, self.load().tolist(), self.entropy.mean(-1).tolist(), strict=True)
        return "\n".join(
            f"{layer}: load {' '.join(f'{share:.0%}' for share in load)}, router entropy {entropy:.2f} nats"
            for layer, load, entropy in rows
        )

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Experts by tokens, of a layer that the reader chooses; and the entropies of all layers."""
        from glassformer.charts.heat_map import HeatMap

        first = results[0]
        experts = [f"expert {index}" for index in range(first.weights.shape[1])]
        return [
            HeatMap(
                torch.stack([result.weights for result in results]).numpy(),
                title="Experts of each token",
                rows=experts,
                columns=first.tokens,
                choices={"layer": _short(first.layers)},
                column_title="token",
                value_title="weight of the expert's output",
                description="The weight that each expert's output has for each token; 0 where the token is not given "
                "to it.",
            ),
            HeatMap(
                torch.stack([result.entropy for result in results]).numpy(),
                title="Router entropy",
                rows=first.layers,
                columns=first.tokens,
                column_title="token",
                value_title="entropy (nats)",
                domain=(0.0, float(np.log(len(experts)))),
                description="How evenly the router's probability is spread over the experts: 0 where one has it all, "
                f"{np.log(len(experts)):.2f} where all {len(experts)} have as much.",
            ),
        ]


def expert_routing(
    trace: Trace, *, side: Side | None = None, row: int = 0, tokens: Sequence[str] | None = None
) -> ExpertRouting:
    """What the routers of a pass did with one of its sequences.

    Args:
        side: which stack; the one that the head reads unless given.
        row: which sequence of the batch.
        tokens: the texts of the tokens; their places unless given.

    Raises:
        ConfigError: there are no experts in that stack.
    """
    model = trace.model
    stack = model.family.stack(side)
    found = {
        name: layer for name, layer in layers_of_experts(model).items() if name.startswith(f"{stack.prefix}blocks.")
    }
    if not found:
        raise ConfigError(
            "there are no experts in this model; train one with --set model.feedforward.experts.n_experts=8.",
            subject="inspection",
        )
    weights, probabilities, entropy = [], [], []
    for name, layer in found.items():
        scores = layer.router.probabilities(layer.router.scores(trace[f"{name}.router.logits"][row]))  # [T, E]
        probabilities.append(scores.T)
        weights.append(trace[f"{name}.router.gates"][row].T)
        entropy.append(-torch.xlogy(scores, scores).sum(-1))
    texts = [str(index) for index in range(weights[0].shape[-1])] if tokens is None else tokens
    return ExpertRouting(
        tuple(_layer(name.removeprefix(stack.prefix)) for name in found),
        tuple(texts),
        *(torch.stack(each).detach().float().cpu() for each in (weights, probabilities, entropy)),
    )


@dataclass(frozen=True)
class ExpertLoads(Drawable):
    """The loads of a training run, each of the batch of one step.

    Attributes:
        name: the run's.
        layers: L names of the layers.
        steps: int64 [S].
        load: [L, E, S], the share of the pairs of tokens and experts, times E: 1 in balance.
        max_violation: [L, S], (maximum − mean) / mean of the loads: 0 in balance (MaxVio, arXiv 2408.15664).
        entropy: [L, S], of the router, mean over the tokens, in nats.
    """

    name: str
    layers: tuple[str, ...]
    steps: Tensor
    load: Tensor
    max_violation: Tensor
    entropy: Tensor

    def __str__(self) -> str:
        ends = zip(self.layers, self.max_violation[:, -1].tolist(), self.entropy[:, -1].tolist(), strict=True)
        return "\n".join(
            f"{layer}: at step {int(self.steps[-1]):,} the largest load is {1 + violation:.2f} times the mean, router "
            f"entropy {entropy:.2f} nats"
            for layer, violation, entropy in ends
        )

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Experts by steps for each run, of a layer that the reader chooses; the largest excess and the entropy."""
        from glassformer.charts.heat_map import HeatMap

        figures: list[Figure] = []
        for result in results:
            steps = [f"{step:,}" for step in result.steps.tolist()]
            of = f", {result.name}" if len(results) > 1 else ""
            n_experts = result.load.shape[1]
            figures += [
                HeatMap(
                    (result.load - 1).numpy(),
                    title=f"Load of each expert during training{of}",
                    rows=[f"expert {index}" for index in range(n_experts)],
                    columns=steps,
                    choices={"layer": _short(result.layers)},
                    column_title="optimizer step",
                    value_title="(load − mean) / mean",
                    colours="diverging",
                    domain=(-1.0, 1.0),
                    description="How many more tokens of a step's batch than the mean each expert was given, or fewer: "
                    "0 in balance, −1 where it was given none, 1 where it was given twice as many.",
                ),
                HeatMap(
                    result.max_violation.numpy(),
                    title=f"Largest excess of load during training{of}",
                    rows=result.layers,
                    columns=steps,
                    column_title="optimizer step",
                    value_title="(maximum − mean) / mean of the loads",
                    description="0 in balance (MaxVio of Wang et al. 2024, arXiv 2408.15664).",
                ),
            ]
        return figures


def expert_loads(run: Run) -> ExpertLoads:
    """What a run recorded of its experts while it trained.

    Raises:
        RunError: it recorded nothing, since it has no experts or has not made enough updates; or its metrics are
            damaged.
    """
    records = [record for record in run.metrics() if record.get("kind") == "experts"]
    if not records:
        raise RunError(
            f"The run {run.name} has no record of experts: its model has none, or no update is recorded. Train one "
            "with --set model.feedforward.experts.n_experts=8."
        )
    names = list(records[0]["layers"])
    return ExpertLoads(
        run.name,
        tuple(map(_layer, names)),
        torch.tensor([record["step"] for record in records]),
        torch.tensor(
            [_of(records, name, "load") for name in names], dtype=torch.float64
        ).transpose(1, 2) * len(records[0]["layers"][names[0]]["load"]),
        torch.tensor([_of(records, name, "max_violation") for name in names], dtype=torch.float64),
        torch.tensor([_of(records, name, "entropy") for name in names], dtype=torch.float64),
    )  # fmt: skip


def _of(records: Sequence[Mapping[str, Any]], layer: str, quantity: str) -> list[Any]:
    """One quantity of one layer at every record."""
    return [record["layers"][layer][quantity] for record in records]


def _layer(name: str) -> str:
    """The layer of a module's name in words: "layer 3", "encoder layer 3"."""
    side, _, rest = name.rpartition("blocks.")
    return f"{side.replace('.', ' ')}layer {rest.partition('.')[0]}"


def _short(layers: Sequence[str]) -> list[str]:
    """As options of a choice that is called "layer"."""
    return [layer.removeprefix("layer ") for layer in layers]
