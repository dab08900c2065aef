"""Filling in masked tokens with an encoder-only model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.errors import DataError
from glassformer.models.encoder import Encoder


@dataclass(frozen=True)
class Blank:
    """What a model predicts for one masked position.

    Attributes:
        position: in the text, from 0.
        tokens, probabilities: the most probable tokens, in falling order.
    """

    position: int
    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Filled:
    """A text whose masks are filled in.

    Attributes:
        blanks: of each mask, all others masked too.
        tokens: the whole text, int64 [T].
    """

    blanks: tuple[Blank, ...]
    tokens: Tensor


@torch.no_grad()
def fill(model: Encoder, tokens: Tensor, mask_id: int, *, top: int = 5) -> Filled:
    """Fill in the masks of a text.

    The probabilities are those of each mask while all are masked. The text is filled one mask at a time, each time the
    one of which the model is most certain (Ghazvininejad et al. 2019, "Mask-Predict", with one token a step), since
    tokens that are each the most probable need not fit each other.

    Args:
        tokens: int64 [T], with ``mask_id`` in it.
        top: predictions of each mask.

    Raises:
        DataError: there is no mask in it, or it is longer than the model's context.
    """
    tokens = tokens.clone().to(model.device)
    blanks = (tokens == mask_id).nonzero()[:, 0]
    if not len(blanks):
        raise DataError(
            "The text has no [MASK], so there is nothing to fill in; write [MASK] where a token is missing."
        )
    model.eval()
    first = _probabilities(model, tokens, blanks, mask_id)
    best = first.topk(min(top, first.shape[-1] - 1))
    found = tuple(
        Blank(int(position), tuple(ids.tolist()), tuple(shares.tolist()))
        for position, ids, shares in zip(blanks, best.indices, best.values, strict=True)
    )
    probabilities, left = first, blanks
    while len(left):
        certain = int(probabilities.max(-1).values.argmax())
        tokens[left[certain]] = probabilities[certain].argmax()
        left = torch.cat([left[:certain], left[certain + 1 :]])
        if len(left):
            probabilities = _probabilities(model, tokens, left, mask_id)
    return Filled(found, tokens.cpu())


def _probabilities(model: Encoder, tokens: Tensor, places: Tensor, mask_id: int) -> Tensor:
    """[number of places, vocab_size]; none of them [MASK] itself."""
    logits: Tensor = model(tokens[None])[0, places].float()
    logits[:, mask_id] = -torch.inf
    return logits.softmax(-1)
