"""Models of others, opened: a Hugging Face GPT-2 or Marian (OPUS-MT) with its tokenizers, as a pair or as a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from glassformer import places
from glassformer.data.byte_pairs import Gpt2Tokenizer, gpt2_file_paths
from glassformer.data.marian_tokenizers import load_marian_tokenizers
from glassformer.data.sentence_tokenizers import PairTokenizer, load_pair_tokenizer
from glassformer.data.tokenizers import OWN_FOLDER, Tokenizer, load_tokenizer
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import ConfigError, DataError
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.hugging_face import check_own_code, find_folder, read_json
from glassformer.models.interop import load_gpt2
from glassformer.models.marian import load_marian, special_ids
from glassformer.models.marian_layout import SpecialIds
from glassformer.models.presets import GPT2_VOCABULARY
from glassformer.runs.checkpoints import save_checkpoint
from glassformer.runs.folder import Run
from glassformer.tasks.run_config import RunConfig

GPT2, MARIAN = "gpt2", "marian"
"""The model_type that its config.json says."""


def open_folder(source: str | Path) -> tuple[Decoder, Tokenizer] | tuple[EncoderDecoder, PairTokenizer]:
    """The model of a Hugging Face folder (or hub name) in evaluation mode, and its tokenizer.

    Raises:
        DataError: files are missing, damaged or do not fit together.
        ConfigError: it is not a model that our parts compute.
        DependencyError: a hub name, without the extra ``[hf]``.
    """
    folder = find_folder(source)
    settings = read_json(folder / "config.json")
    check_own_code(folder, settings)
    kind = settings.get("model_type", GPT2)
    if kind not in (GPT2, MARIAN):
        raise ConfigError(
            f"model_type is {kind!r}; what can be read are {GPT2} and {MARIAN}.", subject="Hugging Face model"
        )
    if kind == MARIAN:
        return _load_translator(folder)
    model = load_gpt2(folder)
    return model, _tokenizer_of(folder, model.config.vocab_size)


def import_run(source: str, name: str, *, runs: Path | None = None) -> Run:
    """Read a GPT-2 or a Marian and its tokenizers into a new run, which is returned. Raises as :func:`open_folder`."""
    model, tokenizer = open_folder(source)
    data = _data_of(tokenizer, model.config) if isinstance(tokenizer, PairTokenizer) else {"tokenizer": tokenizer.kind}
    config = RunConfig.build({"model": model.config, "data": data})
    run = Run.create(runs or places.runs_folder(), name, config.to_dict(), command=sys.argv)
    tokenizer.save(run.tokenizer)
    weights = {"model": model.named_weights()}
    save_checkpoint(run.checkpoints, 0, weights, {"imported_from": source}, is_best=True, seal=run.seal())
    return run


def _load_translator(folder: Path) -> tuple[EncoderDecoder, PairTokenizer]:
    """A Marian folder's model and tokenizers, with one another's ids."""
    if (folder / OWN_FOLDER).is_dir():  # a run that was written out: it gets its own ids back
        tokenizer = load_pair_tokenizer(folder / OWN_FOLDER)
        target = tokenizer.target
        ids = SpecialIds(target.pad_id, target.start_id, target.end_id)
        model = load_marian(folder, ids=ids, joint=tokenizer.joint)
    else:
        tokenizer = load_marian_tokenizers(folder)
        model, special = load_marian(folder), special_ids(folder)
        for side in (tokenizer.source, tokenizer.target):
            if (side.pad_id, side.end_id) != (special.pad, special.end):
                raise DataError(
                    f"{folder}: in the vocabulary <pad> is {side.pad_id} and </s> {side.end_id}, and config.json says "
                    f"{special.pad} and {special.end}; they do not belong together."
                )
    sizes = (model.config.encoder_vocab_size, model.config.vocab_size)
    for side, size in zip((tokenizer.source, tokenizer.target), sizes, strict=True):
        if side.vocab_size != size:  # every token that the model may write has to have a text
            raise DataError(
                f"The tokenizer in {folder} has {side.vocab_size:,} tokens, and the model knows {size:,}; "
                "they do not belong together."
            )
    return model, tokenizer


def _data_of(tokenizer: PairTokenizer, config: ModelConfig) -> dict[str, Any]:
    """What the data's settings say of an imported translator; which pairs it learned from is not known."""
    default = TranslationConfig()
    data = {
        "task": default.task,
        "joint": config.embedding.source != "own",  # Marian cuts each language its own way, into one vocabulary
        "lowercase": tokenizer.target.lowercase,
        "max_length": min(default.max_length, config.max_seq_len),
    }
    known = tokenizer.target.kind in ("bpe", "words", "characters")
    return data | ({"tokenizer": tokenizer.target.kind} if known else {})


def _tokenizer_of(folder: Path, vocab_size: int) -> Tokenizer:
    """What is in the folder; GPT-2's own where there is nothing and the vocabulary has GPT-2's size."""
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if (folder / OWN_FOLDER).is_dir():
        tokenizer = load_tokenizer(folder / OWN_FOLDER)
    elif vocabulary.is_file() and merges.is_file():
        tokenizer = Gpt2Tokenizer.from_files(vocabulary, merges)
    elif vocab_size == GPT2_VOCABULARY:
        tokenizer = Gpt2Tokenizer.from_files(*gpt2_file_paths(None))
    else:
        raise DataError(
            f"{folder} holds no tokenizer (vocab.json and merges.txt), and its vocabulary of {vocab_size:,} tokens is "
            f"not GPT-2's {GPT2_VOCABULARY:,}, whose tokenizer would be taken; put the two files beside the model."
        )
    if tokenizer.vocab_size > vocab_size:
        raise DataError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size:,} tokens, and the model knows {vocab_size:,}; "
            "they do not belong together."
        )
    return tokenizer
