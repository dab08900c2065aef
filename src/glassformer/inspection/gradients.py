"""Gradients, updates and weights during a training run: every parameter, at every step that was recorded.

Training writes a record every ``training.telemetry.gradients_every`` steps (and at the first and the last); nothing is
computed here but medians and sums. The numbers are of single batches, before clipping, so values
at the end are medians over the last tenth of the records.

P parameters in the order of the forward pass, S recorded steps, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.loss import finite_losses, smoothed, tokens_of
from glassformer.errors import RunError
from glassformer.models.family import FAMILIES, Family, Side, family_name
from glassformer.runs.folder import Run

Loss = tuple[Tensor, Tensor]
"""Steps, int64 [N], and nats/token, float64 [N]."""

SUBLAYERS = ("attention", "cross_attention", "feedforward")
END = 0.1  # share of the records that are the end of a run
ROUNDING = 1e-6  # share of a sublayer's largest gradient: in float32 a sum is hardly more exact


@dataclass(frozen=True)
class TrainingGradients(Drawable):
    """The telemetry of one run.

    Attributes:
        name: the run's.
        family: the model's.
        parameters: P names, in the order of the forward pass: embedding, blocks, final norm, head; the encoder's before
            the decoder's.
        steps: int64 [S], optimizer steps.
        gradient_norms: float64 [P, S], before clipping; NaN where a parameter had no gradient.
        update_ratios: float64 [P, S], ‖Δw‖/‖w‖ with the weight before the update; ∞ where that was zero.
        weight_norms: float64 [P, S], after the update.
        training_loss: smoothed, as the loss chart draws it.
        validation_loss: as measured.
    """

    name: str
    family: Family
    parameters: tuple[str, ...]
    steps: Tensor
    gradient_norms: Tensor
    update_ratios: Tensor
    weight_norms: Tensor
    training_loss: Loss
    validation_loss: Loss

    def at_end(self) -> dict[str, float]:
        """Each parameter's gradient norm at the end of the run; NaN for one that has no gradient."""
        return dict(zip(self.parameters, self.gradient_norms[:, self._end].nanmedian(-1).values.tolist(), strict=True))

    def matrix_range(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The matrices (of projections, tables and head) with the least and the largest gradient at the end.

        Those without any gradient are left out; :meth:`without_gradient` names them.

        Raises:
            RunError: no matrix has a gradient.
        """
        norms = self._matrix_norms()
        if not norms:
            raise RunError(f"No matrix of {self.name} has a gradient at the end of its training.")
        least, largest = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
        return (least, norms[least]), (largest, norms[largest])

    def without_gradient(self) -> list[str]:
        """Parameters on which the loss never depended: no gradient, or exactly zero, at every recorded step."""
        dead = (self.gradient_norms.nan_to_num(0.0) == 0).all(-1)
        return [name for name, is_dead in zip(self.parameters, dead.tolist(), strict=True) if is_dead]

    def only_rounding(self) -> list[str]:
        """Biases of keys whose gradient is nothing but rounding errors.

        Such a bias adds the same to all scores of a query, which the softmax does not see, so its gradient is zero
        unless keys are rotated or normalised. What is computed is never more than ROUNDING times the largest gradient
        of the sublayer.
        """
        norms = self.gradient_norms.nan_to_num(0.0)
        found = []
        for row, name in enumerate(self.parameters):
            if name.endswith(".w_k.bias"):
                sublayer = name.removesuffix("w_k.bias")
                rows = [other for other, each in enumerate(self.parameters) if each.startswith(sublayer)]
                if (norms[row] <= ROUNDING * norms[rows].amax(0)).all():
                    found.append(name)
        return found

    def layer_norms(self, side: Side | None = None) -> Tensor:
        """The gradient norm of each block as a whole, [L, S]; block 0 is the one at the embedding.

        Args:
            side: which stack; the one that the head reads unless given.

        Raises:
            ConfigError: there is no such stack.
        """
        prefix = self.family.stack(side).prefix + "blocks."
        layers: dict[int, list[int]] = {}
        for row, name in enumerate(self.parameters):
            if name.startswith(prefix):
                layers.setdefault(int(name.removeprefix(prefix).partition(".")[0]), []).append(row)
        squares = self.gradient_norms.nan_to_num(0.0).square()
        norms = [squares[rows].sum(0).sqrt() for rows in layers.values()]
        return torch.stack(norms) if norms else torch.zeros(0, len(self.steps), dtype=torch.float64)

    def depth_ratio(self, side: Side | None = None) -> float:
        """The gradient norm of the last block over that of the first, at the end of the run.

        Above 1 the gradient shrinks on its way back to the embedding; where it vanishes, this is many powers of ten,
        or ∞. 1 for a single block, NaN for none. Raises as :meth:`layer_norms` does.
        """
        norms = self.layer_norms(side)
        return float((norms[-1] / norms[0])[self._end].nanmedian()) if len(norms) else math.nan

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.parameters)} parameters at {len(self.steps)} recorded steps"]
        if self._matrix_norms():
            (least, low), (largest, high) = self.matrix_range()
            when = f"at the end (median of the last {self._n_end} records)"
            lines.append(f"gradient norms of the matrices {when}: {low:.3g} ({least}) to {high:.3g} ({largest})")
        for side in self.family.sides:
            of = f" of the {side}" if len(self.family.stacks) > 1 else ""
            lines.append(f"last block{of} over first, at the end: {self.depth_ratio(side):.3g}")
        lines.append(f"without gradient: {', '.join(self.without_gradient()) or 'none'}")
        return "\n".join(lines)

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """A figure for each run, depth × step, without frames, since each shows a whole training run."""
        from glassformer.charts.depth_by_step import DepthByStep

        return [
            DepthByStep(
                result.steps.numpy(),
                result.parameters,
                {
                    "gradient norm": result._beyond_rounding().numpy(),  # noqa: SLF001 - of the same class
                    "update / weight": result.update_ratios.numpy(),
                    "weight norm": result.weight_norms.numpy(),
                },
                {
                    what: (steps.numpy(), values.numpy())
                    for what, (steps, values) in (
                        ("training", result.training_loss),
                        ("validation", result.validation_loss),
                    )
                    if len(steps)
                },
                title="Gradients during training" + (f", {result.name}" if len(results) > 1 else ""),
                description="Every parameter, from the embedding down to the head, at every recorded step. A gradient "
                "that is zero, or only rounding error, is not drawn.",
            )
            for result in results
        ]

    def _beyond_rounding(self) -> Tensor:
        """The gradient norms, NaN in the rows of rounding errors, which would take up most of the scale of colours."""
        rounding = self.only_rounding()
        return self.gradient_norms.masked_fill(torch.tensor([[name in rounding] for name in self.parameters]), math.nan)

    def _matrix_norms(self) -> dict[str, float]:
        """At the end, of those that have a gradient."""
        return {name: norm for name, norm in self.at_end().items() if is_matrix(name) and norm > 0}

    @property
    def _n_end(self) -> int:
        return max(1, round(END * len(self.steps)))

    @property
    def _end(self) -> slice:
        return slice(-self._n_end, None)


def training_gradients(run: Run) -> TrainingGradients:
    """What a run recorded of its parameters while it trained.

    Raises:
        RunError: it recorded nothing, with the reason: telemetry was switched off, it was imported, or it has not made
            its first update yet; or its metrics are damaged.
    """
    records = run.metrics()
    telemetry = [record for record in records if isinstance(record.get("parameters"), Mapping)]
    if not telemetry:
        raise RunError(_why_nothing(run))
    names = dict.fromkeys(name for record in telemetry for name in record["parameters"])
    parameters = in_depth_order(names, post_norm=_setting(run, "model", "norm", "placement") == "post")

    def quantity(field: str) -> Tensor:
        values = [
            [record["parameters"].get(name, {}).get(field, math.nan) for record in telemetry] for name in parameters
        ]
        return torch.tensor(values, dtype=torch.float64)

    steps, losses = finite_losses(records, "train")
    model = run.config.get("model")
    return TrainingGradients(
        run.name,
        FAMILIES[family_name(model if isinstance(model, Mapping) else {})],
        tuple(parameters),
        torch.tensor([record["step"] for record in telemetry]),
        quantity("gradient_norm"),
        quantity("update_ratio"),
        quantity("weight_norm"),
        _tensors(steps, smoothed(losses, tokens_of(records))),
        _tensors(*finite_losses(records, "validation")),
    )


def in_depth_order(names: Iterable[str], *, post_norm: bool = False) -> list[str]:
    """Names of parameters in the order in which a forward pass meets them; those of one sublayer stay as they come.

    Args:
        post_norm: whether a sublayer's norm stands behind it.
    """

    def depth(name: str) -> tuple[int, ...]:
        words = name.split(".")
        if words[0] == "head":
            return (2,)
        side = 0 if words[0] == "encoder" else 1
        match words[1:] if words[0] in ("encoder", "decoder") else words:
            case ["embedding", *_]:
                return (side, 0)
            case ["blocks", layer, part, *_]:
                sublayer = part.removesuffix("_norm")
                place = SUBLAYERS.index(sublayer) if sublayer in SUBLAYERS else len(SUBLAYERS)
                return (side, 1, int(layer), place, (sublayer != part) == post_norm)
            case _:
                return (side, 2)

    return sorted(names, key=depth)


def is_matrix(name: str) -> bool:
    """Whether a parameter of this name multiplies vectors (or is a table of them): no bias, nothing of a norm."""
    *path, last = name.split(".")
    return last == "weight" and not any(word.endswith("norm") for word in path)


def _tensors(steps: np.ndarray[Any, Any], losses: np.ndarray[Any, Any]) -> Loss:
    return torch.from_numpy(steps), torch.from_numpy(losses)


def _why_nothing(run: Run) -> str:
    option = "training.telemetry.gradients_every"
    nothing = f"The run {run.name} has no record of its gradients"
    if not any(event["event"] == "start" for event in run.events()):
        return (
            f"{nothing}: it was imported, or its training has not begun. Every run that is trained here records them."
        )
    if _setting(run, "training", "telemetry", "gradients_every") is None:
        return f"{nothing}: {option} was none. Train with --set {option}=100 (steps between records) to see them."
    return f"{nothing} yet: the first is written after the first update, further ones as {option} says."


def _setting(run: Run, *path: str) -> Any:
    """A value of the run's configuration; None where it is none, or is not there."""
    value: Any = run.config
    for word in path:
        value = value.get(word) if isinstance(value, Mapping) else None
    return value
