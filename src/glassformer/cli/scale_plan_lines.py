"""The lines of ``glassformer scale plan``: one for each main number, in groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glassformer.cli.units import readable_bytes
from glassformer.scaling.wording import budget, digits, large, long, percent_error, to

if TYPE_CHECKING:
    from glassformer.scaling.plans.numbers import SourcedValue
    from glassformer.scaling.plans.plan import TrainingPlan

UNKNOWN = "–"


@dataclass(frozen=True)
class Line:
    """One number of the plan, with its composition or alternatives beside it."""

    label: str
    value: str
    beside: str


def sections(plan: TrainingPlan) -> Iterator[tuple[str, list[Line]]]:
    """The plan in titled groups of lines."""
    yield "model and data", list(_model(plan))
    yield "training", list(_training(plan))
    yield "loss, in nats per token", list(_loss(plan))
    yield "cost", list(_cost(plan))


def _model(plan: TrainingPlan) -> Iterator[Line]:
    shape, other = plan.shape, plan["parameters without embeddings"]
    aim = f"aimed at {_large(shape.target)} {'in all' if shape.counting == 'total' else 'of these'} ({plan.law})"
    nearness = percent_error(math.log1p(shape.deviation)).replace(" ", "\u00a0")
    yield Line(
        "parameters",
        f"{plan['parameters'].value:,.0f}",
        f"{other.value:,.0f} without embeddings; {aim}, {nearness}",
    )
    yield Line("tokens", _large(plan["tokens"].value), f"{digits(plan['tokens per parameter'].value)} per parameter")
    if "epochs" not in plan.numbers:
        return
    passes, unique = plan["epochs"], plan["unique tokens"]
    yield Line("epochs", digits(passes.value), f"of {_large(unique.value)} unique tokens ({unique.source})")
    if "effective tokens" in plan.numbers:
        worth, cost = plan["value of a repeated token"].value, plan["cost of repetition"].value
        yield Line(
            "  effective",
            _large(plan["effective tokens"].value),
            f"fresh tokens: a repeated one counts {digits(worth, 2)}; cost {digits(cost)} nats (muennighoff)",
        )


def _training(plan: TrainingPlan) -> Iterator[Line]:
    batch, critical = plan["batch"], plan["critical batch"]
    yield Line(
        "batch",
        f"{batch.value:,.0f}",
        f"tokens, {plan.config.training.batch_size:,} × {plan.config.seq_len:,} ({_short(batch)}); DeepSeek "
        f"{_large(plan['batch by DeepSeek'].value)}, Kaplan's critical {_large(critical.value)}",
    )
    yield Line(
        "steps",
        f"{plan['steps'].value:,.0f}",
        f"at least {plan['least steps'].value:,.0f} with an infinite batch; {plan['warm-up'].value:,.0f} warm up",
    )
    rate = plan["learning rate"]
    others = [
        f"{name.rpartition('by ')[2].removeprefix('the ')} {digits(number.value)}"
        for name, number in plan.numbers.items()
        if name.startswith("learning rate by")
    ]
    yield Line("learning rate", digits(rate.value), f"{_short(rate)}; {', '.join(others)}")


def _loss(plan: TrainingPlan) -> Iterator[Line]:
    loss = plan["loss"]
    interval = f"95 %: {to(loss.interval)}" if loss.interval else "no interval: no standard errors are published"
    if loss.interval and "independent" in loss.note:
        interval += ", too wide (errors taken as independent)"
    repeated = ", with the text repeated" if "cost of repetition" in plan.numbers else ""
    yield Line("predicted", digits(loss.value), f"{_short(loss)}{repeated}; {interval}")
    if "loss by other laws" in plan.numbers:
        others = plan["loss by other laws"]
        assert others.interval is not None
        yield Line("other laws", to(others.interval), "for this run; each on its own text and tokenizer")


def _cost(plan: TrainingPlan) -> Iterator[Line]:
    exact, speed = plan["counted compute"].value, plan["speed"]
    how = "measured" if "measured now" in plan["time"].source else "a guess"
    yield Line("compute", f"{budget(plan['compute'].value)} FLOP", f"6·N·D; every product counted: {budget(exact)}")
    yield Line(
        "time",
        long(plan["time"].value),
        f"at {digits(speed.value / 1e9)} GFLOP/s, {speed.equation.rpartition('; ')[2]} here, {how}",
    )
    there = f"of {readable_bytes(plan['memory there is'].value)}" if "memory there is" in plan.numbers else ""
    yield Line("memory", readable_bytes(plan["memory"].value), there)


def signed(value: float) -> str:
    """A difference in three digits, with its sign."""
    return f"+{digits(value)}" if value >= 0 else digits(value)


def _large(value: float) -> str:
    """A count, kept on one line."""
    return large(value).replace(" ", "\u00a0")


def _short(number: SourcedValue) -> str:
    """The law's name alone."""
    return number.source.partition(":")[0]
