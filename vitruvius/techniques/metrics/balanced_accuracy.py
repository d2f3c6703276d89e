"""Accuracy in which every class counts the same.

Source: Brodersen et al. 2010, "The Balanced Accuracy and Its Posterior Distribution", ICPR.
Differs from the paper: any number of classes; a standard error in place of a posterior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, hits_of


@dataclass(frozen=True)
class BalancedAccuracy(Scored):
    """Mean recall of the classes that occur among the targets, from 0 to 1."""

    name: ClassVar[str] = "balanced_accuracy"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        said, true = hits_of(self, predictions)
        occurs = true.any(0)
        said, true = said[:, occurs], true[:, occurs]
        share = true.mean(0)
        recall = (said & true).mean(0) / share
        influence = ((said & true) - recall * true) / share
        return float(recall.mean()), influence.mean(1)
