"""The decoding engine: from the tokens so far to the next logits, one token a row at a time.

    engine = DecodingEngine(model, DecodingConfig(quantize="int8"), expected_steps=20_000)
    cache = engine.make_cache(batch_size=1, capacity=256)
    logits = engine.prefill(tokens, cache)       # [B, V], after the prompts
    logits = engine.step(next_tokens, cache)     # [B, V], after one more token each

The cache is the caller's. A step is either ordinary PyTorch (*eager*), which reads the filled part of the cache, or
one *compiled* program per shape of cache, which reads a little more, masked. Both compute the same function.
"""

from __future__ import annotations

import shutil
import types
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from glassformer.config import Config, Count
from glassformer.errors import ConfigError
from glassformer.generation.quantization import FinishedProbe, Store, decoding_copy, weight_bytes_per_token
from glassformer.models.decoder import Decoder
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.cache import KVCache

Program = Callable[[Tensor, Tensor, Tensor, KVCache], Tensor]

VISIBLE_MULTIPLE = 16  # a compiled step reads the cache in these: a vector register's worth of scores
CAPACITY_MULTIPLE = 64  # the capacity of its cache is one of these, so that one program serves many lengths


class DecodingConfig(Config):
    """How the next logits are computed: precision, speed, and what happens beyond the context."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """How the matrices are stored and read; bf16 halves the bytes that each token costs."""
    quantize: Literal["int8"] | None = None
    """Store the matrices in 8 bits with one scale per output channel instead; activations stay float32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the decoding step: always, never, or where the tokens asked for repay the wait."""
    stride: Count | None = None
    """Tokens dropped each time a row fills the context; none means a quarter of it."""

    @classmethod
    def subject(cls) -> str:
        return "decoding"

    def complaints(self) -> Iterator[str]:
        if self.quantize is not None and self.precision != "fp32":
            yield (
                f"quantize={self.quantize} decides how the matrices are stored, so precision={self.precision} would "
                "have no effect; set one of the two."
            )

    @property
    def store(self) -> Store:
        """How the matrices are stored."""
        return self.quantize or self.precision


class DecodingEngine:
    """A model made ready for decoding. The model itself is never changed.

    Args:
        model: its weights are shared where they are stored as they are, so that training it further is seen here.
        expected_steps: how many tokens a row it will decode, which decides whether compiling pays (``compile=auto``).

    Attributes:
        path: which way was taken and why, for the record: "compiled, int8", "eager, fp32 (…)".
        weight_bytes: bytes of weights read for each token of a row alone.

    Raises:
        ConfigError: the model is not a decoder-only one; the stride leaves nothing of the context, or ``compile=on``
            where nothing can be compiled.
    """

    def __init__(self, model: Decoder, config: DecodingConfig | None = None, *, expected_steps: int = 0) -> None:
        if model.family.name != "decoder":
            why = "Use translate." if model.family.generates else "It predicts the tokens it reads, not the next one."
            raise ConfigError(
                f"a text is continued by a decoder-only model, and this is {model.family.words}. {why}",
                subject="generation",
            )
        self.config = config or DecodingConfig()
        self.max_seq_len = model.config.max_seq_len
        self.kept = self._kept_tokens()
        self.model = decoding_copy(model, self.config.store)
        self.vocab_size = model.config.vocab_size
        self.weight_bytes = weight_bytes_per_token(self.model)
        self.compiled, reason = self._choose(expected_steps)
        self.path = f"{'compiled' if self.compiled else 'eager'}, {self.config.store}{reason}"
        self._programs: dict[tuple[int, int, bool], Program] = {}

    def make_cache(self, batch_size: int, capacity: int, starts: Tensor | None = None) -> KVCache:
        """An empty cache for ``capacity`` tokens a row, and at most the context.

        ``starts`` [batch_size] are the first slots that are not padding, where prompts are padded on the left.
        """
        if self.compiled:
            capacity = -(-capacity // CAPACITY_MULTIPLE) * CAPACITY_MULTIPLE
        return self.model.make_cache(batch_size, min(capacity, self.max_seq_len), starts=starts)

    @torch.no_grad()
    def prefill(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Tokens [B, T] into the cache → logits [B, V] after the last of each row."""
        hidden = self.model.hidden(tokens, cache=cache)
        return self.model.unembed(hidden[:, -1])

    @torch.no_grad()
    def step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """One more token a row, [B] → logits [B, V] after it."""
        assert cache.length < cache.capacity, "the window slides before the cache is full"
        if not self.compiled:
            return self.prefill(tokens[:, None], cache)
        key = (len(tokens), cache.capacity, cache.starts is not None)
        is_new = key not in self._programs
        if is_new:
            self._programs[key] = _compiled_step(self.model)
            # One row is too little work for the fused attention kernel; written out, it joins the loops around it.
            self.model.set_attention_path("explicit" if len(tokens) == 1 else "fused")
        slots = torch.tensor([cache.length], device=tokens.device)
        from torch._dynamo.exc import TorchDynamoException  # dynamo takes a second to import

        try:
            logits = self._programs[key](tokens[:, None], slots, _ruler(cache, tokens.device), cache)
        except TorchDynamoException as error:
            self._give_up_compiling(error)
            return self.step(tokens, cache)
        if is_new:  # the path is part of the program by now
            self.model.set_attention_path("fused")
        cache.length += 1
        return logits

    def _kept_tokens(self) -> int:
        """How many tokens a row keeps when it has filled the context."""
        stride = self.config.stride or max(1, self.max_seq_len // 4)
        if self.config.stride is not None and stride >= self.max_seq_len:
            raise ConfigError(
                f"stride is {stride}, and the context length is {self.max_seq_len}; drop fewer tokens than that.",
                subject="decoding",
            )
        return max(1, self.max_seq_len - stride)

    def _choose(self, expected_steps: int) -> tuple[bool, str]:
        """Whether to compile, and why not."""
        wanted, possible = self.config.compile, self.model.device.type != "cpu" or _has_compiler()
        if wanted == "on" and not possible:
            raise ConfigError(
                "compile=on needs a C++ compiler, and none is on the PATH; install g++ or set compile=auto.",
                subject="decoding",
            )
        if wanted == "off":
            return False, ""
        if not possible:
            return False, " (there is no C++ compiler)"
        if wanted == "auto" and expected_steps < steps_that_repay_compiling(self.model.config.n_layers):
            return False, f" (compiling would not pay for {expected_steps:,} tokens)"
        return True, ""

    def _give_up_compiling(self, error: Exception) -> None:
        """A part of the user's own may hold what cannot be compiled: raise, or go on eagerly if allowed."""
        first_line = str(error).strip().partition("\n")[0]
        if self.config.compile == "on":
            raise ConfigError(
                f"compile=on, and this model's step cannot be compiled ({type(error).__name__}: {first_line}); "
                "set compile=off.",
                subject="decoding",
            ) from error
        self.compiled = False
        self.path = f"eager, {self.config.store} (compiling failed: {type(error).__name__}: {first_line})"


def steps_that_repay_compiling(n_layers: int) -> int:
    """From how many tokens on the compiled step's gain exceeds the wait for it.

    Measured on 2 cores of an x86 server: compiling takes about 5 s and 1 s a layer, and each token then takes some
    0.2 ms a layer less.
    """
    return round((5 + 1.0 * n_layers) / (0.2e-3 * max(1, n_layers)))


def _ruler(cache: KVCache, device: torch.device) -> Tensor:
    """A tensor as long as the part of the cache that is read: the filled part, rounded up.

    Its length is the one size that a compiled program leaves open, so that no step reads a cache's empty end.
    """
    seen = min(-(-(cache.length + 1) // VISIBLE_MULTIPLE) * VISIBLE_MULTIPLE, cache.capacity)
    ruler = torch.empty(seen, dtype=torch.bool, device=device)
    torch._dynamo.mark_dynamic(ruler, 0)  # noqa: SLF001 (where torch documents it)
    return ruler


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in ("g++", "clang++", "cl"))


def _compiled_step(model: Decoder) -> Program:
    """A program for one shape of cache: tokens [B, 1] at slots [1] → logits [B, V].

    The slot is a tensor of shape [1]: a number would be compiled into the program, and a scalar tensor used as an
    index breaks it into pieces.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.weights = FinishedProbe()

    def step(tokens: Tensor, slots: Tensor, ruler: Tensor, cache: KVCache) -> Tensor:
        context = model.slot_context(slots, len(ruler), cache.starts)
        return model.unembed(model.run_blocks(tokens, context, cache)[:, -1])

    # torch keeps compiled programs with the code object, and checks before each call (its guards) which of them fits.
    # The engine knows which one fits, and the checks cost a tenth of a small model's step; so each program gets a
    # code object of its own, and no checks.
    own = types.FunctionType(step.__code__.replace(), step.__globals__, step.__name__, None, step.__closure__)
    return torch.compile(
        own,
        fullgraph=True,
        options={
            "guard_filter_fn": lambda guards: [False] * len(guards),
            "cpp.enable_floating_point_contract_flag": "fast",  # a multiply and an add may be one instruction
        },
    )
