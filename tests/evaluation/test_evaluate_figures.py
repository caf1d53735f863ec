"""The figures: against the official scripts' own, against their arithmetic, and against plain loops."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from evalhelpers import official_scores
from hypothesis import given
from hypothesis import strategies as st
from support import needs_shared

from qatool.commands.evaluate import run
from qatool.evaluation.measures.bootstrap import interval, resampled_means
from qatool.evaluation.measures.curves import applicable_threshold, best_threshold, precision_recall, thinned
from qatool.evaluation.measures.reliability import calibration_error, reliability_bins
from qatool.evaluation.measures.scoring import expected_answers, hit_ranks, score
from qatool.evaluation.measures.slices import answer_lengths, by_number, question_words, sliced, window_counts
from qatool.options import EvaluateOptions

EDGES = [
    "",
    "the",
    "The cat",
    "a cat.",
    "cat",
    "CAT!",
    "an  apple a\u00a0day",
    "Café",
    "cafe\u0301",
    "10,000",
    "10 000",
    "…",
    "?",
]


@pytest.mark.parametrize(
    ("name", "references", "scored"),
    [
        ("bert-single-squad2.0-part-b", "squad2.0-dev-part-b.json", False),
        ("r-net-ensemble-squad1.1-part-b", "squad1.1-dev-part-b.json", False),
        ("minilm-qa-squad2.0-part-b", "squad2.0-dev-part-b.json", True),
    ],
)
def test_official_figures_of_real_systems(name, references, scored) -> None:
    folder = needs_shared("oracles", "evaluate")
    scores = str(folder / f"{name}.no-answer-scores.json")
    options = EvaluateOptions(
        answers=str(folder / f"{name}.predictions.json"),
        references=str(needs_shared("data", references)),
        no_answer_scores=scores if scored else None,
        resamples=100,
    )
    figures = run(options).figures
    official = json.loads((folder / f"{name}.official.json").read_text())
    assert {key: figures[key] for key in official} == pytest.approx(official, abs=1e-9)


words = st.lists(st.sampled_from(["the", "a", "cat", "dog", "dogs", "Cat", "-", "é", "İ", "2"]), max_size=5).map(
    " ".join
)
texts = st.one_of(words, st.text(max_size=6))


@given(answer=texts, references=st.lists(texts, min_size=1, max_size=3))
@pytest.mark.parametrize("script", ["1.1", "2.0"])
def test_scores_are_those_of_the_scripts(script, answer, references) -> None:
    rules = f"squad{script}"
    found = score([answer], expected_answers([tuple(references)], rules), rules)
    assert (found.exact[0], found.f1[0]) == official_scores(answer, references, script=script)


@pytest.mark.parametrize("answer", EDGES)
@pytest.mark.parametrize("references", [["the cat"], ["", "the"], ["Café", "cat"], ["10,000"], ["."]])
@pytest.mark.parametrize("script", ["1.1", "2.0"])
def test_scores_at_the_edges(script, answer, references) -> None:
    rules = f"squad{script}"
    found = score([answer], expected_answers([tuple(references)], rules), rules)
    assert (found.exact[0], found.f1[0]) == official_scores(answer, references, script=script)


@pytest.mark.parametrize("answer", [None, "", "the", "cat"])
def test_only_no_answer_is_right_for_an_unanswerable_question(answer) -> None:
    found = score([answer], expected_answers([()], "squad2.0"), "squad2.0")
    assert found.exact.tolist() == found.f1.tolist() == [float(answer != "cat")]


def test_answers_of_many_words_take_no_longer_a_word() -> None:
    words = " ".join(f"w{number}" for number in range(40_000))
    began = time.process_time()
    found = score([" ".join(reversed(words.split()))], expected_answers([(words,)], "squad2.0"), "squad2.0")
    assert (found.exact[0], found.f1[0]) == (0.0, 1.0)
    # When each word was looked for among all others, this took a minute.
    assert time.process_time() - began < 5


def loop_best_threshold(scores, doubt, answered, has_answer) -> tuple[float, float]:
    """``find_best_thresh`` of the official script, in its own words."""
    current = best = float(sum(not one for one in has_answer))
    threshold = 0.0
    for i in sorted(range(len(doubt)), key=lambda i: doubt[i]):
        current += scores[i] if has_answer[i] else -1 if answered[i] else 0
        if current > best:
            best, threshold = current, doubt[i]
    return 100.0 * best / len(scores), threshold


def loop_average_precision(scores, doubt, has_answer) -> float:
    """``make_precision_recall_eval`` of the official script, in its own words."""
    order = sorted(range(len(doubt)), key=lambda i: doubt[i])
    true = area = last = 0.0
    for place, i in enumerate(order):
        true += scores[i] if has_answer[i] else 0
        if place == len(order) - 1 or doubt[i] != doubt[order[place + 1]]:
            recall = true / max(1, sum(has_answer))
            area += true / (place + 1) * (recall - last)
            last = recall
    return area


rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([0.0, 0.1, 0.2, 0.9]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(rows)
def test_thresholds_and_areas_are_those_of_the_script(rows) -> None:
    scores, doubt, answered, has_answer = (np.array(column) for column in zip(*rows, strict=True))
    rejected = np.zeros(len(rows), dtype=bool)
    best = best_threshold(scores, doubt, answered=answered, has_answer=has_answer, rejected=rejected)
    assert best == pytest.approx(loop_best_threshold(scores, doubt, answered, has_answer))
    curve = precision_recall(scores, doubt, has_answer=has_answer)
    assert curve.area == pytest.approx(loop_average_precision(scores, doubt, has_answer))


@given(rows)
def test_an_applicable_threshold_gives_what_it_promises(rows) -> None:
    scores, doubt, answered, has_answer = (np.array(column) for column in zip(*rows, strict=True))
    best = applicable_threshold(scores, doubt, answered=answered, has_answer=has_answer)

    def mean(threshold: float) -> float:
        kept = doubt <= threshold
        right = np.where(kept & answered, np.where(has_answer, scores, 0.0), ~has_answer)
        right = np.where(has_answer & ~(kept & answered), np.where(kept, scores, 0.0), right)
        return 100 * float(right.mean())

    assert mean(best.threshold) == pytest.approx(best.value)
    assert all(mean(other) <= best.value + 1e-9 for other in (0.0, *doubt, 1.0))


def test_thinned_keeps_both_ends() -> None:
    curve = precision_recall(np.ones(1000), np.arange(1000.0), has_answer=np.ones(1000, dtype=bool))
    points = thinned(curve, 11)
    assert [points[0]["kept"], points[-1]["kept"], len(points)] == [1, 1000, 11]


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.1, 0.2, 0.8, 0.9])
    bins = reliability_bins(confidence, np.array([0.0, 0.0, 1.0, 0.0]), n_bins=2)
    assert [(one.total, one.exact) for one in bins] == [(2, 0.0), (2, 0.5)]
    assert calibration_error(bins) == pytest.approx((0.15 + 0.35) / 2)


def test_a_perfectly_calibrated_system_has_next_to_no_error() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(30_000)
    exact = (generator.random(30_000) < confidence).astype(float)
    bins = reliability_bins(confidence, exact)
    assert len(bins) == 15
    assert {one.total for one in bins} == {2000}
    assert calibration_error(bins) < 0.015


def test_resamples_by_counts_are_distributed_as_resamples_by_rows() -> None:
    generator = np.random.default_rng(1)
    values = generator.choice([0.0, 25.0, 100.0], size=200)
    by_rows = values[generator.integers(0, 200, size=(4000, 200))].mean(axis=1)
    by_counts = resampled_means(values, 4000)
    assert by_counts.mean() == pytest.approx(values.mean(), abs=0.3)
    assert by_counts.std() == pytest.approx(by_rows.std(), rel=0.05)
    assert interval(values, 4000) == pytest.approx(np.percentile(by_rows, (2.5, 97.5)), abs=0.7)


def test_intervals_repeat_and_nothing_has_none() -> None:
    values = np.array([0.0, 1.0, 1.0])
    assert interval(values, 500) == interval(values, 500)
    assert interval(np.array([]), 500) is None


def test_ranges_come_in_their_order() -> None:
    values = ["16+ words", "2-3 words", "no answer", "1 word", "4-7 words"]
    found = by_number([{"value": value} for value in values])
    assert [one["value"] for one in found] == ["no answer", "1 word", "2-3 words", "4-7 words", "16+ words"]


def test_slices() -> None:
    questions = ["In  what year?", "WHOSE is it?", "How\nmany?", "How tall?", "Name it.", "Whatever?", None]
    assert question_words(questions) == ["what", "who", "how many", "how", "other", "other", None]
    lengths = [("one",), ("one two", "one"), ("a b c d",), (" ".join("x" * 16),), ()]
    assert answer_lengths(lengths) == ["1 word", "2-3 words", "4-7 words", "16+ words", "no answer"]
    assert window_counts(np.array([0, 1, 2, 9, 30, np.nan])) == [
        "1 window",
        "1 window",
        "2-3 windows",
        "4-9 windows",
        "30+ windows",
        None,
    ]


def test_rare_values_share_a_slice() -> None:
    labels = [str(number) for number in range(30)] + ["7"]
    expected = expected_answers([("cat",)] * 31, "squad2.0")
    found = sliced(labels, score(["cat"] * 31, expected, "squad2.0"), 100)
    assert [(row["value"], row["total"]) for row in found[:2]] == [("7", 2), ("0", 1)]
    assert (found[-1]["value"], found[-1]["total"], len(found)) == ("(other values)", 10, 21)


def test_hit_ranks() -> None:
    expected = expected_answers([("cat",), ("dog",), (), ("cow",)], "squad2.0")
    lists = [["The cat!"], ["cat", "dog"], ["cat"], []]
    assert hit_ranks(lists, expected, np.array([True, False, False, False])).tolist() == [0, 1, -1, -1]
