"""The loss chart: training and validation loss over steps, beside what the data itself allows.

The entropies of the data's unigrams and bigrams stand as reference lines: a model at the unigram entropy has learnt how
frequent each token is, one at the bigram entropy what a single token of context can predict, and a curve that
comes to rest on one of them says what the model does not see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glassformer.charts.theme import DASHES, HEIGHT, WIDTH, Theme, find_theme
from glassformer.errors import RunError

if TYPE_CHECKING:
    import altair as alt

Record = Mapping[str, Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]

KINDS = {"train": "training", "validation": "validation"}  # kind of record in metrics.jsonl -> what the chart calls it
UNIT = "loss (nats/token)"
MEANS = "training: line, a mean over the tokens of 2 % of the records (faint: of one) · validation: points"
RAW_POINTS, SMOOTH_POINTS = 1_500, 500  # per run: more cannot be seen at this size
SMOOTHED_OVER = 0.02  # of a run's records


def loss_chart(
    runs: Mapping[str, Sequence[Record]],
    *,
    entropies: Mapping[str, float] | None = None,
    title: str = "Loss",
    theme: str = "light",
    width: int = WIDTH,
    height: int = HEIGHT,
) -> alt.LayerChart:
    """Training loss (smoothed, and faint as logged) and validation loss (points) of one or more runs.

    Args:
        runs: a run's name -> its records, as ``metrics.jsonl`` holds them: ``{"kind": "train" or "validation",
            "step": int, "loss": float, ...}``, losses in nats/token. Other records, and losses that are not finite, are
            left out.
        entropies: a label (``"bigram entropy"``) -> nats/token, drawn as a dashed reference line.
        title: the heading.
        theme: ``"light"`` or ``"dark"``.
        width: of the plot, in CSS pixels.
        height: of the plot, in CSS pixels.

    Raises:
        RunError: there is no run, or runs without any loss; all of those are named.
        ConfigError: there is no such theme.
    """
    import altair as alt

    look = find_theme(theme)
    losses = {name: {kind: finite_losses(records, kind) for kind in KINDS} for name, records in runs.items()}
    _check_not_empty(losses)

    single = len(losses) == 1
    series = [KINDS[kind] for kind in KINDS if _any(losses, kind)] if single else list(losses)
    legend = alt.Legend(symbolType="stroke", symbolOpacity=1)
    colour = alt.Color("series:N", sort=series, scale=_colours(alt, series, look), legend=legend)
    dash = alt.StrokeDash("series:N", sort=series, scale=_dashes(alt, series, look), legend=legend)
    last = max(int(steps[-1]) for of in losses.values() for steps, _ in of.values() if len(steps))
    step = alt.X(
        "step:Q",
        title="optimizer step",
        axis=alt.Axis(format=",d", tickMinStep=1, tickCount=8, labelFlush=False),
        scale=alt.Scale(domain=[0, max(last, 1)], nice=False),
    )
    loss = alt.Y("loss:Q", title=UNIT, scale=alt.Scale(zero=False, nice=False, padding=8))
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("step:Q", format=","),
        alt.Tooltip("loss:Q", format=".4f"),
    ]

    def layer(rows: Iterator[dict[str, Any]]) -> alt.Chart:
        return alt.Chart({"values": list(rows)}).encode(x=step, y=loss, color=colour, tooltip=tooltip)

    def rows(kind: str, *, smooth: bool = False, points: int = 0) -> Iterator[dict[str, Any]]:
        for name, of in losses.items():
            steps, values = of[kind]
            kept = _thin(len(steps), points) if points else np.arange(len(steps))
            values = smoothed(values, tokens_of(runs[name])) if smooth else values
            for index in kept:
                yield {
                    "run": name,
                    "kind": f"{KINDS[kind]}, smoothed" if smooth else KINDS[kind],
                    "series": KINDS[kind] if single else name,
                    "step": int(steps[index]),
                    "loss": round(float(values[index]), 5),
                }

    raw = layer(rows("train", points=RAW_POINTS)).mark_line(strokeWidth=1, opacity=0.22)
    smooth = layer(rows("train", smooth=True, points=SMOOTH_POINTS)).mark_line(strokeWidth=2.2).encode(strokeDash=dash)
    validation = layer(rows("validation")).mark_line(
        strokeWidth=1,
        strokeDash=[1, 3],
        point=alt.OverlayMarkDef(size=45, filled=True, opacity=1, stroke=look.background, strokeWidth=1),
    )
    references = _references(alt, entropies or {}, look)
    forecasts = _forecasts(alt, next(iter(runs.values())), step, look) if single else []
    chart = alt.layer(*references, *forecasts, raw, smooth, validation)
    explained = " · shaded: the final loss as forecast at that step (95 % prediction interval)" if forecasts else ""
    heading = alt.TitleParams(title, subtitle=f"{MEANS}{explained}")
    return chart.properties(width=width, height=height, title=heading).configure(**look.config())


def smoothed(values: Floats, weights: Floats | None = None) -> Floats:
    """Moving average over SMOOTHED_OVER of the values, centred so that a falling curve is not late.

    At the start, where losses fall steeply, the window shrinks on both sides; at the end it keeps its past half.

    Args:
        values: [n].
        weights: [n], above 0: the tokens that each value is a mean of (:func:`tokens_of`); equal unless given.
    """
    weights = np.ones(len(values)) if weights is None else weights
    at = np.arange(len(values))
    left = np.minimum(round(len(values) * SMOOTHED_OVER / 2), at)
    right = np.minimum(left, at[::-1])

    def windows(each: Floats) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(each)])
        return np.asarray(total[at + right + 1] - total[at - left])

    return windows(values * weights) / windows(weights)


def tokens_of(records: Sequence[Record]) -> Floats:
    """The tokens that each finite training loss is a mean of, in the order of :func:`finite_losses`.

    A record says how many tokens were trained on up to it, so its own are those since the record before. Where records
    do not say so, all weigh the same.
    """
    training = sorted((each for each in records if each.get("kind") == "train"), key=lambda each: int(each["step"]))
    ends = [each.get("tokens") for each in training]
    known = all(isinstance(end, int) for end in ends)
    counts = np.diff(np.array(ends, dtype=np.float64), prepend=0.0) if known else np.ones(len(training))
    kept = [index for index, each in enumerate(training) if _is_finite(each)]
    if not (counts > 0).all():
        counts = np.ones(len(training))
    return np.asarray(counts[kept])


def finite_losses(records: Sequence[Record], kind: str) -> tuple[np.ndarray[Any, Any], Floats]:
    """Steps and finite losses of one kind of record, by step."""
    found = sorted(
        (record["step"], record["loss"]) for record in records if record.get("kind") == kind and _is_finite(record)
    )
    steps, values = zip(*found, strict=True) if found else ((), ())
    return np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64)


def _is_finite(record: Record) -> bool:
    return record.get("loss") is not None and math.isfinite(record["loss"])


def _any(losses: Mapping[str, Mapping[str, tuple[Any, Any]]], kind: str) -> bool:
    return any(len(of[kind][0]) for of in losses.values())


def _check_not_empty(losses: Mapping[str, Mapping[str, tuple[Any, Any]]]) -> None:
    if not losses:
        raise RunError("A loss chart needs at least one run; it got none.")
    empty = [name for name, of in losses.items() if not any(len(steps) for steps, _ in of.values())]
    if empty:
        raise RunError(f"No loss has been logged yet in {', '.join(empty)}. Train first, or leave it out.")


def _thin(count: int, points: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most ``points`` indices below ``count``, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, points)).round().astype(np.int64))


def _colours(alt: Any, series: Sequence[str], look: Theme) -> Any:
    return alt.Scale(domain=series, range=[look.palette[i % len(look.palette)] for i in range(len(series))])


def _dashes(alt: Any, series: Sequence[str], look: Theme) -> Any:
    patterns = [list(DASHES[i // len(look.palette) % len(DASHES)]) for i in range(len(series))]
    return alt.Scale(domain=series, range=patterns)


def _forecasts(alt: Any, records: Sequence[Record], step: Any, look: Theme) -> list[Any]:
    """The interval of the final loss over the steps at which it was forecast: how it closed in."""
    kept = ("step", "loss", "low", "high")
    rows = [{key: record[key] for key in kept} for record in records if record.get("kind") == "extrapolation"]
    if len(rows) < 2:
        return []
    tooltip = [alt.Tooltip("step:Q", format=","), *(alt.Tooltip(f"{key}:Q", format=".4f") for key in kept[1:])]
    base = alt.Chart({"values": rows}).encode(x=step, tooltip=tooltip)
    interval = base.mark_area(color=look.muted, opacity=0.18).encode(y=alt.Y("low:Q", title=UNIT), y2="high:Q")
    return [interval, base.mark_line(color=look.muted, strokeWidth=1.2).encode(y=alt.Y("loss:Q", title=UNIT))]


def _references(alt: Any, entropies: Mapping[str, float], look: Theme) -> list[Any]:
    """A dashed line across the plot for each entropy, its label in the right margin, where no curve runs."""
    if not entropies:
        return []
    assert all(math.isfinite(value) for value in entropies.values()), entropies
    values = [{"label": [label, f"{value:.3f}"], "loss": value} for label, value in entropies.items()]
    base = alt.Chart({"values": values}).encode(y="loss:Q")
    rule = base.mark_rule(strokeDash=[5, 4], strokeWidth=1.2, color=look.muted)
    text = base.mark_text(align="left", baseline="middle", dx=8, color=look.muted, fontSize=12, lineHeight=14)
    return [rule, text.encode(x=alt.value("width"), text="label:N")]
