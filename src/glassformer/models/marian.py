"""Hugging Face's Marian in: an OPUS-MT translator's folder, ``config.json`` and ``model.safetensors``.

Marian is the paper's post-norm encoder-decoder with biases everywhere, sines before cosines, and one bias per token of
the vocabulary. :mod:`~glassformer.models.marian_layout` says how it differs from ours, and
:mod:`~glassformer.models.marian_export` writes one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import ConfigError, DataError, nearest
from glassformer.models.config import ModelConfig, PositionConfig
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.hugging_face import check_fit, find_folder, read_json, read_tensors, wrong_types
from glassformer.models.limits import check_shape
from glassformer.models.marian_layout import (
    ACTIVATIONS,
    BIAS,
    HEAD,
    SAME_TABLE,
    SHARED,
    STACKS,
    SpecialIds,
    block_names,
    embedding_name,
    marian_order,
    same_table,
    table_name,
)
from glassformer.models.size import check_memory
from glassformer.parts.positions import sinusoids


def load_marian(source: str | Path, *, ids: SpecialIds | None = None, joint: bool = True) -> EncoderDecoder:
    """A Marian translator from a folder, or from a hub name (``Helsinki-NLP/opus-mt-en-de``), in fp32, to evaluate.

    Args:
        ids: those of the vocabulary that the folder was exported from; the model gets them back. None keeps the
            folder's ids, which :func:`special_ids` reads.
        joint: as it was at the export.

    Raises:
        DataError: the folder, a file or a tensor is missing, damaged or of another shape; or the hub cannot be reached.
        ConfigError: the configuration asks for what this model cannot do, every reason at once.
        DependencyError: a hub name, without the extra ``[hf]``.
    """
    folder = find_folder(source)
    settings = read_json(folder / "config.json")
    config = config_from_marian(settings)
    theirs = special_ids(folder)
    if theirs.pad != theirs.start:
        raise ConfigError(
            f"decoder_start_token_id is {theirs.start} and pad_token_id {theirs.pad}: Marian starts with its pad.",
            subject="Hugging Face model",
        )
    read = read_tensors(folder)
    check_fit(folder, wrong_types(read))
    tensors = {
        name if name in (HEAD, BIAS) else "model." + name.removeprefix("model."): tensor.float()
        for name, tensor in read.items()
    }
    complaints = list(_wrong_shapes(tensors, config))
    check_fit(folder, complaints)
    check_shape(config)
    check_memory(config)  # the tables of positions are made first, before the model
    vectors = _token_vectors(tensors, config, folder)
    config, tables = _take_positions(tensors, config, vectors, theirs.pad)
    if ids is not None and ids.start != ids.pad:
        config, vectors = _back_in_order(config, vectors, ids, theirs.pad, joint=joint)
    with torch.random.fork_rng(devices=[]):
        model = EncoderDecoder(config)
    check_fit(folder, _fill(model, tensors, vectors, tables))
    return model.eval()


def special_ids(folder: str | Path) -> SpecialIds:
    """The ids that a Marian folder's ``config.json`` names. Raises :class:`DataError` if it names none."""
    path = Path(folder) / "config.json"
    settings = read_json(path)
    pad, end = settings.get("pad_token_id", 58_100), settings.get("eos_token_id", 0)
    found = (pad, settings.get("decoder_start_token_id", pad), end)
    if not all(isinstance(token, int) and 0 <= token < settings.get("vocab_size", 58_101) for token in found):
        raise DataError(f"{path}: pad, start and end should be tokens of the vocabulary; they are {list(found)}.")
    return SpecialIds(*found)


def config_from_marian(settings: Mapping[str, Any]) -> ModelConfig:
    """Our configuration from the content of Marian's ``config.json``; what a key leaves out is Marian's own default.

    Raises:
        ConfigError: every setting that asks for another function than our parts compute.
    """
    subject = "Hugging Face model"
    complaints = list(_strange_settings(settings))
    if complaints:
        raise ConfigError(complaints, subject=subject)
    shared = settings.get("share_encoder_decoder_embeddings", True)
    source = settings.get("vocab_size", 58_101)
    target = source if shared else settings.get("decoder_vocab_size") or source
    return ModelConfig.build(
        {
            "vocab_size": target,
            "source_vocab_size": None if source == target else source,
            "max_seq_len": settings.get("max_position_embeddings", 1024),
            "d_model": settings.get("d_model", 1024),
            "n_layers": settings.get("decoder_layers", 12),
            "n_encoder_layers": settings.get("encoder_layers", 12),
            "attention": {
                "n_heads": settings.get("decoder_attention_heads", 16),
                "dropout": settings.get("attention_dropout", 0.0),
            },
            "feedforward": {
                "kind": ACTIVATIONS[settings.get("activation_function", "gelu")],
                "d_ff": settings.get("decoder_ffn_dim", 4096),
                "dropout": settings.get("activation_dropout", 0.0),
            },
            "norm": {"placement": "post", "final": False},
            "positions": {"kind": "sinusoidal", "options": {"layout": "halves"}},
            "embedding": {"scale": settings.get("scale_embedding", False), "source": "target" if shared else "own"},
            "head": {"tied": settings.get("tie_word_embeddings", True), "bias": True},
            "dropout": settings.get("dropout", 0.1),
        },
        subject=subject,
    )


def _strange_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a Marian configuration may say and our parts do not do."""
    if settings.get("model_type", "marian") != "marian":
        yield f"model_type is {settings['model_type']!r}; only marian can be read as a translator."
    activation = settings.get("activation_function", "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        yield f"activation_function is {activation!r}. {nearest(str(activation), ACTIVATIONS)}"
    shared = settings.get("share_encoder_decoder_embeddings", True)
    if not isinstance(shared, bool):
        yield f"share_encoder_decoder_embeddings is {shared!r}; expected true or false."
    for inside, default in (("attention_heads", 16), ("ffn_dim", 4096)):
        encoder, decoder = (settings.get(f"{stack}_{inside}", default) for stack in STACKS)
        if encoder != decoder:
            yield f"encoder_{inside} is {encoder} and decoder_{inside} {decoder}: here they are one setting."
    for setting in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        if settings.get(setting):
            yield f"{setting} is true: MarianMTModel has no such norm, and what the file means is unclear."
    for setting in ("encoder_layerdrop", "decoder_layerdrop"):
        if settings.get(setting):
            yield f"{setting} is {settings[setting]}: layers are never dropped here; set it to 0 (training only)."
    for setting in ("pruned_heads", "quantization_config"):
        if settings.get(setting):
            yield f"{setting} is set: such a model cannot be read; save it without."


def _wrong_shapes(tensors: Mapping[str, Tensor], config: ModelConfig) -> Iterator[str]:
    """Complaints about what the model cannot be made with, or is put together before it sees it."""
    rows = {
        SHARED: config.vocab_size,
        HEAD: config.vocab_size,
        embedding_name("encoder"): config.encoder_vocab_size,
        embedding_name("decoder"): config.vocab_size,
        table_name("encoder"): config.max_seq_len,
        table_name("decoder"): config.max_seq_len,
    }
    expected = {name: [count, config.d_model] for name, count in rows.items()} | {BIAS: [1, config.vocab_size]}
    for name, shape in expected.items():
        if name in tensors and list(tensors[name].shape) != shape:
            yield f"{name} has the shape {list(tensors[name].shape)}; config.json says {shape}"
    for stack, n_layers in (("encoder", config.n_encoder_layers), ("decoder", config.n_layers)):
        beginning = f"model.{stack}.layers."
        found = {name.removeprefix(beginning).partition(".")[0] for name in tensors if name.startswith(beginning)}
        if n_layers is not None and len(found) < n_layers:  # before a model of so many layers is made
            yield f"there are {len(found)} layers of the {stack}; config.json says {n_layers:,}"


def _token_vectors(tensors: dict[str, Tensor], config: ModelConfig, folder: Path) -> dict[str, Tensor]:
    """The matrices over the vocabulary and the head's bias: those of "encoder", "decoder", "head" and "bias"."""
    shared = tensors.pop(SHARED, None)
    found = {stack: tensors.pop(embedding_name(stack), shared) for stack in STACKS}
    head = tensors.pop(HEAD, None)
    if config.embedding.source == "target":  # a file may hold the one matrix by any of its names
        one = next((matrix for matrix in (shared, *found.values()) if matrix is not None), None)
        found = {stack: one if matrix is None else matrix for stack, matrix in found.items()}
    found["head"] = found["decoder"] if head is None and config.head.tied else head
    if config.head.tied and found["decoder"] is None:
        found["decoder"] = head
        if config.embedding.source == "target":
            found["encoder"] = head
    names = {"encoder": embedding_name("encoder"), "decoder": embedding_name("decoder"), "head": HEAD}
    check_fit(folder, [f"{names[place]} is missing" for place, matrix in found.items() if matrix is None])
    vectors = {place: matrix for place, matrix in found.items() if matrix is not None}
    for place, setting, said in (
        ("encoder", "share_encoder_decoder_embeddings", config.embedding.source == "target"),
        ("head", "tie_word_embeddings", config.head.tied),
    ):
        if said and not torch.equal(vectors[place], vectors["decoder"]):
            raise DataError(
                f"{folder}: config.json says {setting}, and {names[place]} differs from {names['decoder']}; "
                f"set {setting} to false there if each is meant to be its own."
            )
    bias = tensors.pop(BIAS, None)
    return vectors | {"bias": torch.zeros(config.vocab_size) if bias is None else bias[0]}


def _take_positions(
    tensors: dict[str, Tensor], config: ModelConfig, vectors: dict[str, Tensor], start: int
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration with the file's positions, and tables that are not sines; the start's vector gets its share.

    A file without tables has Marian's. Position 0 of the decoder's may hold the start's vector besides
    (:mod:`~glassformer.models.marian_layout`).
    """
    found = {stack: tensors.pop(table_name(stack)) for stack in STACKS if table_name(stack) in tensors}
    if not found:
        return config, {}
    length, width = config.max_seq_len, config.d_model
    layouts = {layout: sinusoids(torch.arange(length), width, layout=layout) for layout in ("halves", "interleaved")}
    tables = {stack: found.get(stack, layouts["halves"]) for stack in STACKS}
    for layout, table in layouts.items():
        if same_table(tables["encoder"], table) and same_table(tables["decoder"][1:], table[1:]):
            extra = tables["decoder"][0] - table[0]
            if extra.abs().max() > SAME_TABLE:
                factor = math.sqrt(width) if config.embedding.scale else 1.0
                _add_to_row(vectors, config, start, extra / factor)
            return config.override({"positions.options": {"layout": layout}}), {}
    positions = PositionConfig(kind="learned")
    return ModelConfig.build(config.to_dict() | {"positions": positions.to_dict()}), tables


def _add_to_row(vectors: dict[str, Tensor], config: ModelConfig, row: int, extra: Tensor) -> None:
    """Add to a token's vector in the decoder, and wherever else the same matrix serves."""
    moved = vectors["decoder"].clone()
    moved[row] += extra
    same = ["decoder"] + ["head"] * config.head.tied + ["encoder"] * (config.embedding.source == "target")
    vectors.update(dict.fromkeys(same, moved))


def _back_in_order(
    config: ModelConfig, vectors: Mapping[str, Tensor], ids: SpecialIds, start: int, *, joint: bool
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Rows by the ids of a vocabulary that has a start token of its own, and the configuration with one token more."""
    source = config.encoder_vocab_size + 1
    sizes = {"encoder": source, **dict.fromkeys(("decoder", "head", "bias"), config.vocab_size + 1)}
    restored = {}
    for place, rows in vectors.items():
        full = rows.new_zeros(sizes[place], *rows.shape[1:])
        full[marian_order(sizes[place], ids, joint=joint)] = rows
        restored[place] = full
    _move_start(restored, config, ids, vectors["decoder"][start])
    larger = {"vocab_size": sizes["decoder"], "source_vocab_size": config.source_vocab_size and source}
    return ModelConfig.build(config.to_dict() | larger), restored


def _move_start(vectors: dict[str, Tensor], config: ModelConfig, ids: SpecialIds, start: Tensor) -> None:
    """What stood in the pad's row, with which Marian starts, goes to the start's."""
    _add_to_row(vectors, config, ids.pad, -start)
    _add_to_row(vectors, config, ids.start, start)


def _fill(
    model: EncoderDecoder, tensors: dict[str, Tensor], vectors: Mapping[str, Tensor], tables: Mapping[str, Tensor]
) -> Iterator[str]:
    """Copy everything in; yields a complaint for every tensor that is missing, left over or of another shape."""
    with torch.no_grad():
        for stack in STACKS:
            model.get_parameter(f"{stack}.embedding.tokens.weight").copy_(vectors[stack])
            if stack in tables:
                model.get_parameter(f"{stack}.embedding.positions.table.weight").copy_(tables[stack])
        model.head.weight.copy_(vectors["head"])
        model.head.bias.copy_(vectors["bias"])
        for _, module, modules in block_names(model):
            for kind, parameter in module.named_parameters():
                for theirs, part in zip(modules, parameter.chunk(len(modules)), strict=True):
                    tensor = tensors.pop(f"{theirs}.{kind}", None)
                    if tensor is None:
                        yield f"{theirs}.{kind} is missing"
                    elif tensor.shape != part.shape:
                        yield (
                            f"{theirs}.{kind} has the shape {list(tensor.shape)}; config.json says {list(part.shape)}"
                        )
                    else:
                        part.copy_(tensor)
    yield from (f"{name} has no place in the model" for name in sorted(tensors))
