"""A model's configuration: one nested, frozen record that builds it, counts it and is saved with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

import glassformer.parts  # noqa: F401  (registers the parts that a configuration names)
from glassformer.config import Config, encodable
from glassformer.errors import ConfigError, nearest
from glassformer.models.attention_config import AttentionConfig as AttentionConfig  # noqa: PLC0414 (others import it from here)
from glassformer.models.experts_config import ExpertsConfig
from glassformer.models.family import FamilyName, default_family, family_name, family_of
from glassformer.models.setting_types import Options, Probability, Size
from glassformer.registry import find, open_part_file, registered

MOST_LAYERS = 2_000


class FeedForwardConfig(Config):
    """The feed-forward sublayer."""

    kind: str = "relu"
    """Registered feed-forward class: relu, gelu, gelu-tanh, relu2, silu, swiglu."""
    d_ff: Size | None = None
    """Inner width; none means 4 × d_model."""
    bias: bool = True
    """Biases in the projections."""
    dropout: Probability = 0.0
    """Dropout on the hidden activation, inside the layer."""
    convolution: bool = False
    """Write the projections as convolutions with kernel size 1: the same function."""
    options: Options = {}
    """Further arguments of a registered feed-forward class of your own."""
    experts: ExpertsConfig | None = None
    """Several layers of this kind, of which each token is given to a few; none: one layer for all tokens."""

    @model_serializer(mode="wrap")
    def _leave_out_absent_experts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As files had it before there were experts, so that what is compared or hashed stays as it was."""
        tree: dict[str, Any] = handler(self)
        if self.experts is None:
            del tree["experts"]
        return tree

    def complaints(self) -> Iterator[str]:
        if self.experts is not None and self.convolution:
            yield "feedforward.convolution and feedforward.experts cannot be combined; set convolution=false."


class NormConfig(Config):
    """Normalisation, around the sublayers and before the head."""

    kind: str = "layernorm"
    """Registered norm: layernorm, annotated-layernorm, rmsnorm, batchnorm, none."""
    placement: Literal["pre", "post", "none"] = "pre"
    """Before the sublayer, after the sum, or no norm in the blocks."""
    final: bool = True
    """A norm between the last block and the head."""
    eps: Annotated[float, Field(gt=0)] = 1e-5
    """What keeps the division from zero."""
    bias: bool = True
    """A bias as well as a weight, in the norms that have one."""
    options: Options = {}
    """Further arguments of a registered norm of your own."""


class PositionConfig(Config):
    """How positions are encoded."""

    kind: str = "learned"
    """Registered encoding: learned, sinusoidal, rotary, alibi, none."""
    theta: Annotated[float, Field(gt=1)] = 10_000.0
    """Base of the wavelengths (sinusoidal and rotary)."""
    options: Options = {}
    """Further arguments of the encoding: ``rms`` of learned and sinusoidal vectors, ``layout`` of sinusoidal ones, and
    those of one of your own."""


class EmbeddingConfig(Config):
    """Tokens into vectors."""

    tokens: bool = True
    """Token vectors; off leaves positions only."""
    scale: bool = False
    """Multiply the token vectors by the square root of d_model."""
    source: Literal["target", "head", "own"] = "target"
    """Whose matrix the encoder's tokens use: the decoder's embedding's, the head's, or one of their own."""
    norm: bool = False
    """A norm of the sum of token and position vectors (BERT, ModernBERT)."""
    types: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Vectors for the segments of a text, of which the first is added to every token (BERT has 2)."""


class HeadConfig(Config):
    """Vectors into logits over the vocabulary."""

    tied: bool = True
    """Use the (decoder's) token embedding's matrix; off gives the head one of its own."""
    bias: bool = False
    """A bias per token of the vocabulary."""
    transform: bool = False
    """A dense layer (with a bias if the feed-forward layers have them), gelu and a norm before the head (BERT)."""


class InitialisationConfig(Config):
    """Starting values of the weights."""

    scheme: Literal["gpt2", "xavier", "torch"] = "gpt2"
    """gpt2: normal(0, std), zero biases; xavier: uniform, as The Annotated Transformer's; torch: as each layer does."""
    std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the gpt2 scheme."""
    scale_residual: bool = True
    """gpt2 scheme: divide the std of what feeds a skip connection by √(number of skips), 2 × n_layers in GPT-2."""
    embedding_std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of the token embeddings, d_model^-0.5 for vectors that are scaled; none means the scheme's."""


class ModelConfig(Config):
    """A Transformer of one of the families: decoder-only, encoder-only, or encoder and decoder."""

    family: FamilyName = "decoder"
    """Which stacks there are: a decoder (GPT), an encoder (BERT), or both. Left out, it is encoder-decoder where
    n_encoder_layers is set and decoder otherwise; files name it only where that rule does not give it."""
    vocab_size: Size
    """Size of the vocabulary (of the target's, where there are two)."""
    max_seq_len: Size
    """Context length: the most tokens of a sequence."""
    d_model: Size
    """Width of the residual stream."""
    n_layers: Annotated[int, Field(ge=0, le=MOST_LAYERS)]
    """Number of blocks (of an encoder-decoder's decoder)."""
    n_encoder_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] | None = None
    """Number of the encoder's blocks in an encoder-decoder; none: there is only one stack."""
    source_vocab_size: Size | None = None
    """Size of the source's vocabulary in an encoder-decoder; none means vocab_size."""
    attention: AttentionConfig = AttentionConfig()
    feedforward: FeedForwardConfig = FeedForwardConfig()
    norm: NormConfig = NormConfig()
    positions: PositionConfig = PositionConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    head: HeadConfig = HeadConfig()
    initialisation: InitialisationConfig = InitialisationConfig()
    residual: Literal["both", "attention", "feedforward", "none"] = "both"
    """Which sublayers have their skip connection x + sublayer(x)."""
    sublayers: Literal["both", "attention", "feedforward"] = "both"
    """Which sublayers a block has; the other is absent, parameters, skip and norm."""
    dropout: Probability = 0.0
    """Dropout on the embeddings and on each sublayer's output."""
    pad_vocab_to: Size = 1
    """Round the embedding table's rows up to a multiple of this (64, for speed on a GPU); the logits are not padded."""
    part_files: tuple[str, ...] = ()
    """Python files of your own that register parts (``@register("norm", "centred")``); they are executed if they are
    trusted: named on the command line, loaded before, or opened with --trust-parts."""

    @classmethod
    def subject(cls) -> str:
        return "model"

    @model_validator(mode="before")
    @classmethod
    def _load_part_files(cls, tree: Any) -> Any:
        if isinstance(tree, dict):
            paths = tree.get("part_files")
            for path in paths if isinstance(paths, list | tuple) else ():
                if isinstance(path, str):  # the field's type says what is wrong with others
                    try:
                        open_part_file(path)
                    except ConfigError as error:
                        raise ValueError(encodable("\n".join(error.complaints))) from None
        return tree

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_family(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("family") is None:
            return tree | {"family": family_name(tree)}
        return tree

    @model_serializer(mode="wrap")
    def _leave_out_the_usual_family(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As files had it before families had names, so that what is compared or hashed stays as it was."""
        tree: dict[str, Any] = handler(self)
        if tree.get("family") == default_family(self.n_encoder_layers):
            del tree["family"]
        return tree

    def complaints(self) -> Iterator[str]:
        attention = self.attention
        for field, (kind, name) in self.parts().items():
            if name not in registered(kind):
                yield f"{field} is '{name}', which is not a registered {kind}. {nearest(name, registered(kind))}"

        if attention.d_head is None and self.d_model % attention.n_heads:
            yield (
                f"d_model {self.d_model} does not divide into {attention.n_heads} heads; choose attention.n_heads "
                f"among its divisors ({_divisors(self.d_model)}) or set attention.d_head."
            )
        if attention.n_kv_heads is not None and attention.n_heads % attention.n_kv_heads:
            yield (
                f"attention.n_kv_heads is {attention.n_kv_heads}, and {attention.n_heads} query heads cannot share "
                f"them evenly; choose a divisor of {attention.n_heads} ({_divisors(attention.n_heads)})."
            )
        if attention.projection == "shared" and self.n_kv_heads != attention.n_heads:
            yield (
                "attention.projection=shared uses one projection as queries, keys and values, so attention.n_kv_heads "
                f"must be {attention.n_heads} (or none); it is {attention.n_kv_heads}."
            )
        yield from attention.complaints_in(self.max_seq_len, max(self.n_layers, self.n_encoder_layers or 0))
        if self.positions.kind == "rotary" and self.d_head % 2:
            yield f"rotary positions turn pairs of features, and the heads are {self.d_head} wide; d_head must be even."
        if self.positions.kind == "sinusoidal" and self.d_model % 2:
            yield f"sinusoidal positions come in pairs (sin, cos), and d_model is {self.d_model}; it must be even."
        if self.sublayers == "feedforward" and self.positions.kind in ("rotary", "alibi"):
            yield (
                f"positions.kind={self.positions.kind} acts inside attention, and sublayers=feedforward has none; "
                "set positions.kind to learned, sinusoidal or none."
            )
        if not self.embedding.tokens:
            if self.head.tied:
                yield "head.tied uses the token embedding, and embedding.tokens is off; set head.tied=false."
            if self.embedding.scale:
                yield "embedding.scale multiplies the token vectors, and embedding.tokens is off; set it to false."
            if self.positions.kind in ("none", "rotary", "alibi"):
                yield (
                    f"embedding.tokens is off and positions.kind={self.positions.kind} adds no vectors, so the model "
                    "would see nothing; choose learned or sinusoidal."
                )
        yield from family_of(self).complaints(self)
        yield from self._complaints_of_experts()
        for skip, sublayer in (("attention", "feedforward"), ("feedforward", "attention")):
            if self.residual == skip and self.sublayers == sublayer:
                yield f"residual={skip} is a skip around a sublayer that sublayers={sublayer} leaves out."

    def _complaints_of_experts(self) -> Iterator[str]:
        experts = self.feedforward.experts
        if experts is not None and not self.has_feedforward:
            yield "sublayers=attention leaves the feed-forward layers out, and with them feedforward.experts."
        elif experts is not None and experts.every > max(stack.n_layers(self) for stack in family_of(self).stacks):
            yield (
                f"feedforward.experts.every is {experts.every}, and the model has "
                f"{family_of(self).describe_layers(self)}: none of them would have experts; set it to 1."
            )

    def parts(self) -> dict[str, tuple[str, str]]:
        """Kind and name of each registered part, by the setting that names it."""
        experts = self.feedforward.experts
        return {
            "attention.kind": ("attention", self.attention.kind),
            "attention.qk_norm": ("norm", self.attention.qk_norm),
            "feedforward.kind": ("feedforward", self.feedforward.kind),
            "norm.kind": ("norm", self.norm.kind),
            "positions.kind": ("positions", self.positions.kind),
            "attention.cross": ("cross-attention", self.attention.cross),
            **({} if experts is None else {"feedforward.experts.router": ("router", experts.router)}),
        }

    @property
    def has_encoder(self) -> bool:
        """Whether it is an encoder-decoder model. Code that differs between families asks the family."""
        return self.family == "encoder-decoder"

    @property
    def encoder_vocab_size(self) -> int:
        """Size of the source's vocabulary."""
        return self.source_vocab_size or self.vocab_size

    @property
    def d_head(self) -> int:
        """Width of one head, d_k."""
        return self.attention.d_head or max(1, self.d_model // self.attention.n_heads)

    @property
    def n_kv_heads(self) -> int:
        """Key-value heads."""
        return self.attention.n_kv_heads or self.attention.n_heads

    @property
    def d_ff(self) -> int:
        """Inner width of the feed-forward layer."""
        return self.feedforward.d_ff or 4 * self.d_model

    @property
    def active_d_ff(self) -> int:
        """Inner width that a token meets: of a feed-forward layer, or of its experts and the shared ones together."""
        experts = self.feedforward.experts
        if experts is None:
            return self.d_ff
        return (experts.n_active + experts.n_shared) * (experts.d_ff or self.d_ff)

    @property
    def layer_period(self) -> int:
        """After how many layers the choices of the layers of a stack repeat."""
        experts = self.feedforward.experts
        return math.lcm(self.attention.period, 1 if experts is None else experts.every)

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding table."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to

    @property
    def padded_source_vocab_size(self) -> int:
        """Rows of the encoder's embedding table."""
        return -(-self.encoder_vocab_size // self.pad_vocab_to) * self.pad_vocab_to

    @property
    def has_attention(self) -> bool:
        """Whether the blocks have an attention sublayer."""
        return self.sublayers != "feedforward"

    @property
    def has_feedforward(self) -> bool:
        """Whether the blocks have a feed-forward sublayer."""
        return self.sublayers != "attention"

    @property
    def n_skips(self) -> int:
        """Skip connections in the stack that the head reads (the decoder's, where there are two)."""
        return family_of(self).stacks[-1].n_skips(self)

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether training mixes tokens through batch statistics, so that it is not causal."""
        used = [self.norm.kind] if self.norm.placement != "none" or self.norm.final else []
        used += [self.attention.qk_norm] if self.has_attention else []
        return any(getattr(find("norm", kind), "uses_batch_statistics", False) for kind in used)


def _divisors(n: int) -> str:
    small = [d for d in range(1, min(n, 1_000_000) + 1) if d * d <= n and n % d == 0]
    found = [str(d) for d in sorted({*small, *(n // d for d in small)})]
    return ", ".join(found if len(found) <= 12 else [*found[:11], "…"])
