"""A study's numbers as CSV, with every digit: a file with a row for each arm, and one with a row for each run.

A tuned study has two more: what each arm's best values are and cost, and a row for each selection run.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from glassformer.statistics.power import power_line
from glassformer.studies.design import BASE
from glassformer.studies.report.numbers import Numbers, RunNumbers
from glassformer.studies.tuned_results import Cost, TunedResults, TunedRow


def variants_csv(numbers: Numbers) -> str:
    """A row for the base and for each variant; what there is not is empty."""
    return _written([_arm_row(numbers, name) for name in numbers.study.config.arms])


def runs_csv(numbers: Numbers) -> str:
    """A row for each run that has ended."""
    return _written([_run_row(numbers, run) for run in numbers.runs])


def tuning_csv(results: TunedResults) -> str:
    """A row for the baseline and for each variant of a tuned study."""
    return _written([_tuned_row(row) for row in results.rows])


def selection_csv(results: TunedResults) -> str:
    """A row for each selection run that has ended."""
    return _written(
        [
            {
                "variant": point.arm,
                **point.values,
                "seed": seed,
                "loss": loss,
                "diverged": loss is None,
                "loss_at_initialisation": results.initial.get(point.arm, {}).get(seed),
                "extended": results.extended(point),
                "best": point.values == results.selection.best[point.arm].values,
            }
            for point in results.selection.points
            for seed, loss in sorted(point.losses.items())
        ]
    )


def _tuned_row(row: TunedRow) -> dict[str, Any]:
    costs = {"own": row.own, "at_baselines": row.control, "at_baselines_minus_own": row.moved}
    against = row.sensitivity_difference
    return {
        "variant": row.arm,
        **{f"best_{setting}": value for setting, value in row.best.values.items()},
        "same_as_baseline": row.same_values,
        "changes": row.changes,
        **{key: value for name, cost in costs.items() for key, value in _cost(name, cost).items()},
        "sensitivity": row.sensitivity.mean,
        **_ends("sensitivity", row.sensitivity.interval),
        "sensitivity_seeds": row.sensitivity.n,
        "sensitivity_difference": against and against.mean,
        **_ends("sensitivity_difference", None if against is None else against.interval),
        "note": row.note,
    }


def _cost(name: str, cost: Cost | None) -> dict[str, Any]:
    means = {f"cost_{name}": cost and cost.mean, **_ends(f"cost_{name}", None if cost is None else cost.interval)}
    return means | {f"cost_{name}_pairs": cost and cost.n, f"cost_{name}_diverged": cost and cost.diverged}


def _ends(name: str, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _arm_row(numbers: Numbers, name: str) -> dict[str, Any]:
    arm = numbers.arm(name)
    row = numbers.difference(name)
    control = name in numbers.study.config.controls
    area = None if name == BASE else numbers.areas.row(name)
    decision = numbers.decisions.get(name)
    fixed = None if decision else row  # its interval and p hold for seeds fixed beforehand
    low, high = (fixed and fixed.interval) or (None, None)
    line = None if fixed is None or control else power_line(fixed)
    look_low, look_high = (decision and decision.interval) or (None, None)
    area_low, area_high = (None if numbers.decisions else area and area.interval) or (None, None)
    return {
        "variant": name,
        "role": "baseline" if name == BASE else "control" if control else "variant",
        "finished": len(arm.finished),
        "diverged": arm.count("diverged"),
        "failed": arm.count("failed"),
        "pairs": row and row.n,
        "loss": arm.loss,
        "accuracy": arm.accuracy,
        "difference": row and row.mean,
        "sd": row and row.sd,
        "confidence": row and row.confidence,
        "low": low,
        "high": high,
        "t": fixed and fixed.t,
        "p": fixed and fixed.p,
        "p_holm": None if control else fixed and fixed.p_holm,
        "effect_g_z": row and row.effect,
        "smallest_shown": line and line.smallest,
        "more_seeds_needed": line and line.more,
        "sequential_low": look_low,
        "sequential_high": look_high,
        "sequential_verdict": decision and decision.verdict,
        "mean_loss": numbers.mean(name, lambda run: run.area),
        "mean_loss_difference": area and area.mean,
        "mean_loss_low": area_low,
        "mean_loss_high": area_high,
        "steps": numbers.mean(name, lambda run: float(run.outcome.steps)),
        "seconds": numbers.mean(name, lambda run: run.outcome.seconds),
        "reached_base": len(numbers.found(name, lambda run: run.reached_steps)),
        "steps_to_base": numbers.mean(name, lambda run: run.reached_steps),
        "seconds_to_base": numbers.mean(name, lambda run: run.reached_seconds),
        "parameters": numbers.parameters(name),
        "training_flops_per_token": numbers.mean(name, lambda run: run.flops_per_token),
        "matched": numbers.study.config.adjusted.get(name),
        "note": row and row.note,
    }


def _run_row(numbers: Numbers, run: RunNumbers) -> dict[str, Any]:
    outcome = run.outcome
    kept = outcome.to_dict(numbers.study.path)
    return {
        "variant": outcome.variant,
        "seed": outcome.seed,
        "status": outcome.status,
        "loss": outcome.loss,
        "difference": None if outcome.variant == BASE else run.difference,
        "accuracy": outcome.accuracy,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "mean_loss": run.area,
        "steps_to_base": run.reached_steps,
        "seconds_to_base": run.reached_seconds,
        "training_flops": run.flops,
        "reused": outcome.reused,
        "reason": outcome.reason,
        "run": kept["run"],
    }


def _written(rows: Sequence[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
