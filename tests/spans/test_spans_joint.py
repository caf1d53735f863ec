"""Scores over the spans of many documents, told from each document's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool.spans.calibration import Calibration
from qatool.spans.joint import JointScores

margins = st.lists(st.floats(-12, 12), min_size=1, max_size=4)
calibrations = st.builds(
    Calibration,
    temperature=st.just(1.0),
    answerable_slope=st.floats(0.1, 2.0),
    answerable_bias=st.floats(-2.0, 2.0),
)


def probabilities(spans: list[float], calibration: Calibration) -> tuple[np.ndarray, float]:
    """The native formula, of one example with these margins: the scores of its spans, and that of no answer."""
    mass = np.logaddexp.reduce(spans)
    answerable = 1 / (1 + np.exp(-(calibration.answerable_slope * mass + calibration.answerable_bias)))
    return answerable * np.exp(np.array(spans) - mass), 1 - answerable


@given(documents=st.lists(margins, min_size=1, max_size=5), calibration=calibrations)
def test_as_if_all_documents_were_one(documents, calibration) -> None:
    own = [probabilities(spans, calibration) for spans in documents]
    best = [int(np.argmax(spans)) for spans in documents]
    joint = JointScores(calibration=calibration)
    margin, mass = joint.margins(
        np.array([scores[at] for (scores, _), at in zip(own, best, strict=True)], dtype=np.float32),
        np.array([no_answer for _, no_answer in own], dtype=np.float32),
    )
    together, _ = probabilities([span for spans in documents for span in spans], calibration)
    firsts = np.cumsum([0, *map(len, documents)])[:-1]
    expected = [together[first + at] for first, at in zip(firsts, best, strict=True)]
    found = joint.score(margin, float(np.logaddexp.reduce(mass)))
    assert found == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_what_single_precision_cannot_hold() -> None:
    joint = JointScores(calibration=Calibration())
    score = np.array([1.0, 1.0, 0.5, 0.0, np.nan, 1e-9], dtype=np.float32)
    no_answer = np.array([0.0, 1e-30, 1e-30, 1.0, np.nan, 1.0], dtype=np.float32)
    margin, mass = joint.margins(score, no_answer)
    assert list(np.argsort(-margin, kind="stable")) == [0, 1, 2, 5, 3, 4]
    assert np.isneginf(margin[3:5]).all()
    assert np.isneginf(mass[3:5]).all()
    found = joint.score(margin, float(np.logaddexp.reduce(mass)))
    assert 1 - 1e-9 < found.sum() < 1 + 1e-9
    assert (found >= 0).all()
    assert not joint.score(margin[3:5], -np.inf).any()


def test_scores_that_tell_nothing_of_margins() -> None:
    with pytest.raises(ValueError, match="slope"):
        JointScores(calibration=Calibration(answerable_slope=0.0))
