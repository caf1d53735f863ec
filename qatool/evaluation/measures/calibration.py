"""Fit the calibration of scores: a temperature, slope and bias of the odds of an answer, and a no-answer threshold.

A temperature divides all logits (Guo et al., "On Calibration of Modern Neural Networks", 2017). It minimises the
negative log likelihood of what a score claims: that the best span is an exact match, which the best span of an
unanswerable question never is. Slope and bias turn a model's log odds that there is an answer into calibrated ones
(Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qatool.evaluation.measures.curves import Threshold, applicable_threshold, between
from qatool.evaluation.measures.reliability import Bin, calibration_error, reliability_bins
from qatool.evaluation.measures.scoring import score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from qatool.evaluation.measures.scoring import Expected, Scores

LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 0.1, 10.0
_STEPS = 14
_SHRINK = (math.sqrt(5) - 1) / 2
_LEAST_PROBABILITY = 1e-6
_NEWTON_STEPS, _LEAST_STEP, _RIDGE = 50, 1e-8, 1e-9


class Outcome(NamedTuple):
    """A model's output for ``n`` labelled questions, under one calibration."""

    best: Sequence[str | None]
    """The text of the best span of each question, whatever the decision; ``None`` if there is no span."""
    score: NDArray[np.float64]
    """``(n,)``: score of the best span, NaN if there is none."""
    no_answer_score: NDArray[np.float64]
    """``(n,)``: probability that there is no answer."""


class Quality(NamedTuple):
    """The quality of scores and decisions."""

    nll: float
    """Mean negative log likelihood of the scores, in nats."""
    ece: float
    """Expected calibration error of the scores, in [0, 1]."""
    bins: list[Bin]
    exact: float
    """EM of the decisions, in per cent."""
    f1: float
    """F1 of the decisions, in per cent."""


class UnreachableError(ValueError):
    """No threshold reaches the precision asked for.

    :ivar best: the highest precision that a threshold reaches, in [0, 1]
    """

    def __init__(self, best: float) -> None:
        super().__init__(f"the best precision is {best:.3f}")
        self.best = best


def best_scores(outcome: Outcome, expected: Sequence[Expected]) -> Scores:
    """Return EM and F1 of the best texts."""
    return score(outcome.best, expected, "squad2.0")


def likelihood(
    outcome: Outcome, expected: Sequence[Expected], among: NDArray[np.bool_] | slice = slice(None)
) -> float:
    """Return the mean negative log likelihood, under the scores, of which best spans are right, in nats.

    :param among: ``(n,)``: the questions to average over; default: all
    """
    claimed = np.clip(np.nan_to_num(outcome.score), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    right = _right(outcome, expected) > 0
    return float(-np.log(np.where(right, claimed, 1 - claimed))[among].mean())


def _right(outcome: Outcome, expected: Sequence[Expected]) -> NDArray[np.float64]:
    """Return 1 for each best text that is right, else 0: ``(n,)``; that of an unanswerable question never is."""
    has_answer = np.array([right.has_answer for right in expected])
    return np.where(has_answer, best_scores(outcome, expected).exact, 0.0)


def fit_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature of the smallest loss, by golden-section search over its logarithm.

    :param loss: function of the temperature, with one minimum between the lowest and the highest
    """
    low, high = math.log(LEAST_TEMPERATURE), math.log(LARGEST_TEMPERATURE)
    left, right = high - _SHRINK * (high - low), low + _SHRINK * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _SHRINK * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _SHRINK * (high - low)
            at_right = loss(math.exp(right))
    return round(math.exp((low + high) / 2), 4)


def fit_answerable(log_odds: NDArray[np.float64], has_answer: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and bias of the true log odds of an answer as a function of a model's, by Platt's method.

    The fit uses Newton's method; each step is halved until it reduces the loss. Targets are moved a little away from
    0 and 1, as Platt proposes, so that odds which separate all questions do not lead to an infinite slope. If the
    odds point the wrong way, the slope is 0.

    :param log_odds: ``(n,)``: the model's log odds of an answer; those that are not finite are ignored
    :param has_answer: ``(n,)``: whether the question has an answer
    """
    there = np.isfinite(log_odds)
    answered, unanswered = int(has_answer[there].sum()), int((~has_answer[there]).sum())
    target = np.where(has_answer[there], (answered + 1) / (answered + 2), 1 / (unanswered + 2))
    centre, spread = log_odds[there].mean(), log_odds[there].std() or 1.0
    inputs = np.stack([(log_odds[there] - centre) / spread, np.ones(len(target))])

    def loss(weights: NDArray[np.float64]) -> float:
        return float((np.logaddexp(0.0, weights @ inputs) - target * (weights @ inputs)).sum())

    weights = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-(weights @ inputs)))
        curvature = (inputs * probability * (1 - probability)) @ inputs.T + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, inputs @ (target - probability))
        while loss(weights + step) > loss(weights) and np.abs(step).max() > _LEAST_STEP:
            step /= 2
        weights = weights + step
        if np.abs(step).max() <= _LEAST_STEP:
            break
    slope = float(weights[0]) / spread
    if slope <= 0:
        return 0.0, round(math.log((answered + 1) / (unanswered + 1)), 4)
    return round(slope, 4), round(float(weights[1]) - slope * centre, 4)


def fit_threshold(outcome: Outcome, expected: Sequence[Expected]) -> Threshold:
    """Return the no-answer threshold with the best F1, and that F1."""
    return applicable_threshold(
        best_scores(outcome, expected).f1,
        outcome.no_answer_score,
        answered=_answered(outcome),
        has_answer=np.array([right.has_answer for right in expected]),
    )


def fit_precision(outcome: Outcome, expected: Sequence[Expected], precision: float) -> Threshold:
    """Return the threshold that answers most questions with at least this precision, and its precision.

    :param precision: share of exact matches among the answers given, in [0, 1]
    :raises UnreachableError: no threshold reaches it
    """
    answered = _answered(outcome)
    right = _right(outcome, expected)[answered]
    doubt = outcome.no_answer_score[answered]
    order = np.argsort(doubt, kind="stable")
    ordered = doubt[order]
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(ordered[1:] != ordered[:-1], True)
    reached = np.flatnonzero(last & (share >= precision))
    if not len(reached):
        raise UnreachableError(float(share[last].max(initial=0.0)))
    place = int(reached[-1])
    above = ordered[place + 1] if place + 1 < len(ordered) else 1.0
    return Threshold(100.0 * float(share[place]), between(ordered[place], above))


def decided(outcome: Outcome, threshold: float | None) -> list[str | None]:
    """Return the answers given, ``None`` for "no answer".

    :param threshold: highest no-answer score at which an answer is given; ``None``: always answer
    """
    given = _answered(outcome)
    if threshold is not None:
        given &= outcome.no_answer_score.astype(np.float32) <= np.float32(threshold)  # as extract decides
    return [text if is_given else None for text, is_given in zip(outcome.best, given.tolist(), strict=True)]


def quality(outcome: Outcome, expected: Sequence[Expected], threshold: float | None) -> Quality:
    """Return the quality of the scores, and of the decisions at a threshold.

    :param threshold: highest no-answer score at which an answer is given; ``None``: always answer
    """
    exact, f1 = score(decided(outcome, threshold), expected, "squad2.0")
    there = ~np.isnan(outcome.score)
    bins = reliability_bins(outcome.score[there], _right(outcome, expected)[there])
    return Quality(
        nll=likelihood(outcome, expected),
        ece=calibration_error(bins),
        bins=bins,
        exact=100 * float(exact.mean()),
        f1=100 * float(f1.mean()),
    )


def _answered(outcome: Outcome) -> NDArray[np.bool_]:
    return np.fromiter(map(bool, outcome.best), np.bool_, len(outcome.best))
