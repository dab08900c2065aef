"""Every picture: one grammar (Altair) for page, report and paper, readable in a light and a dark theme."""

from __future__ import annotations

from glassformer.charts.attention_maps import AttentionMaps
from glassformer.charts.attention_steps import AttentionSteps
from glassformer.charts.depth_by_step import DepthByStep
from glassformer.charts.drawing import Drawing
from glassformer.charts.export import save_chart
from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.heat_map import HeatMap
from glassformer.charts.loss import loss_chart
from glassformer.charts.page import Column, Page, Section
from glassformer.charts.token_grid import TokenGrid

__all__ = [
    "AttentionMaps",
    "AttentionSteps",
    "Column",
    "DepthByStep",
    "Drawable",
    "Drawing",
    "Figure",
    "HeatMap",
    "Page",
    "Section",
    "TokenGrid",
    "loss_chart",
    "save_chart",
]
