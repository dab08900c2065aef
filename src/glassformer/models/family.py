"""The families of models: which stacks there are, what they read, and how they are wired.

============================ ================ ========================= ===========================================
family                       stacks           its ``forward`` takes     what a token may attend to
============================ ================ ========================= ===========================================
``decoder`` (GPT)            decoder          ``tokens``                itself and the tokens before it
``encoder`` (BERT)           encoder          ``tokens``                the whole sequence
``encoder-decoder``          encoder, decoder ``source``, ``target``    source: all of it; target: itself, the
(Vaswani et al. 2017)                                                   tokens before it, and the whole source
============================ ================ ========================= ===========================================

Code that differs between families asks one of these objects, :func:`family_of` a configuration. Only what promises its
caller a type, as ``open_model`` does, tests for the class of a model. Which class a family's models have is in
:mod:`glassformer.models.classes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from glassformer.errors import ConfigError, nearest
from glassformer.wording import counted

if TYPE_CHECKING:  # a configuration asks its family; and the command line asks one without torch
    from torch import nn

    from glassformer.models.config import ModelConfig
    from glassformer.models.stack import Stack

FamilyName = Literal["decoder", "encoder", "encoder-decoder"]
Side = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class StackSpec:
    """One of a family's stacks of blocks.

    Attributes:
        side: its name.
        prefix: how the names of its modules, weights and activations begin: "", or "encoder." with its dot.
        causal: whether a token sees only itself and the tokens before it.
        cross: whether its blocks attend to another stack's output too.
        reads: the index of what it reads, among the family's :meth:`Family.inputs`.
        depth: the setting that is its number of blocks.
    """

    side: Side
    prefix: str = ""
    causal: bool = True
    cross: bool = False
    reads: int = 0
    depth: str = "n_layers"

    def n_layers(self, config: ModelConfig) -> int:
        """Number of its blocks."""
        return int(getattr(config, self.depth))

    def n_skips(self, config: ModelConfig) -> int:
        """Number of its skip connections."""
        attention = config.has_attention and config.residual in ("both", "attention")
        feedforward = config.has_feedforward and config.residual in ("both", "feedforward")
        return self.n_layers(config) * (attention * (2 if self.cross else 1) + feedforward)

    def module(self, model: nn.Module) -> Stack:
        """The stack itself, of a model of the family."""
        return cast("Stack", model.get_submodule(self.prefix.removesuffix(".")))


@dataclass(frozen=True)
class ModelInput:
    """A sequence of token ids, int64 [B, T], that a model reads.

    Attributes:
        name: of the argument of ``forward``.
        vocab_size: the ids are 0 to ``vocab_size`` − 1.
        rows: of the embedding table; the vocabulary, rounded up where the configuration pads it.
        padding: the argument of ``forward`` (after all inputs) that says which of the tokens are pads, bool [B, T];
            None where there is none, since pads stand at the end and causality hides them.
    """

    name: str
    vocab_size: int
    rows: int
    padding: str | None


class Family:
    """What a family of models answers. A new one overrides these, and is entered in :data:`FAMILIES`.

    Attributes:
        name: as in ``ModelConfig.family``.
        words: what messages call a model of it, with its article.
        stacks: in the order in which they run; the head reads the last.
        generates: whether the logits at a position are of the next token, so that a model writes text, one token after
            the other; of the token at the position itself otherwise.
    """

    name: FamilyName
    words: str
    stacks: tuple[StackSpec, ...]
    generates: bool = True

    def inputs(self, config: ModelConfig) -> tuple[ModelInput, ...]:
        """What ``forward`` takes, in its order."""
        return (ModelInput("tokens", config.vocab_size, config.padded_vocab_size, "padding"),)

    def ties(self, config: ModelConfig) -> dict[str, str]:
        """Weights that are one matrix: the name of each that is replaced -> of the one that it becomes."""
        (stack,) = self.stacks
        return {"head.weight": f"{stack.prefix}embedding.tokens.weight"} if config.head.tied else {}

    def complaints(self, config: ModelConfig) -> Iterator[str]:
        """Settings that do not fit the family."""
        if config.n_encoder_layers is not None:
            yield (
                f"n_encoder_layers is {config.n_encoder_layers}, and family={self.name} has one stack, of n_layers "
                "blocks; leave n_encoder_layers out, or set family=encoder-decoder."
            )
            return
        without = f"family={self.name}" if self.name != "decoder" else "n_encoder_layers is none"
        if config.source_vocab_size is not None:
            yield f"source_vocab_size is the encoder's, and {without}: there is no encoder beside a decoder."
        if config.embedding.source != "target":
            yield f"embedding.source={config.embedding.source} is of an encoder beside a decoder, and {without}."
        if config.attention.cross != "multi-head":
            yield f"attention.cross={config.attention.cross} has no effect: {without}."

    def describe_layers(self, config: ModelConfig) -> str:
        """The number of blocks of each stack, in words: "1 layer", "6 + 6 layers"."""
        *others, last = (stack.n_layers(config) for stack in self.stacks)
        if not others:
            return counted(last, "layer")
        return f"{' + '.join(map(str, [*others, last]))} layers"

    def stack(self, side: str | None = None) -> StackSpec:
        """The stack of this side; the one that the head reads unless given.

        Raises:
            ConfigError: there is no such stack.
        """
        if side is None:
            return self.stacks[-1]
        found = [stack for stack in self.stacks if stack.side == side]
        if not found:
            hint = "Leave side out." if side in get_args(Side) else nearest(side, self.sides)
            raise ConfigError(f"there is no {side} in {self.words}. {hint}", subject="inspection")
        return found[0]

    def stack_named(self, name: str) -> StackSpec:
        """The stack that a module, weight or activation of this name is in; the last one for those of the head."""
        return next((stack for stack in self.stacks if name.startswith(stack.prefix)), self.stacks[-1])

    @property
    def sides(self) -> tuple[Side, ...]:
        """The names of the stacks."""
        return tuple(stack.side for stack in self.stacks)


class DecoderFamily(Family):
    """One causal stack and a head: a GPT."""

    name = "decoder"
    words = "a decoder-only model"
    stacks = (StackSpec("decoder"),)


class EncoderFamily(Family):
    """One stack in which every token sees every other, and a head: a BERT."""

    name = "encoder"
    words = "an encoder-only model"
    stacks = (StackSpec("encoder", causal=False),)
    generates = False


class EncoderDecoderFamily(Family):
    """Two stacks, the second attending to the first, and a head: the original Transformer."""

    name = "encoder-decoder"
    words = "an encoder-decoder model"
    stacks = (
        StackSpec("encoder", "encoder.", causal=False, depth="n_encoder_layers"),
        StackSpec("decoder", "decoder.", cross=True, reads=1),
    )

    def inputs(self, config: ModelConfig) -> tuple[ModelInput, ...]:
        return (
            ModelInput("source", config.encoder_vocab_size, config.padded_source_vocab_size, "source_padding"),
            ModelInput("target", config.vocab_size, config.padded_vocab_size, None),
        )

    def ties(self, config: ModelConfig) -> dict[str, str]:
        ties = {"head.weight": "decoder.embedding.tokens.weight"} if config.head.tied else {}
        if config.embedding.tokens and config.embedding.source != "own":
            shared = {"target": "decoder.embedding.tokens.weight", "head": "head.weight"}[config.embedding.source]
            ties["encoder.embedding.tokens.weight"] = shared
        return ties

    def complaints(self, config: ModelConfig) -> Iterator[str]:
        if config.n_encoder_layers is None:
            yield f"family={self.name} has two stacks: set n_encoder_layers, the number of the encoder's blocks."
            return
        if config.embedding.source != "own" and config.encoder_vocab_size != config.vocab_size:
            yield (
                f"embedding.source={config.embedding.source} shares one matrix, and the encoder reads "
                f"{config.encoder_vocab_size} tokens while the decoder writes {config.vocab_size}; "
                "set embedding.source=own."
            )
        if config.embedding.source == "head" and config.head.tied:
            yield "head.tied makes the head's matrix the target embedding's; say embedding.source=target."


FAMILIES: dict[str, Family] = {
    family.name: family for family in (DecoderFamily(), EncoderFamily(), EncoderDecoderFamily())
}


def family_of(config: ModelConfig) -> Family:
    """The family that a configuration is of."""
    return FAMILIES[config.family]


def family_name(tree: Mapping[str, Any]) -> str:
    """The family that the plain content of a configuration names, checked or not: files may leave it out."""
    named = tree.get("family")
    return named if isinstance(named, str) else default_family(tree.get("n_encoder_layers"))


def default_family(n_encoder_layers: Any) -> FamilyName:
    """The family of a configuration that names none: one with an encoder's layers has an encoder and a decoder."""
    return "decoder" if n_encoder_layers is None else "encoder-decoder"
