"""``metrics.jsonl``: one JSON record a line, appended, never rewritten. It is the truth about how a run went.

    {"step": 100, "loss": 2.31, "learning_rate": 0.001}     a record: what was measured after that many steps
    {"event": "resumed", "step": 80}                        an event: what happened to the run
    {"event": "repaired"}                                   the line before was cut off by a kill

A run that is killed at step 100 and resumes from its checkpoint of step 80 measures steps 81 to 100 again. The first
measurements stay in the file, but :func:`read_metrics` leaves them out, so that what it returns is what an
uninterrupted run would have written.

Numbers that are not finite are written as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which keeps the
file strict JSON; the readers here turn exactly these three strings back into floats.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glassformer.errors import RunError
from glassformer.runs.records import complaints
from glassformer.untrusted import MEGABYTE, open_regular, open_to_append

Record = dict[str, Any]

RESUMED, REPAIRED = "resumed", "repaired"
LONGEST_LINE = 16 * MEGABYTE
LARGEST_FILE = 1024 * MEGABYTE
"""Bytes that are read of one line, and of a file: a million records have some 400 MB."""
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricsWriter:
    """Appends records to a run's ``metrics.jsonl``. One process at a time may: the one that holds the run's lock.

    Each record reaches the operating system before :meth:`append` returns, so a kill loses at most the one being
    written. When the last line was cut off, the next record ends that line first and says so in an event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_to_append(path)
        except OSError as error:
            raise RunError(f"The metrics file {path} cannot be opened for writing: {error.strerror}.") from error
        self._step = -1
        self._unsure = True  # whether the last line in the file is whole

    def append(self, record: Mapping[str, Any]) -> None:
        """Append ``{"step": ..., ...}`` or ``{"event": ..., ...}``.

        Steps never go backwards, except by :meth:`resumed`. Raises :class:`RunError` when the disk refuses it.
        """
        assert "event" in record or type(record.get("step")) is int, record
        if "event" not in record:
            assert record["step"] >= self._step, f"step {record['step']} after step {self._step}"
            self._step = record["step"]
        self._write(record)

    def resumed(self, step: int, **details: Any) -> None:
        """Record that the run resumes from its state after ``step`` steps: records of later steps no longer count.

        A run that starts afresh, with no checkpoint to resume from, resumes from step -1.
        """
        self._step = step
        self._write({"event": RESUMED, "step": step, **details})

    def sync(self) -> None:
        """Flush to the disk. To be called before a checkpoint is saved, so that no crash parts it from its records."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(f"The metrics file {self.path} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file; what was appended is safe from a kill already."""
        self._file.close()

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(_strict(record), allow_nan=False) + "\n"
        try:
            rest = memoryview(((_repairing(self.path) if self._unsure else "") + line).encode())
            self._unsure = True  # until all of it is out
            while rest:  # a nearly full disk may take part of a line
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise RunError(f"The metrics file {self.path} cannot be written: {error.strerror}.") from error
        self._unsure = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_metrics(path: Path) -> list[Record]:
    """The records, in order, without those that a resumed run measured again. A missing file holds none.

    A last line that was cut off is left out. Raises :class:`RunError` with its number for any other line that is not a
    record (:mod:`glassformer.runs.records` says what one is): the file has been changed by something else.
    """
    records: list[Record] = []
    for item in _items(path):
        if "event" not in item:
            records.append(item)
        elif item["event"] == RESUMED:
            while records and records[-1]["step"] > item["step"]:  # each record goes once: linear in all
                records.pop()
    return records


def read_events(path: Path) -> list[Record]:
    """The events, in order: every ``resumed``, ``repaired``, and what else the run noted. As :func:`read_metrics`."""
    return [item for item in _items(path) if "event" in item]


def _items(path: Path) -> Iterator[Record]:
    """Every record and event. Lines that were cut off are forgiven at the end of the file and before a repair."""
    unread: list[int] = []  # numbers of the lines since the last good one
    for number, line in _lines(path):
        item = _parse(line)
        if item is None:
            unread.append(number)
            continue
        wrong = [*complaints(item)] if isinstance(item, dict) else ["it is not a JSON object"]
        if wrong or (unread and item.get("event") != REPAIRED):
            number, reason = (unread[0], "it is not JSON") if unread else (number, "; ".join(wrong[:3]))
            raise RunError(
                f"Line {number:,} of {path} is not a record (one JSON object with a step or an event): {reason}. "
                "The file was changed or damaged: restore it, or delete that line."
            )
        unread.clear()
        yield item


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and their numbers from 1; nothing of a line that is too long is kept."""
    try:
        with open_regular(path, limit=LARGEST_FILE) as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise RunError(
                        f"Line {number:,} of {path} is longer than {LONGEST_LINE // MEGABYTE} MB, which no record is. "
                        "The file was changed or damaged: restore it, or delete that line."
                    )
                yield number, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"The metrics file {path} cannot be read: {error.strerror}.") from error


def _parse(line: bytes) -> Any:
    """What the JSON in a line says; None if it is none, or was cut off. The line's end may be missing."""
    try:
        return _loose(json.loads(line.decode()))
    except (ValueError, RecursionError):
        return None


def _repairing(path: Path) -> str:
    """What has to be appended before the next record, so that it begins a line and the reader forgives the last."""
    with open_regular(path) as file:
        start = file.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and b"\n" not in tail[:-1]:  # back to the beginning of the last line
            step = min(start, 65536)
            start -= step
            file.seek(start)
            tail = file.read(step) + tail
    if not tail:
        return ""
    if _parse(tail[tail[:-1].rfind(b"\n") + 1 :]) is None:
        return "\n" + json.dumps({"event": REPAIRED}) + "\n"
    return "" if tail.endswith(b"\n") else "\n"


def _strict(value: Any) -> Any:
    """The value with floats that are not finite as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def _loose(value: Any) -> Any:
    """The inverse of :func:`_strict`."""
    if isinstance(value, str):
        return NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loose(item) for item in value]
    return value
