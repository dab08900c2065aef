"""A chart as a file: the suffix says which kind. No browser and no network take part."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.charts.theme import FONT, LIGHT
from glassformer.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    import altair as alt

SUFFIXES = (".svg", ".pdf", ".png", ".html", ".json")
SNIPPET = "window.vegaEmbed = vegaEmbed;"  # what a page's bundled script offers to the page


def save_chart(chart: alt.TopLevelMixin, path: str | Path) -> Path:
    """Write ``chart`` to ``path`` and return the path; folders on the way are made.

    ``.svg``, ``.pdf`` and ``.png`` (at twice the size in pixels) are pictures, ``.html`` is one interactive file that
    needs no network, ``.json`` is the Vega-Lite specification. Any other suffix is a :class:`ConfigError`; a place that
    cannot be written to is a :class:`DataError`.
    """
    suffix = _suffix(path)
    return _save(chart.to_dict(), Path(path), suffix)


def save_specification(spec: dict[str, Any], path: str | Path) -> Path:
    """As :func:`save_chart`, of a Vega-Lite specification."""
    return _save(spec, Path(path), _suffix(path))


def _suffix(path: str | Path) -> str:
    """What kind of file a path names."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"A chart cannot be written to {str(path)!r}: its suffix is {suffix!r}. {nearest(suffix, SUFFIXES)}",
            subject="chart",
        )
    return suffix


def _save(spec: dict[str, Any], path: Path, suffix: str) -> Path:
    content = _render(spec, suffix)
    return write(path, content if isinstance(content, bytes) else content.encode("utf-8"), what="chart")


def write(path: Path, content: bytes, *, what: str) -> Path:
    """Put ``content`` at ``path`` whole or not at all: what stood there before is lost only when the new is there.

    Raises:
        DataError: the place cannot be written to; ``what`` names what could not be saved.
    """
    draft = path.with_name(f".{path.name[:80]}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The {what} cannot be written to {str(path)!r}: {reason}. Choose another place.") from error
    return path


def _render(spec: dict[str, Any], suffix: str) -> bytes | str:
    import vl_convert

    version = grammar_version()
    match suffix:
        case ".svg":
            return vl_convert.vegalite_to_svg(spec, vl_version=version)
        case ".pdf":
            return vl_convert.vegalite_to_pdf(spec, vl_version=version)
        case ".png":
            return vl_convert.vegalite_to_png(spec, vl_version=version, scale=2)
        case ".html":
            return _page(spec, vl_convert.javascript_bundle(SNIPPET, vl_version=version))
        case _:
            return json.dumps(spec, indent=2, ensure_ascii=False) + "\n"


def grammar_version() -> str:
    """The Vega-Lite version that Altair writes, as vl-convert names it: ``6.1``."""
    from altair import SCHEMA_VERSION

    return ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _page(spec: dict[str, Any], script: str) -> str:
    """One HTML file with the chart's specification and the library that draws it inside."""
    config = spec.get("config", {})
    background = config.get("background", LIGHT.background)
    title = spec.get("title", "")
    name = title.get("text", "") if isinstance(title, dict) else title
    # "</script" would end the script element early, and "<!--<script" never, wherever they stand in the data
    data = json.dumps(spec, ensure_ascii=False).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(str(name) or "glassformer chart")}</title>
<style>
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; }}
body {{ background: {background}; font-family: {FONT}; }}
</style>
</head>
<body>
<main id="chart"></main>
<script>{script}</script>
<script>
vegaEmbed("#chart", {data}, {{ renderer: "svg", actions: false }});
</script>
</body>
</html>
"""
