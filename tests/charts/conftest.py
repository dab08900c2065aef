from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from glassformer.charts.figures import Figure
from glassformer.charts.page import Page, Section


@pytest.fixture
def show(open_page: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A page with these figures in the browser, each of them drawn."""

    def shown(*figures: Figure, frames: Sequence[str] = ("",)) -> Any:
        page = Page("Inspection", [Section("Figures", "", figures)], frames=frames)
        tab = open_page(page.save(tmp_path / "page.html"))
        for figure in tab.locator(".gf-figure").all():
            figure.scroll_into_view_if_needed()
        tab.wait_for_function(
            "() => [...document.querySelectorAll('.gf-figure')].every(figure => figure.dataset.ready === 'true')"
        )
        tab.evaluate("() => scrollTo({ top: 0, behavior: 'instant' })")
        return tab

    return shown
