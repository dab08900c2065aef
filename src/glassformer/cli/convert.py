"""``glassformer convert``: between a run and a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glassformer.cli.idle_options import check_idle
from glassformer.cli.terminal import emit, warn
from glassformer.errors import ConfigError
from glassformer.models.family import family_name, family_of
from glassformer.wording import listed

if TYPE_CHECKING:  # torch is imported when the command runs
    from glassformer.runs.folder import Run


def convert(
    context: typer.Context,
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
    check_idle(context, ("checkpoint", to_hf is None, "it is of a run that is written out (--to-hf)"))
    if to_hf is not None:
        written = export_run(source, to_hf, checkpoint=checkpoint, runs=runs)
        emit(f"Wrote {to_hf}: transformers reads it with {written.class_name}.from_pretrained({str(to_hf)!r}).")
    else:
        assert to_run is not None
        from glassformer.training.importing import import_run

        run = import_run(source, to_run, runs=runs)
        use = FORMATS[family_name(run.config["model"])].use.format(run.path)
        emit(f"Read {source} into {run.path}. Next: glassformer {use}")


def export_run(source: str, folder: Path, *, checkpoint: str = "best", runs: Path | None = None) -> Format:
    """Write a run's model, and its tokenizer beside it. Returns the format, which is that of the model's family.

    Raises:
        RunError, CheckpointError: there is no such run or checkpoint.
        ConfigError: there is no format for the model's family, or it cannot hold the model.
        DataError: the folder cannot be written.
    """
    from glassformer.runs.folder import Run
    from glassformer.tasks.opening import run_config

    run = Run.open(source, root=runs)
    config = run_config(run).model
    if config.family not in FORMATS:
        raise ConfigError(
            f"no Hugging Face format is written for {family_of(config).words}; those of {listed([*FORMATS])} models "
            "are.",
            subject="export",
        )
    written = FORMATS[config.family]
    written.export(run, folder, checkpoint)
    return written


def _export_language_model(run: Run, folder: Path, checkpoint: str) -> None:
    from glassformer.data.byte_pairs import BytePairTokenizer
    from glassformer.data.tokenizers import OWN_FOLDER
    from glassformer.models.interop import save_gpt2
    from glassformer.tasks.open_run import open_model

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
    from glassformer.tasks.open_run import open_translator

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


@dataclass(frozen=True)
class Format:
    """How a family's models are exchanged with Hugging Face.

    Attributes:
        class_name: of transformers.
        export: writes a run's checkpoint into a folder.
        use: the command that uses a run; {} stands for it.
    """

    class_name: str
    export: Callable[[Run, Path, str], None]
    use: str


FORMATS = {
    "decoder": Format("GPT2LMHeadModel", _export_language_model, "sample {} --prompt 'Once upon a time'"),
    "encoder-decoder": Format("MarianMTModel", _export_translator, "translate {} < lines"),
}
"""By family."""


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        warn(warning)
