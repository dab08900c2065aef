"""A chart becomes a real file of the kind its suffix names, and an HTML page needs no network."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from glassformer.charts import loss_chart, save_chart
from glassformer.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def chart():
    records = [{"kind": "train", "step": step, "loss": 4 / step + 1} for step in range(1, 50)]
    return loss_chart(
        {"</script><b>run": records, "<!--<script>": records},
        entropies={"bigram entropy": 2.4519},
        title="Loss & more",
        width=300,
        height=200,
    )


def test_png_is_a_picture_at_twice_the_size_of_the_plot_and_its_margins(chart, tmp_path):
    content = save_chart(chart, tmp_path / "loss.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert 600 < width < 1200
    assert 400 < height < 900


def test_svg_is_well_formed_and_shows_the_labels(chart, tmp_path):
    root = ET.parse(save_chart(chart, tmp_path / "loss.svg")).getroot()
    text = " ".join(root.itertext())
    assert root.tag.endswith("svg")
    for label in ("Loss & more", "loss (nats/token)", "optimizer step", "bigram entropy", "2.452"):
        assert label in text


def test_pdf_is_a_pdf(chart, tmp_path):
    content = save_chart(chart, tmp_path / "loss.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"%%EOF" in content[-1024:]


@pytest.fixture(scope="module")
def page(chart, tmp_path_factory):
    return save_chart(chart, tmp_path_factory.mktemp("page") / "loss.html").read_text(encoding="utf-8")


def test_html_is_one_file_that_loads_nothing_from_elsewhere(page):
    seen = []

    class Elements(HTMLParser):  # knows that what stands inside a script is no markup
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

    Elements().feed(page)
    assert [tag for tag, _ in seen].count("script") == 2
    assert not [tag for tag, attributes in seen if tag == "link" or {"src", "href"} & attributes.keys()]
    assert page.count("<script>") == page.count("</script>") == 2  # data that looks like markup did not end one early
    assert "<!--" not in page[page.rindex("<script>") :]
    assert "<title>Loss &amp; more</title>" in page
    assert "window.vegaEmbed=" in page.replace(" ", "")


def test_html_holds_the_specification(chart, page):
    start = page.index('vegaEmbed("#chart", ') + len('vegaEmbed("#chart", ')
    spec, _ = json.JSONDecoder().raw_decode(page[start:])
    assert spec == chart.to_dict()


def test_json_is_the_specification(chart, tmp_path):
    assert json.loads(save_chart(chart, tmp_path / "loss.json").read_text(encoding="utf-8")) == chart.to_dict()


def test_folders_on_the_way_are_made(chart, tmp_path):
    assert save_chart(chart, tmp_path / "a" / "b" / "loss.json").is_file()


@pytest.mark.parametrize("name", ["loss.pgn", "loss", "loss.csv"])
def test_an_unknown_suffix_is_refused_and_nothing_is_written(chart, tmp_path, name):
    with pytest.raises(ConfigError, match=r"Did you mean '\.(png|svg)'|Known: \.html, \.json, \.pdf, \.png, \.svg"):
        save_chart(chart, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["loss.svg", "loss.json"])
def test_what_was_there_stays_if_the_new_cannot_be_written(chart, tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_text("the old one")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left on device"):
        save_chart(chart, path)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["the old one"]


def test_a_folder_in_the_place_of_the_file_is_left_alone(chart, tmp_path):
    (tmp_path / "loss.json").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        save_chart(chart, tmp_path / "loss.json")
    assert [each.name for each in tmp_path.iterdir()] == ["loss.json"]
