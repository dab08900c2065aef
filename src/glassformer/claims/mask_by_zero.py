"""Attention weights multiplied by zero where a key is masked, against scores of −∞ there.

After the softmax a zero leaves the other weights as they were, so a row no longer adds up to 1; and since the softmax's
sum still holds every key, what is masked goes on having a say. Before the softmax a score of zero is no mask at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import equal, relative, relative_measurement
from glassformer.parts.patterns import Causal, additive

TOKENS, D_HEAD = 16, 32


@dataclass(frozen=True)
class MaskingErrors:
    """Relative differences from masking with −∞, and what follows from it.

    Attributes:
        after: of the output, with zeros after the softmax.
        before: with zeros in place of the scores, before it.
        renormalised: with zeros after it, and each row divided by its sum.
        least_row: the smallest sum of a row with zeros after the softmax.
        leak: how far the first token's output moves when only later tokens are changed, with zeros after the softmax.
        leak_infinite: the same with −∞.
    """

    after: float
    before: float
    renormalised: float
    least_row: float
    leak: float
    leak_infinite: float


def measure(seed: int) -> MaskingErrors:
    """One head on random queries, keys and values, in float64."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v, other = torch.randn(4, TOKENS, D_HEAD, generator=generator, dtype=torch.float64)
    index = torch.arange(TOKENS)
    mask = Causal().dense(index, index)

    def weights(keys: Tensor) -> Tensor:
        return (q @ keys.T / math.sqrt(D_HEAD)).softmax(-1)

    def infinite(keys: Tensor) -> Tensor:
        return (q @ keys.T / math.sqrt(D_HEAD) + additive(mask, torch.float64)).softmax(-1)

    zeroed = weights(k) * mask
    zero_scores = (q @ k.T / math.sqrt(D_HEAD) * mask).softmax(-1)
    right = infinite(k) @ v
    changed = torch.cat((k[:1], other[1:]))  # the first key is the only one that the first query may see
    return MaskingErrors(
        relative(zeroed @ v, right),
        relative(zero_scores @ v, right),
        relative(zeroed / zeroed.sum(-1, keepdim=True) @ v, right),
        float(zeroed.sum(-1).min()),
        relative((weights(changed) * mask @ v)[:1], (zeroed @ v)[:1]),
        relative((infinite(changed) @ v)[:1], right[:1]),
    )


def judge(found: MaskingErrors) -> ClaimResult:
    """Multiplying by zero is masking if the output is the same, and if later tokens do not change it."""
    leak = equal(found.leak)
    return ClaimResult(
        {
            "zeros after the softmax give the same output as −∞ before it": equal(found.after),
            "zeros in place of the scores do": equal(found.before),
            "with zeros after the softmax, later tokens do not change earlier outputs": leak,
        },
        f"Zeros after the softmax give another output (by up to {found.after:.2g} of the largest value): the rows no "
        f"longer add up to 1 (one adds up to {found.least_row:.2g}), and later tokens still change the first token's "
        f"output, by up to {found.leak:.2g}, through the sum that the softmax divides by. Zeros in place of the scores "
        f"are wrong by up to {found.before:.2g}: e⁰ = 1 is a weight like others. With −∞ later tokens change nothing "
        f"({found.leak_infinite:.1g}).",
        "Zeros after the softmax are the same as −∞ only if each row is then divided by its sum "
        f"(difference {found.renormalised:.1e}).",
        {
            "difference, zeros after the softmax": relative_measurement(found.after),
            "difference, zeros before the softmax": relative_measurement(found.before),
            "difference, zeros after it and divided by the sum": relative_measurement(found.renormalised),
            "smallest sum of a row": measurement(found.least_row),
            "change of the first output by later tokens": relative_measurement(found.leak),
            "the same with −∞": relative_measurement(found.leak_infinite),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """The worst of all seeds: the claim is that it never makes a difference, so one draw refutes it."""
    found = [measure(seed) for seed in range(budget.seeds)]
    return judge(
        MaskingErrors(
            max(each.after for each in found),
            max(each.before for each in found),
            max(each.renormalised for each in found),
            min(each.least_row for each in found),
            max(each.leak for each in found),
            max(each.leak_infinite for each in found),
        )
    )


CLAIM = Claim(
    "mask-by-zero",
    "To mask, one may multiply by zero instead of adding −∞.",
    NOTES,
    "exact",
    "The same head masked in both ways: its output, its rows' sums, and whether later tokens change earlier outputs.",
    decide,
    quick=Budget(seeds=10),
    full=Budget(seeds=1000),
    could_be_wrong=(
        (
            "One head on random queries, keys and values: how large the error is depends on how much weight the hidden "
            "keys would have had."
        ),
        (
            "Whether a model trained with zeros after the softmax learns to live with them is not measured; the leak "
            "would remain, in training and not in generation."
        ),
    ),
)
