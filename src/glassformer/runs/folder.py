"""A run is a folder: everything about one training, readable with a text editor, movable, and safe to share.

    runs/nanogpt-shakespeare-20250131-235959/
      config.json         what was asked for
      environment.json    the circumstances
      metrics.jsonl       how it went (``metrics.py``)
      checkpoints/        what it learnt (``checkpoints.py``)
      samples/            what it said
      tokenizer/          how it read

The folder's name begins with what the user called it and ends with the moment (UTC) it began, so that names sort.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from glassformer import places
from glassformer.errors import RunError
from glassformer.runs.environment import describe_environment, read_environment
from glassformer.runs.files import replace_durably
from glassformer.runs.locks import FileLock
from glassformer.runs.metrics import MetricsWriter, Record, read_events, read_metrics
from glassformer.runs.seal import CONFIG, check_seal, seal_of
from glassformer.untrusted import read_json

ENVIRONMENT = "environment.json"
LONGEST_NAME = 100  # characters; with the moment behind it still far from what file systems allow
_FORBIDDEN = re.compile(  # in a file's name, on one system or another; or it acts on a terminal that lists it
    r'[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff/\\:*?"<>|]'
)


@dataclass(frozen=True)
class Run:
    """One training run's folder. :meth:`create` makes a new one, :meth:`open` finds one that is there."""

    path: Path
    config: dict[str, Any]
    """What ``config.json`` holds."""

    @classmethod
    def create(cls, root: Path, name: str, config: Mapping[str, Any], *, command: Sequence[str]) -> Self:
        """Make ``root/<name>-<UTC moment>`` with its files. No two processes ever get the same folder.

        ``config`` is what JSON can hold; ``command`` is the command line, for ``environment.json``. Raises
        :class:`RunError` when the name cannot name a folder, or the folder cannot be made.
        """
        check_name(name)
        config_text = json_bytes(config)
        path: Path | None = None
        try:
            path = new_folder(root, name)
            for inner in ("checkpoints", "samples", "tokenizer"):
                (path / inner).mkdir()
            replace_durably(path / ENVIRONMENT, json_bytes(describe_environment(command)))
            (path / "metrics.jsonl").touch()
            replace_durably(path / CONFIG, config_text)  # last: a folder with it is a whole run
        except OSError as error:
            if path is not None:
                shutil.rmtree(path, ignore_errors=True)
            raise RunError(
                f"A folder for the run '{name}' cannot be made in {root}: {error.strerror}. "
                "Choose another folder for runs, or free this one."
            ) from error
        return cls(path, json.loads(config_text))

    @classmethod
    def open(cls, path_or_name: str | Path, *, root: Path | None = None) -> Self:
        """Open a run by its path, its name, the beginning of its name if only one has it, or as ``latest``.

        Names are looked for in ``root`` first (:func:`glassformer.places.runs_folder` unless given). Raises
        :class:`RunError` when there is none (with near misses), when several are meant, and when the folder is not a
        run or its ``config.json`` is damaged.
        """
        try:
            path = _find(str(path_or_name), places.runs_folder() if root is None else root)
        except (OSError, RuntimeError) as error:  # too long a name, a folder that may not be read, '~nobody'
            raise RunError(f"The run {str(path_or_name)!r} cannot be looked for: {error}.") from error
        return cls(path, read_object(path / CONFIG))

    @property
    def name(self) -> str:
        """The folder's name, which :meth:`open` takes."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """What the functions of ``checkpoints.py`` call ``folder``."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """For text generated along the way."""
        return self.path / "samples"

    @property
    def tokenizer(self) -> Path:
        """For the tokenizer's own files."""
        return self.path / "tokenizer"

    @property
    def metrics_path(self) -> Path:
        """The file of records and events."""
        return self.path / "metrics.jsonl"

    def metrics(self) -> list[Record]:
        """Every record that counts: :func:`glassformer.runs.metrics.read_metrics`."""
        return read_metrics(self.metrics_path)

    def events(self) -> list[Record]:
        """Every event: :func:`glassformer.runs.metrics.read_events`."""
        return read_events(self.metrics_path)

    def metrics_writer(self) -> MetricsWriter:
        """For the process that trains, inside :meth:`lock`."""
        return MetricsWriter(self.metrics_path)

    def environment(self) -> dict[str, Any]:
        """What ``environment.json`` holds."""
        return read_environment(self.path / ENVIRONMENT)

    def seal(self) -> dict[str, str]:
        """The hashes of what its weights depend on, for its checkpoints: :func:`glassformer.runs.seal.seal_of`."""
        return seal_of(self.path, self.config)

    def check_seal(self) -> None:
        """Raise :class:`RunError` if these files are not those of its checkpoints."""
        check_seal(self.path, self.config)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for training. Readers need no lock; a killed trainer leaves none behind.

        Raises :class:`RunError` at once when another process trains this run.
        """
        lock = FileLock(self.path / ".lock")
        try:
            taken = lock.acquire(wait=False)
        except OSError as error:
            raise RunError(
                f"The run {self.path} cannot be trained: its folder refuses a lock ({error.strerror})."
            ) from error
        if not taken:
            raise RunError(
                f"The run {self.name} is being trained already, by {lock.holder()}. "
                "Wait until it ends, stop it, or start a run of your own."
            )
        try:
            yield
        finally:
            lock.release()


def list_runs(root: Path) -> list[Path]:
    """The folders of the runs in ``root``, the earliest started first. Without ``config.json`` a folder is no run."""
    try:
        paths = [path for path in root.iterdir() if _is_run(path)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"The runs in {root} cannot be listed: {error.strerror}.") from error
    return sorted(paths, key=lambda path: (_started(path), path.name))


def _is_run(path: Path) -> bool:
    try:
        return (path / CONFIG).is_file()
    except OSError:  # a folder that may not be looked into is nobody's business here
        return False


def new_folder(root: Path, name: str) -> Path:
    """Make ``root/<name>-<UTC moment>``, a folder that no one had: ``mkdir`` succeeds for one process only."""
    root.mkdir(parents=True, exist_ok=True)
    moment = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    for count in range(1, 1_000_000):
        path = root / (f"{name}-{moment}" if count == 1 else f"{name}-{moment}-{count:02d}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("a million runs of one name within a second")


def check_name(name: str, what: str = "run") -> None:
    """Raise :class:`RunError` with every reason why a folder cannot have this name."""
    reasons = []
    if not name.strip():
        reasons.append("it is empty")
    if found := sorted(set(_FORBIDDEN.findall(name))):
        reasons.append(f"it contains {' '.join(repr(character) for character in found)}")
    if name.startswith((".", "-", " ")):
        reasons.append("it begins with a dot, a dash or a space")
    if len(name) > LONGEST_NAME:
        reasons.append(f"it has {len(name)} characters, and at most {LONGEST_NAME} fit")
    if reasons:
        raise RunError(f"{name!r} cannot name a {what}: {'; '.join(reasons)}. Use letters, digits, '-', '_' and '.'.")


def _find(text: str, root: Path) -> Path:
    """The folder meant by a path, a name, the beginning of a name, or ``latest``."""
    runs = list_runs(root)
    if text == "latest":
        if not runs:
            raise RunError(f"There is no run in {root} yet, so there is no latest one. Train one first.")
        return runs[-1]
    names = {path.name: path for path in runs}
    given = Path(text).expanduser()
    if text in names:
        return names[text]
    if (given / CONFIG).is_file():
        return given
    meant = [name for name in names if text and name.startswith(text)]
    if len(meant) == 1:
        return names[meant[0]]
    if meant:
        raise RunError(f"{text!r} begins the name of {len(meant)} runs: {_shown(meant)}. Give more of the name.")
    for place in (given, root / text):
        if text and place.is_dir():
            raise RunError(f"{place} is a folder, but not of a run: it has no {CONFIG}. Give a run's folder or name.")
        if text and place.exists():
            raise RunError(f"{place} is a file, and a run is a folder. Give a run's folder or name.")
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    hint = f"Did you mean {_shown(close)}?" if close else f"Runs in {root}: {_shown(list(names)[-10:]) or 'none'}."
    raise RunError(f"There is no run {text!r}, as a path or in {root}. {hint}")


def _shown(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _started(path: Path) -> str:
    """When the run began (ISO 8601, UTC, which sorts as text); where that is lost, when its config was written."""
    with contextlib.suppress(RunError):
        started: Any = read_object(path / ENVIRONMENT).get("started")
        with contextlib.suppress(TypeError, ValueError):  # not a text, or of no moment
            return datetime.fromisoformat(started).astimezone(UTC).isoformat()
    with contextlib.suppress(OSError):  # removed while it was listed
        return datetime.fromtimestamp((path / CONFIG).stat().st_mtime, UTC).isoformat()
    return ""


def read_object(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object; :class:`RunError` saying where it is damaged."""
    try:
        content = read_json(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: it is not JSON ({error}). Restore it from a copy.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: it holds a {type(content).__name__}, and should hold a JSON object.")
    return content


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """As the files of a folder hold it: indented, readable, strict JSON."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")
