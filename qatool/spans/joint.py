"""Native scores of a question asked of many documents: one distribution over the spans of them all.

A score of one document says how likely its best span is the answer *if* there is any reason to ask that document.
Of many documents few hold the answer, and a score near 1 for being the only span that a wrong one offers must not
win over half of the right one's. So the documents are taken as one example, and :mod:`qatool.spans.native` holds for
all their spans together. What of it is needed stands in each document's own scores::

    log odds = log((1 - no_answer_score) / no_answer_score)
    mass     = (log odds - bias) / slope
    margin   = mass + log(score / (1 - no_answer_score))

``docs/many-documents.md`` tells what that gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.spans.calibration import Calibration

_LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""What a probability was, at most, that single precision holds as 0."""


@dataclass(frozen=True, kw_only=True)
class JointScores:
    """Scores of one question's documents taken together.

    :raises ValueError: the calibration's slope is 0, so scores tell nothing of the margins behind them
    """

    calibration: Calibration

    def __post_init__(self) -> None:
        if not self.calibration.answerable_slope > 0:
            raise ValueError("the slope of the calibration must be above 0")

    def margins(
        self, score: NDArray[np.floating], no_answer_score: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the margin ``(n,)`` of each best span and the mass ``(n,)`` of all spans of its document.

        :param score: ``(n,)``: of the best spans, NaN where there is none: its margin and mass are ``-inf``
        :param no_answer_score: ``(n,)``
        """
        probability, no_answer = score.astype(np.float64), no_answer_score.astype(np.float64)
        there = (probability > 0) & np.isfinite(no_answer)
        margin, mass = np.full(len(there), -np.inf), np.full(len(there), -np.inf)
        probability, no_answer = probability[there], no_answer[there]
        # Rounded to single precision they may add up to a little more than 1.
        answerable = np.maximum(1.0 - no_answer, probability)
        log_odds = np.log(answerable) - np.log(np.maximum(no_answer, _LEAST))
        mass[there] = (log_odds - self.calibration.answerable_bias) / self.calibration.answerable_slope
        margin[there] = mass[there] + np.log(probability / answerable)
        return margin, mass

    def score(self, margin: NDArray[np.float64], mass: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return the probability ``(n,)`` of spans among those of all documents.

        :param margin: ``(n,)``
        :param mass: ``(n,)``, or one for all: log of the sum of ``exp`` of the documents' masses
        """
        nothing = np.isneginf(mass)
        mass = np.where(nothing, 0.0, mass)
        log_odds = self.calibration.answerable_slope * mass + self.calibration.answerable_bias
        probability = np.exp(np.minimum(margin - mass, 0.0) - np.logaddexp(0.0, -log_odds))
        return np.where(nothing, 0.0, probability)
