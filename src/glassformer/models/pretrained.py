"""One door for the models of Hugging Face: a folder in, a folder out, whatever the family."""

from __future__ import annotations

from pathlib import Path

from glassformer.errors import CheckpointError, ConfigError, DataError
from glassformer.models.build import Model, build
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.hugging_face import (
    check_fit,
    check_own_code,
    find_folder,
    read_json,
    read_tensors,
    write_folder,
    wrong_types,
)
from glassformer.models.interop import load_gpt2, save_gpt2
from glassformer.models.layouts import LAYOUTS, layout_for
from glassformer.models.marian import load_marian
from glassformer.models.size import check_held

GPT2, MARIAN = "gpt2", "marian"
"""The ``model_type`` of the two that are read by code of their own."""


def from_pretrained(source: str | Path) -> Model:
    """The model of a Hugging Face folder (or hub name), in evaluation mode, in fp32.

    Raises:
        DataError: files are missing, damaged or do not fit together; or the hub cannot be reached.
        ConfigError: it is not a model that our parts compute, every reason at once.
        DependencyError: a hub name, without the extra ``[hf]``.
    """
    folder = find_folder(source)
    settings = read_json(folder / "config.json")
    check_own_code(folder, settings)
    kind = settings.get("model_type", GPT2)
    if kind == GPT2:
        return load_gpt2(folder)
    if kind == MARIAN:
        return load_marian(folder)
    check_model_type(kind)
    layout = LAYOUTS[kind]
    config = layout.read_settings(settings)
    tensors = read_tensors(folder)
    check_fit(folder, [each for each in wrong_types(tensors) if not each.startswith(layout.ignored)])
    try:
        check_held(config, tensors)
    except CheckpointError as error:
        raise DataError(f"{folder}: {error}") from None
    model = build(config)
    weights, complaints = layout.read_weights(tensors, model)
    check_fit(folder, complaints)
    model.load_weights({name: weight.float() for name, weight in weights.items()})
    return model.eval()


def check_model_type(kind: object) -> None:
    """Raise :class:`ConfigError` for a model that cannot be read."""
    known = sorted({GPT2, MARIAN, *LAYOUTS})
    if kind not in known:
        raise ConfigError(
            f"model_type is {kind!r}; what can be read are {', '.join(known[:-1])} and {known[-1]}.",
            subject="Hugging Face model",
        )


def save_pretrained(model: Model, folder: str | Path) -> None:
    """Write a model's ``config.json`` and ``model.safetensors`` as ``transformers`` reads them.

    A translator is written with its tokenizers, without which its special tokens are not known: ``save_marian``.

    Raises:
        ConfigError: no format there can hold this model, every reason at once.
        DataError: the folder cannot be written.
    """
    if isinstance(model, EncoderDecoder):
        raise ConfigError(
            "a translator's folder needs its tokenizers; use save_marian(model, folder, ...) or glassformer convert.",
            subject="export to Hugging Face's format",
        )
    if isinstance(model, Decoder):
        save_gpt2(model, folder)
        return
    (layout,) = layout_for(model.config.family)
    settings = layout.write_settings(model.config) | {"dtype": str(model.dtype).removeprefix("torch.")}
    write_folder(folder, {"config.json": settings}, layout.write_weights(model))
