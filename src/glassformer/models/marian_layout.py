"""How a Marian of Hugging Face differs from a translator of ours: its ids, its names, its table of positions.

*Ids.* A Marian vocabulary ends with ``<pad>``, which is also what a translation starts with; ours have a start token
of their own. An exported model's ids are therefore others (:func:`marian_order`): ``</s>``, ``<unk>``, the words,
``<pad>``; and the start token is gone.

*The start.* Marian's own programs and CTranslate2 start a translation from a zero vector. What our start token adds is
written into position 0 of the decoder's position table, which nothing but the start ever reads; so all of them compute
the same. Other positions than Marian's go into these tables as well. (``transformers`` reads the tables of a file and
does not write them again: ``save_pretrained`` of such a model loses them.)

*Matrices.* Marian's projections are separate; ours may be one matrix, which is theirs stacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from glassformer.models.encoder_decoder import EncoderDecoder

ACTIVATIONS = {  # Hugging Face's name -> ours
    "swish": "silu",
    "silu": "silu",
    "relu": "relu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
}
ATTENTIONS = {"attention": "self_attn", "cross_attention": "encoder_attn"}
PROJECTIONS = {  # ours -> theirs, from top to bottom
    "w_qkv": ("q_proj", "k_proj", "v_proj"),
    "w_kv": ("k_proj", "v_proj"),
    "w_q": ("q_proj",),
    "w_k": ("k_proj",),
    "w_v": ("v_proj",),
    "w_o": ("out_proj",),
}
OTHERS = {
    "attention_norm": "self_attn_layer_norm",
    "cross_attention_norm": "encoder_attn_layer_norm",
    "feedforward.w_1": "fc1",
    "feedforward.w_2": "fc2",
    "feedforward_norm": "final_layer_norm",
}
SHARED, HEAD, BIAS = "model.shared.weight", "lm_head.weight", "final_logits_bias"
STACKS = ("encoder", "decoder")
SAME_TABLE = 1e-3  # tables of sines that were computed in other precisions differ by less, other tables by more


@dataclass(frozen=True)
class SpecialIds:
    """Ids with a meaning. The defaults are those of vocabularies learned here."""

    pad: int = 0
    start: int = 2
    end: int = 3


LEARNED_HERE = SpecialIds()


def marian_order(vocab_size: int, ids: SpecialIds, *, joint: bool = True) -> list[int]:
    """For each id of the Marian vocabulary, the id it has in a vocabulary of ours.

    A vocabulary that starts with its pad, as an imported one does, keeps its ids. In others the end comes first and
    the pad last, where CTranslate2's converter takes it off. Two vocabularies (not ``joint``) have the pad second:
    Marian has one id for both, and their sizes may differ.
    """
    if ids.start == ids.pad:
        return list(range(vocab_size))
    others = [token for token in range(vocab_size) if token not in (ids.pad, ids.start, ids.end)]
    return [ids.end, *others, ids.pad] if joint else [ids.end, ids.pad, *others]


def embedding_name(stack: str) -> str:
    """The Marian name of a stack's token vectors, where the two have their own."""
    return f"model.{stack}.embed_tokens.weight"


def table_name(stack: str) -> str:
    """The Marian name of a stack's position vectors."""
    return f"model.{stack}.embed_positions.weight"


def block_names(model: EncoderDecoder) -> Iterator[tuple[str, nn.Module, list[str]]]:
    """Every module in the blocks that has weights: our name, itself, and Marian's modules from top to bottom."""
    for name, module in model.named_modules():
        if ".blocks." not in name or getattr(module, "weight", None) is None:
            continue
        stack, _, index, place = name.split(".", 3)
        attention, _, projection = place.partition(".")
        inside = (
            [OTHERS[place]] if place in OTHERS else [f"{ATTENTIONS[attention]}.{w}" for w in PROJECTIONS[projection]]
        )
        yield name, module, [f"model.{stack}.layers.{index}.{theirs}" for theirs in inside]


def same_table(a: Tensor, b: Tensor) -> bool:
    """Whether two tables of positions are the same, but for how precisely their sines were computed."""
    return bool((a - b).abs().max() < SAME_TABLE) if a.numel() else True
