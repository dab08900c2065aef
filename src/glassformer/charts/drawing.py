"""A Vega-Lite chart as a figure of the page: any picture of lines, points and bars that Altair can describe.

The page draws it with Vega's own scripts, in both themes; its specification is stored once, and the dark theme as the
few values in which it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from glassformer.charts.export import save_specification
from glassformer.charts.figures import Figure
from glassformer.charts.theme import DARK, LIGHT, WIDTH, Theme, find_theme

if TYPE_CHECKING:
    import altair as alt

FRAME = "frame"  # the parameter of the specification that the page's slider sets
COMPOUND = {"hconcat", "vconcat", "concat", "facet", "repeat"}  # charts of several views have no width of their own
Place = tuple[str | int, ...]  # keys and indices from the root of a specification to a place inside it


class Drawing(Figure):
    """An Altair chart.

    Args:
        build: gives the chart in a theme. It is called once for each theme and file; a chart without a size of its own
            takes the page's width.
        title: the heading.
        n_frames: how many checkpoints the chart can show. With more than one, it has a parameter named ``frame`` (a
            number from 0), and selects its rows by ``datum.frame == frame``.
        description: one or two sentences that say what is drawn, for readers and screen readers.
    """

    component: ClassVar[str] = "drawing"
    scripts: ClassVar[tuple[str, ...]] = ("drawing.js", "drawing.css")
    needs_vega: ClassVar[bool] = True

    def __init__(
        self, build: Callable[[Theme], alt.TopLevelMixin], *, title: str, n_frames: int = 1, description: str = ""
    ) -> None:
        self.build = build
        self.title = title
        self.n_frames = n_frames
        self.description = description
        self.height = 300

    def chart(self, *, theme: str = "light", frame: int = -1) -> Any:
        """The chart at one frame; it gets the figure's title if it has none.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        return alt.Chart.from_dict(self._framed(theme, frame))

    def save(self, path: str | Path, *, theme: str = "light", frame: int = -1) -> Path:
        """As :meth:`Figure.save`, without the seconds that Altair takes to make a chart of a specification."""
        return save_specification(self._framed(theme, frame), path)

    def _framed(self, theme: str, frame: int) -> dict[str, Any]:
        """The specification of :meth:`chart`."""
        spec = self._spec(find_theme(theme))
        spec.setdefault("title", self.title)
        if not COMPOUND & spec.keys():
            spec.setdefault("width", WIDTH)
        for parameter in spec.get("params", []):
            if self.n_frames > 1 and parameter["name"] == FRAME:
                parameter["value"] = range(self.n_frames)[frame]
        return spec

    def data(self) -> dict[str, Any]:
        """``spec``: the light specification, without the title that the page writes; ``dark``: [path, value] pairs."""
        light, dark = self._spec(LIGHT), self._spec(DARK)
        for spec in (light, dark):
            _untitle(spec, self.title)
        return {
            "spec": light,
            "dark": [[list(path), value] for path, value in _changes(light, dark)],
            "frames": self.n_frames,
            "label": self.description or self.title,
        }

    def _spec(self, theme: Theme) -> dict[str, Any]:
        from altair.utils.schemapi import debug_mode

        with debug_mode(False):  # every part of a chart would be validated by itself before the whole is
            spec: dict[str, Any] = self.build(theme).to_dict()
        named = [parameter["name"] for parameter in spec.get("params", [])]
        assert self.n_frames == 1 or FRAME in named, f"{self.title!r} has frames, but no parameter {FRAME!r}: {named}"
        return spec


def _untitle(spec: dict[str, Any], title: str) -> None:
    """Take the title away where it is the figure's own; a subtitle stays."""
    own = spec.get("title")
    if own == title:
        del spec["title"]
    elif isinstance(own, dict) and own.get("text") == title:
        own["text"] = ""
        if "subtitle" not in own:
            del spec["title"]


def _changes(old: Any, new: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The places in which two specifications differ, and what stands there in the new one."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from _changes(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(before, after, (*path, index))
    elif old != new:
        yield path, new
