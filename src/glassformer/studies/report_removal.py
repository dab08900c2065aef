"""The section of a report that sets a part left out of training beside the same part taken out of a trained model."""

from __future__ import annotations

from glassformer.charts.page import Section
from glassformer.charts.table import Cell, Header, Table
from glassformer.errors import GlassformerError
from glassformer.studies.folder import Study
from glassformer.studies.removal import Removal, removal
from glassformer.studies.report_tables import NOTHING, difference_cell, interval_cell
from glassformer.studies.statistics import Comparison

NOT_MEASURED = "not measured: the data have changed"
TITLE = "Left out of training, or taken out afterwards"
TEXT = (
    "A model trained without a part can learn to do with what it has; a part taken out of the trained base leaves a "
    "hole that the rest was never prepared for. Look for parts whose removal costs much and whose absence costs "
    "little: the model had come to rely on them, and does not need them."
)


def removal_section(study: Study) -> Section:
    """The table, or the reason why there is none: no variant can be made of the base by taking something out."""
    try:
        found = removal(study)
    except GlassformerError as error:
        return Section(TITLE, TEXT, missing=str(error))
    if not found.removed.rows and not found.other_data:
        reasons = "; ".join(f"{variant}: {reason}" for variant, reason in found.reasons.items())
        return Section(TITLE, TEXT, missing=f"Nothing can be taken out of the base here. {reasons}.")
    return Section(TITLE, TEXT, [removal_table(found, fixed=study.config.until_decided is None)])


def removal_table(found: Removal, *, fixed: bool = True) -> Table:
    """A row for each variant: both differences from the base, and how much of the second training wins back.

    Args:
        fixed: whether the number of seeds was fixed beforehand; a t interval holds for no other.
    """
    interval = ["95 % interval"] if fixed else []
    names = ["pairs", "trained without it", *interval, "taken out of the base", *interval, "won back by training"]
    headers = [Header("variant", align="left"), *map(Header, names)]
    rows = []
    for row in found.trained.rows:
        share = found.recovered(row.variant)
        won = Cell(NOTHING) if share is None else Cell(f"{100 * share:.0f} %", share)
        taken_out = _cells(found.removed, row.variant, fixed)
        if row.variant in found.other_data:
            taken_out = [Cell(NOT_MEASURED), *taken_out[1:]]
        cells = [*_cells(found.trained, row.variant, fixed), *taken_out, won]
        rows.append([Cell(row.variant), Cell(str(row.n), row.n), *cells])
    described = (
        "In nats per token, paired by seed. Taken out: the base's own weights in the variant's model, on the same "
        "validation batches."
    )
    by_reason: dict[str, list[str]] = {}
    for variant, reason in found.reasons.items():
        by_reason.setdefault(reason, []).append(variant)
    reasons = [f"{' and '.join(variants)} cannot be taken out: {reason}." for reason, variants in by_reason.items()]
    return Table(
        headers,
        rows,
        title="Final validation loss, difference from the base",
        sortable=True,
        description=" ".join([described, *reasons]),
    )


def _cells(comparison: Comparison, variant: str, fixed: bool) -> list[Cell]:
    row = next((row for row in comparison.rows if row.variant == variant), None)
    mean, interval = (None, None) if row is None else (row.mean, row.interval)
    return [difference_cell(mean, interval), *([interval_cell(interval)] if fixed else [])]
