"""A plan as a file that ``glassformer train`` runs.

JSON holds every setting of the run, as a run's own ``config.json`` does. TOML holds the preset and what differs from
it, and beside each number where it is from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassformer.charts.export import write
from glassformer.errors import ConfigError
from glassformer.scaling.plans.plan import Plan
from glassformer.scaling.plans.plan_text import exact, headline
from glassformer.training.recipes import SUFFIXES, flat, read_run_file

TRACED_BY = {
    "model.d_model": "parameters",
    "training.batch_size": "batch",
    "training.max_steps": "steps",
    "training.optimizer.learning_rate": "learning rate",
    "training.schedule.warmup_steps": "warm-up",
}
"""The number of the plan that a setting comes from."""


def check_place(path: Path) -> None:
    """Refuse a file of another kind, and what is there and is no run's file. Raises :class:`ConfigError`."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--out is {str(path)!r}; a plan is a {' or '.join(SUFFIXES)} file.", subject="command")
    if not path.exists():
        return
    try:
        read_run_file(path)
    except ConfigError:
        raise ConfigError(
            f"{path} is there already, and is no plan; it is left alone. Name another file with --out.",
            subject="command",
        ) from None


def write_plan(plan: Plan, path: Path) -> None:
    """The plan's run as a file; its suffix says in which form.

    Raises:
        ConfigError: something else is there.
        DataError: the place cannot be written to.
    """
    check_place(path)
    text = plan.config.to_json() if path.suffix == ".json" else as_toml(plan)
    write(path, text.encode(), what="plan")


def as_toml(plan: Plan) -> str:
    """The preset, and every setting that differs from it with the trace of its number."""
    lines = [f"# {headline(plan)}; law {plan.law}", f"preset = {_value(plan.preset)}", "", "[set]"]
    for name, value in differences(plan).items():
        if name in TRACED_BY:
            number = plan[TRACED_BY[name]]
            lines.append(f"# {TRACED_BY[name]} = {exact(number)} {number.unit}: {number.equation}")
        lines.append(f"{_value(name)} = {_value(value)}")
    return "\n".join(lines) + "\n"


def differences(plan: Plan) -> dict[str, Any]:
    """The settings by which the plan's run differs from its preset's recipe; the vocabulary is the text's."""
    before, after = (flat(config.to_dict()) for config in (plan.recipe, plan.config))
    return {
        name: value
        for name, value in after.items()
        if name != "model.vocab_size" and (name not in before or before[name] != value)
    }


def _value(value: Any) -> str:
    """As TOML writes it; a setting that is none is the text "none", as on the command line."""
    if value is None:
        return '"none"'
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)
