"""``glassformer convert``: between a run and a Hugging Face folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glassformer.errors import ConfigError, DataError

if TYPE_CHECKING:  # torch is imported when the command runs
    from glassformer.data.tokenizers import Tokenizer

OWN_TOKENIZER = "glassformer-tokenizer"  # in a Hugging Face folder: a tokenizer that its own formats cannot hold


def convert(
    source: Annotated[
        str, typer.Argument(metavar="RUN|FOLDER|HUB_NAME", help="A run to write out, or a GPT-2 to read in.")
    ],
    to_hf: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the run SOURCE as a Hugging Face folder.")
    ] = None,
    to_run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Read the GPT-2 SOURCE in, as a run of this name.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Of a run: latest, best, or a step.")] = "best",
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
) -> None:
    """Read or write a Hugging Face GPT-2 folder."""
    if (to_hf is None) == (to_run is None):
        raise ConfigError(
            "convert needs one direction: --to-hf FOLDER writes a run out, --to-run NAME reads a GPT-2 in.",
            subject="command",
        )
    if to_hf is not None:
        export_run(source, to_hf, checkpoint=checkpoint, runs=runs)
        print(f"Wrote {to_hf}: transformers reads it with GPT2LMHeadModel.from_pretrained({str(to_hf)!r}).")
    else:
        assert to_run is not None
        folder = import_run(source, to_run, runs=runs)
        print(f"Read {source} into {folder}. Next: glassformer sample {folder} --prompt 'Once upon a time'")


def export_run(source: str, folder: Path, *, checkpoint: str = "best", runs: Path | None = None) -> None:
    """Write a run's model, and its tokenizer beside it.

    Raises:
        RunError, CheckpointError: there is no such run or checkpoint.
        ConfigError: GPT-2's format cannot hold the model.
        DataError: the folder cannot be written.
    """
    from glassformer.data.byte_pairs import BytePairTokenizer
    from glassformer.models.interop import save_gpt2
    from glassformer.runs.folder import Run
    from glassformer.training.opening import open_model

    opened = open_model(Run.open(source, root=runs), checkpoint, device="cpu")
    for warning in opened.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    save_gpt2(opened.model, folder)
    tokenizer = opened.tokenizer
    if isinstance(tokenizer, BytePairTokenizer):  # GPT-2's own two files
        ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
        (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in tokenizer.merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        tokenizer.save(folder / OWN_TOKENIZER)


def import_run(source: str, name: str, *, runs: Path | None = None) -> Path:
    """Read a GPT-2 and its tokenizer into a new run's folder, which is returned.

    Raises:
        DataError: files are missing, damaged or do not fit together.
        ConfigError: it is not a model that our parts compute.
    """
    from glassformer import places
    from glassformer.models.interop import find_folder, load_gpt2
    from glassformer.runs.checkpoints import save_checkpoint
    from glassformer.runs.folder import Run
    from glassformer.training.config import RunConfig

    folder = find_folder(source)
    model = load_gpt2(folder)
    tokenizer = _tokenizer_of(folder, model.config.vocab_size)
    config = RunConfig.build({"model": model.config, "data": {"tokenizer": tokenizer.kind}})
    run = Run.create(runs or places.runs_folder(), name, config.to_dict(), command=sys.argv)
    tokenizer.save(run.tokenizer)
    save_checkpoint(run.checkpoints, 0, {"model": model.named_weights()}, {"imported_from": source}, is_best=True)
    return run.path


def _tokenizer_of(folder: Path, vocab_size: int) -> Tokenizer:
    """What is in the folder; GPT-2's own where there is nothing and the vocabulary has GPT-2's size."""
    from glassformer.data.byte_pairs import Gpt2Tokenizer, gpt2_file_paths
    from glassformer.data.tokenizers import load_tokenizer
    from glassformer.models.presets import GPT2_VOCABULARY

    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if (folder / OWN_TOKENIZER).is_dir():
        tokenizer = load_tokenizer(folder / OWN_TOKENIZER)
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
