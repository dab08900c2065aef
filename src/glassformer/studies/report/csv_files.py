"""A study's numbers as CSV, with every digit: one file with a row for each variant, one with a row for each run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from glassformer.statistics.power import power_line
from glassformer.studies.design import BASE
from glassformer.studies.report.numbers import Numbers, RunNumbers


def variants_csv(numbers: Numbers) -> str:
    """A row for the base and for each variant; what there is not is empty."""
    return _written([_arm_row(numbers, name) for name in numbers.study.config.arms])


def runs_csv(numbers: Numbers) -> str:
    """A row for each run that has ended."""
    return _written([_run_row(numbers, run) for run in numbers.runs])


def _arm_row(numbers: Numbers, name: str) -> dict[str, Any]:
    arm = numbers.arm(name)
    row = None if name == BASE else numbers.comparison.row(name)
    area = None if name == BASE else numbers.areas.row(name)
    decision = numbers.decisions.get(name)
    fixed = None if decision else row  # its interval and p hold for seeds fixed beforehand
    low, high = (fixed and fixed.interval) or (None, None)
    line = None if fixed is None else power_line(fixed)
    look_low, look_high = (decision and decision.interval) or (None, None)
    area_low, area_high = (fixed and area and area.interval) or (None, None)
    return {
        "variant": name,
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
        "p_holm": fixed and fixed.p_holm,
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
