"""Native scores of a question asked of many documents, as one distribution over the spans of all documents.

The score in a single document says how likely its best span is the answer *if* there is any reason to ask that
document. Of many documents, few hold the answer. A wrong document may have a score near 1 only because it offers no
other span, and must not win over the right document, whose probability may be split between two spans. So all
documents are taken as one example, to which the formulas of :mod:`qatool.spans.native` apply. All that they need
can be computed from the scores of each document::

    log odds = log((1 - no_answer_score) / no_answer_score)
    mass     = (log odds - bias) / slope
    margin   = mass + log(score / (1 - no_answer_score))

``docs/many-documents.md`` says what that gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.spans.calibration import Calibration

_LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""Stands for a probability that single precision has rounded to 0: the largest that it may have been."""


@dataclass(frozen=True, kw_only=True)
class JointScores:
    """Computes the scores of one question over all its documents taken together.

    :raises ValueError: the slope of the calibration is 0, so that margins cannot be recovered from scores
    """

    calibration: Calibration

    def __post_init__(self) -> None:
        if not self.calibration.answerable_slope > 0:
            raise ValueError("the slope of the calibration must be above 0")

    def margins(
        self, score: NDArray[np.floating], no_answer_score: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the margin ``(n,)`` of each best span and the mass ``(n,)`` of all spans of its document.

        :param score: ``(n,)``: the score of each best span; without one it is NaN, and margin and mass are ``-inf``
        :param no_answer_score: ``(n,)``: the score of "no answer" in each document
        """
        probability, no_answer = score.astype(np.float64), no_answer_score.astype(np.float64)
        there = (probability > 0) & np.isfinite(no_answer)
        margin, mass = np.full(len(there), -np.inf), np.full(len(there), -np.inf)
        probability, no_answer = probability[there], no_answer[there]
        # The two probabilities, rounded to single precision, may add up to a little more than 1.
        answerable = np.maximum(1.0 - no_answer, probability)
        log_odds = np.log(answerable) - np.log(np.maximum(no_answer, _LEAST))
        mass[there] = (log_odds - self.calibration.answerable_bias) / self.calibration.answerable_slope
        margin[there] = mass[there] + np.log(probability / answerable)
        return margin, mass

    def score(self, margin: NDArray[np.float64], mass: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return the probability ``(n,)`` of each span among the spans of all documents.

        :param margin: ``(n,)``: the margin of each span
        :param mass: ``(n,)``, or one for all spans: the log of the sum of ``exp(mass)`` over the documents
        """
        nothing = np.isneginf(mass)
        mass = np.where(nothing, 0.0, mass)
        log_odds = self.calibration.answerable_slope * mass + self.calibration.answerable_bias
        probability = np.exp(np.minimum(margin - mass, 0.0) - np.logaddexp(0.0, -log_odds))
        return np.where(nothing, 0.0, probability)
