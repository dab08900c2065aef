"""Where things live on this machine, and the environment variables that move them.

| what | variable | without it |
|---|---|---|
| downloads and prepared data, which can be made again | ``GLASSFORMER_CACHE`` | the user's cache folder |
| runs | ``GLASSFORMER_RUNS`` | ``./runs`` |
| studies | ``GLASSFORMER_STUDIES`` | ``./studies`` |
| verdicts on claims | ``GLASSFORMER_CLAIMS`` | ``./claims`` |
| what is remembered between commands | ``GLASSFORMER_STATE`` | the user's state folder |
| reports of faults of the program itself | ``GLASSFORMER_REPORTS`` | ``reports`` in the state folder |
| data files already on this machine | ``GLASSFORMER_DATA`` | none: what is needed is downloaded |

Nothing here creates a folder: who writes first creates.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """``$GLASSFORMER_CACHE``, or ``glassformer`` in the platform's cache folder (``~/.cache``, say)."""
    return _from_environment("GLASSFORMER_CACHE") or _user_cache() / "glassformer"


def state_folder() -> Path:
    """``$GLASSFORMER_STATE``, or ``glassformer`` in the platform's folder for state (``~/.local/state``, say)."""
    return _from_environment("GLASSFORMER_STATE") or _user_state() / "glassformer"


def runs_folder() -> Path:
    """``$GLASSFORMER_RUNS``, or ``runs`` in the working directory."""
    return _from_environment("GLASSFORMER_RUNS") or Path("runs")


def studies_folder() -> Path:
    """``$GLASSFORMER_STUDIES``, or ``studies`` in the working directory."""
    return _from_environment("GLASSFORMER_STUDIES") or Path("studies")


def claims_folder() -> Path:
    """``$GLASSFORMER_CLAIMS``, or ``claims`` in the working directory."""
    return _from_environment("GLASSFORMER_CLAIMS") or Path("claims")


def reports_folder() -> Path:
    """``$GLASSFORMER_REPORTS``, or ``reports`` in :func:`state_folder`."""
    return _from_environment("GLASSFORMER_REPORTS") or state_folder() / "reports"


def provided_data_folder() -> Path | None:
    """``$GLASSFORMER_DATA``: a folder that holds data files already, or None."""
    return _from_environment("GLASSFORMER_DATA")


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def _user_cache() -> Path:
    if chosen := _from_environment("XDG_CACHE_HOME"):
        return chosen
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return _from_environment("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    return Path.home() / ".cache"


def _user_state() -> Path:
    if chosen := _from_environment("XDG_STATE_HOME"):
        return chosen
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return _from_environment("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    return Path.home() / ".local" / "state"
