"""The inspection page: chapters about a model on one text, at one or several checkpoints.

inspect(open_subject("shakespeare", checkpoint="all"), text="To be, or not to be").save("page.html")
"""

from __future__ import annotations

import bisect
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer import __version__
from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.page import Column, Page, Section
from glassformer.errors import ConfigError, GlassformerError
from glassformer.inspection.chapters import CHAPTERS, Chapter, ChapterContext
from glassformer.inspection.subjects import EncodedInput, InspectedModel, Snapshot
from glassformer.models.counting import active_parameters
from glassformer.wording import counted, in_all_and_active

SHOWN = 300
"""Characters of the text that the page's header repeats."""


@dataclass
class SubjectResult:
    """One inspected model: its snapshots, and figures or a reason for each chapter.

    Attributes:
        snapshots: those that are shown; of a model that has diverged throughout, the newest alone.
        losses: of the text at each snapshot, nats per token; NaN where no next token is known, or the model diverged.
    """

    subject: InspectedModel
    encoded: EncodedInput
    snapshots: list[Snapshot] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def inspect(
    *subjects: InspectedModel,
    text: str,
    target: str | None = None,
    layers: Sequence[int] | None = None,
    chapters: Sequence[Chapter] = CHAPTERS,
) -> Page:
    """One offline page about a model while it reads a text, or about two models side by side.

    Args:
        text: what is read; a translator's source.
        target: a translator's target; its own greedy translation unless given.
        layers: the layers whose attention is shown, from 0; all unless given.
        chapters: of the page, in order, those that concern the models. One that cannot be made (a part that the model
            lacks, a run without telemetry) says why instead.

    Raises:
        ConfigError: a layer that a model does not have, or more than two subjects.
        DataError: a text that a model cannot read.
        CheckpointError: a run whose checkpoints are all damaged.
    """
    if not 1 <= len(subjects) <= 2:
        raise ConfigError(f"a page shows one model, or two side by side; got {len(subjects)}.", subject="page")
    _check_layers(subjects, layers)
    chapters = [chapter for chapter in chapters if any(map(chapter.concerns, subjects))]
    inputs = [subject.read(text, target) for subject in subjects]
    results = [
        _inspect_one(subject, encoded, layers, chapters) for subject, encoded in zip(subjects, inputs, strict=True)
    ]
    steps = sorted({snapshot.step for result in results for snapshot in result.snapshots})
    return Page(
        " and ".join(result.subject.name for result in results),
        [_section(chapter, results, steps) for chapter in chapters],
        facts=_facts(results, text),
        frames=_frame_names(results, steps),
        frame_title="training step",
    )


def _inspect_one(
    subject: InspectedModel, encoded: EncodedInput, layers: Sequence[int] | None, chapters: Sequence[Chapter]
) -> SubjectResult:
    """All chapters, snapshot by snapshot, so that only one pass is in memory at a time."""
    result = SubjectResult(subject, encoded)
    results: dict[str, list[Sequence[Drawable]]] = {chapter.title: [] for chapter in chapters}

    def write(chapter: Chapter, context: ChapterContext) -> None:
        if chapter.title not in result.missing:
            try:
                results[chapter.title].append(chapter.compute(context))
            except ConfigError as error:
                result.missing[chapter.title] = " ".join(map(_sentence, error.complaints))
            except GlassformerError as error:
                result.missing[chapter.title] = str(error)

    newest: ChapterContext | None = None
    for snapshot in subject.snapshots():
        context = ChapterContext(subject, encoded, subject.trace(encoded), layers)
        if (place := context.trace.first_not_finite()) is not None:
            diverged, last = _diverged(subject, snapshot, place), (snapshot, context)
            subject.warnings.append(diverged)
            continue
        newest = context
        result.snapshots.append(snapshot)
        result.losses.append(_loss(context.trace.logits, encoded.targets))
        for chapter in chapters:
            if not chapter.newest_only(subject):
                write(chapter, context)
    if newest is None:  # what is not about activations can still be shown
        result.snapshots, result.losses, newest = [last[0]], [math.nan], last[1]
        reason = f"At {last[0].label} the model has diverged: its activations are not finite and cannot be drawn."
        result.missing = {chapter.title: reason for chapter in chapters if chapter.of_activations}
    elif snapshot is not result.snapshots[-1]:  # later ones have diverged, and the model has their weights
        subject.take_weights_of(result.snapshots[-1])
    for chapter in chapters:
        if chapter.newest_only(subject):
            write(chapter, newest)
        if chapter.title not in result.missing:
            result.figures[chapter.title] = [
                figure
                for alike in zip(*results[chapter.title], strict=True)
                for figure in type(alike[0]).figures_of(alike)
            ]
    return result


def _diverged(subject: InspectedModel, snapshot: Snapshot, place: str) -> str:
    return (
        f"{subject.name}, {snapshot.label}: '{place}' is the first activation that is not finite (NaN or infinite). "
        "The weights have diverged or are damaged; use an earlier checkpoint."
    )


def _sentence(complaint: str) -> str:
    """A complaint as a sentence: with a capital, unless it begins with the name of a setting."""
    return complaint[:1].upper() + complaint[1:] if complaint.split(maxsplit=1)[0].isalpha() else complaint


def _section(chapter: Chapter, results: Sequence[SubjectResult], steps: Sequence[int]) -> Section:
    """One chapter of all subjects; each shows its newest snapshot that is not later than the slider's."""
    columns = []
    for result in results:
        own = [snapshot.step for snapshot in result.snapshots]
        at = [max(0, bisect.bisect_right(own, step) - 1) for step in steps]
        title = result.subject.name if len(results) > 1 else ""
        columns.append(
            Column(title, result.figures.get(chapter.title, ()), at, missing=result.missing.get(chapter.title, ""))
        )
    return Section(chapter.title, chapter.text, columns=columns)


def _frame_names(results: Sequence[SubjectResult], steps: Sequence[int]) -> list[str]:
    """What the slider says: the step, and the losses on the text."""
    names = []
    for step in steps:
        snapshots = [[snapshot for snapshot in result.snapshots if snapshot.step <= step] for result in results]
        label = next((found[-1].label for found in snapshots if found and found[-1].step == step), f"step {step:,}")
        losses = [result.losses[max(0, len(found) - 1)] for result, found in zip(results, snapshots, strict=True)]
        shown = " and ".join("–" if math.isnan(loss) else f"{loss:.3f}" for loss in losses)
        names.append(label if all(map(math.isnan, losses)) else f"{label} · loss on this text {shown}")
    return names


def _facts(results: Sequence[SubjectResult], text: str) -> dict[str, str]:
    facts = {"text": text if len(text) <= SHOWN else text[:SHOWN] + " …"}
    for result in results:
        prefix = f"{result.subject.name}: " if len(results) > 1 else ""
        for name, value in _about(result).items():
            facts[prefix + name] = value
    return facts | {
        "made with": f"glassformer {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _about(result: SubjectResult) -> dict[str, str]:
    """The circumstances of one model's figures."""
    model, config = result.subject.model, result.subject.model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    layers = model.family.describe_layers(config)
    heads = (
        f"{counted(config.attention.n_heads, 'head')} of width {config.d_head}"
        if config.has_attention
        else "no attention"
    )
    count = len(result.encoded.tokens)
    read = counted(count, "token")
    if result.encoded.source is not None:
        source = counted(len(result.encoded.source), "source token")
        read = f"{source}, {counted(count, 'target token')}: {' '.join(result.encoded.tokens)}"
    left_out = {"left out": " ".join(result.subject.warnings)} if result.subject.warnings else {}
    return {
        "model": f"{layers}, d_model {config.d_model}, {heads}, positions {config.positions.kind}, "
        f"norm {config.norm.kind} ({config.norm.placement}), "
        f"{in_all_and_active(parameters, active_parameters(config))}",
        "read": f"{read}; {_loss_in_words(result)}",
        **left_out,
    }


def _loss_in_words(result: SubjectResult) -> str:
    last = result.losses[-1]
    if math.isnan(last):
        known = bool((result.encoded.targets >= 0).any())
        return "no loss (the model has diverged)" if known else "no loss (no next token is known)"
    return f"loss {last:.4f} nats/token ({result.snapshots[-1].label})"


def _loss(logits: Tensor, targets: Tensor) -> float:
    """Mean negative log-likelihood of the known next tokens in nats; NaN where there is none."""
    known = targets[0] >= 0
    if not bool(known.any()):
        return math.nan
    return float(F.cross_entropy(logits[0].float().cpu()[known], targets[0][known]))


def _check_layers(subjects: Sequence[InspectedModel], layers: Sequence[int] | None) -> None:
    most = {
        subject.name: max(stack.n_layers(subject.model.config) for stack in subject.model.family.stacks)
        for subject in subjects
    }
    complaints = [
        f"{name} has {count} layers, numbered from 0; there is no layer {layer}."
        for name, count in most.items()
        for layer in layers or ()
        if not 0 <= layer < count
    ]
    if complaints:
        raise ConfigError(complaints, subject="page")
