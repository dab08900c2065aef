"""Promises about what a token may depend on: earlier tokens of its sequence, not later ones, pads or other rows."""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of
from glassformer.parts.probes import watch
from glassformer.testing.cases import longest, random_case
from glassformer.testing.comparing import IDENTICAL, TOLERANCE, assert_close, logits_and_gradients, random_model
from glassformer.testing.configs import without_dropout


def causal_is_causal(config: ModelConfig) -> None:
    """Later tokens, be there none, others or a million times as large ones, leave earlier logits and gradients alone.

    So a target's pads, which are later tokens, are nothing. A norm over the batch is causal in evaluation only, so that
    is where all models are checked. A stack that is not causal, an encoder's, promises none of this.
    """
    if not family_of(config).stack().causal:
        return
    model = random_model(without_dropout(config))
    case = random_case(config, 2, longest(config))
    cut = max(1, case.tokens.shape[1] // 2)
    early, late = case.tokens[:, :cut], case.tokens[:, cut:]
    other = case.with_tokens(torch.cat((early, (late + 1) % config.vocab_size), dim=1))
    for path in ("fused", "explicit"):
        model.set_paths(path)
        before = logits_and_gradients(model, case, read=slice(0, cut))
        after = logits_and_gradients(model, other, read=slice(0, cut))
        assert_close(after, before, IDENTICAL, f"on the {path} path, a later token")
        alone = logits_and_gradients(model, case.with_tokens(early))
        assert_close(before, alone, TOLERANCE, f"on the {path} path, that there are later tokens")

        def louder(_name: str, x: Tensor) -> Tensor:
            return torch.cat((x[:, :cut], 1e6 * x[:, cut:]), dim=1)

        with watch(model, louder, f"{model.family.stack().prefix}embedding.output"):
            shouted = case.run(model)[:, :cut]
        assert_close(
            {"logits": shouted}, {"logits": before["logits"]}, IDENTICAL, f"on the {path} path, a loud later token"
        )


def padding_is_nothing(config: ModelConfig) -> None:
    """What pads hold, how many and at which end: the real tokens' logits, loss and gradients stay as they are.

    The pads of a translator are its source's.
    """
    model = random_model(without_dropout(config))
    length = max(1, longest(config) - 4)
    case = random_case(config, 2, length, length)
    pads = min(4, config.max_seq_len - length)
    for path in ("fused", "explicit"):
        model.set_paths(path)
        bare = logits_and_gradients(model, case)
        for side in ("left", "right"):
            for count in sorted({1, pads} if pads else set()):
                found = []
                for content in (0, config.encoder_vocab_size - 1):
                    padded, read = case.padded(side, count, content)
                    found.append(logits_and_gradients(model, padded, read=read))
                assert_close(found[1], found[0], IDENTICAL, f"on the {path} path, what {count} pads on the {side} hold")
                assert_close(found[0], bare, TOLERANCE, f"on the {path} path, {count} pads on the {side}")


def a_row_of_pads_is_finite(config: ModelConfig) -> None:
    """A sequence (of a translator, a source) that is all padding gives finite numbers, and all parameters finite
    gradients.
    """
    model = random_model(without_dropout(config))
    case = random_case(config, 2, longest(config, 8)).with_row_of_pads()
    for path in ("fused", "explicit"):
        model.set_paths(path)
        for name, value in logits_and_gradients(model, case).items():
            assert value.isfinite().all(), f"{name} is not finite on the {path} path"


def rows_do_not_see_each_other(config: ModelConfig) -> None:
    """Any batch size and any length up to the context: a sequence gives in a batch what it gives alone."""
    model = random_model(config)
    most = config.max_seq_len
    with torch.no_grad():
        for batch, length, source_length in ((1, 1, most), (3, min(2, most), 1), (2, most, max(1, most - 2))):
            case = random_case(config, batch, length, source_length)
            logits = case.run(model)
            assert logits.shape == (batch, length, config.vocab_size), f"logits have the shape {list(logits.shape)}"
            alone = torch.cat([case.row(index).run(model) for index in range(batch)])
            assert_close({"logits": logits}, {"logits": alone}, TOLERANCE, f"a batch of {batch} × {length}")
