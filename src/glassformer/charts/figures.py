"""What every picture of the inspection page can do: be drawn in a page, be saved as a file, show itself in a notebook.

A figure has frames: one for each checkpoint it was made from. The page's slider moves all its figures to one frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from glassformer.charts.export import save_chart


class Figure(ABC):
    """A picture that knows its data, its script and its static form."""

    component: ClassVar[str]  # the name under which the figure's script registers itself
    scripts: ClassVar[tuple[str, ...]] = ()  # of charts/web/, and styles; by default one named like the component
    needs_vega: ClassVar[bool] = False  # whether the script draws with Vega

    title: str
    description: str = ""
    n_frames: int = 1
    height: int = 420  # CSS pixels that the page keeps free until the figure is drawn
    narrow: bool = False  # whether half the page's width is enough

    @abstractmethod
    def chart(self, *, theme: str = "light", frame: int = -1) -> Any:
        """The static picture of one frame, an Altair chart; the last frame by default."""

    @abstractmethod
    def data(self) -> dict[str, Any]:
        """What the script draws from: values that JSON can hold, large arrays packed (:mod:`charts.packing`)."""

    def caption(self) -> str:
        """What stands below the title: the description, and the stored resolution where it matters."""
        return self.description

    def save(self, path: str | Path, *, theme: str = "light", frame: int = -1) -> Path:
        """Write one frame as ``.svg``, ``.pdf``, ``.png``, ``.html`` or ``.json`` and return the path.

        Raises:
            ConfigError: another suffix, or no such theme.
            DataError: the place cannot be written to.
        """
        from altair.utils.schemapi import debug_mode

        with debug_mode(False):  # the whole is validated when it is saved
            chart = self.chart(theme=theme, frame=frame)
        return save_chart(chart, path)

    def _repr_html_(self) -> str:
        from glassformer.charts.page import embedded

        return embedded(self.title, [self])

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """The scripts and styles in charts/web/ that the page needs for this figure, in order."""
        return cls.scripts or (cls.component.replace("-", "_") + ".js",)


class Drawable(ABC):
    """A result of an inspection that shows itself.

    Results of one kind that come from the checkpoints of a run, on the same text and from models of the same shape,
    are drawn together, one frame each.
    """

    @classmethod
    @abstractmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """The figures of these results; frame i shows ``results[i]``."""

    def figures(self) -> list[Figure]:
        """The figures of this result alone."""
        return self.figures_of([self])

    def _repr_html_(self) -> str:
        from glassformer.charts.page import embedded

        return embedded(type(self).__name__, self.figures())
