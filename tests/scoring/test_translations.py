from __future__ import annotations

import gzip
import logging
import math
import random
import time

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from glassformer.errors import DataError
from glassformer.scoring.translations import METRICS, Score, paired_difference, score_translations


@pytest.fixture(scope="module")
def german(glassformer_data):
    with gzip.open(glassformer_data / "multi30k" / "test_2016_flickr.de.gz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def damaged(references, share, seed=0):
    """The references with this share of their words lost, doubled or replaced by words from elsewhere."""
    rng = random.Random(seed)
    words = [word for line in references for word in line.split()]
    changes = [lambda _: [], lambda word: [word, word], lambda _: [rng.choice(words)], lambda word: [word.title()]]
    lines = []
    for line in references:
        out = [new for word in line.split() for new in (rng.choice(changes)(word) if rng.random() < share else [word])]
        lines.append(" ".join(out))
    return lines


@pytest.fixture(scope="module")
def translations(german):
    return damaged(german, 0.3)


def by_name(scores):
    return {score.name: score for score in scores}


# sacreBLEU's own numbers


def sacrebleus_own(name):
    return {
        "BLEU": BLEU(),
        "BLEU, tokenised lowercase": BLEU(lowercase=True, smooth_method="none"),
        "chrF": CHRF(),
    }[name]


@pytest.mark.parametrize("name", ["BLEU", "BLEU, tokenised lowercase", "chrF"])
def test_values_intervals_and_signatures_are_sacrebleus_own(german, translations, monkeypatch, name):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    ours = by_name(score_translations(translations, german))[name]
    metric = sacrebleus_own(name)
    theirs = metric.corpus_score(translations, [german], n_bootstrap=1000)
    assert 20 < ours.value < 90
    assert ours.value == pytest.approx(theirs.score, abs=1e-9)
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs._ci, abs=1e-4)  # sacreBLEU resamples in single precision
    assert ours.low < theirs._mean < ours.high
    assert ours.signature == metric.get_signature().format()
    assert ours.n == len(german) == 1000


def test_signatures_say_exactly_what_was_measured():
    version = f"version:{sacrebleu.__version__}"
    drawn = "nrefs:1|bs:250|seed:7"
    signatures = [s.signature for s in score_translations(["a b"], ["a c"], n_resamples=250, seed=7)]
    assert signatures == [
        f"{drawn}|case:mixed|eff:no|tok:13a|smooth:exp|{version}",
        f"{drawn}|case:lc|eff:no|tok:13a|smooth:none|{version}",
        f"{drawn}|case:mixed|eff:yes|nc:6|nw:0|space:no|{version}",
        "nrefs:1|interval:wilson|case:mixed|strip:yes",
    ]
    of_tokens, exact = score_translations(["a b"], ["a c"], n_resamples=250, seed=7, tokenised_by="moses-en")
    assert of_tokens.signature == f"{drawn}|case:lc|eff:no|tok:none|smooth:none|tokens:moses-en|{version}"
    assert exact.signature == "nrefs:1|interval:wilson|case:mixed|strip:yes|tokens:moses-en"
    (found,) = paired_difference(["a"], ["b"], ["a"], n_resamples=250, seed=7, metrics=["exact-match"])
    assert found.signature == f"{drawn}|case:mixed|strip:yes"  # whose interval is a bootstrap's


def test_a_score_reads_as_one_line_with_its_circumstances():
    score = Score("BLEU", 41.016, 39.5, 42.5, "nrefs:1|tok:13a", 1000)
    assert str(score) == "BLEU = 41.02 [39.50, 42.50], n = 1000 (nrefs:1|tok:13a)"


# by hand


def test_bleu_computed_by_hand():
    # tokens: 8 against 8, so no brevity penalty; 'dog' is wrong
    #   1-grams 7 of 8, 2-grams 5 of 7, 3-grams 4 of 6, 4-grams 3 of 5
    score = by_name(score_translations(["The cat sat on the mat dog ."], ["the cat sat on the mat there ."]))
    expected = 100 * (7 / 8 * 5 / 7 * 4 / 6 * 3 / 5) ** 0.25
    assert score["BLEU, tokenised lowercase"].value == pytest.approx(expected)
    # cased, 'The' is wrong too: 6 of 8, 4 of 7, 3 of 6, 2 of 5
    assert score["BLEU"].value == pytest.approx(100 * (6 / 8 * 4 / 7 * 3 / 6 * 2 / 5) ** 0.25)


def test_a_short_translation_pays_the_brevity_penalty_and_a_long_one_does_not():
    words = list("abcdefghij")
    whole, cut = " ".join(words), " ".join(words[:8])
    (short,) = score_translations([cut], [whole], metrics=["tokenised-bleu"])
    assert short.value == pytest.approx(100 * math.exp(1 - 10 / 8))
    (long,) = score_translations([whole], [cut], metrics=["tokenised-bleu"])
    assert long.value == pytest.approx(100 * (8 / 10 * 7 / 9 * 6 / 8 * 5 / 7) ** 0.25)


def test_only_sacrebleu_smooths():
    # 4 of 5 words and 2 of 4 pairs match, no triple and no quadruple: those count 1/2 of 3 and 1/4 of 2
    score = by_name(score_translations(["a b x d e"], ["a b c d e"]))
    assert score["BLEU"].value == pytest.approx(100 * (4 / 5 * 2 / 4 * 0.5 / 3 * 0.25 / 2) ** 0.25)
    assert score["BLEU, tokenised lowercase"].value == 0


def test_chrf_computed_by_hand():
    # blanks do not count: abcd against abce. Orders 1 to 4 exist: 3/4, 2/3, 1/2, 0/1, precision and recall alike
    (score,) = score_translations(["ab cd"], ["abce"], metrics=["chrf"])
    assert score.value == pytest.approx(100 * (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4)


def test_exact_match_is_a_share_with_wilsons_interval():
    hypotheses = ["2026-11-20 ", "2026-11-21", "2026-1-1", ""]
    (score,) = score_translations(hypotheses, ["2026-11-20", "2026-11-21", "2026-01-01", "x"], metrics=["exact-match"])
    assert (score.name, score.value, score.n) == ("exact match", 50, 4)
    assert (score.low, score.high) == pytest.approx((15.0, 85.0), abs=0.01)
    (perfect,) = score_translations(["x"] * 500, ["x"] * 500, metrics=["exact-match"])
    assert (perfect.value, perfect.high) == (100, 100)
    assert perfect.low == pytest.approx(99.24, abs=0.01)  # not 100: 500 sentences do not show that


# tokens


def test_tokens_are_scored_as_they_are():
    assert score_translations(["kids' food"], ["kids ' food"], metrics=["exact-match"])[0].value == 0
    hypotheses, references = ["two kids ' toys @-@ boxes ."], ["two kids ' toys @-@ boxes !"]
    (of_tokens, exact) = score_translations(hypotheses, references, tokenised_by="moses-en")
    # six of seven tokens, as written: 13a would split @-@ in three
    assert of_tokens.value == pytest.approx(100 * (6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)
    assert exact.value == 0
    assert of_tokens.value != pytest.approx(score_translations(hypotheses, references)[1].value, abs=0.1)


def test_on_text_that_13a_has_tokenised_both_forms_of_the_measure_agree(german, translations):
    tokenise = BLEU().tokenizer
    tokens = [[tokenise(line.lower()) for line in lines] for lines in (translations, german)]
    (of_text,) = score_translations(translations, german, metrics=["tokenised-bleu"])
    of_tokens, _ = score_translations(*tokens, tokenised_by="13a")
    assert (of_tokens.value, of_tokens.low, of_tokens.high) == (of_text.value, of_text.low, of_text.high)


def test_measures_of_text_are_refused_for_tokens():
    with pytest.raises(DataError, match=r"'bleu' is defined on text(.|\n)*'chrf' is defined on text"):
        score_translations(["a"], ["a"], metrics=["bleu", "chrf"], tokenised_by="moses-en")


# empty, blank and strange lines

sentences = st.lists(
    st.sampled_from(["", " ", "a", "B", "b", "c .", "a b c d e", "ä-ö", "&quot;", "1,5", "漢字"]), max_size=7
)
pairs = st.lists(st.tuples(sentences.map(" ".join), sentences.map(" ".join)), min_size=1, max_size=6)


def test_empty_translations_score_zero_without_a_word(caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        scores = score_translations(["", "", "  "], ["Ein Hund .", "Eine Katze .", "Ein Haus ."])
    assert [score.value for score in scores] == [0, 0, 0, 0]
    assert [(score.low, score.high) for score in scores[:3]] == [(0, 0)] * 3
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_text_that_looks_tokenised_makes_no_noise(caplog):
    score_translations(["ein hund ."] * 200, ["Ein Hund."] * 200, n_resamples=10)
    assert not caplog.records


@settings(deadline=None, max_examples=150)
@given(pairs)
def test_any_lines_score_as_sacrebleu_scores_them(lines):
    hypotheses, references = map(list, zip(*lines, strict=True))
    scores = by_name(score_translations(hypotheses, references, n_resamples=20))
    for name in ("BLEU", "BLEU, tokenised lowercase", "chrF"):
        theirs = sacrebleus_own(name).corpus_score(hypotheses, [references]).score
        assert scores[name].value == pytest.approx(theirs, abs=1e-9)
    for score in scores.values():
        assert 0 <= score.low <= score.high <= 100
        assert math.isfinite(score.value)


@settings(deadline=None, max_examples=50)
@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_the_sentences_changes_no_value(lines, rng):
    shuffled = list(lines)
    rng.shuffle(shuffled)
    values = [
        [score.value for score in score_translations(*map(list, zip(*some, strict=True)), n_resamples=5)]
        for some in (lines, shuffled)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from("abcdefg"), min_size=6).map(" ".join), min_size=1, max_size=8))
def test_references_against_themselves_score_100(references):
    for score in score_translations(references, references, n_resamples=20):
        assert score.value == pytest.approx(100)
        assert score.value <= 100
        if score.name != "exact match":  # whose interval is never a point
            assert (score.low, score.high) == pytest.approx((100, 100))


# the interval


def test_the_same_seed_gives_the_same_scores_and_another_another_interval(german, translations):
    first, again, other = (score_translations(translations[:200], german[:200], seed=seed) for seed in (1, 1, 2))
    assert first == again
    for one, two in zip(first[:3], other[:3], strict=True):
        assert one.value == two.value
        assert (one.low, one.high) != (two.low, two.high)


def test_the_interval_surrounds_the_value_and_narrows_with_the_root_of_the_sentences(german, translations):
    widths = []
    for n in (100, 1000):
        scores = score_translations(translations[:n], german[:n])
        assert all(score.low < score.value < score.high for score in scores[:3])
        widths.append(np.array([score.high - score.low for score in scores[:3]]))
    assert (widths[0] / widths[1] > 2).all()  # √10 = 3.2, up to what 100 sentences happen to be
    assert (widths[0] / widths[1] < 5).all()


def test_other_sentences_of_the_same_kind_score_within_the_interval(german):
    whole = damaged(german, 0.3)
    (score,) = score_translations(whole[:500], german[:500], metrics=["bleu"])
    (rest,) = score_translations(whole[500:], german[500:], metrics=["bleu"])
    width = score.high - score.low
    assert abs(rest.value - score.value) < width  # two draws differ by up to √2 half-widths in 95 of 100 cases


@pytest.mark.slow(reason="rests on the clock of the processor")
def test_all_measures_of_a_thousand_sentences_take_a_moment(german, translations):
    score_translations(translations[:10], german[:10])  # imports
    started = time.process_time()
    score_translations(translations, german, n_resamples=1000)
    assert time.process_time() - started < 4  # 0.8 s on an idle core


# two systems


def test_a_better_system_is_found_better_and_the_difference_is_the_scores_difference(german, translations):
    german, translations = german[:300], translations[:300]
    better = damaged(german, 0.2, seed=1)
    scores = [score_translations(lines, german)[:3] for lines in (better, translations)]
    differences = paired_difference(better, translations, german)
    for found, of_better, of_worse in zip(differences, *scores, strict=False):
        assert found.value == pytest.approx(of_better.value - of_worse.value)
        assert 0 < found.low < found.value < found.high
        assert found.p == pytest.approx(2 / 1001)
        assert found.signature == of_better.signature
    assert [found.name for found in differences[:3]] == ["BLEU", "BLEU, tokenised lowercase", "chrF"]


def test_exchanging_two_systems_turns_the_sign(german, translations):
    german, translations = german[:300], translations[:300]
    other = damaged(german, 0.3, seed=5)
    (forward,) = paired_difference(translations, other, german, metrics=["chrf"], n_resamples=400)
    (back,) = paired_difference(other, translations, german, metrics=["chrf"], n_resamples=400)
    assert (back.value, back.low, back.high) == pytest.approx((-forward.value, -forward.high, -forward.low))
    assert back.p == forward.p
    assert forward.low < forward.value < forward.high


def test_equal_systems_do_not_differ(german, translations):
    for found in paired_difference(translations[:100], translations[:100], german[:100], n_resamples=50):
        assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_pairing_sees_what_two_intervals_do_not(german, translations):
    # the same translations, of which 25 in 1,000 are mended
    mended = [german[i] if i % 40 == 0 else line for i, line in enumerate(translations)]
    (worse,), (better,) = (score_translations(lines, german, metrics=["bleu"]) for lines in (translations, mended))
    (found,) = paired_difference(mended, translations, german, metrics=["bleu"])
    assert better.low < worse.high  # the two intervals overlap
    assert found.low > 0
    assert found.p < 0.01


# users' mistakes


def test_every_complaint_is_made_at_once():
    with pytest.raises(DataError) as caught:
        score_translations([], ["a", "b"], metrics=["blue", "exact-match"], tokenised_by="tok:13a")
    message = str(caught.value)
    assert "There are no hypotheses" in message
    assert "The hypotheses have 0 lines, the references 2" in message
    assert "There is no metric named 'blue'. Did you mean 'bleu'?" in message
    assert "tokenised_by is 'tok:13a'" in message
    assert "exact-match" not in message.replace("Known", "")


@pytest.mark.parametrize(
    ("hypotheses", "references", "said"),
    [
        ([], [], "There are no hypotheses(.|\n)*There are no references"),
        (["a"], [], "There are no references(.|\n)*have 1 lines, the references 0"),
        (["a"], ["a", "b"], "have 1 lines, the references 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(hypotheses, references, said):
    with pytest.raises(DataError, match=said):
        score_translations(hypotheses, references)


def test_a_comparison_names_the_system_that_does_not_fit():
    with pytest.raises(DataError, match="hypotheses of b have 1 lines, the references 2"):
        paired_difference(["a", "b"], ["a"], ["a", "b"])


def test_asking_for_no_metric_says_which_there_are():
    with pytest.raises(DataError, match=", ".join(METRICS)):
        score_translations(["a"], ["a"], metrics=[])
