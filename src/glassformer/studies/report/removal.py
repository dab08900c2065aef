"""The report's section on parts left out of training and the same parts removed from a trained model."""

from __future__ import annotations

from glassformer.charts.page import Section
from glassformer.charts.table import Cell, Header, Table
from glassformer.errors import GlassformerError
from glassformer.statistics.comparison import Comparison
from glassformer.studies.folder import Study
from glassformer.studies.removal import Removal, removal
from glassformer.studies.report.cells import NOTHING, difference_cell, interval_cell

NOT_MEASURED = "not measured: data changed"
TITLE = "Trained without the part, or removed after training"
TEXT = (
    "A model trained without a part can compensate for it; a part removed from the trained baseline leaves the other "
    "weights as they were. Where removal costs much and training without the part costs little, the trained model "
    "relies on the part but does not need it."
)


def removal_section(study: Study) -> Section:
    """The table, or the reason why there is none: no variant can be made of the base by taking something out."""
    try:
        found = removal(study)
    except GlassformerError as error:
        return Section(TITLE, TEXT, missing=str(error))
    if not found.removed.rows and not found.other_data:
        reasons = "; ".join(f"{variant}: {reason}" for variant, reason in found.reasons.items())
        return Section(TITLE, TEXT, missing=f"No variant removes a part of the baseline. {reasons}.")
    return Section(TITLE, TEXT, [removal_table(found, fixed=study.config.until_decided is None)])


def removal_table(found: Removal, *, fixed: bool = True) -> Table:
    """A row for each variant: both differences from the base, and how much of the second training wins back.

    Args:
        fixed: whether the number of seeds was fixed beforehand; a t interval holds for no other.
    """
    interval = ["95 % interval"] if fixed else []
    names = ["pairs", "trained without", *interval, "removed after training", *interval, "recovered by training"]
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
        "In nats per token, paired by seed. Removed after training: the baseline's weights in the variant's model, on "
        "the same validation batches."
    )
    by_reason: dict[str, list[str]] = {}
    for variant, reason in found.reasons.items():
        by_reason.setdefault(reason, []).append(variant)
    reasons = [f"{' and '.join(variants)} cannot be removed: {reason}." for reason, variants in by_reason.items()]
    return Table(
        headers,
        rows,
        title="Final validation loss, difference from the baseline",
        sortable=True,
        description=" ".join([described, *reasons]),
    )


def _cells(comparison: Comparison, variant: str, fixed: bool) -> list[Cell]:
    row = next((row for row in comparison.rows if row.variant == variant), None)
    mean, interval = (None, None) if row is None else (row.mean, row.interval)
    return [difference_cell(mean, interval), *([interval_cell(interval)] if fixed else [])]
