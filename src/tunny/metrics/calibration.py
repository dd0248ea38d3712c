"""Scores that mean what they say: how often answers are right that have a score, and the mapping that makes both the same.

A score is the model's probability of one answer (an entity, a class, a label). It is calibrated by a temperature and a shift of its
logit (Platt 1999; temperature scaling is the case without shift, Guo et al. 2017), fitted to answers known to be right or wrong.

Letter: N answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 15
FEWEST = 50  # answers, of which some are right and some wrong, below which nothing is fitted
_EDGE = 1e-6  # scores are told from 0 and 1 by this much


@dataclass(frozen=True)
class Calibration:
    """sigmoid(logit(score) / temperature + shift)."""

    temperature: float = 1.0
    shift: float = 0.0

    def apply(self, scores: Any) -> Floats:
        """Return calibrated scores; the order of answers stays."""
        return np.asarray(expit(logit(np.clip(scores, _EDGE, 1 - _EDGE)) / self.temperature + self.shift))

    def one(self, score: float) -> float:
        """Return one calibrated score; without calibration the score itself."""
        return score if self == Calibration() else float(self.apply(score))

    def undo(self, scores: Any) -> Floats:
        """Return the scores that calibrated ones were made of."""
        if self == Calibration():
            return np.asarray(scores, dtype=float)
        return np.asarray(expit((logit(np.clip(scores, 1e-12, 1 - 1e-12)) - self.shift) * self.temperature))


@dataclass(frozen=True)
class Tuned:
    """What was tuned on validation data after training, and is used wherever the model answers."""

    calibration: Calibration = field(default_factory=Calibration)
    thresholds: Mapping[str, float] | None = None  # probability, before calibration, from which each label of a set is given
    abstain_below: float | None = None  # score below which an answer is marked as unsure
    precision: float | None = None  # that the other answers were to have

    def scored(self, probability: float) -> dict[str, Any]:
        """Return the score of an answer as predictions have it, and whether the model is unsure of it.

        It is a function of six digits of the probability, so that answers that were saved and those given later are treated alike.
        """
        score = round(self.calibration.one(round(probability, 6)), 6)
        return {"score": score, "unsure": True} if self.abstain_below is not None and score < self.abstain_below else {"score": score}


def fit(scores: Floats, right: Bools) -> Calibration:
    """Return the calibration under which the answers (N,) are likeliest; none where they are too few to say."""
    num_right = int(right.sum())
    if len(right) < FEWEST or not 0 < num_right < len(right):
        return Calibration()
    values = logit(np.clip(scores, _EDGE, 1 - _EDGE))
    wrong = len(right) - num_right
    targets = np.where(right, (num_right + 1) / (num_right + 2), 1 / (wrong + 2))  # Platt's, against too much confidence

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale = np.exp(parameters[0])
        found = values * scale + parameters[1]
        gap = expit(found) - targets
        gradient = np.array([np.mean(gap * values) * scale, np.mean(gap)])
        return float(np.mean(np.logaddexp(0, found) - targets * found)), gradient

    scale, shift = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-10, 10)]).x
    return Calibration(float(np.exp(-scale)), float(shift))


def cross_fitted(scores: Floats, right: Bools, half: Bools) -> Floats:
    """Return scores calibrated by the answers of the other half."""
    found = np.array(scores, dtype=float)
    for part in (half, ~half):
        found[part] = fit(scores[~part], right[~part]).apply(scores[part])
    return found


def reliability(scores: Floats, right: Bools, bins: int = BINS) -> list[dict[str, float]]:
    """Return for each stretch of scores that has any: its ends, the mean score, the share that is right, and how many they are."""
    at = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    found = []
    for number in np.unique(at):
        here = at == number
        about = {"low": number / bins, "high": (number + 1) / bins, "number": int(here.sum())}
        found.append({**about, "confidence": float(scores[here].mean()), "right": float(right[here].mean())})
    return found


def ece(scores: Floats, right: Bools) -> float:
    """Return the expected calibration error: the mean distance of score and share right over the bins (Naeini et al. 2015)."""
    rows = reliability(scores, right)
    return float(sum(row["number"] * abs(row["confidence"] - row["right"]) for row in rows) / max(1, len(right)))


def threshold_for(scores: Floats, right: Bools, precision: float) -> tuple[float, float] | None:
    """Return the lowest score from which on answers reach a precision, and the share of answers that have it; None if there is none."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True)) if len(ordered) else np.zeros(0, int)  # of equal scores
    good = last[hits[last] / (last + 1) >= precision]
    return (float(ordered[good[-1]]), float((good[-1] + 1) / len(scores))) if len(good) else None


def cross_thresholded(scores: Floats, right: Bools, half: Bools, precision: float) -> tuple[float | None, float]:
    """Return precision and coverage of the answers above the threshold that the other half gives; precision None where none is."""
    kept = np.zeros(len(scores), bool)
    for part in (half, ~half):
        found = threshold_for(scores[~part], right[~part], precision)
        kept[part] = False if found is None else scores[part] >= found[0]
    return (float(right[kept].mean()) if kept.any() else None), float(kept.mean()) if len(kept) else 0.0


def best_threshold(scores: Floats, gold: Bools) -> float:
    """Return the threshold that gives a label its highest F1, between the scores that it parts; 0.5 where the label never occurs."""
    if not gold.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(gold[order])
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    best = last[np.argmax(2 * hits[last] / (last + 1 + gold.sum()))]
    below = ordered[best + 1] if best + 1 < len(ordered) else 0.0
    return float((ordered[best] + below) / 2)


def wanted(scores: Floats, right: Bools, precisions: Sequence[float]) -> list[dict[str, float | None]]:
    """Return for each precision its threshold and coverage."""
    found = []
    for precision in precisions:
        threshold, coverage = threshold_for(scores, right, precision) or (None, None)
        found.append({"precision": precision, "threshold": threshold, "coverage": coverage})
    return found
