"""What ``glassformer evaluate`` measures of a translator: its loss, its translations' scores, and its speed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.cli.decoding_options import describe, translating
from glassformer.cli.sentences import one_line, unwritable, write_lines
from glassformer.cli.terminal import Terminal, emit_json, warn
from glassformer.data.pairs import BUILT_IN, DATES, Pair
from glassformer.data.sets_to_score import batches_of, prepared_sets, set_of_file, sets_to_score
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import ConfigError, nearest
from glassformer.generation.translation import Translator
from glassformer.scoring.translations import METRICS, Difference, Score, paired_difference, score_translations
from glassformer.training.finite_checks import check_finite_loss
from glassformer.training.objectives import Evaluation
from glassformer.training.objectives import evaluate as measure_loss
from glassformer.training.run_data import open_samples
from glassformer.training.samples import PairSamples

if TYPE_CHECKING:
    from glassformer.generation.beam_search_config import BeamSearchConfig
    from glassformer.generation.decoding import DecodingConfig
    from glassformer.training.opening import OpenedTranslator

OF_SENTENCES = ("bleu", "tokenised-bleu", "chrf")
OF_DATES = ("exact-match", "chrf")
"""A date has one right answer, and it is one word, which has no n-grams for BLEU."""

LOSS_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Translated:
    """Translations of one split by one system, and the time that they took."""

    lines: list[str]
    seconds: float

    @property
    def sentences_per_second(self) -> float:
        return len(self.lines) / self.seconds


@dataclass(frozen=True)
class Report:
    """What was found on one split.

    Attributes:
        loss: nats per target token, the right tokens before it given; None of an ensemble.
        differences: from the system that was compared with, on the same sentences.
    """

    split: str
    n: int
    loss: Evaluation | None
    scores: list[Score]
    differences: list[Difference]
    sentences_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        loss = self.loss
        figures = {} if loss is None else {"loss": loss.loss, "perplexity": loss.perplexity, "n_tokens": loss.n_tokens}
        return {
            "n": self.n,
            **figures,
            "scores": [asdict(score) for score in self.scores],
            "differences": [asdict(difference) for difference in self.differences],
            "sentences_per_second": self.sentences_per_second,
        }


def evaluate_translator(
    opened: Sequence[OpenedTranslator],
    compared: Sequence[OpenedTranslator],
    *,
    search: BeamSearchConfig,
    decoding: DecodingConfig,
    batch_tokens: int | None = None,
    data: str | None = None,
    splits: Sequence[str] = (),
    metrics: Sequence[str] = (),
    output: Path | None = None,
    as_json: bool = False,
) -> None:
    """Translate test sets, score them, and print what was found.

    Args:
        opened: one translator or an ensemble; compared: another, or nothing.
        data: a file of pairs, or a built-in task; the run's own data unless given.
        splits: of the data; those for testing unless given.
        output: a folder for sources, references and translations.

    Raises:
        ConfigError: the options do not fit each other.
        DataError: the data cannot be read, or the folder written.
    """
    config = opened[0].config.data
    assert isinstance(config, TranslationConfig)
    _refuse(data, splits, metrics, output)
    if data is None:
        samples = open_samples(opened[0].run, opened[0].config)
        assert isinstance(samples, PairSamples)
        for warning in samples.warnings:
            warn(warning)
        sets: Mapping[str, list[Pair]] = prepared_sets(samples.data, splits)
    else:
        sets = pairs_of(config, data, splits)
    _report_empty(sets)
    translator, *others = (
        Translator(
            [each.model for each in system],
            system[0].tokenizer,
            search,
            decoding=decoding,
            batch_tokens=batch_tokens,
        )
        for system in (opened, compared)
        if system
    )
    reports = []
    for name, pairs in sets.items():
        translated = translate_pairs(translator, pairs)
        chosen = tuple(metrics) or (OF_DATES if (data or config.source) == DATES else OF_SENTENCES)
        references = [pair.target for pair in pairs]
        differences = [
            difference
            for other in others
            for difference in paired_difference(
                translated.lines, translate_pairs(other, pairs).lines, references, metrics=chosen
            )
        ]
        scores = score_translations(translated.lines, references, metrics=chosen)
        scores = sorted(scores, key=lambda score: score.name != "exact match")
        loss = _loss(opened[0], name, pairs) if len(opened) == 1 else None
        reports.append(Report(name, len(pairs), loss, scores, differences, translated.sentences_per_second))
        if output is not None:
            _write(output, name, pairs, translated.lines)
    if as_json:
        found = {
            "models": [_identity(each) for each in opened],
            "compared_with": [_identity(each) for each in compared],
        }
        settings = {"search": search.to_dict(), "decoding": decoding.to_dict(), "data": data or config.source}
        emit_json({**found, **settings, "splits": {report.split: report.to_dict() for report in reports}})
        return
    console = Terminal()
    console.print(f"{describe(opened)} on {data or config.source}, {_in_words(search)}")
    if compared:
        console.print(f"compared with {describe(compared)}: the differences are the first's scores − the second's")
    for report in reports:
        _print(report, console)


def pairs_of(config: TranslationConfig, data: str, splits: Sequence[str] = ()) -> Mapping[str, list[Pair]]:
    """The test sets by name. A file is read as the run's own data are: the same columns, the same direction."""
    if _has_splits(data):
        return sets_to_score(TranslationConfig(source=data), splits)
    notes: list[str] = []
    columns = {"source_column": config.source_column, "target_column": config.target_column}
    sets = set_of_file(data, notes, **columns, reverse=config.reverse)
    for note in notes:
        warn(note)
    return sets


def _report_empty(sets: Mapping[str, list[Pair]]) -> None:
    """Pairs with an empty side are scored like all others, as sacreBLEU does; their number is reported."""
    for name, pairs in sets.items():
        for side in ("source", "target"):
            if empty := sum(not getattr(pair, side).strip() for pair in pairs):
                warn(f"{name}: {empty:,} of {len(pairs):,} pairs have an empty {side}; they are scored as they are.")


def translate_pairs(translator: Translator, pairs: Sequence[Pair]) -> Translated:
    """Translate the sources."""
    with translating() as progress:
        started = time.perf_counter()
        translations = translator([pair.source for pair in pairs], progress=progress)
        seconds = time.perf_counter() - started
    return Translated([one_line(each.text) for each in translations], seconds)


def _loss(opened: OpenedTranslator, name: str, pairs: Sequence[Pair]) -> Evaluation:
    """Teacher-forced and not smoothed; pairs too long for training are left out, and the user is told."""
    limit = opened.config.seq_len
    batches = list(batches_of(pairs, opened.tokenizer, batch_tokens=LOSS_BATCH_TOKENS, max_length=limit, split=name))
    if missing := len(pairs) - sum(len(batch.indices) for batch in batches):
        warn(f"the loss on {name} leaves out {missing:,} pairs with more than {limit:,} tokens on a side.")
    result = measure_loss(opened.model, batches)
    check_finite_loss(result, opened.run.name, opened.step)
    return result


def _has_splits(data: str) -> bool:
    """Whether the data are a task or a data set, and not a file."""
    return data in BUILT_IN or data.startswith("hf:")


def _refuse(data: str | None, splits: Sequence[str], metrics: Sequence[str], output: Path | None) -> None:
    complaints = [
        f"There is no metric named {name!r}. {nearest(name, METRICS)}" for name in metrics if name not in METRICS
    ]
    if splits and data is not None and not _has_splits(data):
        complaints.append("--split has no effect with a file as --data: all of its pairs are scored.")
    if output is not None and output.exists() and not output.is_dir():
        complaints.append(f"--output names a folder, and {str(output)!r} is a file.")
    if complaints:
        raise ConfigError(complaints, subject="command")


def _write(folder: Path, split: str, pairs: Sequence[Pair], lines: list[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    for side, texts in (
        ("source", [pair.source for pair in pairs]),
        ("reference", [pair.target for pair in pairs]),
        ("translation", lines),
    ):
        write_lines([one_line(text) for text in texts], folder / f"{split}.{side}.txt")


def _print(report: Report, console: Terminal) -> None:
    console.print(f"\n{report.split}: {report.n:,} sentences, {report.sentences_per_second:.1f} a second")
    if report.loss is not None:
        console.print(
            f"  loss {report.loss.loss:.4f} nats a target token, perplexity {report.loss.perplexity:.3f}, "
            f"over {report.loss.n_tokens:,} tokens"
        )
    for score in report.scores:
        console.print(f"  {score}")
    for difference in report.differences:
        console.print(f"  difference, {difference}")


def _in_words(search: BeamSearchConfig) -> str:
    if search.sample:
        return f"sampled with seed {search.seed}"
    return f"beam {search.beam_size}, length penalty {search.length_penalty:g} ({search.length_penalty_form})"


def _identity(opened: OpenedTranslator) -> dict[str, Any]:
    return {"run": opened.run.name, "step": opened.step}
