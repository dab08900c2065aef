"""Optimizers, with weight decay on matrices only, and their state by parameter name.

A model may need two: Muon orthogonalises the update of a matrix and leaves everything else to AdamW.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from glassformer.errors import CheckpointError
from glassformer.parts.grouped_products import matrix_axes
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.training.muon import StackedMuon

NamedParameters = dict[str, nn.Parameter]


class Optimizer:
    """One or two torch optimizers over a model's parameters, each parameter in exactly one.

    Args:
        config: which, and its settings.
        model: its parameters are updated in place, but for frozen ones (``requires_grad=False``).
    """

    def __init__(self, config: OptimizerConfig, model: nn.Module) -> None:
        self.config = config
        self.parameters: NamedParameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parts = _build(config, self.parameters, matrix_axes(model))
        covered = [parameter for part in self.parts for group in part.param_groups for parameter in group["params"]]
        assert sorted(map(id, covered)) == sorted(map(id, self.parameters.values())), "every parameter, once"

    def set_learning_rate(self, rate: float) -> None:
        """For the next update."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """All state tensors, named ``<parameter>/<quantity>`` (``blocks.0.attention.w_o.weight/exp_avg``)."""
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        return {
            f"{names[id(parameter)]}/{quantity}": torch.as_tensor(value)
            for part in self.parts
            for parameter, quantities in part.state.items()
            for quantity, value in quantities.items()
            if value is not None
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave. Raises :class:`CheckpointError` if it is of other parameters."""
        by_name: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, quantity = key.rpartition("/")
            by_name.setdefault(name, {})[quantity] = value
        unknown = sorted(set(by_name) - set(self.parameters))
        if unknown:
            raise CheckpointError(
                f"The optimizer's state names parameters that the model does not have: {unknown[:5]}."
            )
        for part in self.parts:
            for group in part.param_groups:
                for parameter in group["params"]:
                    name = next(n for n, p in self.parameters.items() if p is parameter)
                    if name in by_name:
                        _check_state(part, name, parameter, by_name[name])
                        part.state[parameter] = {
                            quantity: _placed(value, parameter)  # "step" too: it is fused Adam's own
                            for quantity, value in by_name[name].items()
                        }


def _check_state(part: torch.optim.Optimizer, name: str, parameter: Tensor, state: Mapping[str, Tensor]) -> None:
    """Raise :class:`CheckpointError` unless the quantities are those that the optimizer keeps, in their shapes."""
    kept = {"step", "exp_avg", "exp_avg_sq"} if isinstance(part, torch.optim.Adam) else {"momentum_buffer"}
    if set(state) != kept:
        raise CheckpointError(
            f"The optimizer's state of {name} holds {', '.join(sorted(state))}; expected {', '.join(sorted(kept))}."
        )
    for quantity, value in state.items():
        expected = torch.Size([]) if quantity == "step" else parameter.shape
        if value.shape != expected or not value.is_floating_point():
            raise CheckpointError(
                f"The optimizer's {quantity} of {name} is {list(value.shape)} of {value.dtype}; "
                f"expected {list(expected)} of floating-point numbers."
            )


def _placed(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy on the parameter's device and in its memory layout, which fused kernels take for granted."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def decays(axes: int) -> bool:
    """Matrices and embeddings decay; vectors (biases and the norms' weights) do not.

    Args:
        axes: of the parameter; of experts' weights, those of one expert.
    """
    return axes >= 2


def _build(
    config: OptimizerConfig, parameters: NamedParameters, axes: Mapping[str, int]
) -> list[torch.optim.Optimizer]:
    remaining = parameters
    parts: list[torch.optim.Optimizer] = []
    if config.kind == "muon":
        matrices = {name: p for name, p in parameters.items() if axes[name] == 2 and "blocks." in name}
        remaining = {name: p for name, p in parameters.items() if name not in matrices}
        plain = [each for each in matrices.values() if each.dim() == 2]
        stacked = [each for each in matrices.values() if each.dim() == 3]
        if plain:
            # match_rms_adamw scales Muon's update to AdamW's size, so that one learning rate serves both
            parts.append(
                torch.optim.Muon(
                    plain,
                    lr=config.learning_rate,
                    momentum=config.beta1,
                    weight_decay=config.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        if stacked:
            own = {"lr": config.learning_rate, "momentum": config.beta1, "weight_decay": config.weight_decay}
            parts.append(StackedMuon(stacked, **own))
    groups = [
        {"params": [p for n, p in remaining.items() if decays(axes[n])], "weight_decay": config.weight_decay},
        {"params": [p for n, p in remaining.items() if not decays(axes[n])], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        return parts
    if config.kind == "sgd":
        parts.append(torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.beta1, fused=True))
    else:
        adam = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
        betas = (config.beta1, config.beta2)
        parts.append(adam(groups, lr=config.learning_rate, betas=betas, eps=config.eps, fused=True))
    return parts
