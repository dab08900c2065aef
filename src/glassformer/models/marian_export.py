"""Hugging Face's Marian out: what ``transformers`` and CTranslate2's converter read.

:mod:`~glassformer.models.marian_layout` says what is written where, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.hugging_face import misfits, write_folder
from glassformer.models.marian_layout import (
    ACTIVATIONS,
    BIAS,
    HEAD,
    LEARNED_HERE,
    SHARED,
    STACKS,
    SpecialIds,
    block_names,
    embedding_name,
    marian_order,
    same_table,
    table_name,
)
from glassformer.parts.positions import sinusoids


def save_marian(
    model: EncoderDecoder,
    folder: str | Path,
    *,
    ids: SpecialIds = LEARNED_HERE,
    joint: bool | None = None,
    beam_size: int = 5,
) -> None:
    """Write ``config.json``, ``generation_config.json`` and ``model.safetensors`` as ``transformers`` reads them.

    The exported model's ids are those of :func:`marian_order`.

    Args:
        ids: of the vocabulary that the model was trained with.
        joint: whether source and target have one vocabulary; None takes two of one size for one.
        beam_size: the default of ``generate``.

    Raises:
        ConfigError: Marian's format cannot hold this model, every reason at once.
        DataError: the folder cannot be written.
    """
    config = model.config
    complaints = list(_beyond_marian(config))
    if complaints:
        raise ConfigError(complaints, subject="export to Marian's format")
    joint = config.encoder_vocab_size == config.vocab_size if joint is None else joint
    target_order = marian_order(config.vocab_size, ids, joint=joint)
    source_order = marian_order(config.encoder_vocab_size, ids, joint=joint)
    tensors = _vocabulary_tensors(model, source_order, target_order, ids)
    for _, module, modules in block_names(model):
        weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
        for kind, parameter in (("weight", weight), ("bias", weight.new_zeros(len(weight)) if bias is None else bias)):
            for theirs, part in zip(modules, parameter.detach().cpu().chunk(len(modules)), strict=True):
                tensors[f"{theirs}.{kind}"] = part.clone()
    settings = config_to_marian(
        config,
        source_vocab_size=len(source_order),
        vocab_size=len(target_order),
        ids=SpecialIds(*(target_order.index(token) for token in (ids.pad, ids.pad, ids.end))),
        dtype=model.dtype,
    )
    generation = _generation_settings(settings, beam_size)
    write_folder(folder, {"config.json": settings, "generation_config.json": generation}, tensors)


def _vocabulary_tensors(
    model: EncoderDecoder, source_order: list[int], target_order: list[int], ids: SpecialIds
) -> dict[str, Tensor]:
    """Token vectors, head, its bias, and the tables of positions that are not Marian's own."""
    config = model.config
    encoder, decoder = (getattr(model, stack).embedding.tokens.weight.detach().cpu() for stack in STACKS)
    start = decoder[ids.start].clone()
    source, target = encoder[source_order], decoder[target_order]
    pad = target_order.index(ids.pad)
    target[pad] = 0.0  # Marian's start; no translation holds a pad
    tensors = {BIAS: target.new_zeros(1, len(target_order))}
    if model.head.bias is not None:
        tensors[BIAS] = model.head.bias.detach().cpu()[target_order][None]
    if config.head.tied and config.embedding.source == "target":
        tensors[SHARED] = target
    else:
        tensors |= {embedding_name("encoder"): source, embedding_name("decoder"): target}
        if not config.head.tied:
            tensors[HEAD] = model.head.weight.detach().cpu()[target_order]
    positions = torch.arange(config.max_seq_len, device=model.device)
    tables = {stack: getattr(model, stack).embedding.positions.embed(positions).detach().cpu() for stack in STACKS}
    own = sinusoids(torch.arange(config.max_seq_len), config.d_model, layout="halves")
    if start.any() or not all(same_table(table, own) for table in tables.values()):
        tensors |= {table_name(stack): table.clone() for stack, table in tables.items()}
        tensors[table_name("decoder")][0] += start * model.decoder.embedding.factor
    return tensors


def config_to_marian(
    config: ModelConfig,
    *,
    source_vocab_size: int,
    vocab_size: int,
    ids: SpecialIds,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """The content of Marian's ``config.json``.

    Args:
        source_vocab_size, vocab_size, ids: those of the exported model.
    """
    activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    one_matrix = config.head.tied and config.embedding.source == "target"
    settings: dict[str, Any] = {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": True,
        "vocab_size": source_vocab_size,
        "decoder_vocab_size": vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "d_model": config.d_model,
        "encoder_layers": config.n_encoder_layers,
        "decoder_layers": config.n_layers,
        "num_hidden_layers": config.n_encoder_layers,
        "activation_function": activations[config.feedforward.kind],
        "dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "activation_dropout": config.feedforward.dropout,
        "scale_embedding": config.embedding.scale,
        "share_encoder_decoder_embeddings": one_matrix,
        "tie_word_embeddings": config.head.tied,
        "pad_token_id": ids.pad,
        "decoder_start_token_id": ids.start,
        "eos_token_id": ids.end,
        "forced_eos_token_id": ids.end,
        "bos_token_id": None,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    for stack in STACKS:
        settings |= {f"{stack}_attention_heads": config.attention.n_heads, f"{stack}_ffn_dim": config.d_ff}
    return settings


def _generation_settings(settings: Mapping[str, Any], beam_size: int) -> dict[str, Any]:
    """The content of ``generation_config.json``: the defaults with which CTranslate2 decodes the same model."""
    return {
        "num_beams": beam_size,
        "early_stopping": True,
        "length_penalty": 1.0,
        "max_length": min(512, settings["max_position_embeddings"]),
        "bad_words_ids": [[settings["pad_token_id"]]],
        "renormalize_logits": True,  # over what is left without the pad
        "pad_token_id": settings["pad_token_id"],
        "decoder_start_token_id": settings["decoder_start_token_id"],
        "eos_token_id": settings["eos_token_id"],
        "forced_eos_token_id": settings["forced_eos_token_id"],
        "bos_token_id": None,
    }


def _beyond_marian(config: ModelConfig) -> Iterator[str]:
    """Everything about a model that Marian's format has no room for."""
    fixed: dict[str, tuple[Any, Any]] = {  # our setting -> (what it is, what Marian has)
        "norm.kind": (config.norm.kind, "layernorm"),
        "norm.placement": (config.norm.placement, "post"),
        "norm.final": (config.norm.final, False),
        "norm.eps": (config.norm.eps, 1e-5),
        "attention.kind": (config.attention.kind, "multi-head"),
        "attention.cross": (config.attention.cross, "multi-head"),
        "attention.n_kv_heads": (config.n_kv_heads, config.attention.n_heads),
        "attention.d_head": (config.d_head * config.attention.n_heads, config.d_model),
        "attention.scale": (config.attention.scale, True),
        "attention.qk_norm": (config.attention.qk_norm, "none"),
        "feedforward.convolution": (config.feedforward.convolution, False),
        "embedding.tokens": (config.embedding.tokens, True),
        "embedding.norm": (config.embedding.norm, False),
        "embedding.types": (config.embedding.types, 0),
        "head.transform": (config.head.transform, False),
        "residual": (config.residual, "both"),
        "sublayers": (config.sublayers, "both"),
    }
    yield from misfits("Marian", fixed)
    if config.attention.projection == "shared":
        yield "attention.projection is shared, and Marian has a matrix each for queries, keys and values."
    if config.positions.kind not in ("sinusoidal", "learned"):
        yield f"positions.kind is {config.positions.kind}, and Marian adds a vector for each position."
    if config.feedforward.kind not in ACTIVATIONS.values():
        yield f"feedforward.kind is {config.feedforward.kind}, and Marian's can be silu, relu, gelu or gelu-tanh."
