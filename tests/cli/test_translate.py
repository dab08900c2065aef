"""``translate`` and ``evaluate`` with a translator that has learned to count from one to ten in German."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from glassformer.runs.folder import Run

COUNT = "one two three\nseven\nten nine eight\nfour four\n"
GEZAEHLT = "eins zwei drei\nsieben\nzehn neun acht\nvier vier\n"


@pytest.fixture
def translate(say, translator, monkeypatch):
    """``translate("--beam", 1, lines=b"one")``: what the command answers."""

    def translate(*words, lines: str | bytes = COUNT):
        content = lines if isinstance(lines, bytes) else lines.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        said = say("translate", translator, *words)
        assert said.status == 0, said.err
        return said

    return translate


# ---------------------------------------------------------------------------------------------------- lines in and out


def test_each_line_becomes_one_line_in_the_same_order(translate):
    said = translate()
    assert (said.out, said.err) == (GEZAEHLT, "")


def test_a_line_s_translation_does_not_depend_on_the_lines_beside_it(translate):
    together = translate().out.splitlines()
    assert together == [translate(lines=line).out.strip("\n") for line in COUNT.splitlines()]


@pytest.mark.parametrize(
    ("lines", "translations"),
    [
        (b"one\r\ntwo\r\n", "eins\nzwei\n"),
        (b"\xef\xbb\xbfone\ntwo", "eins\nzwei\n"),
        (b"one\n\n   \ntwo\n\n", "eins\n\n\nzwei\n\n"),
        (b"\n", "\n"),
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
        ("one\u2028two\x0cthree\n".encode(), "eins zwei drei\n"),
        (b"one\rtwo\n", "eins zwei\n"),
    ],
    ids=["Windows", "mark and no end", "blank lines", "a line end", "nothing", "a mark alone", "U+2028", "lone CR"],
)
def test_what_counts_as_a_line(translate, lines, translations):
    assert translate(lines=lines).out == translations


def test_a_line_too_long_for_the_model_is_translated_from_its_beginning_and_named(translate):
    said = translate(lines="one\n" + "two " * 100 + "\n")
    assert len(said.out.splitlines()) == 2
    assert "line 2 is too long for the model: only its first 32 tokens were translated" in said.err


def test_texts_and_files_are_translated_as_standard_input_is(translate, place):
    words = [word for line in COUNT.splitlines() for word in ("--text", line)]
    assert translate(*words, lines="").out == GEZAEHLT
    (place / "in.txt").write_text(COUNT)
    assert translate("--input", "in.txt", "--output", "out.txt", lines="").out == ""
    assert (place / "out.txt").read_text(encoding="utf-8") == GEZAEHLT


def test_a_link_is_followed_and_a_device_is_written_to(translate, place):
    (place / "real.txt").write_text("before")
    (place / "link.txt").symlink_to("real.txt")
    translate("--output", "link.txt")
    assert (place / "link.txt").is_symlink()
    assert (place / "real.txt").read_text(encoding="utf-8") == GEZAEHLT
    assert translate("--output", "/dev/stdout").out == GEZAEHLT


def test_words_outside_the_vocabulary_still_give_a_line_each(translate):
    assert len(translate(lines="안녕 one\nx y z\n").out.splitlines()) == 2


# ------------------------------------------------------------------------------------------------------ what is printed


def test_n_best_gives_so_many_lines_each_with_falling_scores(translate):
    lines = [line.split(" ||| ") for line in translate("--n-best", 3).out.splitlines()]
    assert [line[0] for line in lines] == [str(number) for number in range(4) for _ in range(3)]
    assert [line[1] for line in lines[::3]] == GEZAEHLT.splitlines()
    for first in range(0, 12, 3):
        scores = [float(line[2]) for line in lines[first : first + 3]]
        assert scores == sorted(scores, reverse=True)


def test_json_tells_everything_of_a_line(translate):
    said = translate("--json", "--alignment", "--n-best", 2, lines="one two three\n\n")
    first, blank = map(json.loads, said.out.splitlines())
    assert first["source"] == "one two three"
    assert first["text"] == "eins zwei drei"
    assert first["pieces"] == ["eins", "zwei", "drei"]
    assert first["source_pieces"] == ["one", "two", "three", "</s>"]
    assert not first["truncated"]
    assert [len(row) for row in first["alignment"]] == [4, 4, 4]
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in first["alignment"])
    assert first["hypotheses"][0] == {"text": first["text"], "score": first["score"]}
    assert len(first["hypotheses"]) == 2
    assert (blank["line"], blank["text"], blank["pieces"]) == (1, "", [])


def test_the_alignment_points_from_each_number_to_its_translation(translate):
    said = translate("--alignment", "--alignment-format", "pharaoh", lines="one two three\n\n")
    assert said.out.splitlines() == ["eins zwei drei ||| 0-0 1-1 2-2", " |||"]
    text, head, *rows, end = translate("--alignment", lines="one two three\n").out.splitlines()
    assert (text, end) == ("eins zwei drei", "")
    assert head.split() == ["one", "two", "three", "</s>"]
    assert [row.split()[0] for row in rows] == ["eins", "zwei", "drei"]
    for number, row in enumerate(rows):
        darkest = max(row.split()[1:], key=lambda shade: "·░▒▓█".index(shade[0]))
        assert row.split()[1:].index(darkest) == number


# ----------------------------------------------------------------------------------------------- models and the search


def test_checkpoints_are_averaged_or_make_an_ensemble(translate):
    plain = json.loads(translate("--json", "--text", "two three").out)
    averaged = json.loads(translate("--json", "--text", "two three", "--checkpoint", "average-2").out)
    ensemble = json.loads(
        translate("--json", "--text", "two three", "--checkpoint", 120, "--checkpoint", 80, "--checkpoint", 40).out
    )
    assert plain["text"] == averaged["text"] == ensemble["text"] == "zwei drei"
    assert len({plain["score"], averaged["score"], ensemble["score"]}) == 3


def test_a_run_joins_an_ensemble_if_its_vocabulary_is_the_same(translate, place, translator):
    twin = place / "runs" / "twin"
    subprocess.run(["cp", "-r", translator, twin], check=True)
    alone = json.loads(translate("--json", "--text", "six").out)
    together = json.loads(translate("--json", "--text", "six", "--ensemble", twin).out)
    assert together["text"] == alone["text"] == "sechs"
    assert together["score"] == pytest.approx(alone["score"], abs=1e-5)  # the mean of two equals


def test_the_search_is_as_the_options_say(translate):
    greedy = translate("--beam", 1, "--length-penalty", 0, "--batch-tokens", 8)
    assert greedy.out == GEZAEHLT
    assert all(len(line.split()) >= 6 for line in translate("--min-length", 6).out.splitlines())
    assert all(len(line.split()) <= 2 for line in translate("--max-length", 2).out.splitlines())
    unrepeated = translate("--no-repeat-ngram", 1, "--min-length", 3, lines="four four four").out.split()
    assert len(unrepeated) == len(set(unrepeated)) >= 3


def test_samples_follow_from_the_seed(translate):
    def sampled(seed):
        return translate("--sample", "--temperature", 3, "--seed", seed).out

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1
    assert len(translate("--sample", "--top-k", 1, "--n-best", 2).out.splitlines()) == 8


@pytest.mark.parametrize("how", [("--precision", "bf16"), ("--quantize", "int8")], ids=["bf16", "int8"])
def test_fewer_bits_translate_the_same_here(translate, how):
    assert translate(*how).out == GEZAEHLT


# ---------------------------------------------------------------------------------------------------------- a terminal


def test_at_a_terminal_each_line_is_translated_as_it_is_typed(translator, place):
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "glassformer", "translate", str(translator)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb", "PYTHONUTF8": "1"},
        start_new_session=True,
    )
    os.close(slave)

    def read_until(pattern: str) -> str:
        seen, until = b"", time.monotonic() + 60
        while not re.search(pattern, seen.decode(errors="ignore")):
            assert time.monotonic() < until, seen
            if select.select([master], [], [], 0.2)[0]:
                try:
                    seen += os.read(master, 4096)
                except OSError:  # the other side is closed
                    break
        return seen.decode()

    assert "Ctrl-D ends" in read_until("> $")
    os.write(master, b"one two three\n")
    answer = read_until(r"drei[^>]*\n[^>]*> $")
    assert "eins zwei drei" in answer
    assert re.search(r"zwei +·+ +[░▒▓█]+", answer)
    os.write(master, b"\n")
    read_until("> $")
    os.write(master, "café\n".encode())  # a word that it does not know
    read_until("> $")
    os.write(master, b"\x04")
    assert child.wait(timeout=30) == 0
    os.close(master)


def test_a_reader_that_leaves_is_no_fault(translator, place):
    command = f'{sys.executable} -m glassformer translate {translator} --text one | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


# ------------------------------------------------------------------------------------------------------------- evaluate


@pytest.fixture
def figures(say, translator):
    """``figures("--beam", 1)``: what ``evaluate --json`` found."""

    def figures(*words) -> dict:
        said = say("evaluate", translator, "--json", *words)
        assert said.status == 0, said.err
        return json.loads(said.out)

    return figures


def test_the_loss_is_that_of_the_training_s_own_validation(figures, translator):
    found = figures("--split", "validation", "--checkpoint", "latest")["splits"]["validation"]
    recorded = [each for each in Run.open(translator).metrics() if each["kind"] == "validation"][-1]
    assert found["loss"] == pytest.approx(recorded["loss"], abs=1e-5)
    assert found["perplexity"] == pytest.approx(2.718281828 ** recorded["loss"], abs=1e-4)


def test_the_scores_are_those_of_sacrebleu_s_own_command(figures, place):
    scores = figures("--checkpoint", 40, "--output", "scored")["splits"]["test"]["scores"]
    files = ["test.reference.txt", "-i", "test.translation.txt"]
    runs = {
        "BLEU": [],
        "BLEU, tokenised lowercase": ["-lc", "--smooth-method", "none"],
        "chrF": ["-m", "chrf"],
    }
    assert [score["name"] for score in scores] == list(runs)
    for score in scores:
        done = subprocess.run(
            [sys.executable, "-m", "sacrebleu", *files, *runs[score["name"]], "--width", "6"],
            cwd=place / "scored",
            capture_output=True,
            text=True,
            check=True,
        )
        theirs = json.loads(done.stdout)
        assert theirs["score"] == pytest.approx(score["value"], abs=1e-5)
        assert score["low"] <= score["value"] <= score["high"]
        ours = set(score["signature"].split("|"))
        assert set(theirs["signature"].split("|")) - ours == set()


def test_what_is_written_is_what_was_scored(figures, place):
    figures("--output", "scored")
    pairs = [line.split("\t") for line in (place / "test.tsv").read_text(encoding="utf-8").splitlines()]
    for side, texts in (("source", [pair[0] for pair in pairs]), ("reference", [pair[1] for pair in pairs])):
        assert (place / "scored" / f"test.{side}.txt").read_text(encoding="utf-8").splitlines() == texts
    assert len((place / "scored" / "test.translation.txt").read_text(encoding="utf-8").splitlines()) == len(pairs)


def test_a_file_of_pairs_is_scored_as_the_run_s_own(figures):
    own = figures()["splits"]["test"]
    given = figures("--data", "test.tsv")["splits"]["test"]
    for each in (own, given):
        each.pop("sentences_per_second")
    assert own == given


def test_a_comparison_says_how_sure_the_difference_is(figures, translator):
    better, same = (
        figures("--compare", translator, "--compare-checkpoint", checkpoint, "--metric", "chrf")["splits"]["test"]
        for checkpoint in (40, "latest")
    )
    assert better["differences"][0]["value"] > 0
    assert better["differences"][0]["low"] > 0
    assert [same["differences"][0][key] for key in ("value", "low", "high")] == [0, 0, 0]


def test_of_an_ensemble_there_are_scores_and_no_loss(figures):
    found = figures("--checkpoint", 80, "--checkpoint", 120)
    assert [model["step"] for model in found["models"]] == [80, 120]
    assert "loss" not in found["splits"]["test"]
    assert found["splits"]["test"]["scores"]


def test_dates_are_scored_by_exact_match_first(figures):
    found = figures("--data", "dates", "--split", "held-out-dates", "--beam", 1, "--max-length", 3)
    assert found["splits"]["held-out-dates"]["n"] == 1000
    assert [score["name"] for score in found["splits"]["held-out-dates"]["scores"]] == ["exact match", "chrF"]


def test_evaluate_says_scores_with_their_signatures_and_the_speed(say, translator):
    said = say("evaluate", translator)
    assert (said.status, said.err) == (0, "")
    assert re.search(r"test: 30 sentences, [\d.]+ a second", said.out)
    assert re.search(r"loss \d\.\d{4} nats a target token, perplexity \d+\.\d{3}", said.out)
    assert re.search(r"BLEU = [\d.]+ \[[\d.]+, [\d.]+\], n = 30 \(nrefs:1\|bs:1000\|seed:12345\|case:mixed", said.out)
    assert "beam 5, length penalty 0.6 (gnmt)" in said.out


def test_the_help_says_the_defaults_of_the_search(say):
    from glassformer.generation.beam_search_config import BeamSearchConfig

    default = BeamSearchConfig()
    said = re.sub(r"[\s│]+", " ", say("translate", "--help").out)
    assert f"how many are drawn. {default.beam_size} unless given." in said
    assert f"{default.length_penalty:g} unless given" in said
    assert f"input length + 50). {default.max_length_offset} unless given" in said
