"""What a translator's data are: sentence pairs, how they become tokens, and which of them are kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from glassformer.config import Config
from glassformer.data.sentence_bpe import SMALLEST_VOCABULARY
