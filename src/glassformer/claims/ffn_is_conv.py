"""A feed-forward layer and a convolution of kernel size 1, with the same weights."""

from __future__ import annotations

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import equal, relative, relative_measurement
from glassformer.parts.feedforward import PointwiseConvolution
from glassformer.registry import find

KINDS = ("relu", "gelu", "gelu-tanh", "relu2", "silu", "swiglu")
D_MODEL, D_FF, TOKENS = 48, 96, 20


def measure(kind: str, seed: int) -> tuple[float, float]:
    """The largest relative difference of the outputs, and of the gradients by input and weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = find("feedforward", kind)(D_MODEL, D_FF).double()
        convolution = find("feedforward", kind)(D_MODEL, D_FF, linear=PointwiseConvolution).double()
        x, towards = torch.randn(2, 2, TOKENS, D_MODEL, dtype=torch.float64)
    weights = dict(layer.named_parameters())
    with torch.no_grad():
        for name, parameter in convolution.named_parameters():
            parameter.copy_(weights[name].view_as(parameter))
    outputs, gradients = [], []
    for module in (layer, convolution):
        given = x.clone().requires_grad_()
        output = module(given)
        wanted = [given, *(parameter for _, parameter in sorted(module.named_parameters()))]
        outputs.append(output.detach())
        gradients.append(torch.cat([each.flatten() for each in torch.autograd.grad((output * towards).sum(), wanted)]))
    return relative(*outputs), relative(*gradients)


def judge(outputs: float, gradients: float) -> ClaimResult:
    """Equal outputs and equal gradients (thresholds of ``exactness.py``)."""
    return ClaimResult(
        {"their outputs are equal": equal(outputs), "their gradients are equal": equal(gradients)},
        f"With the same weights the outputs differ by at most {outputs:.1e} and the gradients by at most "
        f"{gradients:.1e} (relative, float64), for {', '.join(KINDS)}.",
        "The kernel has size 1: a wider one looks at neighbouring tokens, which the feed-forward layer never does.",
        {
            "largest difference of outputs": relative_measurement(outputs),
            "largest difference of gradients": relative_measurement(gradients),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """The worst of all kinds and seeds."""
    found = [measure(kind, seed) for kind in KINDS for seed in range(budget.seeds)]
    return judge(max(each[0] for each in found), max(each[1] for each in found))


CLAIM = Claim(
    "ffn-is-conv",
    "The feed-forward layer is a convolution with kernel size 1.",
    f"{NOTES}; Vaswani et al. 2017, §3.3",
    "exact",
    "Both with the same weights: outputs, and gradients by input and weights.",
    decide,
    quick=Budget(seeds=3),
    full=Budget(seeds=100),
    could_be_wrong=(
        (
            "The same function with the same weights. Trained from weights drawn in another order, or on a device "
            "whose convolution adds up in another order, the two would differ by rounding or by their start."
        ),
    ),
)
