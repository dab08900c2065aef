from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def glassformer_data() -> Path:
    """The folder of real data that some tests need: $GLASSFORMER_DATA. Under CI it must be there."""
    folder = os.environ.get("GLASSFORMER_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"GLASSFORMER_DATA is {folder!r}; it must name the folder with tinyshakespeare/ and gpt2-bpe/"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
