"""A plan: a run's configuration with the provenance of its numbers, as text and as a file for ``glassformer train``.

A JSON file holds every setting of the run, as a run's own ``config.json`` does. TOML holds the preset and what differs
from it, with each number's equation beside it. What the laws disagree about is part of the plan.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glassformer.charts.export import write
from glassformer.config import flat
from glassformer.errors import ConfigError
from glassformer.scaling.plans.law_estimates import LawEstimate
from glassformer.scaling.plans.numbers import Numbers, SourcedValue
from glassformer.scaling.plans.shapes import Shape
from glassformer.scaling.wording import budget, digits, large, to
from glassformer.tasks.run_config import RunConfig
from glassformer.training.recipes import SUFFIXES, read_run_file

NUMBER_OF = {
    "model.d_model": "parameters",
    "training.batch_size": "batch",
    "training.max_steps": "steps",
    "training.optimizer.learning_rate": "learning rate",
    "training.schedule.warmup_steps": "warm-up",
}
"""The number of the plan that a setting is taken from."""

WIDTH = 120
LABELS = 12  # columns


@dataclass(frozen=True)
class WhatIf:
    """The effect of halving or doubling N or D.

    Attributes:
        what: "N/2, same compute", say.
        loss: nats per token, by the plan's law.
        difference: to the plan's loss.
        wasted: share of the compute beyond the least that reaches this loss on the same text.
    """

    what: str
    parameters: float
    tokens: float
    loss: float
    difference: float
    wasted: float


@dataclass(frozen=True)
class TrainingPlan:
    """A run that can be started, each number with its source.

    Attributes:
        config: of the run, with the vocabulary that the plan counted.
        preset: whose architecture and recipe it has.
        recipe: the preset's own configuration, from which ``config`` differs.
        shape: the model's, and its distance from the law's target.
        numbers: by name, in the order in which they are shown.
        off: N or D halved and doubled.
        estimates: of each law at this budget.
        warnings: limitations, a sentence each.
    """

    config: RunConfig
    preset: str
    recipe: RunConfig
    law: str
    shape: Shape
    numbers: Numbers
    off: tuple[WhatIf, ...]
    estimates: tuple[LawEstimate, ...]
    warnings: tuple[str, ...]

    def __getitem__(self, name: str) -> SourcedValue:
        return self.numbers[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "preset": self.preset,
            "law": self.law,
            "shape": {"words": self.shape.words, "target": self.shape.target, "counting": self.shape.counting},
            "numbers": {name: asdict(number) for name, number in self.numbers.items()},
            "off": [asdict(each) for each in self.off],
            "disagreement": [asdict(each) for each in self.estimates],
            "warnings": list(self.warnings),
            "config": self.config.to_dict(),
        }


# --- as text ---------------------------------------------------------------------------------------------------------


def headline(plan: TrainingPlan) -> str:
    """The budget, N and D."""
    compute, n, d = (plan[name].value for name in ("compute", "parameters", "tokens"))
    return f"{budget(compute)} FLOP  →  {large(n)} parameters × {large(d)} tokens"


def explained(plan: TrainingPlan) -> str:
    """Every number with its equation and its source, a paragraph each."""
    paragraphs = []
    for name, number in plan.numbers.items():
        interval = f", {to(number.interval)}" if number.interval else ""
        lines = [f"{name} = {exact(number)} {number.unit}{interval}"]
        for label, text in (("equation", number.equation), ("source", number.source), ("note", number.note)):
            if text:
                lead = f"  {label}".ljust(LABELS)
                lines += textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=" " * (LABELS + 2))
        paragraphs.append("\n".join(lines))
    return "\n".join(paragraphs)


def exact(number: SourcedValue) -> str:
    """Whole numbers in full up to a quadrillion, others in four digits."""
    if number.value == int(number.value) and number.value < 1e15:
        return f"{number.value:,.0f}"
    return digits(number.value, 4)


# --- as a file -------------------------------------------------------------------------------------------------------


def check_place(path: Path) -> None:
    """Raise :class:`ConfigError` for another kind of file, and for an existing file that does not describe a run."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--out is {str(path)!r}; a plan is a {' or '.join(SUFFIXES)} file.", subject="command")
    if not path.exists():
        return
    try:
        read_run_file(path)
    except ConfigError:
        raise ConfigError(
            f"{path} exists already and is not a plan; it was not overwritten. Name another file with --out.",
            subject="command",
        ) from None


def write_plan(plan: TrainingPlan, path: Path) -> None:
    """The plan's run as a file in the format of its suffix.

    Raises:
        ConfigError: another file is there.
        DataError: the place cannot be written to.
    """
    check_place(path)
    text = plan.config.to_json() if path.suffix == ".json" else as_toml(plan)
    write(path, text.encode(), what="plan")


def as_toml(plan: TrainingPlan) -> str:
    """The preset, and every setting that differs from it with its number's equation."""
    lines = [f"# {headline(plan)}; law {plan.law}", f"preset = {_value(plan.preset)}", "", "[set]"]
    for name, value in differences(plan).items():
        if name in NUMBER_OF:
            number = plan[NUMBER_OF[name]]
            lines.append(f"# {NUMBER_OF[name]} = {exact(number)} {number.unit}: {number.equation}")
        lines.append(f"{_value(name)} = {_value(value)}")
    return "\n".join(lines) + "\n"


def differences(plan: TrainingPlan) -> dict[str, Any]:
    """The settings by which the plan's run differs from its preset's recipe; the vocabulary is the text's."""
    before, after = (flat(config.to_dict()) for config in (plan.recipe, plan.config))
    return {
        name: value
        for name, value in after.items()
        if name != "model.vocab_size" and (name not in before or before[name] != value)
    }


def _value(value: Any) -> str:
    """As TOML writes it; None is the text "none", as on the command line."""
    if value is None:
        return '"none"'
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)
