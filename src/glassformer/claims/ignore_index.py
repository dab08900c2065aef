"""Positions whose target is −1, and padding: what they add to the loss and to the gradient.

A text model has targets that are ignored; a translator's batch has pads too, in its source, in its target's inputs, and
as ignored targets behind them. Both are compared with what is left without them: the counted positions alone; and
every sentence pair in a batch of its own, which has no pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import (
    MODEL,
    build,
    build_translator,
    random_tokens,
    relative,
    relative_measurement,
)
from glassformer.data.batches import IGNORE
from glassformer.data.pair_batching import Ints, PairBatch, pair_batch
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.training.objectives import summed_losses

EQUAL = 1e-5
"""Largest relative difference of what is equal: the loss is summed in float32."""

SMOOTHING = (0.0, 0.1)

TRANSLATOR = MODEL.override({"n_encoder_layers": 2, "n_layers": 2})
PAD, START, END = 0, 1, 2
PAIRS = 5


@dataclass(frozen=True)
class Contributions:
    """Largest relative differences that positions make which are to make none.

    Attributes:
        loss, gradient: with ignored targets, from the other positions alone; of a text model.
        leak: the largest gradient of a logit at an ignored position, over the largest anywhere.
        context: of the loss, when the *inputs* at ignored positions are changed: they are context of later positions.
        padded_loss, padded_gradient: of a batch of padded sentence pairs, from every pair alone, without pads.
        pads_changed: of the loss and gradient, when other tokens stand where the pads are.
        unmasked: of the loss, when the encoder is not given the padding.
    """

    loss: float
    gradient: float
    leak: float
    context: float
    padded_loss: float
    padded_gradient: float
    pads_changed: float
    unmasked: float


def measure(seed: int) -> Contributions:
    """At random weights, texts and sentence pairs; the worst with and without label smoothing."""
    found = [(*_of_text(seed, smoothing), *_of_pairs(seed, smoothing)) for smoothing in SMOOTHING]
    return Contributions(*(max(values) for values in zip(*found, strict=True)))


def _of_text(seed: int, smoothing: float) -> tuple[float, float, float, float]:
    """loss, gradient, leak and context."""
    model, tokens = build(MODEL, seed), random_tokens(MODEL, seed)
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    ignored = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    targets[ignored] = IGNORE
    parameters = list(model.parameters())
    logits = model(inputs)
    loss, _ = summed_losses(logits, targets, smoothing)
    *by_model, by_logits = torch.autograd.grad(loss, [*parameters, logits])
    logits = model(inputs)
    alone, _ = summed_losses(logits[~ignored][None], targets[~ignored][None], smoothing)
    by_model_alone = torch.autograd.grad(alone, parameters)
    others = torch.where(ignored, (inputs + 1) % MODEL.vocab_size, inputs)
    changed, _ = summed_losses(model(others), targets, smoothing)
    return (
        relative(loss.detach(), alone.detach()),
        _largest(by_model, by_model_alone),
        float(by_logits[ignored].abs().max() / by_logits.abs().max()),
        relative(loss.detach(), changed.detach()),
    )


def _of_pairs(seed: int, smoothing: float) -> tuple[float, float, float, float]:
    """padded_loss, padded_gradient, pads_changed and unmasked."""
    model = build_translator(TRANSLATOR, seed)
    batch, alone = random_pairs(seed)
    loss, gradient = loss_and_gradient(model, [batch], smoothing)
    loss_alone, gradient_alone = loss_and_gradient(model, alone, smoothing)
    other = with_other_pads(batch)
    loss_other, gradient_other = loss_and_gradient(model, [other], smoothing)
    blind = replace(batch, source_padding=torch.zeros_like(batch.source_padding))
    loss_blind, _ = loss_and_gradient(model, [blind], smoothing)
    return (
        relative(loss, loss_alone),
        _largest(gradient, gradient_alone),
        max(relative(loss, loss_other), _largest(gradient, gradient_other)),
        relative(loss, loss_blind),
    )


def random_pairs(seed: int) -> tuple[PairBatch, list[PairBatch]]:
    """PAIRS pairs of different lengths on both sides: in one padded batch, and each in one of its own."""
    draw = np.random.default_rng(seed)

    def side() -> tuple[npt.NDArray[np.int32], Ints]:
        ends = np.cumsum(draw.permutation(np.arange(3, 3 + 2 * PAIRS, 2))).astype(np.int64)
        flat = draw.integers(END + 1, TRANSLATOR.vocab_size, int(ends[-1])).astype(np.int32)
        flat[ends - 1] = END
        return flat, ends

    source, target = side(), side()

    def batch(rows: Ints) -> PairBatch:
        return pair_batch(source, target, rows, source_pad_id=PAD, target_pad_id=PAD, start_id=START)

    rows = np.arange(PAIRS)
    return batch(rows), [batch(rows[at : at + 1]) for at in range(PAIRS)]


def with_other_pads(batch: PairBatch) -> PairBatch:
    """The same pairs, other tokens where the pads are: in the source, and in the target's inputs."""
    ignored = batch.targets == IGNORE
    return replace(
        batch,
        source=torch.where(batch.source_padding, END + 1, batch.source),
        inputs=torch.where(ignored, END + 1, batch.inputs),
    )


def loss_and_gradient(
    model: EncoderDecoder, batches: Sequence[PairBatch], smoothing: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Summed over the target tokens of all batches that count."""
    losses = [
        summed_losses(model(each.source, each.inputs, each.source_padding), each.targets, smoothing)[0]
        for each in batches
    ]
    loss = torch.stack(losses).sum()
    return loss.detach(), torch.autograd.grad(loss, list(model.parameters()))


def _largest(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference over all parameters, relative to the largest gradient of any."""
    return relative(*(torch.cat([each.flatten() for each in gradients]) for gradients in (some, others)))


def judge(found: Contributions) -> ClaimResult:
    """Loss and gradient equal those without the positions; the gradient at ignored logits is exactly 0.

    For pads, other tokens in their places must change nothing either.
    """
    return ClaimResult(
        {
            "targets of −1 do not contribute to the loss": found.loss <= EQUAL,
            "nor to the gradient": found.gradient <= EQUAL and found.leak == 0.0,
            "padding does not contribute to the loss": max(found.padded_loss, found.pads_changed) <= EQUAL,
            "nor padding to the gradient": max(found.padded_gradient, found.pads_changed) <= EQUAL,
        },
        f"With two of five targets ignored, loss and gradient equal those of the other positions alone (largest "
        f"relative difference {max(found.loss, found.gradient):.1e}), with and without label smoothing; the gradient "
        f"of an ignored position's logits is {'exactly 0' if found.leak == 0 else f'{found.leak:.1g} of the largest'}. "
        f"Loss and gradient of a translator's padded batch equal the sums over its pairs alone, without pads (largest "
        f"difference {max(found.padded_loss, found.padded_gradient):.1e}), and other tokens in the places of the pads "
        f"change them by {found.pads_changed:.1g}.",
        "The mean must be over the positions that count, as it is here. The *input* at an ignored position counts as "
        f"context of later ones (another token there changes the loss by {found.context:.1g} of it), and pads of the "
        f"source count unless the encoder's mask hides them (without the mask: {found.unmasked:.1g}).",
        {
            "ignored targets: largest difference of the loss": relative_measurement(found.loss),
            "ignored targets: largest difference of the gradient": relative_measurement(found.gradient),
            "ignored targets: largest gradient of their logits": relative_measurement(found.leak),
            "padding: largest difference of the loss": relative_measurement(found.padded_loss),
            "padding: largest difference of the gradient": relative_measurement(found.padded_gradient),
            "padding: other tokens in its place": relative_measurement(found.pads_changed),
            "inputs changed where targets are ignored: the loss": relative_measurement(found.context),
            "padding, not masked: the loss": relative_measurement(found.unmasked),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """The worst of all seeds; of what is to differ, the smallest."""
    found = [measure(seed) for seed in range(budget.seeds)]
    worst = {
        each.name: (min if each.name in ("context", "unmasked") else max)(getattr(one, each.name) for one in found)
        for each in fields(Contributions)
    }
    return judge(Contributions(**worst))


CLAIM = Claim(
    "ignore-index",
    "Positions with the target −1 (or padding) do not contribute to loss or gradient.",
    NOTES,
    "exact",
    "Loss and gradient with ignored targets, and of the other positions alone; of padded sentence pairs, and of each "
    "pair without pads.",
    decide,
    quick=Budget(seeds=3),
    full=Budget(seeds=100),
    could_be_wrong=(
        (
            "Exact of this implementation. Elsewhere a pad may count: a mean over all positions, BatchNorm over pads, "
            "or a pad token that is not masked."
        ),
        (
            "Losses are summed in float32, so a contribution below 1e-5 of the loss would not be seen; where pads are "
            "changed it would be."
        ),
        "Pads at the right end only, learned positions, dense attention.",
    ),
)
