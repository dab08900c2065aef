"""How noisy a batch's gradient is: the gradient noise scale, measured while a model trains.

McCandlish et al. 2018 (arXiv 1812.06162), equation 2.9: the noise scale B = tr Σ / |G|² is the batch size at which a
batch's noise is as large as the gradient itself. Neither is seen directly, for the squared norm of a batch's gradient
holds both, E|G_B|² = |G|² + tr Σ / B. Two batch sizes tell them apart (appendix A.1), here a step's batch of b tokens
and the parts of s tokens that it is cut into:

    |G|²  = (b·|G_b|² − s·|G_s|²) / (b − s)            tr Σ = (|G_s|² − |G_b|²) / (1/s − 1/b)

Both are unbiased, and noisy: a single |G|² may well be negative. So each is averaged over many steps, and only then are
they divided; the mean of the quotients would be biased, and need not exist.

The unit of b, s and B is a token of the objective: pads and targets that are not counted are none. What is drawn at
random, though, is a sequence, whose tokens share a context and are not independent. So tr Σ is the variance of a
batch's gradient times its tokens, not a single token's variance, and B is in tokens *of such sequences*: B divided by
the tokens of a sequence is the noise scale in sequences. Dropout's noise is part of it; the gradient is that before
clipping, and the optimizer does not enter.

Sentence pairs of like lengths share a batch, in order of their lengths: what is measured is the noise within such
batches, and what differs between short and long sentences of one batch counts as noise too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.data.batches import Batch

PARTS = 4
"""Into how many a batch is cut that is trained on whole: more tell more of the noise, and run less well."""


def unbiased_pair(large: float, small: float, n_large: float, n_small: float) -> tuple[float, float]:
    """(|G|², tr Σ) from the squared gradient norms ``large`` and ``small`` of batches of n_large > n_small tokens."""
    squared_norm = (n_large * large - n_small * small) / (n_large - n_small)
    trace = (small - large) / (1 / n_small - 1 / n_large)
    return squared_norm, trace


class NoiseMeasurement:
    """Looks at the gradient of a step after each of its parts; it changes nothing.

    Each part has added its summed gradient divided by the *batch's* tokens n. That of part i, with n_i tokens, is thus
    (n_i / n)·G_i, and the mean of |G_i|² weighted by tokens has the expectation |G|² + k·tr Σ / n for k parts, equal in
    size or not: that of a part of n / k tokens.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._added: list[Tensor] = []  # |n_i / n · G_i|²
        self._before: dict[str, Tensor] = {}
        self._whole: Tensor | None = None

    def look(self, parameters: Mapping[str, nn.Parameter], n_tokens: int) -> None:
        """After a part of ``n_tokens`` was added to the gradients."""
        now = {name: p.grad.detach() for name, p in parameters.items() if p.grad is not None}
        added = [grad - self._before[name] if name in self._before else grad for name, grad in now.items()]
        self._tokens.append(n_tokens)
        self._added.append(_squared_norm(added))
        self._whole = _squared_norm(list(now.values()))
        self._before = {name: grad.clone() for name, grad in now.items()}

    @property
    def measured(self) -> bool:
        """Whether there were at least two parts with tokens in them."""
        return sum(n > 0 for n in self._tokens) > 1

    def to_record(self, step: int, *, rows: int) -> dict[str, Any]:
        """What the step says, as it stands in ``metrics.jsonl``.

        ``tokens`` and ``sequences`` of the batch, ``part_tokens`` (n / k); ``squared_norm_batch`` and
        ``squared_norm_part``, as they were measured; ``squared_norm`` (|G|²) and ``trace`` (tr Σ, in tokens), unbiased.
        """
        assert self.measured
        assert self._whole is not None
        n = sum(self._tokens)
        added = [(float(square), tokens) for square, tokens in zip(self._added, self._tokens, strict=True) if tokens]
        large, small = float(self._whole), sum(square * n / tokens for square, tokens in added)
        part = n / len(added)
        squared_norm, trace = unbiased_pair(large, small, n, part)
        return {
            "kind": "noise_scale",
            "step": step,
            "tokens": n,
            "sequences": rows,
            "part_tokens": part,
            "squared_norm_batch": large,
            "squared_norm_part": small,
            "squared_norm": squared_norm,
            "trace": trace,
        }


def parts(batch: Batch) -> list[Batch]:
    """A batch in at most PARTS parts of consecutive rows, as even as can be; a single row stays whole."""
    n_rows = len(batch.targets)
    k = min(PARTS, n_rows)
    edges = [n_rows * i // k for i in range(k + 1)]
    return [batch.rows(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def _squared_norm(gradients: list[Tensor]) -> Tensor:
    """|g|² over all tensors, a float64 scalar."""
    return torch.nn.utils.get_total_norm(gradients).double() ** 2
