from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from glassformer.charts.table import Cell, Header, Table

HEADERS = [Header("name", align="left"), Header("size")]
ROWS = [
    [Cell("<b>wide</b>", href="opened/wide%20one.html"), Cell("1,000", 1000)],
    [Cell("none"), Cell("–")],
    [Cell("a|b"), Cell("−20", -20)],
]


def cells(tab):
    return [row.locator("th, td").all_inner_texts() for row in tab.locator("tbody tr").all()]


def test_a_table_is_html_that_tells_its_heads_and_escapes_what_is_in_it(show):
    tab = show(Table(HEADERS, ROWS, title="Sizes"))
    table = tab.get_by_role("table", name="Sizes")
    assert table.get_by_role("columnheader").all_inner_texts() == ["name", "size"]
    assert table.get_by_role("rowheader").all_inner_texts() == ["<b>wide</b>", "none", "a|b"]
    assert table.get_by_role("link").get_attribute("href") == "opened/wide%20one.html"
    assert table.get_by_role("button").count() == 0


def test_numbers_are_ordered_by_value_and_cells_without_one_come_last(show):
    tab = show(Table(HEADERS, ROWS, title="Sizes", sortable=True))
    head = tab.get_by_role("columnheader", name="size")
    head.get_by_role("button").press("Enter")
    assert [row[1] for row in cells(tab)] == ["−20", "1,000", "–"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").press("Enter")
    assert [row[1] for row in cells(tab)] == ["1,000", "−20", "–"]
    tab.get_by_role("columnheader", name="name").get_by_role("button").click()
    assert [row[0] for row in cells(tab)] == ["<b>wide</b>", "a|b", "none"]
    assert head.get_attribute("aria-sort") is None


def test_markdown_keeps_the_links_and_no_word_ends_a_cell():
    lines = Table(HEADERS, ROWS, title="Sizes").markdown().splitlines()
    assert lines[:2] == ["| name | size |", "| --- | ---: |"]
    assert lines[2] == "| [\\<b\\>wide\\</b\\>](opened/wide%20one.html) | 1,000 |"
    assert lines[4] == "| a\\|b | −20 |"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_has_every_word(tmp_path, theme):
    path = Table(HEADERS, ROWS, title="Sizes").save(tmp_path / "sizes.svg", theme=theme)
    words = "".join(ET.parse(path).getroot().itertext())
    assert all(cell.text in words for row in ROWS for cell in row)


@pytest.mark.parametrize("href", ["https://example.org/", "//example.org", "../up.html", "javascript:alert(1)"])
def test_a_link_leads_nowhere_but_beside_the_page(href):
    with pytest.raises(AssertionError, match="leads away"):
        Table(HEADERS, [[Cell("x", href=href), Cell("1")]], title="Sizes")
