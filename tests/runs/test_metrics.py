from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import RunError
from glassformer.runs.metrics import LARGEST_FILE, MetricsWriter, read_events, read_metrics


def write(path, steps, **extra):
    with MetricsWriter(path) as writer:
        for step in steps:
            writer.append({"step": step, "loss": 1 / (step + 1), **extra})


def steps(path):
    return [record["step"] for record in read_metrics(path)]


def test_records_come_back_as_they_went_in(tmp_path):
    records = [
        {"step": 0, "loss": 0.1 + 0.2, "norms": {"a.weight": 1e-30}},
        {"step": 0, "note": "한국어\n✓", "ok": None},
    ]
    with MetricsWriter(tmp_path / "m") as writer:
        for record in records:
            writer.append(record)
            assert read_metrics(tmp_path / "m")[-1] == record, "each is there at once"
    assert read_metrics(tmp_path / "m") == records


def test_numbers_that_are_not_finite_keep_the_file_strict_json(tmp_path):
    values = {"loss": math.nan, "more": [math.inf, {"x": -math.inf}]}
    write(tmp_path / "m", [1], **values)

    def refuse(constant):
        raise AssertionError(constant)

    line = json.loads((tmp_path / "m").read_text(), parse_constant=refuse)
    assert (line["loss"], line["more"]) == ("NaN", ["Infinity", {"x": "-Infinity"}])
    (record,) = read_metrics(tmp_path / "m")
    assert math.isnan(record["loss"])
    assert record["more"] == [math.inf, {"x": -math.inf}]


def test_a_resumed_run_reads_like_an_uninterrupted_one(tmp_path):
    write(tmp_path / "whole", range(10), pad="x")
    with MetricsWriter(tmp_path / "m") as writer:
        for step in range(7):
            writer.append({"step": step, "loss": 1 / (step + 1), "pad": "x"})
    with MetricsWriter(tmp_path / "m") as writer:
        writer.resumed(4, checkpoint="step-00000004")
        for step in (5, 6, 7, 8):
            writer.append({"step": step, "loss": 1 / (step + 1), "pad": "x"})
        writer.resumed(2)
        for step in range(3, 10):
            writer.append({"step": step, "loss": 1 / (step + 1), "pad": "x"})
    assert read_metrics(tmp_path / "m") == read_metrics(tmp_path / "whole")
    assert read_events(tmp_path / "m") == [
        {"event": "resumed", "step": 4, "checkpoint": "step-00000004"},
        {"event": "resumed", "step": 2},
    ]


def test_a_run_that_starts_afresh_resumes_from_minus_one(tmp_path):
    write(tmp_path / "m", range(3))
    with MetricsWriter(tmp_path / "m") as writer:
        writer.resumed(-1)
        writer.append({"step": 0})
    assert read_metrics(tmp_path / "m") == [{"step": 0}]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_a_file_cut_off_anywhere_loses_one_record_and_can_be_continued(tmp_path_factory, cut, times):
    path = tmp_path_factory.mktemp("cut") / "m"
    write(path, range(8), note="é✓")
    content = path.read_bytes()
    kept = content[: cut % (len(content) + 1)]
    path.write_bytes(kept)
    whole = kept.count(b"\n") + kept.endswith(b"}")
    assert steps(path) == list(range(whole))
    for _ in range(times):  # killed in the middle of its first line, again and again
        writer = MetricsWriter(path)
        writer.append({"step": 90})
        writer.close()
        path.write_bytes(path.read_bytes()[:-3])
        assert steps(path) == list(range(whole))
    with MetricsWriter(path) as writer:
        writer.resumed(whole - 1)
        for step in range(whole, 8):
            writer.append({"step": step, "loss": 1 / (step + 1), "note": "é✓"})
    assert path.read_bytes().startswith(kept), "append-only"
    (path.parent / "whole").write_bytes(content)
    assert read_metrics(path) == read_metrics(path.parent / "whole")


def test_every_cut_of_a_repair_is_repaired(tmp_path):
    path = tmp_path / "m"
    write(path, range(3))
    torn = path.read_bytes() + b'{"step": 3, "lo'
    path.write_bytes(torn)
    with MetricsWriter(path) as writer:
        writer.append({"step": 3})
    repaired = path.read_bytes()
    for cut in range(len(torn), len(repaired)):
        path.write_bytes(repaired[:cut])
        assert steps(path) == ([0, 1, 2, 3] if cut == len(repaired) - 1 else [0, 1, 2])
        with MetricsWriter(path) as writer:
            writer.resumed(2)
            writer.append({"step": 3})
        assert steps(path) == [0, 1, 2, 3]


@pytest.mark.parametrize("junk", [b"oops", b'{"step": 1, "loss": 2', b"[]", b"{}", b'{"step": "1"}', b"\xff\x00", b""])
def test_a_damaged_line_in_the_middle_is_named_by_its_number(tmp_path, junk):
    write(tmp_path / "m", range(4))
    lines = (tmp_path / "m").read_bytes().splitlines()
    lines[2] = junk
    (tmp_path / "m").write_bytes(b"\n".join(lines) + b"\n")
    for read in (read_metrics, read_events):
        with pytest.raises(RunError, match=r"Line 3 of .*/m is not a record"):
            read(tmp_path / "m")


def test_a_missing_file_holds_nothing(tmp_path):
    assert read_metrics(tmp_path / "none") == read_events(tmp_path / "none") == []


def test_a_file_that_cannot_be_opened_is_a_clear_message(tmp_path):
    with pytest.raises(RunError, match="cannot be opened for writing: Is a directory"):
        MetricsWriter(tmp_path)
    with pytest.raises(RunError, match="cannot be read: Is a directory"):
        read_metrics(tmp_path)


def test_steps_that_go_backwards_without_a_resumption_are_our_mistake(tmp_path):
    with MetricsWriter(tmp_path / "m") as writer:
        writer.append({"step": 5})
        with pytest.raises(AssertionError, match="step 4 after step 5"):
            writer.append({"step": 4})
        with pytest.raises(AssertionError):
            writer.append({"loss": 1.0})


WRITER = """
import resource, sys
from pathlib import Path
from glassformer.errors import RunError
from glassformer.runs.metrics import MetricsWriter
writer = MetricsWriter(Path(sys.argv[1]))
writer.append({"step": 0})
resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY))  # the next line gets in by half
try:
    writer.append({"step": 1, "note": "x" * 60})
except RunError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append({"step": 1})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
def test_a_disk_full_in_the_middle_of_a_line_is_a_clear_message_and_the_next_line_is_whole(tmp_path):
    done = subprocess.run([sys.executable, "-c", WRITER, tmp_path / "m"], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert steps(tmp_path / "m") == [0, 1]
    assert read_events(tmp_path / "m") == [{"event": "repaired"}]


def test_reading_takes_time_in_proportion_to_the_lines_however_often_the_run_resumed(tmp_path):
    def seconds(count):
        path = tmp_path / str(count)
        path.write_text("".join(f'{{"step": {n}}}\n{{"event": "resumed", "step": {n - 1}}}\n' for n in range(count)))
        start = time.process_time()
        read_metrics(path)
        return time.process_time() - start

    seconds(1000)
    small = min(seconds(2000) for _ in range(3))
    assert seconds(20_000) < 40 * small  # a quadratic reader would take 100 times as long


BAD_RECORDS = [
    ('{"step": 1, "kind": "train", "loss": "low"}', "loss is 'low'; expected a number"),
    ('{"step": 1, "kind": "train", "loss": [2.0]}', r"loss is \[2.0\]; expected a number"),
    ('{"step": 1, "kind": "train", "loss": {}}', "loss is {}; expected a number"),
    ('{"step": 1, "kind": "train", "loss": null}', "loss is None; expected a number"),
    ('{"step": 1, "kind": "train", "loss": true}', "loss is True; expected a number"),
    ('{"step": 1, "kind": "train", "loss": %s}' % ("9" * 400), "loss is 9999.*; expected a number"),
    ('{"step": 1, "kind": "validation"}', "loss is missing"),
    ('{"step": 1, "kind": ["train"], "loss": 1}', "kind is .*; expected a text"),
    ('{"step": -1, "loss": 1}', "step is -1; expected a number of steps"),
    ('{"step": 1.5, "loss": 1}', "step is 1.5"),
    ('{"step": 1%s, "loss": 1}' % ("0" * 30), "step is 1000"),
    ('{"step": 1, "kind": "validation", "loss": 1, "seconds": "Infinity"}', "seconds is inf"),
    ('{"step": 1, "kind": "gradients", "parameters": {"w": {"gradient_norm": "big"}}}', "parameters is"),
    ('{"step": 1, "kind": "noise_scale", "trace": 1}', "squared_norm is missing"),
    ('{"event": ["end"]}', "event is .*; expected a text"),
    ('{"event": "end", "step": 3}', "reason is missing"),
    ('{"event": "end", "step": 3, "reason": 4}', "reason is 4; expected a text"),
    ('{"event": "not finite", "step": 3}', "message is missing"),
    ('{"event": "start", "step": 0, "acceleration": []}', "acceleration is"),
    ('{"event": "start", "step": 0, "total_steps": "many"}', "total_steps is 'many'"),
    ('{"event": "data", "fingerprint": 3}', "fingerprint is 3"),
    ('{"event": "data", "fingerprint": "a", "bigram": "x"}', "bigram is 'x'"),
    ('{"event": "resumed", "step": -2}', "step is -2"),
    ('["step", 1]', "it is not a JSON object"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_RECORDS)
@pytest.mark.parametrize("last", [False, True])
def test_a_value_that_cannot_be_computed_with_is_named_with_its_line_wherever_it_stands(tmp_path, line, reason, last):
    write(tmp_path / "m", range(2))
    with (tmp_path / "m").open("a") as file:
        file.write(line + "\n" + '{"step": 3, "loss": 1}\n' * (not last))
    for read in (read_metrics, read_events):
        with pytest.raises(RunError, match=rf"Line 3 of .*/m is not a record .*: {reason}"):
            read(tmp_path / "m")


def test_fields_that_nobody_computes_with_may_hold_anything(tmp_path):
    (tmp_path / "m").write_text(
        '{"step": 1, "loss": "NaN", "note": [null, {"a": "b"}], "kind": "mine"}\n{"event": "mine"}\n'
    )
    (record,) = read_metrics(tmp_path / "m")
    assert math.isnan(record["loss"])
    assert record["note"] == [None, {"a": "b"}]
    assert read_events(tmp_path / "m") == [{"event": "mine"}]


def test_a_line_that_never_ends_is_refused_without_being_read(tmp_path):
    write(tmp_path / "m", range(2))
    os.truncate(tmp_path / "m", LARGEST_FILE - 1)
    with pytest.raises(RunError, match=r"Line 3 of .*/m is longer than 16 MB"):
        read_metrics(tmp_path / "m")
    os.truncate(tmp_path / "m", LARGEST_FILE + 1)
    with pytest.raises(RunError, match="cannot be read: Larger than the 1,024 MB"):
        read_metrics(tmp_path / "m")


def test_a_fifo_in_the_place_of_the_metrics_is_refused_for_reading_and_writing(tmp_path):
    os.mkfifo(tmp_path / "m")
    with pytest.raises(RunError, match="cannot be read: Not a regular file but a FIFO"):
        read_metrics(tmp_path / "m")
    with pytest.raises(RunError, match="cannot be opened for writing: Not a regular file but a FIFO"):
        MetricsWriter(tmp_path / "m")


def test_nothing_is_written_through_a_link_in_the_place_of_the_metrics(tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "m").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match="cannot be opened for writing: Not a regular file but a symbolic link"):
        MetricsWriter(tmp_path / "m")
    assert (tmp_path / "mine").read_text() == "mine\n"
