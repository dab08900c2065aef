"""How well a masked language model knows a text: each token predicted from all the others, one [MASK] at a time.

The pseudo-log-likelihood of Salazar et al. 2020 (arXiv 1910.14659), Σ_t log p(x_t | x without t), does not depend on
how many tokens a training masks, so models that were trained under different masking can be compared by it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.scoring.likelihood import Evaluation


@torch.no_grad()
def pseudo_log_likelihood(model: nn.Module, tokens: Tensor, mask_id: int, *, batch_size: int = 64) -> Tensor:
    """Token ids [T] → log p(x_t | all other tokens) for each t, float32 [T], in T forward passes of one row each.

    Args:
        batch_size: rows at once.
    """
    device = next(model.parameters()).device
    tokens = tokens.to(device)
    places = torch.arange(len(tokens), device=device)
    found = []
    for part in torch.split(places, batch_size):
        rows = tokens.repeat(len(part), 1)
        rows[torch.arange(len(part), device=device), part] = mask_id
        logits = model(rows)[torch.arange(len(part), device=device), part].float()
        found.append(-F.cross_entropy(logits, tokens[part], reduction="none"))
    return torch.cat(found)


def pseudo_perplexity(model: nn.Module, windows: Iterable[Tensor], mask_id: int, *, batch_size: int = 64) -> Evaluation:
    """The mean of −log p(x_t | all other tokens) over all tokens of ``windows``, each [T]; the mode is put back."""
    training = model.training
    model.eval()
    total, n_tokens = 0.0, 0
    try:
        for window in windows:
            total -= float(pseudo_log_likelihood(model, window, mask_id, batch_size=batch_size).double().sum())
            n_tokens += len(window)
    finally:
        model.train(training)
    return Evaluation(total / max(n_tokens, 1), n_tokens)
