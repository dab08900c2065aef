"""Every figure of a page is a file too, of every kind and in both themes."""

from __future__ import annotations

import pytest

from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import open_subject

SIGNATURES = {".svg": b"<svg", ".pdf": b"%PDF-", ".png": b"\x89PNG\r\n\x1a\n"}

WAYS = [(".svg", "light"), (".pdf", "dark"), (".png", "dark"), (".svg", "dark"), (".png", "light")]


@pytest.fixture(scope="module")
def figures(language_run):
    """One of each kind and title, of two snapshots; smaller than those of a page of all snapshots."""
    subject = open_subject(language_run.path, checkpoint="all")
    subject.chosen = [subject.chosen[0], subject.chosen[-1]]
    page = inspect(subject, text="bad fig")
    return [figure for section in page.sections for column in section.columns for figure in column.figures]


def check_saved(figure, path, theme):
    content = figure.save(path, theme=theme, frame=0).read_bytes()
    assert content.startswith(SIGNATURES[path.suffix]), figure.title
    assert len(content) > 1_000, figure.title


def test_every_figure_of_a_page_can_be_saved(figures, tmp_path):
    """Each as one kind of file, the kinds in turn: what can be drawn as the one can be drawn as the other."""
    assert len(figures) > 20
    for index, figure in enumerate(figures):
        suffix, theme = WAYS[index % len(WAYS)]
        check_saved(figure, tmp_path / f"{index}{suffix}", theme)


@pytest.mark.slow(reason="more than a hundred pictures")
@pytest.mark.parametrize(("suffix", "theme"), WAYS)
def test_every_figure_of_a_page_can_be_saved_in_every_way(figures, tmp_path, suffix, theme):
    for index, figure in enumerate(figures):
        check_saved(figure, tmp_path / f"{index}{suffix}", theme)
