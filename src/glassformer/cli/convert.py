"""``glassformer convert``: between a run and a Hugging Face folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassformer.errors import ConfigError, DataError

if TYPE_CHECKING:  # torch is imported when the command runs
    from glassformer.data.sentence_tokenizers import PairTokenizer
    from glassformer.data.tokenizers import Tokenizer
    from glassformer.models.config import ModelConfig
    from glassformer.models.transformer import Transformer
    from glassformer.runs.folder import Run

GPT2, MARIAN = "gpt2", "marian"  # the model_type that its config.json says
CLASSES = {False: "GPT2LMHeadModel", True: "MarianMTModel"}  # of transformers, by whether there is an encoder


def convert(
    source: Annotated[
        str, typer.Argument(metavar="RUN|FOLDER|HUB_NAME", help="A run to write out, or a GPT-2 or Marian to read in.")
    ],
    to_hf: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the run SOURCE as a Hugging Face folder.")
    ] = None,
    to_run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Read the GPT-2 or Marian SOURCE in, as a run of this name.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Of a run: latest, best, a step, or average-N.")] = "best",
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
) -> None:
    """Read or write a Hugging Face folder: a GPT-2 or, with an encoder, a Marian (OPUS-MT)."""
    if (to_hf is None) == (to_run is None):
        raise ConfigError(
            "convert needs one direction: --to-hf FOLDER writes a run out, --to-run NAME reads a GPT-2 or Marian in.",
            subject="command",
        )
    if to_hf is not None:
        has_encoder = export_run(source, to_hf, checkpoint=checkpoint, runs=runs)
        print(f"Wrote {to_hf}: transformers reads it with {CLASSES[has_encoder]}.from_pretrained({str(to_hf)!r}).")
    else:
        assert to_run is not None
        run = import_run(source, to_run, runs=runs)
        has_encoder = run.config["model"]["n_encoder_layers"] is not None
        use = f"translate {run.path} < lines" if has_encoder else f"sample {run.path} --prompt 'Once upon a time'"
        print(f"Read {source} into {run.path}. Next: glassformer {use}")


# --- out ------------------------------------------------------------------------------------------------------------


def export_run(source: str, folder: Path, *, checkpoint: str = "best", runs: Path | None = None) -> bool:
    """Write a run's model, and its tokenizer beside it. Returns whether it has an encoder, and so is a Marian.

    Raises:
        RunError, CheckpointError: there is no such run or checkpoint.
        ConfigError: the format of GPT-2 or of Marian cannot hold the model.
        DataError: the folder cannot be written.
    """
    from glassformer.runs.folder import Run
    from glassformer.training.session import run_config

    run = Run.open(source, root=runs)
    has_encoder = run_config(run).model.has_encoder
    (_export_translator if has_encoder else _export_language_model)(run, folder, checkpoint)
    return has_encoder


def _export_language_model(run: Run, folder: Path, checkpoint: str) -> None:
    from glassformer.data.byte_pairs import BytePairTokenizer
    from glassformer.data.tokenizers import OWN_FOLDER
    from glassformer.models.interop import save_gpt2
    from glassformer.training.opening import open_model

    opened = open_model(run, checkpoint, device="cpu")
    _warn(opened.warnings)
    save_gpt2(opened.model, folder)
    tokenizer = opened.tokenizer
    if isinstance(tokenizer, BytePairTokenizer):  # GPT-2's own two files
        ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
        (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in tokenizer.merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        tokenizer.save(folder / OWN_FOLDER)


def _export_translator(run: Run, folder: Path, checkpoint: str) -> None:
    from glassformer.data.marian_tokenizers import save_for_transformers
    from glassformer.data.sentence_tokenizers import WordTokenizer
    from glassformer.models.marian_export import save_marian
    from glassformer.models.marian_layout import SpecialIds, marian_order
    from glassformer.training.opening import open_translator

    opened = open_translator(run, checkpoint, device="cpu")
    _warn(opened.warnings)
    config, tokenizer = opened.model.config, opened.tokenizer
    target = tokenizer.target
    ids = SpecialIds(target.pad_id, target.start_id, target.end_id)
    save_marian(opened.model, folder, ids=ids, joint=tokenizer.joint)
    source_order, target_order = (
        marian_order(size, ids, joint=tokenizer.joint) for size in (config.encoder_vocab_size, config.vocab_size)
    )
    save_for_transformers(tokenizer, folder, source_order, target_order, config.max_seq_len)
    if isinstance(target, WordTokenizer):
        _warn(
            ["the tokenizer beside the model takes sentences cut into words and symbols; transformers cannot cut them."]
        )
    elif ids.pad != ids.start and not tokenizer.joint:
        _warn(["the target's tokenizer lies in target_tokenizer; CTranslate2 converts models of one vocabulary only."])


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


# --- in -------------------------------------------------------------------------------------------------------------


def import_run(source: str, name: str, *, runs: Path | None = None) -> Run:
    """Read a GPT-2 or a Marian and its tokenizers into a new run, which is returned.

    Raises:
        DataError: files are missing, damaged or do not fit together.
        ConfigError: it is not a model that our parts compute.
    """
    from glassformer import places
    from glassformer.models.hugging_face import find_folder, read_json
    from glassformer.models.interop import load_gpt2
    from glassformer.runs.checkpoints import save_checkpoint
    from glassformer.runs.folder import Run
    from glassformer.training.config import RunConfig

    folder = find_folder(source)
    model: Transformer
    tokenizer: Tokenizer | PairTokenizer
    kind = read_json(folder / "config.json").get("model_type", GPT2)
    if kind not in (GPT2, MARIAN):
        raise ConfigError(
            f"model_type is {kind!r}; what can be read are {GPT2} and {MARIAN}.", subject="Hugging Face model"
        )
    if kind == MARIAN:
        model, tokenizer = _load_translator(folder)
        data = _data_of(tokenizer, model.config)
    else:
        model = load_gpt2(folder)
        tokenizer = _tokenizer_of(folder, model.config.vocab_size)
        data = {"tokenizer": tokenizer.kind}
    config = RunConfig.build({"model": model.config, "data": data})
    run = Run.create(runs or places.runs_folder(), name, config.to_dict(), command=sys.argv)
    tokenizer.save(run.tokenizer)
    save_checkpoint(run.checkpoints, 0, {"model": model.named_weights()}, {"imported_from": source}, is_best=True)
    return run


def _load_translator(folder: Path) -> tuple[Transformer, PairTokenizer]:
    """A Marian folder's model and tokenizers, with one another's ids."""
    from glassformer.data.marian_tokenizers import load_marian_tokenizers
    from glassformer.data.sentence_tokenizers import load_pair_tokenizer
    from glassformer.data.tokenizers import OWN_FOLDER
    from glassformer.models.marian import load_marian, special_ids
    from glassformer.models.marian_layout import SpecialIds

    if (folder / OWN_FOLDER).is_dir():  # a run that was written out: it gets its own ids back
        tokenizer = load_pair_tokenizer(folder / OWN_FOLDER)
        target = tokenizer.target
        ids = SpecialIds(target.pad_id, target.start_id, target.end_id)
        model = load_marian(folder, ids=ids, joint=tokenizer.joint)
    else:
        tokenizer = load_marian_tokenizers(folder)
        model, said = load_marian(folder), special_ids(folder)
        for side in (tokenizer.source, tokenizer.target):
            if (side.pad_id, side.end_id) != (said.pad, said.end):
                raise DataError(
                    f"{folder}: in the vocabulary <pad> is {side.pad_id} and </s> {side.end_id}, and config.json says "
                    f"{said.pad} and {said.end}; they do not belong together."
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
    from glassformer.data.translation_config import TranslationConfig

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
    from glassformer.data.byte_pairs import Gpt2Tokenizer, gpt2_file_paths
    from glassformer.data.tokenizers import OWN_FOLDER, load_tokenizer
    from glassformer.models.presets import GPT2_VOCABULARY

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
