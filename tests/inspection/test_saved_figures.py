"""Every figure of a page is a file too, of every kind and in both themes."""

from __future__ import annotations

import pytest

from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import open_subject

SIGNATURES = {".svg": b"<svg", ".pdf": b"%PDF-", ".png": b"\x89PNG\r\n\x1a\n"}


@pytest.fixture(scope="module")
def figures(language_run):
    """One of each kind and title, of two moments; smaller than those of a page of all moments."""
    subject = open_subject(language_run.path, checkpoint="all")
    subject.chosen = [subject.chosen[0], subject.chosen[-1]]
    page = inspect(subject, text="bad fig")
    return [figure for section in page.sections for column in section.columns for figure in column.figures]


@pytest.mark.parametrize(("suffix", "theme"), [(".svg", "light"), (".pdf", "dark"), (".png", "dark")])
def test_every_figure_of_a_page_can_be_saved(figures, tmp_path, suffix, theme):
    assert len(figures) > 20
    for index, figure in enumerate(figures):
        path = figure.save(tmp_path / f"{index}{suffix}", theme=theme, frame=0)
        content = path.read_bytes()
        assert content.startswith(SIGNATURES[suffix]), figure.title
        assert len(content) > 1_000, figure.title
