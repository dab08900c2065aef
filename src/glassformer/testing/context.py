"""Promises about what a token may depend on: earlier tokens of its sequence, not later ones, pads or other rows."""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.models.config import ModelConfig
from glassformer.parts.probes import watch
from glassformer.testing.comparing import (
    IDENTICAL,
    TOLERANCE,
    assert_close,
    logits_and_gradients,
    pad,
    random_model,
    random_tokens,
)
from glassformer.testing.configs import without_dropout


def causal_is_causal(config: ModelConfig) -> None:
    """Later tokens, be there none, others or a million times as large ones, leave earlier logits and gradients alone.

    A norm over the batch is causal in evaluation only, so that is where all models are checked.
    """
    model = random_model(without_dropout(config))
    length = min(config.max_seq_len, 16)
    cut = max(1, length // 2)
    tokens = random_tokens(config, 2, length)
    other = torch.cat((tokens[:, :cut], (tokens[:, cut:] + 1) % config.vocab_size), dim=1)
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        before = logits_and_gradients(model, tokens, read=slice(0, cut))
        after = logits_and_gradients(model, other, read=slice(0, cut))
        assert_close(after, before, IDENTICAL, f"on the {path} path, a later token")
        alone = logits_and_gradients(model, tokens[:, :cut])
        assert_close(before, alone, TOLERANCE, f"on the {path} path, that there are later tokens")

        def louder(_name: str, x: Tensor) -> Tensor:
            return torch.cat((x[:, :cut], 1e6 * x[:, cut:]), dim=1)

        with watch(model, louder, "embedding.output"):
            shouted = model(tokens)[:, :cut]
        assert_close(
            {"logits": shouted}, {"logits": before["logits"]}, IDENTICAL, f"on the {path} path, a loud later token"
        )


def padding_is_nothing(config: ModelConfig) -> None:
    """What pads hold, how many and at which end: the real tokens' logits, loss and gradients stay as they are."""
    model = random_model(without_dropout(config))
    length = max(1, min(config.max_seq_len, 16) - 4)
    tokens = random_tokens(config, 2, length)
    pads = min(4, config.max_seq_len - length)
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        bare = logits_and_gradients(model, tokens)
        for side in ("left", "right"):
            for count in sorted({1, pads} if pads else set()):
                found = []
                for content in (0, config.vocab_size - 1):
                    padded, padding = pad(tokens, side, count, content)
                    read = slice(count, None) if side == "left" else slice(0, length)
                    found.append(logits_and_gradients(model, padded, padding, read=read))
                assert_close(found[1], found[0], IDENTICAL, f"on the {path} path, what {count} pads on the {side} hold")
                assert_close(found[0], bare, TOLERANCE, f"on the {path} path, {count} pads on the {side}")


def a_row_of_pads_is_finite(config: ModelConfig) -> None:
    """A sequence that is all padding gives finite numbers, and finite gradients to all parameters."""
    model = random_model(without_dropout(config))
    tokens = random_tokens(config, 2, min(config.max_seq_len, 8))
    padding = torch.zeros_like(tokens, dtype=torch.bool)
    padding[1] = True
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        for name, value in logits_and_gradients(model, tokens, padding).items():
            assert value.isfinite().all(), f"{name} is not finite on the {path} path"


def rows_do_not_see_each_other(config: ModelConfig) -> None:
    """Any batch size and any length up to the context: a sequence gives in a batch what it gives alone."""
    model = random_model(config)
    with torch.no_grad():
        for batch, length in ((1, 1), (3, min(2, config.max_seq_len)), (2, config.max_seq_len)):
            tokens = random_tokens(config, batch, length)
            logits = model(tokens)
            assert logits.shape == (batch, length, config.vocab_size), f"logits have the shape {list(logits.shape)}"
            alone = torch.cat([model(row[None]) for row in tokens])
            assert_close({"logits": logits}, {"logits": alone}, TOLERANCE, f"a batch of {batch} × {length}")
