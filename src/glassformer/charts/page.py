"""The offline page: sections of figures, a slider over checkpoints, two themes, in one HTML file.

Everything is inside: scripts, styles and data. The page asks for nothing from the network, and its content security
policy forbids it to. What comes from the user (titles, tokens) is escaped here, or set as text by the scripts.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.charts.colours import NOTHING, Kind, lookup
from glassformer.charts.export import write
from glassformer.charts.theme import FONT, THEMES

if TYPE_CHECKING:
    from glassformer.charts.figures import Figure  # which shows itself in a notebook by a page

# no network at all, and no eval: Vega interprets its expressions (drawing.js)
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


WHOLE = re.compile(r"\b[np] (?:=|&lt;) [\d.,]*\d(?: pairs?\b)?")
"""What no line of a lead breaks: ``n = 4 pairs``, ``p &lt; 0.0001``."""


@dataclass(frozen=True)
class Column:
    """The figures of one run among several that stand side by side.

    ``at[i]`` is the frame that the column's figures show when the page's slider is at frame i: runs have different
    checkpoints. Without it, page and figures have the same frames. ``missing`` is the reason why there is no figure.
    """

    title: str
    figures: Sequence[Figure] = ()
    at: Sequence[int] | None = None
    missing: str = ""


@dataclass(frozen=True)
class Lead:
    """A sentence in large letters, its claim in bold and then the rest, and a detail in small ones below it."""

    claim: str
    rest: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Section:
    """One idea of the page: two sentences (what it shows, what to look for), and its figures.

    ``missing`` is the reason shown in place of pictures that could not be made. ``columns`` sets runs side by side, in
    place of ``figures``. ``leads`` stand between ``text`` and ``note``.
    """

    title: str
    text: str
    figures: Sequence[Figure] = ()
    missing: str = ""
    columns: Sequence[Column] = ()
    leads: Sequence[Lead] = ()
    note: str = ""

    def __post_init__(self) -> None:
        assert not (self.figures and self.columns), "a section has figures or columns"

    def all_columns(self) -> Sequence[Column]:
        """The columns, or the figures as the only one."""
        return self.columns or ([Column("", self.figures)] if self.figures else [])


@dataclass(frozen=True)
class Page:
    """Sections under one title.

    Args:
        title: the heading.
        sections: from top to bottom.
        facts: a name (``"parameters"``) -> its value, shown below the title.
        frames: what each position of the slider is called (``"step 250"``); with one there is no slider.
        frame_title: what the slider chooses.
        embedded: whether the page is part of another one: then it has no header.
        answer_first: whether the first section stands before the facts and the contents.
    """

    title: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)
    frames: Sequence[str] = ("",)
    frame_title: str = "checkpoint"
    embedded: bool = False
    answer_first: bool = False

    def html(self) -> str:
        """The whole file."""
        figures: list[Figure] = []
        body = [self._section(index, section, figures) for index, section in enumerate(self.sections)]
        data = "".join(
            f'<script type="application/json" id="gf-data-{number}">{as_json(figure.data())}</script>\n'
            for number, figure in enumerate(figures)
        )
        vega = any(figure.needs_vega for figure in figures)
        files = _files(figures)
        scripts = [*([_vega()] if vega else []), *(_web(file) for file in ("page.js", *files) if file.endswith(".js"))]
        styles = "".join(_web(file) for file in ("page.css", *files) if file.endswith(".css"))
        tail = "".join(f"<script>{_inline(script)}</script>\n" for script in scripts)
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(self.title)}</title>
<style>
{_theme_rules()}
{styles}</style>
</head>
<body{' class="gf-embedded"' if self.embedded else ""}>
{self._top(body)}</main>
<div class="gf-tip" hidden></div>
<div class="gf-announcement" aria-live="polite"></div>
<script type="application/json" id="gf-settings">{as_json(self._settings())}</script>
{data}{tail}<script>glassformer.start();</script>
</body>
</html>
"""

    def save(self, path: str | Path) -> Path:
        """Write the file and return its path; folders on the way are made. A page that is there stays until then.

        Raises:
            DataError: the place cannot be written to.
        """
        return write(Path(path), self.html().encode("utf-8"), what="page")

    def _repr_html_(self) -> str:
        return framed(self)

    def _settings(self) -> dict[str, Any]:
        kinds: tuple[Kind, ...] = ("sequential", "diverging")
        return {
            "frames": list(self.frames),
            "nothing": NOTHING,
            "colours": {
                theme: {kind: base64.b64encode(lookup(kind, theme).tobytes()).decode("ascii") for kind in kinds}
                for theme in THEMES
            },
            "themes": {
                name: {"palette": list(theme.palette), "text": theme.text, "muted": theme.muted, "grid": theme.grid}
                for name, theme in THEMES.items()
            },
        }

    def _top(self, body: Sequence[str]) -> str:
        """The header, the bar, the contents and the sections, in the order of this page."""
        if self.embedded:
            return f"{self._bar()}<main>\n{''.join(body)}"
        title = f"<h1>{html.escape(self.title)}</h1>\n"
        if self.answer_first and body:
            first, *others = body
            top = f'<header class="gf-header gf-answer-first">\n{title}</header>\n<main>\n{first}{self._facts()}'
            return f"{top}{self._bar()}{self._contents()}{''.join(others)}"
        top = f'<header class="gf-header">\n{title}{self._facts()}</header>\n'
        return f"{top}{self._bar()}{self._contents()}<main>\n{''.join(body)}"

    def _facts(self) -> str:
        facts = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>\n"
            for name, value in self.facts.items()
        )
        return f'<dl class="gf-facts">\n{facts}</dl>\n' if facts else ""

    def _bar(self) -> str:
        """The bar that stays in sight: the slider, if there is anything to slide over, and the theme's switch."""
        last = len(self.frames) - 1
        slider = f"""<button type="button" class="gf-play" aria-label="play">▶</button>
<label class="gf-slider"><span>{html.escape(self.frame_title)}</span>
<input type="range" id="gf-frame" min="0" max="{last}" step="1" value="{last}"></label>
<output class="gf-frame-name" for="gf-frame">{html.escape(self.frames[last])}</output>
"""
        return (
            f'<div class="gf-bar{"" if last else " gf-bar-alone"}">\n{slider if last else ""}'
            '<button type="button" class="gf-theme" aria-label="switch between light and dark">◐</button>\n</div>\n'
        )

    def _contents(self) -> str:
        if len(self.sections) < 2:
            return ""
        items = "".join(
            f'<li><a href="#section-{index}">{html.escape(section.title)}</a></li>\n'
            for index, section in enumerate(self.sections)
        )
        return f'<nav class="gf-contents" aria-label="contents">\n<ol>\n{items}</ol>\n</nav>\n'

    def _section(self, index: int, section: Section, figures: list[Figure]) -> str:
        """One section; its figures join ``figures``, and are numbered by their places there."""
        title = "" if self.embedded else f"<h2>{html.escape(section.title)}</h2>\n"
        text = _text(section.text) + "".join(map(_lead, section.leads)) + _text(section.note)
        columns = "".join(self._column(column, figures) for column in section.all_columns())
        if columns:
            columns = f'<div class="gf-columns" data-columns="{len(section.all_columns())}">\n{columns}</div>\n'
        return f'<section id="section-{index}">\n{title}{text}{_missing(section.missing)}{columns}</section>\n'

    def _column(self, column: Column, figures: list[Figure]) -> str:
        assert column.at is None or len(column.at) == len(self.frames), (column.at, self.frames)
        parts = []
        for figure in column.figures:
            parts.append(_figure(len(figures), figure, column.at))
            figures.append(figure)
        title = f"<h3>{html.escape(column.title)}</h3>\n" if column.title else ""
        drawn = f'<div class="gf-figures">\n{"".join(parts)}</div>\n'
        return f'<div class="gf-column">\n{title}{_missing(column.missing)}{drawn}</div>\n'


def embedded(title: str, figures: Sequence[Figure]) -> str:
    """Figures for a notebook: a page without a header, in a frame of its own."""
    n_frames = max((figure.n_frames for figure in figures), default=1)
    names = [f"{index + 1} of {n_frames}" for index in range(n_frames)]
    return framed(Page(title, [Section(title, "", figures)], frames=names, embedded=True))


def framed(page: Page) -> str:
    """A page inside an ``<iframe>`` that may run its own scripts and do nothing else."""
    figures = [figure for section in page.sections for column in section.all_columns() for figure in column.figures]
    height = min(900, 80 + sum(figure.height + 110 for figure in figures) + (0 if page.embedded else 240))
    return (
        f'<iframe title="{html.escape(page.title)}" sandbox="allow-scripts" loading="lazy" '
        f'style="width: 100%; height: {height}px; border: 0; border-radius: 8px" '
        f'srcdoc="{html.escape(page.html())}"></iframe>'
    )


def as_json(value: object) -> str:
    """JSON that can stand inside a ``<script>`` element: no "<" is left that could end or open one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _figure(number: int, figure: Figure, at: Sequence[int] | None) -> str:
    caption = figure.caption()
    kind = "gf-figure gf-narrow" if figure.narrow else "gf-figure"
    frames = html.escape(json.dumps(list(at))) if at is not None else ""
    return (
        f'<figure class="{kind}" id="figure-{number}" data-number="{number}" data-component="{figure.component}" '
        f'data-frames="{figure.n_frames}" data-at="{frames}">\n'
        f'<figcaption id="caption-{number}"><strong>{html.escape(figure.title)}</strong>'
        + (f"<span>{html.escape(caption)}</span>" if caption else "")
        + f'</figcaption>\n<div class="gf-root" role="group" aria-labelledby="caption-{number}" '
        f'style="min-height: {figure.height}px"></div>\n</figure>\n'
    )


def _text(text: str) -> str:
    return f'<p class="gf-text">{html.escape(text)}</p>\n' if text else ""


def _lead(lead: Lead) -> str:
    rest = WHOLE.sub(r'<span class="gf-whole">\g<0></span>', html.escape(lead.rest))
    detail = f"<small>{html.escape(lead.detail)}</small>" if lead.detail else ""
    return f'<p class="gf-lead"><strong>{html.escape(lead.claim)}</strong>{rest}{detail}</p>\n'


def _missing(reason: str) -> str:
    return f'<p class="gf-missing">{html.escape(reason)}</p>\n' if reason else ""


def _files(figures: Iterable[Figure]) -> list[str]:
    """The scripts and styles of these figures, each once, in the order in which they are needed."""
    return list(dict.fromkeys(file for figure in figures for file in figure.files()))


def _inline(script: str) -> str:
    """A script inside a ``<script>`` element: its strings may not end it."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _web(file: str) -> str:
    return resources.files("glassformer.charts").joinpath("web", file).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and their embedding, as vl-convert ships them."""
    import vl_convert

    from glassformer.charts.export import SNIPPET, grammar_version

    return str(vl_convert.javascript_bundle(SNIPPET, vl_version=grammar_version()))


def _theme_rules() -> str:
    """The themes' colours as CSS variables."""
    return "\n".join(
        f':root[data-theme="{theme.name}"] {{ --background: {theme.background}; --text: {theme.text}; '
        f"--muted: {theme.muted}; --grid: {theme.grid}; --accent: {theme.palette[0]}; --second: {theme.palette[1]}; "
        f"--nothing: {NOTHING[theme.name]}; --font: {FONT}; color-scheme: {theme.name}; }}"
        for theme in THEMES.values()
    )
