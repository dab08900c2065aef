"""What is measured of a translator: its loss, the scores of its translations, and its speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glassformer.data.pair_files import one_line
from glassformer.data.pairs import BUILT_IN, DATES, Pair
from glassformer.data.sets_to_score import batches_of, set_of_file, sets_to_score
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import ConfigError, nearest
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.decoding import DecodingConfig
from glassformer.generation.translation import Translator
from glassformer.scoring.finite_checks import check_finite_loss
from glassformer.scoring.likelihood import Evaluation
from glassformer.scoring.likelihood import evaluate as measure_loss
from glassformer.scoring.translations import METRICS, Difference, Score, paired_difference, score_translations
from glassformer.tasks.ensembles import describe
from glassformer.tasks.opening import Opened
from glassformer.tasks.task import EvaluationReport, EvaluationRequest

OF_SENTENCES = ("bleu", "tokenised-bleu", "chrf")
OF_DATES = ("exact-match", "chrf")
"""A date has one right answer, and it is one word, which has no n-grams for BLEU."""

LOSS_BATCH_TOKENS = 4096

Sets = Mapping[str, list[Pair]]


@dataclass(frozen=True)
class Translated:
    """Translations of one split by one system, and the time that they took."""

    lines: list[str]
    seconds: float

    @property
    def sentences_per_second(self) -> float:
        return len(self.lines) / self.seconds


@dataclass(frozen=True)
class SplitReport:
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

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"\n{self.split}: {self.n:,} sentences, {self.sentences_per_second:.1f} a second"]
        if self.loss is not None:
            lines.append(
                f"  loss {self.loss.loss:.4f} nats a target token, perplexity {self.loss.perplexity:.3f}, "
                f"over {self.loss.n_tokens:,} tokens"
            )
        return [
            *lines,
            *(f"  {score}" for score in self.scores),
            *(f"  difference, {difference}" for difference in self.differences),
        ]


def score_translators(
    asked: EvaluationRequest,
    opened: Sequence[Opened[Any, Any]],
    compared: Sequence[Opened[Any, Any]],
    sets: Sets,
    search: BeamSearchConfig,
    decoding: DecodingConfig,
) -> EvaluationReport:
    """Translate the sets and score the translations.

    Args:
        opened: one translator or an ensemble; compared: another, or nothing.
    """
    data = asked["data"] or opened[0].config.data.name
    _warn_of_empty(sets, asked.warn)
    translator, *others = (
        Translator(
            [each.model for each in system],
            system[0].tokenizer,
            search,
            decoding=decoding,
            batch_tokens=asked["batch_tokens"],
        )
        for system in (opened, compared)
        if system
    )
    metrics = tuple(asked["metric"] or ()) or (OF_DATES if data == DATES else OF_SENTENCES)
    reports, files = [], {}
    for name, pairs in sets.items():
        translated = translate_pairs(translator, pairs, asked.progress)
        references = [pair.target for pair in pairs]
        differences = [
            difference
            for other in others
            for difference in paired_difference(
                translated.lines, translate_pairs(other, pairs, asked.progress).lines, references, metrics=metrics
            )
        ]
        scores = score_translations(translated.lines, references, metrics=metrics)
        scores = sorted(scores, key=lambda score: score.name != "exact match")
        loss = _loss(opened[0], name, pairs, asked.warn) if len(opened) == 1 else None
        reports.append(SplitReport(name, len(pairs), loss, scores, differences, translated.sentences_per_second))
        files[f"{name}.source.txt"] = [one_line(pair.source) for pair in pairs]
        files[f"{name}.reference.txt"] = [one_line(pair.target) for pair in pairs]
        files[f"{name}.translation.txt"] = translated.lines
    payload = {
        "models": [_identity(each) for each in opened],
        "compared_with": [_identity(each) for each in compared],
        "search": search.to_dict(),
        "decoding": decoding.to_dict(),
        "data": data,
        "splits": {report.split: report.to_dict() for report in reports},
    }
    lines = [f"{describe(opened)} on {data}, {_in_words(search)}"]
    if compared:
        lines.append(f"compared with {describe(compared)}: the differences are the first's scores − the second's")
    return EvaluationReport(payload, [*lines, *(line for report in reports for line in report.lines())], files)


def check_options(asked: EvaluationRequest) -> None:
    """Raise :class:`ConfigError` with every option that does not fit the others."""
    data, output = asked["data"], asked["output"]
    complaints = [
        f"There is no metric named {name!r}. {nearest(name, METRICS)}"
        for name in asked["metric"] or ()
        if name not in METRICS
    ]
    if asked["split"] and data is not None and not _has_splits(data):
        complaints.append("--split has no effect with a file as --data: all of its pairs are scored.")
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        complaints.append(f"--output names a folder, and {str(output)!r} is a file.")
    if complaints:
        raise ConfigError(complaints, subject="command")


def pairs_of(config: TranslationConfig, data: str, splits: Sequence[str], warn: Callable[[str], None]) -> Sets:
    """The test sets by name. A file is read as the run's own data are: the same columns, the same direction."""
    if _has_splits(data):
        return sets_to_score(TranslationConfig(source=data), splits)
    notes: list[str] = []
    columns = {"source_column": config.source_column, "target_column": config.target_column}
    sets = set_of_file(data, notes, **columns, reverse=config.reverse)
    for note in notes:
        warn(note)
    return sets


def translate_pairs(
    translator: Translator, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
) -> Translated:
    """Translate the sources."""
    started = time.perf_counter()
    translations = translator([pair.source for pair in pairs], progress=progress)
    return Translated([one_line(each.text) for each in translations], time.perf_counter() - started)


def _warn_of_empty(sets: Sets, warn: Callable[[str], None]) -> None:
    """Pairs with an empty side are scored like all others, as sacreBLEU does; their number is reported."""
    for name, pairs in sets.items():
        for side in ("source", "target"):
            if empty := sum(not getattr(pair, side).strip() for pair in pairs):
                warn(f"{name}: {empty:,} of {len(pairs):,} pairs have an empty {side}; they are scored as they are.")


def _loss(opened: Opened[Any, Any], name: str, pairs: Sequence[Pair], warn: Callable[[str], None]) -> Evaluation:
    """Teacher-forced and not smoothed; pairs too long for training are left out, with a warning."""
    limit = opened.config.seq_len
    batches = list(batches_of(pairs, opened.tokenizer, batch_tokens=LOSS_BATCH_TOKENS, max_length=limit, split=name))
    if missing := len(pairs) - sum(len(batch.indices) for batch in batches):
        warn(f"the loss on {name} leaves out {missing:,} pairs with more than {limit:,} tokens on a side.")
    result = measure_loss(opened.model, batches)
    check_finite_loss(result, opened.run.name, opened.step)
    return result


def _has_splits(data: str) -> bool:
    """Whether the data are built in or a data set, and not a file."""
    return data in BUILT_IN or data.startswith("hf:")


def _in_words(search: BeamSearchConfig) -> str:
    if search.sample:
        return f"sampled with seed {search.seed}"
    return f"beam {search.beam_size}, length penalty {search.length_penalty:g} ({search.length_penalty_form})"


def _identity(opened: Opened[Any, Any]) -> dict[str, Any]:
    return {"run": opened.run.name, "step": opened.step}
