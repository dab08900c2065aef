"""One matrix for each expert, and the product of sorted rows with them: the fast path of a layer of experts.

N rows, sorted by expert; E experts. Which rows are whose is in ``ends`` [E]: expert e has those from ``ends[e - 1]`` up
to ``ends[e]``. Shapes do not depend on it, so one graph serves every routing, and no row is padded or computed twice.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

ALIGNED = 16
"""Bytes: torch's own kernel takes rows that are multiples of it, in these types."""
GROUPED_TYPES = (torch.float32, torch.bfloat16, torch.float16)


@torch.library.custom_op("glassformer::grouped_product", mutates_args=())
def grouped_product(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Each row times the transposed matrix of its expert: [N, d_in], [E, d_out, d_in], int64 [E] → [N, d_out].

    An operator of its own, since torch's ``grouped_mm`` has no autocast, no float64, no odd sizes, and under a
    compiler bf16 only (torch 2.13).
    """
    if _is_aligned(rows.dtype, len(rows), *weight.shape[1:]):
        return F.grouped_mm(rows, weight.mT, offs=ends.int())
    out = rows.new_empty(len(rows), weight.shape[1])
    for expert, start, end in _segments(ends):
        torch.mm(rows[start:end], weight[expert].mT, out=out[start:end])
    return out


@torch.library.custom_op("glassformer::grouped_outer", mutates_args=())
def grouped_outer(left: Tensor, right: Tensor, ends: Tensor) -> Tensor:
    """Products over each expert's rows: [N, d_out], [N, d_in], int64 [E] → [E, d_out, d_in], the weights' gradient."""
    if _is_aligned(left.dtype, len(left), left.shape[1], right.shape[1]):
        return F.grouped_mm(left.mT, right, offs=ends.int())
    out = left.new_empty(len(ends), left.shape[1], right.shape[1])
    for expert, start, end in _segments(ends):
        torch.mm(left[start:end].mT, right[start:end], out=out[expert])
    return out


def _segments(ends: Tensor) -> list[tuple[int, int, int]]:
    """Every expert with its first row and the one behind its last."""
    places = [0, *ends.tolist()]
    return [(expert, start, end) for expert, (start, end) in enumerate(itertools.pairwise(places))]


def _is_aligned(dtype: torch.dtype, n_rows: int, *widths: int) -> bool:
    """Whether torch's kernel takes rows and matrices of these widths."""
    return dtype in GROUPED_TYPES and n_rows > 0 and all(width * dtype.itemsize % ALIGNED == 0 for width in widths)


@grouped_product.register_fake
def _(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:  # noqa: ARG001 - shapes do not depend on it
    return rows.new_empty(rows.shape[0], weight.shape[1])


@grouped_outer.register_fake
def _(left: Tensor, right: Tensor, ends: Tensor) -> Tensor:
    return left.new_empty(ends.shape[0], left.shape[1], right.shape[1])


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _gradients(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    rows, weight, ends = ctx.saved_tensors  # type: ignore[attr-defined]
    of_rows, of_weight, _ = ctx.needs_input_grad  # type: ignore[attr-defined]
    gradient = gradient.contiguous()
    return (
        grouped_product(gradient, weight.mT, ends) if of_rows else None,
        grouped_outer(gradient, rows, ends) if of_weight else None,
        None,
    )


grouped_product.register_autograd(_gradients, setup_context=_save)


@register_flop_formula([torch.ops.glassformer.grouped_product])
def _product_flops(rows: tuple[int, int], weight: tuple[int, int, int], *_: object, **__: object) -> int:
    return 2 * rows[0] * weight[1] * weight[2]


@register_flop_formula([torch.ops.glassformer.grouped_outer])
def _outer_flops(left: tuple[int, int], right: tuple[int, int], *_: object, **__: object) -> int:
    return 2 * left[0] * left[1] * right[1]


class Groups:
    """Which rows are whose, for the linear layers of one layer of experts while it runs; None: they are by axis."""

    def __init__(self) -> None:
        self.ends: Tensor | None = None


class ExpertLinear(nn.Module):
    """E linear layers of one shape: weight [E, d_out, d_in], bias [E, d_out] or None.

    Rows [N, d_in] that are sorted by expert → [N, d_out], as ``groups`` says; [..., E, n, d_in] → [..., E, n, d_out].

    Attributes:
        stacked: the number of leading axes of each parameter that only count copies. Optimizers and costs take what is
            behind them as a matrix or a vector.
    """

    stacked = 1

    def __init__(self, n_experts: int, groups: Groups, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(n_experts, d_out, d_in))
        self.bias = nn.Parameter(torch.empty(n_experts, d_out)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Each expert as ``nn.Linear`` begins: uniform ±1/√d_in, of its own width and not of the stack's."""
        bound = 1 / math.sqrt(self.weight.shape[-1])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        ends = self.groups.ends
        if ends is None:
            y: Tensor = x @ self.weight.mT
            return y if self.bias is None else y + self.bias[:, None]
        weight: Tensor = self.weight
        if not x.is_meta and torch.is_autocast_enabled(x.device.type):  # which knows torch's own products only
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        rows: Tensor = grouped_product(x.contiguous(), weight, ends)
        if self.bias is None:
            return rows
        expert = torch.searchsorted(ends, torch.arange(len(rows), device=ends.device), right=True)
        return rows + self.bias.to(rows.dtype)[expert]


def matrix_axes(model: nn.Module) -> dict[str, int]:
    """The number of axes of every parameter by its name, those that only count copies (of experts) left out."""
    stacked = {
        f"{name}.{own}": module.stacked
        for name, module in model.named_modules()
        if isinstance(module, ExpertLinear)
        for own, _ in module.named_parameters(recurse=False)
    }
    return {name: parameter.dim() - stacked.get(name, 0) for name, parameter in model.named_parameters()}
