"""Area under the receiver operating characteristic.

Source: Hanley & McNeil 1982, "The meaning and use of the area under a ROC curve"; standard error
from the placements of DeLong et al. 1988, Biometrics 44.
Differs from the papers: more than two classes, each against the rest, count the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, classes_of


@dataclass(frozen=True)
class RocAuc(Scored):
    """P(an item of the class gets more than one of another), ties half; 0.5 is chance, 1 the best.

    Of more than two classes the mean over those that some items have and some have not.
    """

    name: ClassVar[str] = "roc_auc"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = classes_of(self, predictions)
        binary = values.shape[1] == 2
        found = [
            area(values[:, label], targets == label)
            for label in ((1,) if binary else range(values.shape[1]))
            if 0 < (targets == label).sum() < len(targets)
        ]
        if not found:
            raise ValueError(
                "RocAuc needs items of at least two classes; all targets are "
                f"{targets[0]}. Score more items, or take CrossEntropy()."
            )
        areas, influences = zip(*found, strict=True)
        return float(np.mean(areas)), np.mean(influences, axis=0)


def area(
    scores: Float64[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]
) -> tuple[float, Float64[np.ndarray, " N"]]:
    """The area of one class against the rest, and the influence of each item on it."""
    ours, others = np.sort(scores[positive]), np.sort(scores[~positive])
    placement = np.where(positive, _share_below(others, scores), 1 - _share_below(ours, scores))
    value = float(placement[positive].mean())
    share = positive.mean()
    return value, (placement - value) / np.where(positive, share, 1 - share)


def _share_below(
    known: Float64[np.ndarray, " K"], scores: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    """Share of the known, sorted ones that lie below each score; equal ones count half."""
    below = np.searchsorted(known, scores, "left") + np.searchsorted(known, scores, "right")
    return below / (2 * len(known))
