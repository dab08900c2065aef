"""The chapters of the inspection page: what each computes, and the two sentences above its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glassformer.charts.figures import Drawable
from glassformer.errors import ConfigError, RunError
from glassformer.inspection.attention import attention_layers, attention_patterns, kinds_of_attention
from glassformer.inspection.attribution import logit_attribution
from glassformer.inspection.experts import expert_loads, expert_routing
from glassformer.inspection.gradients import training_gradients
from glassformer.inspection.jacobian import jacobian_spectrum
from glassformer.inspection.logit_lens import logit_lens
from glassformer.inspection.norm_comparison import compare_norms
from glassformer.inspection.normalisation import model_norms
from glassformer.inspection.positions import Positions, positions
from glassformer.inspection.queries_keys_values import queries_keys_values
from glassformer.inspection.residual_stream import residual_stream
from glassformer.inspection.subjects import EncodedInput, InspectedModel
from glassformer.inspection.visible_pairs import visible_pairs
from glassformer.models.family import Side
from glassformer.models.trace import Trace
from glassformer.parts.experts import layers_of_experts

WIDEST_JACOBIAN = 512
"""The largest d_model whose Jacobians the page computes: a matrix d_model × d_model for each block."""


@dataclass(frozen=True)
class ChapterContext:
    """One model at one snapshot, with its pass over the text.

    Attributes:
        layers: the layers whose attention is shown, from 0; None for all.
    """

    subject: InspectedModel
    encoded: EncodedInput
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
        compute: a snapshot → results, the same kinds in the same order at each snapshot; a
            :class:`~glassformer.errors.GlassformerError` is the reason why the chapter is left out.
        newest_only: whether the newest snapshot of a model is enough: the slider then does not change the chapter.
        of_activations: whether it is about activations or weights, so that there is nothing to show once they are not
            finite.
        concerns: whether there can be anything to show of a model; a chapter about none of a page's is left out.
    """

    title: str
    text: str
    compute: Callable[[ChapterContext], Sequence[Drawable]]
    newest_only: Callable[[InspectedModel], bool] = lambda _subject: False
    of_activations: bool = True
    concerns: Callable[[InspectedModel], bool] = lambda _subject: True


def _any_experts(subject: InspectedModel) -> bool:
    return bool(layers_of_experts(subject.model))


def _always(_subject: InspectedModel) -> bool:
    return True


def _attention(context: ChapterContext) -> list[Drawable]:
    found: list[Drawable] = []
    sparse = context.subject.model.config.attention.pattern != "full"
    for kind in _kinds_of_attention(context):
        found.append(attention_patterns(context.trace, **kind))
        if sparse and not kind["cross"]:
            found.append(visible_pairs(context.trace, **{name: kind[name] for name in kind if name != "cross"}))
    return found


def _steps_of_attention(context: ChapterContext) -> list[Drawable]:
    return [queries_keys_values(context.trace, **kind) for kind in _kinds_of_attention(context)]


def _kinds_of_attention(context: ChapterContext) -> Iterator[dict[str, Any]]:
    """Arguments for each kind of attention that the model has, and of its layers those that are wanted."""
    for side, cross in kinds_of_attention(context.subject.model.family):
        layers = attention_layers(context.trace, side, cross=cross)
        wanted = layers if context.layers is None else [layer for layer in layers if layer in context.layers]
        if wanted:
            read = {"tokens": context.encoded.tokens, "source": context.encoded.source}
            yield {"side": side, "cross": cross, "layers": wanted, **read}


def _stream(context: ChapterContext) -> list[Drawable]:
    return [
        residual_stream(context.trace, side=side, tokens=context.encoded.tokens, source=context.encoded.source)
        for side in context.sides
    ]


def _attribution(context: ChapterContext) -> list[Drawable]:
    return [logit_attribution(context.trace, targets=context.encoded.targets[0], tokens=context.encoded.tokens)]


def _lens(context: ChapterContext) -> list[Drawable]:
    return [
        logit_lens(
            context.trace,
            targets=context.encoded.targets[0],
            to_text=context.subject.token_label,
            tokens=context.encoded.tokens,
        )
    ]


def _positions(context: ChapterContext) -> list[Positions]:
    found = [positions(context.subject.model, side=side) for side in context.sides]
    if all(each.missing for each in found):
        raise ConfigError(found[0].missing, subject="inspection")
    if len(found) > 1 and _positions_are_fixed(context.subject):  # both stacks have the same
        kind = context.subject.model.config.positions.kind.capitalize()
        return [replace(found[0], title=f"{kind} positions of encoder and decoder")]
    return found


def _positions_are_fixed(subject: InspectedModel) -> bool:
    """Whether training cannot change them: they have no parameters."""
    return not any("embedding.positions." in name for name in subject.model.named_weights())


def _gradients(context: ChapterContext) -> list[Drawable]:
    if context.subject.run is None:
        raise RunError(
            f"{context.subject.name} is a Hugging Face folder, without a record of its training. Train a model here to "
            "see its gradients."
        )
    return [training_gradients(context.subject.run)]


def _norms(context: ChapterContext) -> list[Drawable]:
    return [
        model_norms(context.trace, side=side, tokens=context.encoded.tokens, source=context.encoded.source)
        for side in context.sides
    ]


def _kinds_of_norm(context: ChapterContext) -> list[Drawable]:
    return [compare_norms(context.trace, tokens=context.encoded.tokens)]


def _jacobian(context: ChapterContext) -> list[Drawable]:
    width = context.subject.model.config.d_model
    if width > WIDEST_JACOBIAN:
        raise ConfigError(
            f"d_model is {width}, and the page computes Jacobians up to {WIDEST_JACOBIAN}; "
            "glassformer.inspection.jacobian takes any.",
            subject="inspection",
        )
    return [jacobian_spectrum(context.trace, tokens=context.encoded.tokens)]


def _experts(context: ChapterContext) -> list[Drawable]:
    sides = [side for side in context.sides if _has_experts(context, side)] or list(context.sides[-1:])
    texts = {"encoder": context.encoded.source or context.encoded.tokens, "decoder": context.encoded.tokens}
    return [expert_routing(context.trace, side=side, tokens=texts[side]) for side in sides]


def _has_experts(context: ChapterContext, side: Side) -> bool:
    prefix = context.subject.model.family.stack(side).prefix
    return any(name.startswith(f"{prefix}blocks.") for name in layers_of_experts(context.subject.model))


def _loads(context: ChapterContext) -> list[Drawable]:
    if context.subject.run is None:
        raise RunError(f"{context.subject.name} is a Hugging Face folder, without a record of its training.")
    return [expert_loads(context.subject.run)]


CHAPTERS = (
    Chapter(
        "Attention",
        "Each small map is a head: the weight that each query (row) gives to each key (column). Look for stripes next "
        "to the diagonal (the previous token), columns (one token that every query attends to), and scattered spots "
        "(an earlier occurrence of the token, or what followed it); click a head to enlarge it, and hover over a token "
        "to see its links.",
        _attention,
    ),
    Chapter(
        "Queries, keys and values",
        "One head step by step at the newest checkpoint: its queries and keys, their products before and after scaling "
        "and masking, the softmax, and the head's output. Look at what scaling does to the size of the scores, and at "
        "how few keys keep weight after the softmax.",
        _steps_of_attention,
        newest_only=_always,
    ),
    Chapter(
        "Residual stream",
        "The vector that every sublayer reads and adds to: its norm, how much each sublayer adds, and its similarity "
        "to the embedding. Look for sublayers that add little, and for the layer at which the stream has turned away "
        "from the embedding.",
        _stream,
    ),
    Chapter(
        "Direct logit attribution",
        "The logit of the right next token is a sum: what each embedding, head, feed-forward layer and bias adds to it "
        "directly, with the statistics of every norm held at their values in this pass. Look for the few components "
        "that contribute most, and for those that lower the right token's logit.",
        _attribution,
    ),
    Chapter(
        "Logit lens",
        "What the model would predict if it stopped after each layer: the most probable token and its probability. "
        "Look for the layer at which the prediction becomes the final one, and for tokens that stay uncertain.",
        _lens,
    ),
    Chapter(
        "Positions",
        "The position encoding: norms and distances of position vectors, rotations of queries and keys, or penalties "
        "on distance, whichever it uses. Look for the gap at which distance stops growing, and for the structure that "
        "training gives learned positions.",
        _positions,
        newest_only=_positions_are_fixed,
    ),
    Chapter(
        "Gradients during training",
        "Every parameter in depth order against the training step: the norm of its gradient, of its updates relative "
        "to its weights, or of the weights themselves, above the loss on the same axis. Look for layers that learn "
        "later than others, and for rows that stay at the low end of the scale; click a row for its line.",
        _gradients,
        newest_only=_always,
        of_activations=False,
    ),
    Chapter(
        "Experts",
        "Which tokens each layer gives to which expert, and with what weight; and the entropy of its router. Look for "
        "experts that take one kind of token (spaces, digits, beginnings of words), and for layers whose router hardly "
        "distinguishes.",
        _experts,
        concerns=_any_experts,
    ),
    Chapter(
        "Experts during training",
        "How many more tokens of a batch than the mean each expert was given, step by step. Look for experts that lose "
        "all their tokens early, and for how long the loads need to become even.",
        _loads,
        newest_only=_always,
        of_activations=False,
        concerns=_any_experts,
    ),
    Chapter(
        "Norms",
        "The input and output of each norm: the mean and the standard deviation of every token's vector. Look for how "
        "the deviation grows with depth before the norms, and is equal after them.",
        _norms,
    ),
    Chapter(
        "LayerNorm and BatchNorm",
        "The input of the last block, normalised in different ways: LayerNorm gives every token's vector the same "
        "deviation, BatchNorm every feature the same deviation over the batch. Look at what happens to the other "
        "tokens when one is multiplied by ten.",
        _kinds_of_norm,
        newest_only=_always,
    ),
    Chapter(
        "Jacobian of each block",
        "The singular values of each block's Jacobian at the last token: by how much a small change of its input is "
        "stretched or shrunk at its output. Look at how many lie below 1 even with the skip connection, where 1 + "
        "f′(x) is often said to be at least 1.",
        _jacobian,
        newest_only=_always,
    ),
)
"""Of the page, in order."""
