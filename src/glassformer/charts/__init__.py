"""Every picture: one grammar (Altair) for page, report and paper, readable in a light and a dark theme."""

from __future__ import annotations

from glassformer.charts.export import save_chart
from glassformer.charts.loss import loss_chart

__all__ = ["loss_chart", "save_chart"]
