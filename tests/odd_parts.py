"""Parts with every kind of weight that real parts have, as a user would write them in a file of their own."""

from __future__ import annotations

import torch
from torch import nn

from glassformer.registry import register


@register("norm", "scalar")
class Scalar(nn.Module):
    """Dynamic tanh (Zhu et al. 2025, arXiv 2503.10622): weight · tanh(α x) + bias, α a scalar."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x):
        y = self.weight * torch.tanh(self.alpha * x)
        return y if self.bias is None else y + self.bias


@register("norm", "only-scalar")
class OnlyScalar(nn.Module):
    """tanh(α x): its one parameter has no dimension."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return torch.tanh(self.alpha * x)


@register("norm", "buffers")
class Buffers(nn.Module):
    """Buffers of integers, of booleans, and one that is not saved."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.register_buffer("index", torch.arange(d_model).flip(0))
        self.register_buffer("mask", torch.arange(d_model) % 2 == 0)
        self.register_buffer("scratch", torch.ones(()), persistent=False)
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return torch.tanh(torch.where(self.mask, x, x[..., self.index])) * self.weight * self.scratch


@register("norm", "frozen")
class Frozen(nn.Module):
    """Parameters that are not trained, one of them an integer."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.scale = nn.Parameter(torch.full((d_model,), 0.5), requires_grad=False)
        self.count = nn.Parameter(torch.tensor(2), requires_grad=False)
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return torch.tanh(self.scale * x) * self.weight / self.count


@register("norm", "nothing")
class Nothing(nn.Module):
    """No weight at all."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()

    def forward(self, x):
        return torch.tanh(x)


@register("norm", "unused")
class Unused(nn.Module):
    """A parameter that the loss does not depend on."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.unused = nn.Parameter(torch.ones(3, 2))

    def forward(self, x):
        return torch.tanh(x) * self.weight


@register("feedforward", "transposed")
class Transposed(nn.Module):
    """Matrices whose memory is not contiguous."""

    def __init__(self, d_model, d_ff, *, bias, dropout, linear=nn.Linear):
        super().__init__()
        self.up = nn.Parameter((torch.randn(d_model, d_ff) / d_model**0.5).t())
        self.down = nn.Parameter((torch.randn(d_ff, d_model) / d_ff**0.5)[:, :].t().contiguous().t())
        self.drop = nn.Dropout(dropout)

    def reset_parameters(self):
        with torch.no_grad():
            self.up.normal_(0, 0.1)
            self.down.normal_(0, 0.1)

    def forward(self, x):
        return self.drop(torch.relu(x @ self.up.t())) @ self.down


@register("feedforward", "tied")
class Tied(nn.Module):
    """One parameter under two names, and a list of parameters."""

    def __init__(self, d_model, d_ff, *, bias, dropout, linear=nn.Linear):
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff, bias=bias)
        self.first = self.w_1.weight
        self.gains = nn.ParameterList([nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(d_model))])
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        return (self.drop(torch.relu(self.w_1(x))) @ self.first) * self.gains[0] * self.gains[1]


@register("feedforward", "cube")
class Cube(nn.Module):
    """A weight of three dimensions, and a dictionary of parameters."""

    def __init__(self, d_model, d_ff, *, bias, dropout, linear=nn.Linear):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(2, d_model, d_model) / d_model**0.5)
        self.table = nn.ParameterDict({"a": nn.Parameter(torch.zeros(1, 1, d_model))})

    def reset_parameters(self):
        with torch.no_grad():
            self.kernels.normal_(0, 0.1)

    def forward(self, x):
        return torch.relu(x @ self.kernels[0]) @ self.kernels[1] + self.table["a"]
