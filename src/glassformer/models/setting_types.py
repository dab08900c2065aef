"""Types of the settings of models."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

Size = Annotated[int, Field(ge=1, le=10**9)]
"""One side of a matrix: what two of them multiply to is still counted in 64 bits."""
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Options = dict[str, Any]
