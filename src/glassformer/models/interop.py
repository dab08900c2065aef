"""Hugging Face's GPT-2 in and out: a folder with ``config.json`` and ``model.safetensors``.

The folder's own format is read and written here; the ``transformers`` package is not needed. GPT-2 writes its linear
layers as d_in × d_out ("Conv1D"), the transpose of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from glassformer.errors import CheckpointError, ConfigError, DataError, nearest
from glassformer.models.config import ModelConfig
from glassformer.models.counting import build_on_meta
from glassformer.models.decoder import Decoder
from glassformer.models.hugging_face import (
    check_fit,
    find_folder,
    misfits,
    read_json,
    read_tensors,
    write_folder,
    wrong_types,
)
from glassformer.models.size import check_held

ACTIVATIONS = {  # Hugging Face's name -> ours
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
    "relu": "relu",
}
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MASKS = (".attn.bias", ".attn.masked_bias")  # older files hold the causal mask itself


# --- in -------------------------------------------------------------------------------------------------------------


def load_gpt2(source: str | Path) -> Decoder:
    """A GPT-2 from a folder, or from a hub name (``openai-community/gpt2``), as a model in evaluation mode, in fp32.

    Raises:
        DataError: the folder, a file or a tensor is missing, damaged or of another shape; or the hub cannot be reached.
        ConfigError: the configuration asks for what this model cannot do, every reason at once.
        DependencyError: a hub name, without the extra ``[hf]``.
    """
    folder = find_folder(source)
    settings = read_json(folder / "config.json")
    config = config_from_gpt2(settings)
    tensors = dict(_without_prefix(read_tensors(folder)))
    check_fit(folder, wrong_types(tensors))
    try:
        check_held(config, tensors)
    except CheckpointError as error:
        raise DataError(f"{folder}: {error}") from None
    model = cast("Decoder", build_on_meta(config))
    weights = _weights_from(tensors, model, folder)
    model.to_empty(device="cpu")
    model.tie()  # leaving the meta device parts what was tied
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model.eval()


def config_from_gpt2(settings: Mapping[str, Any]) -> ModelConfig:
    """Our configuration from the content of GPT-2's ``config.json``; what a key leaves out is GPT-2's own default.

    Raises:
        ConfigError: every setting that asks for another function than our parts compute.
    """
    subject = "Hugging Face model"
    complaints = list(_strange_settings(settings))
    if complaints:
        raise ConfigError(complaints, subject=subject)
    d_model = settings.get("n_embd", 768)
    return ModelConfig.build(
        {
            "vocab_size": settings.get("vocab_size", 50_257),
            "max_seq_len": settings.get("n_positions", settings.get("n_ctx", 1024)),
            "d_model": d_model,
            "n_layers": settings.get("n_layer", 12),
            "attention": {
                "n_heads": settings.get("n_head", 12),
                "scale": settings.get("scale_attn_weights", True),
                "dropout": settings.get("attn_pdrop", 0.1),
            },
            "feedforward": {
                "kind": ACTIVATIONS[settings.get("activation_function", "gelu_new")],
                "d_ff": settings.get("n_inner"),
            },
            "norm": {"eps": settings.get("layer_norm_epsilon", 1e-5)},
            "head": {"tied": settings.get("tie_word_embeddings", True)},
            "dropout": settings.get("resid_pdrop", 0.1),
        },
        subject=subject,
    )


def _strange_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a GPT-2 configuration may say and our parts do not do."""
    if settings.get("model_type", "gpt2") != "gpt2":
        yield f"model_type is {settings['model_type']!r}; only gpt2 can be read as a language model."
    activation = settings.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        yield f"activation_function is {activation!r}. {nearest(str(activation), ACTIVATIONS)}"
    if settings.get("scale_attn_by_inverse_layer_idx"):
        yield "scale_attn_by_inverse_layer_idx is true: scores divided by the layer's number are not among our parts."
    if settings.get("reorder_and_upcast_attn"):
        yield "reorder_and_upcast_attn is true: it rounds differently in half precision; set it to false."
    for setting in ("pruned_heads", "quantization_config"):
        if settings.get(setting):
            yield f"{setting} is set: such a model cannot be read; save it without."
    if settings.get("add_cross_attention"):
        yield "add_cross_attention is true: a decoder with cross-attention cannot be read."
    if settings.get("embd_pdrop", 0.1) != settings.get("resid_pdrop", 0.1):
        yield (
            f"embd_pdrop is {settings.get('embd_pdrop', 0.1)} and resid_pdrop {settings.get('resid_pdrop', 0.1)}: "
            "here they are one setting; make them equal in config.json (they only matter in training)."
        )


def _without_prefix(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Names as in ``GPT2LMHeadModel`` and ``GPT2Model`` alike, the causal masks left out."""
    for name, tensor in tensors.items():
        if not name.endswith(MASKS):
            yield name.removeprefix("transformer."), tensor


def _weights_from(tensors: dict[str, Tensor], model: Decoder, folder: Path) -> dict[str, Tensor]:
    """Our parameters' values by our names; every tensor that is missing, left over or of another shape is named."""
    complaints, weights, names = [], {}, gpt2_names(model)
    if model.config.head.tied:
        _check_tied_head(tensors, folder)
    for ours, theirs in names.items():
        tensor = tensors.pop(theirs, None)
        if tensor is None:
            complaints.append(f"{theirs} is missing")
            continue
        tensor = tensor.T if theirs.endswith(TRANSPOSED) and tensor.dim() == 2 else tensor
        expected = model.get_parameter(ours).shape
        if tensor.shape != expected:
            got, wanted = (shape[::-1] if theirs.endswith(TRANSPOSED) else shape for shape in (tensor.shape, expected))
            complaints.append(f"{theirs} has shape {list(got)}; config.json says {list(wanted)}")
        weights[ours] = tensor
    complaints += [f"{name} has no place in the model" for name in sorted(tensors)]
    check_fit(folder, complaints)
    return weights


def _check_tied_head(tensors: dict[str, Tensor], folder: Path) -> None:
    """A tied model's file may hold its head too; then it must be the embedding."""
    head = tensors.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in tensors and not torch.equal(head, tensors["wte.weight"]):
        raise DataError(
            f"{folder}: config.json says tie_word_embeddings, and lm_head.weight differs from wte.weight; "
            "set tie_word_embeddings to false there if the head is meant to be its own."
        )


def gpt2_names(model: Decoder) -> dict[str, str]:
    """Our name of every parameter -> GPT-2's, without the prefix ``transformer.``."""
    outside = {
        "embedding.tokens": "wte",
        "embedding.positions.table": "wpe",
        "final_norm": "ln_f",
        "head": "lm_head",
    }
    inside = {
        "attention_norm": "ln_1",
        "attention.w_qkv": "attn.c_attn",
        "attention.w_o": "attn.c_proj",
        "feedforward_norm": "ln_2",
        "feedforward.w_1": "mlp.c_fc",
        "feedforward.w_2": "mlp.c_proj",
    }
    names = {}
    for ours, _ in model.named_parameters():
        module, _, kind = ours.rpartition(".")
        if module.startswith("blocks."):
            _, index, place = module.split(".", 2)
            names[ours] = f"h.{index}.{inside[place]}.{kind}"
        else:
            names[ours] = f"{outside[module]}.{kind}"
    return names


# --- out ------------------------------------------------------------------------------------------------------------


def save_gpt2(model: Decoder, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` as ``transformers`` reads them.

    Raises:
        ConfigError: GPT-2's format cannot hold this model, every reason at once.
        DataError: the folder cannot be written.
    """
    config = model.config
    complaints = list(_beyond_gpt2(config))
    if complaints:
        raise ConfigError(complaints, subject="export to GPT-2's format")
    tensors = {}
    for ours, theirs in gpt2_names(model).items():
        tensor = model.get_parameter(ours).detach().cpu()
        prefix = "" if theirs.startswith("lm_head") else "transformer."
        if theirs in ("wte.weight", "lm_head.weight"):
            tensor = tensor[: config.vocab_size]  # without the rows that round the vocabulary up
        tensors[prefix + theirs] = (tensor.T if theirs.endswith(TRANSPOSED) else tensor).contiguous()
    write_folder(folder, {"config.json": config_to_gpt2(config, dtype=model.dtype)}, tensors)


def config_to_gpt2(config: ModelConfig, *, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The content of GPT-2's ``config.json``. No token is named that begins or ends a text: ours have none."""
    activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.attention.n_heads,
        "n_inner": config.feedforward.d_ff,
        "activation_function": activations[config.feedforward.kind],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention.dropout,
        "layer_norm_epsilon": config.norm.eps,
        "initializer_range": config.initialisation.std,
        "scale_attn_weights": config.attention.scale,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": config.head.tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _beyond_gpt2(config: ModelConfig) -> Iterator[str]:
    """Everything about a model that GPT-2's format has no room for."""
    fixed: dict[str, tuple[Any, Any]] = {  # our setting -> (what it is, what GPT-2 has)
        "positions.kind": (config.positions.kind, "learned"),
        "norm.kind": (config.norm.kind, "layernorm"),
        "norm.placement": (config.norm.placement, "pre"),
        "norm.final": (config.norm.final, True),
        "norm.bias": (config.norm.bias, True),
        "attention.kind": (config.attention.kind, "multi-head"),
        "attention.projection": (config.attention.projection, "fused"),
        "attention.n_kv_heads": (config.n_kv_heads, config.attention.n_heads),
        "attention.d_head": (config.d_head * config.attention.n_heads, config.d_model),
        "attention.qk_norm": (config.attention.qk_norm, "none"),
        "attention.bias": (config.attention.bias, True),
        "attention.output_bias": (config.attention.output_bias is not False, True),
        "feedforward.bias": (config.feedforward.bias, True),
        "feedforward.dropout": (config.feedforward.dropout, 0.0),
        "feedforward.convolution": (config.feedforward.convolution, False),
        "embedding.tokens": (config.embedding.tokens, True),
        "embedding.scale": (config.embedding.scale, False),
        "embedding.norm": (config.embedding.norm, False),
        "embedding.types": (config.embedding.types, 0),
        "head.transform": (config.head.transform, False),
        "head.bias": (config.head.bias, False),
        "residual": (config.residual, "both"),
        "sublayers": (config.sublayers, "both"),
    }
    yield from misfits("GPT-2", fixed)
    if config.feedforward.kind not in ACTIVATIONS.values():
        yield f"feedforward.kind is {config.feedforward.kind}, and GPT-2's can be gelu-tanh, gelu or relu."
