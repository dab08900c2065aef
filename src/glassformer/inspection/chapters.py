"""The chapters of the inspection page: what each looks at, and the two sentences that stand above its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glassformer.charts.figures import Drawable
from glassformer.errors import ConfigError, RunError
from glassformer.inspection.attention import attention_layers, attention_patterns, kinds_of_attention
from glassformer.inspection.attribution import logit_attribution
from glassformer.inspection.gradients import training_gradients
from glassformer.inspection.jacobian import jacobian_spectrum
from glassformer.inspection.logit_lens import logit_lens
from glassformer.inspection.norm_comparison import compare_norms
from glassformer.inspection.normalisation import model_norms
from glassformer.inspection.positions import Positions, positions
from glassformer.inspection.projections import queries_keys_values
from glassformer.inspection.residual_stream import residual_stream
from glassformer.inspection.subjects import EncodedInput, InspectedModel
from glassformer.models.family import Side
from glassformer.models.trace import Trace

WIDEST_JACOBIAN = 512
"""The largest d_model whose Jacobians the page computes: a matrix d_model × d_model for each block."""


@dataclass(frozen=True)
class ChapterContext:
    """One subject at one moment, having read the text.

    Attributes:
        layers: the layers whose attention is shown, from 0; None for all.
    """

    subject: InspectedModel
    reading: EncodedInput
    trace: Trace
    layers: Sequence[int] | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The stacks of the model."""
        return self.subject.model.family.sides


@dataclass(frozen=True)
class Chapter:
    """One section of the page.

    Attributes:
        text: two sentences: what is shown, and what to look for.
        look: a moment → results, the same kinds in the same order at each moment; a
            :class:`~glassformer.errors.GlassformerError` is the reason why the chapter is left out.
        newest_only: whether the newest moment of a subject is enough: the chapter is then not moved by the slider.
        of_activations: whether it looks at what the model computes, or at its weights, so that there is nothing to see
            once they are not finite.
    """

    title: str
    text: str
    look: Callable[[ChapterContext], Sequence[Drawable]]
    newest_only: Callable[[InspectedModel], bool] = lambda _subject: False
    of_activations: bool = True


def _always(_subject: InspectedModel) -> bool:
    return True


def _attention(look: ChapterContext) -> list[Drawable]:
    return [attention_patterns(look.trace, **kind) for kind in _kinds_of_attention(look)]


def _steps_of_attention(look: ChapterContext) -> list[Drawable]:
    return [queries_keys_values(look.trace, **kind) for kind in _kinds_of_attention(look)]


def _kinds_of_attention(look: ChapterContext) -> Iterator[dict[str, Any]]:
    """What is asked of attention: each kind that the model has, and of its layers those that are wanted."""
    for side, cross in kinds_of_attention(look.subject.model.family):
        layers = attention_layers(look.trace, side, cross=cross)
        wanted = layers if look.layers is None else [layer for layer in layers if layer in look.layers]
        if wanted:
            read = {"tokens": look.reading.tokens, "source": look.reading.source}
            yield {"side": side, "cross": cross, "layers": wanted, **read}


def _stream(look: ChapterContext) -> list[Drawable]:
    return [
        residual_stream(look.trace, side=side, tokens=look.reading.tokens, source=look.reading.source)
        for side in look.sides
    ]


def _attribution(look: ChapterContext) -> list[Drawable]:
    return [logit_attribution(look.trace, targets=look.reading.targets[0], tokens=look.reading.tokens)]


def _lens(look: ChapterContext) -> list[Drawable]:
    return [
        logit_lens(
            look.trace,
            targets=look.reading.targets[0],
            spell=look.subject.token_label,
            tokens=look.reading.tokens,
        )
    ]


def _positions(look: ChapterContext) -> list[Positions]:
    found = [positions(look.subject.model, side=side) for side in look.sides]
    if all(each.missing for each in found):
        raise ConfigError(found[0].missing, subject="inspection")
    if len(found) > 1 and _positions_are_fixed(look.subject):  # both stacks have the same
        kind = look.subject.model.config.positions.kind.capitalize()
        return [replace(found[0], title=f"{kind} positions of encoder and decoder")]
    return found


def _positions_are_fixed(subject: InspectedModel) -> bool:
    """Whether training cannot move them: nothing of them is a parameter."""
    return not any("embedding.positions." in name for name in subject.model.named_weights())


def _gradients(look: ChapterContext) -> list[Drawable]:
    if look.subject.run is None:
        raise RunError(
            f"{look.subject.name} is a Hugging Face folder: there is no record of its training. Train a model here to "
            "see its gradients."
        )
    return [training_gradients(look.subject.run)]


def _norms(look: ChapterContext) -> list[Drawable]:
    return [
        model_norms(look.trace, side=side, tokens=look.reading.tokens, source=look.reading.source)
        for side in look.sides
    ]


def _kinds_of_norm(look: ChapterContext) -> list[Drawable]:
    return [compare_norms(look.trace, tokens=look.reading.tokens)]


def _jacobian(look: ChapterContext) -> list[Drawable]:
    width = look.subject.model.config.d_model
    if width > WIDEST_JACOBIAN:
        raise ConfigError(
            f"d_model is {width}, and the page computes Jacobians up to {WIDEST_JACOBIAN}; "
            "glassformer.inspection.jacobian takes any.",
            subject="inspection",
        )
    return [jacobian_spectrum(look.trace, tokens=look.reading.tokens)]


CHAPTERS = (
    Chapter(
        "Attention",
        "Each small map is a head: row by row, where a token looks, and how much. Look for stripes beside the diagonal "
        "(the token before), columns (one token that all look at), and scattered spots (the same word earlier, or what "
        "followed it); click a head to enlarge it, and hover a token to see its links.",
        _attention,
    ),
    Chapter(
        "Queries, keys and values",
        "One head step by step at the newest moment: its queries and keys, their products before and after scaling and "
        "masking, the softmax, and what the head passes on. Look at what scaling does to the size of the scores, and "
        "how few keys are left after the softmax.",
        _steps_of_attention,
        newest_only=_always,
    ),
    Chapter(
        "Residual stream",
        "The vector that every sublayer reads and adds to: its length, how much each sublayer adds, and how much of "
        "its direction is still the embedding's. Look for sublayers that add little, and for the layer at which the "
        "stream has turned away from the embedding.",
        _stream,
    ),
    Chapter(
        "Who says what: direct logit attribution",
        "The logit of the right next token is a sum: what each embedding, head, feed-forward layer and bias adds to it "
        "by itself, with every norm held at its value in this pass. Look for the few components that do most of the "
        "work, and for those that speak against the right token.",
        _attribution,
    ),
    Chapter(
        "Logit lens",
        "What the model would answer if it stopped after each sublayer: the best guess, and how sure it is. Look for "
        "the layer at which the guess becomes the final one, and for tokens that are never certain.",
        _lens,
    ),
    Chapter(
        "Positions",
        "How positions differ for the model: lengths and distances of position vectors, turns of queries and keys, or "
        "penalties on distance, whichever its encoding uses. Look for the gap at which distance stops growing, and for "
        "order that training brings into learned positions.",
        _positions,
        newest_only=_positions_are_fixed,
    ),
    Chapter(
        "Gradients over the training",
        "Every parameter in depth order against the training step: the length of its gradient, of its updates relative "
        "to its weights, or of the weights themselves, above the loss on the same axis. Look for layers that learn "
        "later than others, and for rows that stay at the low end of the scale; click a row for its line.",
        _gradients,
        newest_only=_always,
        of_activations=False,
    ),
    Chapter(
        "Norms",
        "What goes into each norm and what comes out: the mean and the spread of every token's vector. Look for how "
        "the spread grows with depth before the norms and is made equal by them.",
        _norms,
    ),
    Chapter(
        "LayerNorm against BatchNorm",
        "The input of the last block, normalised in different ways: LayerNorm gives every token's vector the same "
        "size, BatchNorm every feature the same spread over the batch. Look at what becomes of the other tokens when "
        "one is made ten times as long.",
        _kinds_of_norm,
        newest_only=_always,
    ),
    Chapter(
        "What a block does to small changes",
        "The singular values of each block's Jacobian at the last token: by how much a small change of its input is "
        "stretched or shrunk on the way to its output. Look at how many lie below 1 with the skip connection too, "
        "where 1 + f′(x) is often said to be at least 1.",
        _jacobian,
        newest_only=_always,
    ),
)
"""Those of the page, in order."""
