"""``glassformer translate``: lines in, as many lines out, in the same order; at a terminal, one by one as typed.

===================  ==========================================================================================
``(nothing)``        the translation
``--n-best 3``       three lines for each: ``0 ||| text ||| score``, the number of the input line from 0
``--alignment``      the translation, then a grid: source pieces across, target pieces down; a blank line ends it
the same, pharaoh    ``text ||| 0-0 2-1``: the most probable source piece of each target piece
``--json``           an object a line: line, source, text, score, pieces, source_pieces, truncated; with the options
                     above also hypotheses and alignment
===================  ==========================================================================================
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from glassformer.cli.alignment import draw_alignment, pharaoh
from glassformer.cli.options import Device, RunName, RunsFolder, given, translating, with_options
from glassformer.cli.sentences import check_writable, read_sentences, write_lines
from glassformer.cli.terminal import emit, warn
from glassformer.data.pair_files import one_line
from glassformer.errors import ConfigError, GlassformerError
from glassformer.generation.translation import Translation, Translator
from glassformer.strict_json import strict_json
from glassformer.tasks.ensembles import describe, open_ensemble
from glassformer.tasks.language_models import CHECKPOINT
from glassformer.tasks.open_run import open_translator
from glassformer.tasks.pairs import ENSEMBLE
from glassformer.tasks.search_options import BATCH_TOKENS, SEARCH, STORAGE, decoding_config, search_config

Form = Literal["text", "n-best", "grid", "pharaoh", "json"]
PROMPT = "> "
LINES_NAMED = 5


@with_options((CHECKPOINT, ENSEMBLE, *SEARCH, BATCH_TOKENS, *STORAGE), after="output")
def translate(
    run: RunName,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="What to translate, instead of lines of input. Repeatable.")
    ] = None,
    input_: Annotated[Path | None, typer.Option("--input", help="Read lines from here, not standard input.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")] = None,
    alignment: Annotated[
        bool, typer.Option("--alignment", help="Show which source piece each target piece looked at.")
    ] = False,
    alignment_format: Annotated[
        str | None, typer.Option("--alignment-format", help="grid (unless given), or pharaoh: text ||| 0-0 2-1.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
    device: Device = "auto",
    runs: RunsFolder = None,
    **values: Any,
) -> None:
    """Translate lines of text with a trained translator."""
    options = given(values)
    form = _form(options.get("n_best"), alignment, alignment_format, as_json)
    if text and input_ is not None:
        raise ConfigError("--text and --input both say what to translate; give one of them.", subject="command")
    if output is not None:
        check_writable(output)
    search = search_config(options)
    decoding = decoding_config(options.get("precision"), options.get("quantize"))
    typed = not text and input_ is None and output is None and _at_a_terminal()
    sentences = text or ([] if typed else read_sentences(input_))
    opened = open_ensemble(
        open_translator,
        run,
        options.get("ensemble"),
        options.get("checkpoint"),
        runs=runs,
        device=device,
        warn=warn,
    )
    translator = Translator(
        [each.model for each in opened],
        opened[0].tokenizer,
        search,
        decoding=decoding,
        batch_tokens=options.get("batch_tokens"),
    )
    if typed:
        _converse(describe(opened), translator, "grid" if form == "text" else form)
        return
    with translating() as progress:
        translations = translator(sentences, alignment=alignment, progress=progress)
    _warn_of_shortened(translations)
    lines = [
        line
        for number, (sentence, translation) in enumerate(zip(sentences, translations, strict=True))
        for line in rendered(number, sentence, translation, form)
    ]
    write_lines(lines, output)


def rendered(
    number: int, sentence: str, translation: Translation, form: Form, *, width: int | None = None
) -> list[str]:
    """The lines that a translation is written as.

    Args:
        number: of the sentence, from 0.
        width: of the terminal, for a grid; asked for unless given.
    """
    text = one_line(translation.text)
    if form == "n-best":
        return [f"{number} ||| {one_line(each.text)} ||| {each.score:.4f}" for each in translation.hypotheses]
    if form == "json":
        return [strict_json(as_object(number, sentence, translation))]
    if form == "text":
        return [text]
    assert translation.alignment is not None
    if form == "pharaoh":
        return [f"{text} ||| {pharaoh(translation.alignment)}".rstrip()]
    width = width or shutil.get_terminal_size().columns
    grid = draw_alignment(translation.alignment, translation.source_pieces, translation.pieces, width=width)
    return [text, *(grid.splitlines() if translation.pieces else []), ""]


def as_object(number: int, sentence: str, translation: Translation) -> dict[str, Any]:
    """A translation as plain JSON values; an alignment has a row a target piece, rounded to four places.

    The score is infinite where the settings leave no translation at all, which JSON says as null.
    """
    found: dict[str, Any] = {
        "line": number,
        "source": sentence,
        "text": translation.text,
        "score": translation.score,
        "pieces": translation.pieces,
        "source_pieces": translation.source_pieces,
        "truncated": translation.truncated,
    }
    if len(translation.hypotheses) > 1:
        found["hypotheses"] = [{"text": each.text, "score": each.score} for each in translation.hypotheses]
    if translation.alignment is not None:
        found["alignment"] = [[round(weight, 4) for weight in row] for row in translation.alignment.tolist()]
    return found


def _form(n_best: int | None, alignment: bool, alignment_format: str | None, as_json: bool) -> Form:
    """What a line of output looks like. Raises :class:`ConfigError` with every complaint."""
    complaints = []
    if alignment_format not in (None, "grid", "pharaoh"):
        complaints.append(f"--alignment-format is {alignment_format!r}; expected grid or pharaoh.")
    elif alignment_format is not None and not alignment:
        complaints.append("--alignment-format has no effect without --alignment.")
    elif alignment_format is not None and as_json:
        complaints.append("--alignment-format has no effect with --json, which holds the weights themselves.")
    several = n_best is not None and n_best > 1
    if several and alignment and not as_json:
        complaints.append("--n-best and --alignment do not fit on one line; add --json.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    if as_json:
        return "json"
    if several:
        return "n-best"
    if not alignment:
        return "text"
    return "pharaoh" if alignment_format == "pharaoh" else "grid"


def _at_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _converse(who: str, translator: Translator, form: Form) -> None:
    """Translate each line that is typed, until Ctrl-D."""
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401 (input() takes its line editing and history from it)
    emit(f"{who}. A line is translated at once; Ctrl-D ends.")
    number = 0
    while True:
        try:
            sentence = input(PROMPT)
        except EOFError:
            emit()
            return
        except UnicodeDecodeError as error:
            warn(f"What was typed is not valid UTF-8 ({error.reason}); type it again.")
            continue
        try:
            translations = translator([sentence], alignment=form in ("grid", "pharaoh", "json"))
        except GlassformerError as error:  # of this line; the next may be better
            warn(str(error))
            continue
        _warn_of_shortened(translations)
        write_lines(rendered(number, sentence, translations[0], form), None)
        number += 1


def _warn_of_shortened(translations: list[Translation]) -> None:
    """Name the lines that were too long for the model."""
    shortened = [number for number, each in enumerate(translations) if each.truncated]
    for number in shortened[:LINES_NAMED]:
        read = len(translations[number].source_pieces)
        warn(f"line {number + 1:,} is too long for the model: only its first {read:,} tokens were translated.")
    if len(shortened) > LINES_NAMED:
        warn(f"so are {len(shortened) - LINES_NAMED:,} more lines.")
