"""What is minimised: the mean negative log-likelihood of the right token, in nats, its target smoothed where asked."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from glassformer.data.batches import IGNORE
from glassformer.scoring.likelihood import summed_nll


def summed_losses(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """What is minimised, and the plain negative log-likelihood: two scalars, summed over targets that count.

    With smoothing ε the target is (1 − ε) on the right token and ε / vocab on every token (Szegedy et al. 2016, §7), so
    the loss is (1 − ε) · −log p(target) + ε · mean over the vocabulary of −log p: no dense target is made.
    """
    if smoothing == 0.0:
        nll = summed_nll(logits, targets)
        return nll, nll.detach()
    log_p = F.log_softmax(logits.reshape(-1, logits.shape[-1]).float(), dim=-1)
    wanted = targets.reshape(-1)
    nll = F.nll_loss(log_p, wanted, ignore_index=IGNORE, reduction="sum")
    uniform = -(log_p.mean(-1) * (wanted != IGNORE)).sum()
    return (1 - smoothing) * nll + smoothing * uniform, nll.detach()
