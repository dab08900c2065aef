"""The logit lens: what the model would predict if it ended at an earlier layer (nostalgebraist 2020, "interpreting GPT:
the logit lens").

Each layer's vector is put through what follows the last block, the final norm and the head, and read as a distribution
over the next token. What a model has *instead* of a final norm decides what the lens is:

- with a final norm (pre-norm models, mostly) every layer's vector passes it, with the statistics of that vector;
- in a post-norm model without one, a block ends in a norm of its own, so its output goes to the head as it is. The
  embedding, which no norm has seen, does too;
- without any norms, likewise.

The last row is the model's own prediction. For a translator it is the decoder that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.errors import ConfigError, DataError
from glassformer.inspection.panels import line_panels, point
from glassformer.inspection.residual_points import (
    FINAL_NORM,
    ResidualPoint,
    kept,
    labels,
    residual_points,
    token_ids,
)
from glassformer.models.trace import Trace

if TYPE_CHECKING:
    import altair as alt

QUANTITIES = {
    "log_probabilities": "log-probability of the right token (nats)",
    "divergence": "divergence from the final prediction (nats)",
    "entropy": "entropy (nats)",
}


@dataclass(frozen=True)
class LogitLens(Drawable):
    """What R layers would predict at T tokens, of one sequence. Logarithms are natural.

    Attributes:
        rows: R names: "embedding", "layer 0", ...; the last is the model's own prediction.
        guesses: int64 [R, T, k], the most probable tokens, best first.
        probabilities: [R, T, k], theirs.
        targets: int64 [T], the right next tokens; −1 where none is known.
        ranks: int64 [R, T], of the right token among all by probability: 1 is the best guess; 0 where none is known.
        log_probabilities: [R, T], of the right token; NaN where none is known.
        divergence: [R, T], Σ p ln(p / q) with p the final prediction and q this layer's: 0 in the last row.
        entropy: [R, T], −Σ q ln q.
        tokens: T texts.
        texts: of the tokens that are guessed or right, by id.
    """

    rows: tuple[str, ...]
    guesses: Tensor
    probabilities: Tensor
    targets: Tensor
    ranks: Tensor
    log_probabilities: Tensor
    divergence: Tensor
    entropy: Tensor
    tokens: tuple[str, ...]
    texts: dict[int, str]

    def settled(self) -> Tensor:
        """From which row on the best guess is the final one and stays it: int64 [T], indices into ``rows``."""
        differs = self.guesses[:, :, 0] != self.guesses[-1, :, 0]
        last = differs.long() * torch.arange(len(self.rows))[:, None]
        return torch.where(differs.any(0), last.max(0).values + 1, 0)

    def table(self) -> str:
        """A line for each row: means over the tokens whose next one is known, and how often the best guess is right."""
        known = self.targets >= 0
        width = max(map(len, self.rows))
        lines = [f"{'layer':<{width}}  {'nats':>7}  {'right':>6}  {'from final':>10}  {'entropy':>7}"]
        for index, row in enumerate(self.rows):
            loss = -float(self.log_probabilities[index, known].mean())
            right = float((self.ranks[index, known] == 1).float().mean())
            rest = f"{float(self.divergence[index].mean()):10.3f}  {float(self.entropy[index].mean()):7.3f}"
            lines.append(f"{row:<{width}}  {loss:7.3f}  {right:6.1%}  {rest}")
        return "\n".join(lines).replace("nan%", "  –").replace("nan", "  –")

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """The best guesses, layer by token; and how the layers approach the final prediction, as lines."""
        from glassformer.charts.drawing import Drawing
        from glassformer.charts.token_grid import TokenGrid

        first = results[0]
        texts = {token: text for result in results for token, text in result.texts.items()}
        ids = sorted(texts)
        guesses = torch.stack([result.guesses for result in results])
        known = any((result.targets >= 0).any() for result in results)
        return [
            TokenGrid(
                np.searchsorted(ids, guesses.numpy()),  # places among the texts that are needed
                torch.stack([result.probabilities for result in results]).numpy(),
                title="Logit lens",
                rows=first.rows,
                tokens=first.tokens,
                vocabulary=[texts[token] for token in ids],
                right=[texts.get(token, "") for token in first.targets.tolist()] if known else (),
                ranks=torch.stack([result.ranks for result in results]).numpy() if known else None,
                description="The next token that each layer would predict if it were the last.",
            ),
            Drawing(
                lambda theme: _lines(results, theme),
                title="Logit lens, layer by layer",
                n_frames=len(results),
                description="The mean over tokens, and from the smallest to the largest.",
            ),
        ]


def logit_lens(
    trace: Trace,
    *,
    targets: Sequence[int] | Tensor | None = None,
    top: int = 5,
    each: Literal["block", "sublayer"] = "block",
    to_text: Callable[[int], str] = str,
    tokens: Sequence[str] | None = None,
    row: int = 0,
) -> LogitLens:
    """Read every layer as if it were the last. One layer's logits [T, vocab_size] are held at a time.

    Args:
        targets: [T], the right next tokens, −1 where none is known; unless given the sequence shifted by one, whose
            last position has none.
        top: how many guesses to keep.
        each: "sublayer" reads after every attention and feed-forward too.
        spell: the text of a token id.
        tokens: a text for each token that was read.
        row: which sequence of the batch.

    Raises:
        ConfigError: a trace without the layers' outputs; ``top`` below 1.
        DataError: targets that are not T ids of the vocabulary; another number of texts than of tokens.
    """
    if top < 1:
        raise ConfigError(f"top is {top}; keep at least 1 guess.", subject="logit lens")
    names = labels(trace, tokens, row=row)
    right = _targets(trace, targets, row)
    known = right >= 0
    places = [place for place in residual_points(trace, each=each) if place.name != FINAL_NORM]
    final = lens_logits(trace, places[-1], row=row).log_softmax(-1)
    final_probabilities = final.exp()
    final_entropy = -_expected(final_probabilities, final)
    columns: dict[str, list[Tensor]] = {}
    for place in places:
        logits = lens_logits(trace, place, row=row).log_softmax(-1)  # [T, vocab_size]
        best = logits.topk(min(top, logits.shape[-1]), dim=-1)
        of_right = logits.gather(1, right.clamp_min(0)[:, None])  # [T, 1]
        measured = {
            "guesses": best.indices,
            "probabilities": best.values.exp(),
            "ranks": torch.where(known, (logits > of_right).sum(-1) + 1, 0),
            "log_probabilities": torch.where(known, of_right[:, 0], torch.nan),
            "entropy": -_expected(logits.exp(), logits),
            "divergence": (-final_entropy - _expected(final_probabilities, logits)).clamp_min(0),
        }
        for name, value in measured.items():
            columns.setdefault(name, []).append(value.cpu())
    stacked = {name: torch.stack(values) for name, values in columns.items()}
    needed = sorted({*stacked["guesses"].flatten().tolist(), *right[known].tolist()})
    return LogitLens(
        rows=tuple(place.name for place in places),
        targets=right.cpu(),
        tokens=names,
        texts={token: to_text(token) for token in needed},
        **stacked,
    )


@torch.no_grad()
def lens_logits(trace: Trace, place: ResidualPoint, *, row: int = 0) -> Tensor:
    """The stream at a point through the final norm, if the model has one, and the head: float32 [T, vocab_size]."""
    stack = trace.model.family.stack().module(trace.model)
    x = kept(trace, place.probe)[row][None]  # of the batch's shape, so that the numbers are the model's own
    training = stack.final_norm.training
    stack.final_norm.eval()  # one over the batch has running statistics, which are those of the trace
    try:
        logits = trace.model.unembed(stack.final_norm(x))
    finally:
        stack.final_norm.train(training)
    return logits[0].float()


def _expected(probabilities: Tensor, logarithms: Tensor) -> Tensor:
    """Σ p ln q over the vocabulary, with 0 · −∞ = 0: [T]."""
    return (probabilities * logarithms).masked_fill_(probabilities == 0, 0.0).sum(-1)


def _targets(trace: Trace, given: Sequence[int] | Tensor | None, row: int) -> Tensor:
    ids = token_ids(trace, row=row)
    if given is None:
        return torch.cat((ids[1:], ids.new_full((1,), -1)))
    right = torch.as_tensor(given, device=ids.device)
    size = trace.logits.shape[-1]
    if right.is_floating_point() or right.shape != ids.shape:
        raise DataError(f"Expected the right token for each of {len(ids)} positions; got {list(right.shape)}.")
    if int(right.max()) >= size or int(right.min()) < -1:
        raise DataError(
            f"The right tokens are ids of the vocabulary, 0 to {size - 1}, or −1 for none; got "
            f"{int(right.min())} to {int(right.max())}."
        )
    return right.long()


def _lines(results: Sequence[LogitLens], theme: Theme) -> alt.TopLevelMixin:
    """A panel for each quantity, layers across."""
    rows = [
        point(frame, words, "", name, values[~values.isnan()])
        for frame, result in enumerate(results)
        for quantity, words in QUANTITIES.items()
        for name, values in zip(result.rows, getattr(result, quantity), strict=True)
        if not values.isnan().all()
    ]
    return line_panels(
        rows,
        theme,
        panels=list(QUANTITIES.values()),
        series=[""],
        names=results[0].rows,
        n_frames=len(results),
    )
