"""Each way to decode ranks as the slow program written from its description does."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from decodehelpers import Found, read, slow_native, slow_pipeline, slow_script, slow_windows, windows_of
from tokenizerhelpers import texts

from qatool.spans.calibration import Calibration
from qatool.spans.candidates import RankedSpans
from qatool.spans.characters import ContextCharacters
from qatool.spans.decode import decoder
from qatool.spans.native import LengthCost
from qatool.spans.readwindows import ReadWindows
from qatool.spans.search import SpanTable

ASKED = ["who", "what is it", "where"]
TRICKY = [
    "\U0001f600\U0001f680 caf\u00e9 \u0130stanbul  \u4f60\u597d \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "the piano THE Piano the the piano, the piano THE PIANO",
    "x",
    "",
    " a\u0301 \ufb01ne \u00bd\r\n\tend ",
]


def contexts() -> list[str]:
    return TRICKY + [text[:150] for text in texts()[30:48:2]]


def ranked(ranks: RankedSpans, example: int) -> list[Found]:
    rows = range(*ranks.boundaries[example : example + 2].tolist())
    return [
        Found(
            int(ranks.start[i]),
            int(ranks.end[i]),
            float(ranks.score[i]),
            float(ranks.span_logit[i]),
            float(ranks.null_logit[i]),
            int(ranks.window[i]),
        )
        for i in rows
    ]


def assert_ranked(ours: list[Found], theirs: list[Found]) -> None:
    assert [found[:2] for found in ours] == [found[:2] for found in theirs]
    assert [found.window for found in ours] == [found.window for found in theirs]
    for name in ("score", "span_logit", "null_logit"):
        ours_of, theirs_of = ([getattr(found, name) for found in side] for side in (ours, theirs))
        assert ours_of == pytest.approx(theirs_of, abs=1e-4)


def example_windows(family):
    held = contexts()
    examples = windows_of(family, [ASKED[i % 3] for i in range(len(held))], held, max_length=40, stride=12)
    return examples, held


@pytest.mark.parametrize(("longest", "top_k"), [(1, 1), (4, 20), (15, 3), (30, 1)])
@pytest.mark.parametrize("family", ["wordpiece", "byte-level-bpe", "unigram", "xlnet"])
def test_native(family, longest, top_k) -> None:
    examples, held = example_windows(family)
    native = decoder("native", top_k=top_k, max_answer_length=longest)
    ranks = native.rank(read(examples, native, np.arange(len(examples.windows))))
    for example, context in enumerate(held):
        windows = slow_windows(examples, example)
        expected, nothing = slow_native(windows, context, top_k=top_k, longest=longest)
        found = ranked(ranks, example)
        assert_ranked(found, expected)
        if not windows:
            assert math.isnan(ranks.no_answer_score[example])
            continue
        assert ranks.no_answer_score[example] == pytest.approx(nothing, abs=1e-5)
        by_text = {context[f.start : f.end].casefold(): f.score for f in reversed(found)}
        assert sum(by_text.values()) + ranks.no_answer_score[example] <= 1 + 1e-5
        assert all(0 <= f.score <= 1 for f in found)


def test_native_calibrated() -> None:
    examples, held = example_windows("wordpiece")
    calibration = Calibration(answerable_slope=0.3, answerable_bias=-1.5)
    native = decoder("native", top_k=3, max_answer_length=8, calibration=calibration)
    ranks = native.rank(read(examples, native, np.arange(len(examples.windows))))
    for example, context in enumerate(held):
        windows = slow_windows(examples, example)
        expected, nothing = slow_native(windows, context, top_k=3, longest=8, slope=0.3, bias=-1.5)
        assert_ranked(ranked(ranks, example), expected)
        if windows:
            assert ranks.no_answer_score[example] == pytest.approx(nothing, abs=1e-5)


def test_an_answer_taken_for_granted() -> None:
    examples, _ = example_windows("wordpiece")
    granted = Calibration(answerable_slope=0.0, answerable_bias=math.inf)
    plain, sure = (
        one.rank(read(examples, one, np.arange(len(examples.windows))))
        for one in (
            decoder("native", top_k=5, max_answer_length=3, calibration=calibration)
            for calibration in (Calibration(), granted)
        )
    )
    there = examples.windows.n_windows > 0
    assert (sure.no_answer_score[there] == 0).all()
    answerable = np.repeat(1 - plain.no_answer_score, np.diff(plain.boundaries))
    np.testing.assert_allclose(sure.score * answerable, plain.score, rtol=1e-4)


def test_length_costs_nothing_up_to_two_fifths_and_three_tenths_a_token_beyond() -> None:
    def costs(longest: int) -> list[float]:
        return LengthCost(longest)(np.arange(1, longest + 1)).tolist()

    assert costs(30) == pytest.approx([0.0] * 12 + [0.3 * i for i in range(1, 19)])
    assert costs(3) == pytest.approx([0.0, 9 * (2 / 3 - 0.4), 5.4])
    assert costs(2) == pytest.approx([0.0, 4.5])
    assert costs(1) == [0.0]


@pytest.mark.parametrize("mode", ["native", "squad-script", "hf-pipeline"])
def test_numbers_beyond_all_windows_are_no_limit(mode) -> None:
    examples, _ = example_windows("wordpiece")
    decoders = [decoder(mode, top_k=longest, max_answer_length=longest) for longest in (1 << 20, 10**20)]
    one, other = (each.rank(read(examples, each, np.arange(len(examples.windows)))) for each in decoders)
    np.testing.assert_array_equal(one.start, other.start)
    np.testing.assert_array_equal(one.end, other.end)


def test_native_prior_shifts_a_windows_margins() -> None:
    examples, held = example_windows("wordpiece")
    native = decoder("native", top_k=3, max_answer_length=8)
    prior = np.random.default_rng(0).normal(size=len(examples.windows)) * 3
    ranks = native.rank(replace(read(examples, native, np.arange(len(examples.windows))), prior=prior))
    for example, context in enumerate(held):
        first, last = examples.windows.boundaries[example : example + 2]
        expected, nothing = slow_native(
            slow_windows(examples, example), context, top_k=3, longest=8, prior=prior[first:last].tolist()
        )
        assert_ranked(ranked(ranks, example), expected)
        if last > first:
            assert ranks.no_answer_score[example] == pytest.approx(nothing, abs=1e-5)


def test_native_without_a_prior_is_a_prior_of_zero() -> None:
    examples, _ = example_windows("wordpiece")
    native = decoder("native", top_k=3, max_answer_length=8)
    windows = read(examples, native, np.arange(len(examples.windows)))
    plain, zero = native.rank(windows), native.rank(replace(windows, prior=np.zeros(len(examples.windows))))
    for field in fields(RankedSpans):
        np.testing.assert_array_equal(getattr(plain, field.name), getattr(zero, field.name))


def test_temperature_reports_the_models_own_logits() -> None:
    examples, _ = example_windows("wordpiece")
    order = np.arange(len(examples.windows))
    cold, warm = (
        decoder("native", top_k=1, max_answer_length=1, calibration=Calibration(temperature=temperature))
        for temperature in (1.0, 2.5)
    )
    first, second = (one.rank(read(examples, one, order)) for one in (cold, warm))
    same = (first.start == second.start) & (first.window == second.window)
    assert same.mean() > 0.5
    np.testing.assert_allclose(first.null_logit[same], second.null_logit[same], atol=1e-4)
    np.testing.assert_allclose(first.span_logit[same], second.span_logit[same], atol=0.2)


def test_native_ties_are_broken_by_position() -> None:
    """All logits equal: the first span in the text comes first, whatever window it is seen in."""
    examples = windows_of("wordpiece", ["who"], ["the one and the two of it " * 6], max_length=30, stride=10)
    native = decoder("native", top_k=5, max_answer_length=1)
    windows = read(examples, native, np.arange(len(examples.windows)))
    flat = {
        f.name: np.zeros_like(getattr(windows.spans, f.name))
        for f in fields(windows.spans)
        if getattr(windows.spans, f.name).dtype == np.float32
    }
    tied = replace(windows, spans=replace(windows.spans, **flat))
    ranks, again = native.rank(tied), native.rank(tied)
    for field in fields(RankedSpans):
        np.testing.assert_array_equal(getattr(ranks, field.name), getattr(again, field.name))
    equal = ranks.start[ranks.score == ranks.score[0]].tolist()
    assert equal == sorted(equal)


@pytest.mark.parametrize(("longest", "top_k"), [(1, 5), (3, 2), (15, 1)])
@pytest.mark.parametrize("family", ["wordpiece", "byte-level-bpe", "unigram", "xlnet"])
def test_pipeline(family, longest, top_k) -> None:
    examples, held = example_windows(family)
    pipeline = decoder("hf-pipeline", top_k=top_k, max_answer_length=longest)
    ranks = pipeline.rank(read(examples, pipeline, np.arange(len(examples.windows))))
    for example, context in enumerate(held):
        expected, nothing = slow_pipeline(slow_windows(examples, example), context, top_k=top_k, longest=longest)
        assert_ranked(ranked(ranks, example), expected)
        assert ranks.no_answer_score[example] == pytest.approx(nothing, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize(("longest", "top_k"), [(1, 1), (4, 20), (4, 60), (30, 3)])
@pytest.mark.parametrize("family", ["wordpiece", "byte-level-bpe", "xlnet"])
def test_script(family, longest, top_k) -> None:
    examples, held = example_windows(family)
    script = decoder("squad-script", top_k=top_k, max_answer_length=longest)
    ranks = script.rank(read(examples, script, np.arange(len(examples.windows))))
    for example in range(len(held)):
        windows = slow_windows(examples, example)
        expected, nothing = slow_script(windows, top_k=top_k, longest=longest)
        assert_ranked(ranked(ranks, example), expected)
        if windows:
            assert ranks.no_answer_score[example] == pytest.approx(nothing, abs=1e-5)
        else:
            assert math.isnan(ranks.no_answer_score[example])


@pytest.mark.parametrize("mode", ["native", "hf-pipeline", "squad-script"])
def test_nothing_to_rank(mode) -> None:
    examples = windows_of("wordpiece", ["who", "who"], ["", " "], max_length=30, stride=10)
    one = decoder(mode, top_k=3, max_answer_length=5)
    windows = ReadWindows(
        examples=examples, characters=ContextCharacters.of(examples.contexts), spans=SpanTable.missing(0)
    )
    ranks = one.rank(windows)
    assert ranks.boundaries.tolist() == [0, 0, 0]
    assert np.isnan(ranks.no_answer_score).all()
