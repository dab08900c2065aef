"""Which source tokens a translation's tokens attend to: the cross-attention of one teacher-forced pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.parts.probes import record

PENULTIMATE = -2


@torch.no_grad()
def align(
    model: EncoderDecoder,
    source: Tensor,
    source_padding: Tensor | None,
    translations: Sequence[Sequence[int]],
    *,
    start_id: int,
    layer: int = PENULTIMATE,
) -> list[Tensor]:
    """For each sentence the weights [target tokens, source tokens], averaged over heads; a row sums to 1.

    Row t belongs to the target token that was predicted there, and columns are the source's tokens without pads. The
    layer before the last is the one whose average agrees best with alignments made by people (Garg et al. 2019,
    arXiv 1909.02074, §4); a decoder of one layer has only that one.

    Args:
        source: ids [N, S]; source_padding: bool [N, S], True at pads.
        translations: the N sentences' target ids, without start and end.
        layer: of the decoder, from 0; negative ones count from the end.
    """
    blocks = [index for index, block in enumerate(model.decoder.blocks) if block.has_cross_attention]
    longest = max(map(len, translations))
    if not longest or not blocks:
        lengths = [source.shape[1]] * len(source) if source_padding is None else (~source_padding).sum(1).tolist()
        return [torch.zeros(len(tokens), length) for tokens, length in zip(translations, lengths, strict=True)]
    name = f"decoder.blocks.{blocks[max(layer, -len(blocks))]}.cross_attention.weights"
    inputs = torch.tensor(
        [([start_id, *tokens] + [start_id] * longest)[:longest] for tokens in translations], device=source.device
    )
    with record(model, name) as seen:
        model.decode(inputs, model.encode(source, source_padding))
    weights = seen[name].float().mean(1).cpu()  # [N, T, S]
    found = []
    for row, tokens in enumerate(translations):
        real = slice(None) if source_padding is None else ~source_padding[row].cpu()
        found.append(weights[row, : len(tokens), real])
    return found
